"""Weights & Biases: one offline run a trial; `wandb sync` is what a user may call later."""

from collections.abc import Sequence
from pathlib import Path

from icckd.report.export.trackers import TrackedRun, only
from icckd.results.types import StudyInfo


def write(study: StudyInfo, runs: Sequence[TrackedRun], folder: Path) -> None:
    """Write one offline run a trial below `folder`/wandb, without code, hardware and packages."""
    places = {f"WANDB_{name}_DIR": str(folder / ".local") for name in ("CONFIG", "CACHE", "DATA")}
    quiet = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    with only(("WANDB_",), {**places, **quiet}):
        for run in runs:
            _write_run(study, run, folder)


def _write_run(study: StudyInfo, run: TrackedRun, folder: Path) -> None:
    import wandb

    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    tracked = wandb.init(
        mode="offline",
        dir=folder,
        project=study.name,
        group=study.name,
        job_type=run.role,
        name=run.name,
        notes=study.question,
        tags=[f"{name}={value}"[:64] for name, value in run.tags.items()],
        config=run.config,
        settings=settings,
    )
    tracked.define_metric("*", step_metric="epoch")
    for epoch, values in run.by_epoch().items():
        tracked.log({"epoch": epoch, **values}, step=epoch)
    tracked.summary.update(run.outcomes)
    tracked.finish(exit_code=0 if run.state == "complete" else 1)
