"""Synthetic data are called so wherever a result is shown."""

from icckd.results.types import StudyInfo


def on_synthetic_data(study: StudyInfo) -> bool:
    """Say whether an arm of the study trains on synthetic data."""
    replaced = [c.after for arm in study.arms for c in arm.changes if c.path == "data"]
    tables = [study.resolved.get("data"), *replaced]
    return any(isinstance(table, dict) and table.get("kind") == "synthetic" for table in tables)
