"""`icckd export`: trials as the runs of another tracker, in files; nothing leaves the machine."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from icckd.cli.inspect import StudyName, find, open_folder

Tool = Literal["tensorboard", "wandb", "mlflow", "trackio"]


def export(
    tool: Annotated[Tool, typer.Argument(help="The tracker, from the extra `export-TOOL`.")],
    study: StudyName = None,
    *,
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="A new or empty folder.")
    ],
) -> None:
    """Write trials as runs of another tracker, offline: settings, series, outcomes."""
    from icckd.report.export import export as carry_out

    with open_folder() as results:
        info = find(results, study)
        runs = carry_out(results, info, tool, folder)
        states = Counter(run.state for run in runs)
        unstarted = len(results.trials(info)) - len(runs)
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    left_out = f"; {unstarted} trials that never started are left out" if unstarted else ""
    print(f"wrote {len(runs)} runs of {info.name} to {folder} ({parts}{left_out})")
