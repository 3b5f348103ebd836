"""Studies as the files of other trackers, each written offline by the tool's own library.

`EXPORTERS` maps a tool to the function that writes its files; its module alone imports the tool,
which comes with the extra `export-<tool>`.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from icckd.errors import MachineError, UsageError
from icckd.report.export.trackers import TrackedRun, tracked_runs
from icckd.results.query import Results
from icckd.results.types import StudyInfo

Exporter = Callable[[StudyInfo, Sequence[TrackedRun], Path], None]

EXPORTERS: dict[str, str] = {
    "tensorboard": "icckd.report.export.tensorboard_events:write",
    "wandb": "icckd.report.export.wandb_offline:write",
    "mlflow": "icckd.report.export.mlflow_store:write",
    "trackio": "icckd.report.export.trackio_local:write",
}


def export(results: Results, study: StudyInfo, tool: str, folder: Path) -> tuple[TrackedRun, ...]:
    """Write every trial that was started as a run of another tool; return the runs.

    Args:
        results: Where the trials are.
        study: The study.
        tool: A key of `EXPORTERS`.
        folder: Where the files go; made if it is missing.

    Raises:
        UsageError: The folder has something in it, or no trial was started.
        MachineError: The tool is not installed, or the files cannot be written.
    """
    module, _, name = EXPORTERS[tool].partition(":")
    write: Exporter = getattr(importlib.import_module(module), name)
    runs = tracked_runs(results, study)
    if not runs:
        raise UsageError(
            f"no trial of study {study.name!r} was started", hint=f"icckd status {study.name}"
        )
    try:
        _make_empty(folder)
        write(study, runs, folder.absolute())
    except ModuleNotFoundError as error:
        raise MachineError(
            f"export to {tool} needs {error.name}, which is not installed",
            hint=f"pip install 'icckd[export-{tool}]'",
        ) from error
    except OSError as error:
        raise MachineError(
            f"cannot write {error.filename or folder}: {error.strerror or error}",
            hint="choose another place",
        ) from error
    return runs


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty, and runs are never mixed with what is there",
            hint="choose a new folder",
        )
