"""The report for other programs: CSV and JSON, one record a comparison.

Numbers have ten significant digits: beyond them versions of scipy differ. Bytes stay bytes. In JSON
a target never reached is the word "inf", as in the journals.
"""

import csv
import json
import math
from dataclasses import asdict, fields
from typing import Any, TextIO

from icckd.report.notes import incomplete, notes
from icckd.report.text import display
from icckd.results.read import Results
from icckd.results.types import ArmRow, Comparison, StudyInfo

_FIELDS = tuple(field.name for field in fields(Comparison))


def write_csv(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write one line for each arm and metric; missing seeds are separated by spaces."""
    arms = {arm.name: arm for arm in study.arms}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["study", "revision", "role", "control_for", *_FIELDS])
    for row in results.comparisons(study):
        arm = arms[row.arm]
        lead = [study.name, study.revision, arm.role, arm.control_for]
        writer.writerow([_csv_value(value) for value in [*lead, *_values(row)]])


def write_json(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write one JSON document: the study, its arms, every comparison, and the notes."""
    document = {
        "study": study.name,
        "revision": study.revision,
        "question": study.question,
        "baseline": study.baseline,
        "primary": study.primary,
        "seeds": list(study.seeds),
        "family": list(study.family),
        "smallest_effect": study.smallest_effect,
        "arms": [_arm(arm) for arm in study.arms],
        "comparisons": [
            dict(zip(_FIELDS, map(_json_value, _values(row)), strict=True))
            for row in results.comparisons(study)
        ],
        "effects": [
            {name: _json_value(value) for name, value in _rounded(asdict(effect)).items()}
            for effect in results.effects(study)
        ],
        "added_seeds": list(study.added),
        "left_out_seeds": list(study.left_out),
        "stopped": dict(study.stopped),
        "incomplete": incomplete(results, study),
        "notes": notes(results, study),
    }
    json.dump(document, out, indent=2, allow_nan=False)
    out.write("\n")


def _values(row: Comparison) -> list[Any]:
    return list(_rounded({name: getattr(row, name) for name in _FIELDS}).values())


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.10g}") if isinstance(value, float) else value
        for name, value in fields.items()
    }


def _csv_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return display(value) if isinstance(value, str) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    is_infinite = isinstance(value, float) and math.isinf(value)
    return ("inf" if value > 0 else "-inf") if is_infinite else value


def _arm(arm: ArmRow) -> dict[str, Any]:
    return asdict(arm)
