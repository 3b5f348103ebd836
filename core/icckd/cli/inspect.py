"""Verbs that look: report, status, ls, show, logs. They never disturb a session."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from icckd.errors import UsageError

if TYPE_CHECKING:
    from icckd.results.read import Results
    from icckd.results.types import StudyInfo

StudyName = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="A study's name or file; default: the newest."),
]
Format = Literal["table", "md", "latex", "html", "csv", "json", "parquet"]
FOLLOW_SECONDS = 0.5


def report(
    study: StudyName = None,
    output: Annotated[
        Format | None,
        typer.Option("--format", help="How to print; default: by the file's suffix, or a table."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write there, provenance beside it."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw figures there: PDF, SVG, PNG (needs matplotlib)."),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Exit 6 unless it holds: 'diff(no-margin, student.top1) > -0.5'; repeatable.",
        ),
    ] = None,
    sql: Annotated[
        str | None, typer.Option(help="A query over the views instead; `.views` lists them.")
    ] = None,
) -> None:
    """Print verdicts and comparison table of a study, or the answer to a query."""
    from icckd.cli.reporting import Wanted
    from icckd.cli.reporting import report as carry_out

    if sql is not None:
        from icckd.cli.sql import print_answer

        print_answer(sql, output or "table")
        return
    wanted = Wanted(output=output, file=file, figures=figures, gates=tuple(gate or ()))
    with open_folder() as results:
        carry_out(results, find(results, study), wanted)


def status(study: StudyName = None) -> None:
    """Print where a study stands, once, in plain lines."""
    from icckd.report.status import write_status

    with open_folder() as results:
        write_status(results, find(results, study), sys.stdout)


def list_studies() -> None:
    """List the studies of this state folder, newest first."""
    from icckd.report.status import write_studies

    with open_folder() as results:
        write_studies(results, sys.stdout)


def show(
    target: Annotated[
        str, typer.Argument(metavar="ARM[/SEED]", help="An arm, or one trial of it.")
    ],
    study: Annotated[
        str | None, typer.Option("--study", help="A study's name or file; default: the newest.")
    ] = None,
) -> None:
    """Show an arm or a trial: what differs, stages, attempts, environment, outcomes, failures."""
    from icckd.report.show import write_arm, write_trial

    with open_folder() as results:
        info = find(results, study)
        arm, seed = _target(info, target)
        if seed is None:
            write_arm(results, info, arm, sys.stdout)
        else:
            write_trial(results, info, arm, seed, sys.stdout)


def logs(
    target: Annotated[
        str | None, typer.Argument(metavar="[ARM[/SEED]]", help="Only this arm or trial.")
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="A study's name or file; default: the newest.")
    ] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Lines from the end.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
) -> None:
    """Print the newest log lines of a study, an arm or a trial."""
    from icckd.report.status import write_log_row

    with open_folder() as results:
        info = find(results, study)
        arm, seed = _target(info, target) if target else (None, None)
        printed = 0
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                rows = results.log(info, limit=1_000_000, arm=arm, seed=seed)
                for row in rows[max(printed, 0 if printed else len(rows) - lines) :]:
                    write_log_row(row, sys.stdout)
                printed = len(rows)
                if not follow:
                    return
                sys.stdout.flush()
                time.sleep(FOLLOW_SECONDS)
                results.refresh()


def study_name(study: str | None) -> str | None:
    """Return the name of a study given by name or by file."""
    if study is None or not (study.endswith(".toml") or "/" in study):
        return study
    from icckd.spec.load import load

    return load(Path(study)).study.name


@contextlib.contextmanager
def open_folder() -> "Iterator[Results]":
    """Yield the results of the current state folder."""
    from icckd.journal.folder import StateFolder
    from icckd.results.read import open_results

    folder = StateFolder.current()
    if not folder.exists():
        raise UsageError(f"there is no study in {folder.root}", hint="icckd run STUDY starts one")
    with open_results(folder) as results:
        yield results


def find(results: "Results", study: str | None) -> "StudyInfo":
    """Return the study of that name or file, or the newest."""
    return results.study(study_name(study))


def _target(info: "StudyInfo", target: str) -> tuple[str, int | None]:
    from icckd.spec.paths import nearest

    arm, _, seed = target.partition("/")
    names = [row.name for row in info.arms]
    if arm not in names:
        raise UsageError(f"study {info.name!r} has no arm {arm!r}", hint=nearest(arm, names))
    if not seed:
        return arm, None
    number = seed.removeprefix("s")
    if not number.isdecimal() or int(number) not in info.seeds:
        raise UsageError(
            f"arm {arm!r} has no seed {seed!r}",
            hint=f"seeds: {info.seeds[0]} to {info.seeds[-1]}",
        )
    return arm, int(number)
