"""Verbs that look: report, status, ls, show, logs. They never disturb a running session."""

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
Format = Literal["table", "md", "csv", "json"]
FOLLOW_SECONDS = 0.5


def report(
    study: StudyName = None,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = "table",
    sql: Annotated[
        str | None, typer.Option(help="A query over the views instead; `.views` lists them.")
    ] = None,
) -> None:
    """Print the comparison table of a study, or the answer to a query."""
    from icckd.report import REPORTERS
    from icckd.report.query import write_query, write_views

    with _results() as results:
        if sql == ".views":
            write_views(results, sys.stdout)
        elif sql is not None:
            write_query(results.query(sql), output, sys.stdout)
        else:
            REPORTERS[output](results, _study(results, study), sys.stdout)


def status(study: StudyName = None) -> None:
    """Print where a study stands, once, in plain lines."""
    from icckd.report.status import write_status

    with _results() as results:
        write_status(results, _study(results, study), sys.stdout)


def list_studies() -> None:
    """List the studies of this state folder, newest first."""
    from icckd.report.status import write_studies

    with _results() as results:
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

    with _results() as results:
        info = _study(results, study)
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

    with _results() as results:
        info = _study(results, study)
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
def _results() -> "Iterator[Results]":
    from icckd.journal.folder import StateFolder
    from icckd.results.read import open_results

    folder = StateFolder.current()
    if not folder.exists():
        raise UsageError(f"there is no study in {folder.root}", hint="icckd run STUDY starts one")
    with open_results(folder) as results:
        yield results


def _study(results: "Results", study: str | None) -> "StudyInfo":
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
