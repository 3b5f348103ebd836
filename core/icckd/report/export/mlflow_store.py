"""MLflow: an SQLite store with the study as one experiment and one run a trial.

MLflow's file store is deprecated, so this is what is left of its modes without a server.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.report.export.trackers import TrackedRun, only
from icckd.results.types import StudyInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

STORE = "mlflow.db"
_METRICS = 1000  # MLflow's own limits of one batch
_PARAMS = 100
_STATUS = {"complete": "FINISHED", "running": "RUNNING", "pending": "SCHEDULED"}


def write(study: StudyInfo, runs: Sequence[TrackedRun], folder: Path) -> None:
    """Write `folder`/mlflow.db."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with only(("MLFLOW_", "DATABRICKS_"), quiet):
        import sqlalchemy  # noqa: F401  # the client would hide that it is missing
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / STORE}")
        experiment = client.create_experiment(
            study.name,
            artifact_location=(folder / "artifacts").as_uri(),
            tags={"mlflow.note.content": study.question, "revision": study.revision},
        )
        for run in runs:
            _write_run(client, experiment, study, run)


def _write_run(client: "MlflowClient", experiment: str, study: StudyInfo, run: TrackedRun) -> None:
    from mlflow.entities import Param

    created = client.create_run(
        experiment,
        start_time=_milliseconds(run.started),
        run_name=run.name,
        tags={**run.tags, "group": study.name},
    )
    identity = created.info.run_id
    params = [Param(name, str(value)) for name, value in run.config.items()]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(identity, params=params[start : start + _PARAMS])
    metrics = list(_metrics(run))
    for start in range(0, len(metrics), _METRICS):
        client.log_batch(identity, metrics=metrics[start : start + _METRICS])
    end = None if run.state == "running" else _milliseconds(run.started + run.seconds)
    client.set_terminated(identity, status=_STATUS.get(run.state, "FAILED"), end_time=end)


def _metrics(run: TrackedRun) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    time = _milliseconds(run.started)
    for epoch, values in run.by_epoch().items():
        for name, value in values.items():
            yield Metric(name, value, time, epoch)
    for name, value in run.outcomes.items():
        yield Metric(name, value, time, 0)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
