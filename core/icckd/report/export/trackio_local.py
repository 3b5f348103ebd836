"""Trackio: one local project with one run a trial, in the SQLite file that its dashboard reads."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

from icckd.report.export.trackers import TrackedRun, only
from icckd.results.types import StudyInfo


def write(study: StudyInfo, runs: Sequence[TrackedRun], folder: Path) -> None:
    """Write the project `study` below `folder`; open it with `TRACKIO_DIR` set to the folder."""
    local = {"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with only(("TRACKIO_", "HF_", "SPACE_"), local):
        for run in runs:
            with contextlib.redirect_stdout(io.StringIO()):
                _write_run(study, run)


def _write_run(study: StudyInfo, run: TrackedRun) -> None:
    import trackio

    trackio.init(
        project=study.name,
        name=run.name,
        group=study.name,
        config=run.config,
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    rows = run.by_epoch()
    for epoch, values in rows.items():
        trackio.log(values, step=epoch)
    if run.outcomes:
        trackio.log(dict(run.outcomes), step=max(rows, default=0))
    trackio.finish()
