"""Verbs that read: report, status, ls, show, logs, diff, compare, export, published.

They never disturb a session, and import what they need when they are called.
"""

import contextlib
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec, TypeVar

import typer

from icckd.cli import completion, take_ctrl_c
from icckd.configuration import configuration
from icckd.errors import MachineError, UsageError
from icckd.report.files import write_whole
from icckd.report.formats import (
    BUILT_IN,
    DEFAULT,
    ReportFormat,
    format_names,
    format_of_plugin,
    format_of_suffix,
    report_format,
)
from icckd.study.shipped import is_shipped
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd.report.gates import Gate
    from icckd.results.query import Results
    from icckd.results.types import StudyInfo

P = ParamSpec("P")
T = TypeVar("T")
StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]",
        help="A study's name or file; default: the newest.",
        autocompletion=completion.studies,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision", metavar="REV", help="One of `icckd ls STUDY`; default: the newest complete."
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        help="A study's name or file; default: the newest.",
        autocompletion=completion.studies,
    ),
]
AnswerFormat = Literal["table", "md", "csv", "json"]
Tool = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Exported = Literal[Tool, "plan"]
FOLLOW_SECONDS = 0.5
STANDARD_OUTPUT = Path("-")


def folder_named(path: str) -> Path:
    """Return the folder that an option names.

    Raises:
        UsageError: It names standard output, which holds no files.
    """
    if path == "-":
        raise UsageError("several files cannot go to standard output", hint="name a folder")
    return expanded(path)


# What every verb here begins with: the results of the state folder, and the study meant.


def state_folder() -> "StateFolder":
    """Return the current state folder, with what machines share, if that is configured.

    Raises:
        UsageError: There is no state folder.
    """
    from icckd.journal.folder import StateFolder

    folder = StateFolder.current()
    if (shared := configuration(folder.root).storage).url:
        from icckd.storage.mirror import pull_once  # whoever shares nothing imports no storage

        pull_once(shared, folder, _say)
    if not folder.exists():
        raise UsageError(
            f"there is no study in {folder.root}",
            hint="icckd init writes one, icckd run STUDY starts it",
        )
    return folder


@contextlib.contextmanager
def open_folder() -> "Iterator[Results]":
    """Yield the results of the current state folder.

    Raises:
        UsageError: There is no state folder.
    """
    from icckd.results.query import open_results

    with open_results(state_folder()) as results:
        yield results


def study_name(study: str | None) -> str | None:
    """Return the name of a study given by name or by file."""
    if study is None or not (study.endswith(".toml") or "/" in study or is_shipped(study)):
        return study
    from icckd.study.load import load

    return load(Path(study)).study.name


def find(results: "Results", study: str | None) -> "StudyInfo":
    """Return the study of that name or file, or the one planned last: its newest revision."""
    return results.study(study_name(study))


def find_reported(results: "Results", study: str | None, revision: str | None) -> "StudyInfo":
    """Return the revision asked for, or the newest complete one, or else the newest.

    Raises:
        UsageError: There is no such study or revision.
    """
    name = study_name(study)
    return results.reported(name) if revision is None else results.revision(name, revision)


# The report.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """The options of `icckd report`; without a file the report is printed.

    `is_named` says that a revision was asked for.
    """

    format: ReportFormat
    file: Path | None
    figures: Path | None
    gates: tuple[str, ...]
    is_named: bool = False


def report(  # noqa: PLR0913  # every option of the command is an argument
    study: StudyName = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar=f"[{'|'.join(row.name for row in BUILT_IN)}]",
            autocompletion=format_names,
            help="How to print; default: by the file's suffix, or a table.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            parser=expanded,
            help="Write there, provenance beside it; - prints it.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=folder_named,
            help="Draw figures there: PDF, SVG, PNG (needs matplotlib).",
        ),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Exit 6 unless it holds: 'diff(no-margin, student.top1) > -0.5'; repeatable.",
        ),
    ] = None,
    revision: Revision = None,
    section: Annotated[
        Literal["methods", "threats"] | None,
        typer.Option(help="Print only that: a methods paragraph, or threats to validity."),
    ] = None,
    sql: Annotated[
        str | None, typer.Option(help="A query over the views instead; `.views` lists them.")
    ] = None,
) -> None:
    """Print answers, verdicts and the whole table of a study."""
    if sql is not None:
        from icckd.cli.sql import print_answer

        print_answer(sql, output or DEFAULT)
        return
    if file == STANDARD_OUTPUT:
        file = None
    with open_folder() as results:
        shown = find_reported(results, study, revision)
        options = ReportOptions(
            format=_format(output, file, results, shown),
            file=file,
            figures=figures,
            gates=tuple(gate or ()),
            is_named=revision is not None,
        )
        if section is not None:
            from icckd.report.terminal import write_section

            write_section(results, shown, section, sys.stdout)
            return
        make_report(results, shown, options)


def _format(
    name: str | None, file: Path | None, results: "Results", study: "StudyInfo"
) -> ReportFormat:
    """Return the format of that name, else that of the file's suffix, else the table."""
    if name is not None and (own := format_of_plugin(results, study, name)) is not None:
        return own
    by_suffix = format_of_suffix(file.suffix) if name is None and file is not None else None
    return by_suffix or report_format(name or DEFAULT)


def make_report(results: "Results", study: "StudyInfo", options: ReportOptions) -> None:
    """Write a report, its figures and their provenance, then check its gates.

    Gates judge the newest revision of the study, whichever one the report shows.

    Raises:
        UsageError: A gate is not a condition, or the format needs a file, or there are gates for an
            older revision.
        MachineError: A file cannot be written, or matplotlib is missing.
        GateError: A gate does not hold; the report was written all the same.
    """
    from icckd.report.gates import gate_error, judge_gates
    from icckd.results.seeds import parse

    newest = results.study(study.name)
    if options.gates and options.is_named and not study.is_newest:
        raise UsageError(
            f"--gate judges the newest revision only, and {study.revision} is an older one",
            hint=f"leave out --revision, or give {newest.revision}",
        )
    conditions = [parse(text, newest) for text in options.gates]
    gates = judge_gates(results, newest, conditions)
    written = _write(results, study, options, gates)
    drawn = []
    if options.figures is not None:
        from icckd.report.figures import draw_figures

        drawn = _or_machine_error(draw_figures, results, study, options.figures)
    for outputs in (written, drawn):
        if outputs:
            from icckd.report.manifest import write_manifest

            try:
                manifest = _or_machine_error(write_manifest, results, study, outputs)
            except MachineError:
                for output in outputs:  # a report without its provenance is half of a pair
                    output.unlink(missing_ok=True)
                raise
            _say(f"wrote {', '.join(map(str, outputs))}")
            _say(f"wrote {manifest}")
    if error := gate_error(gates, newest):
        raise error


def _write(
    results: "Results", study: "StudyInfo", options: ReportOptions, gates: "tuple[Gate, ...]"
) -> list[Path]:
    """Print the report, or write it to the file given and return that."""
    from icckd.report.document import build_document

    row, file = options.format, options.file
    if row.write_file is not None and file is None:
        raise UsageError(
            f"the format {row.name} needs a file", hint=f"add -o comparisons{row.suffix}"
        )
    document = build_document(results, study, gates)
    if file is None:
        if row.write is not None:
            row.write(document, sys.stdout)
        return []
    if row.write_file is not None:
        _or_machine_error(row.write_file, document, file)
    elif row.write is not None:
        text = io.StringIO()
        row.write(document, text)
        _or_machine_error(write_whole, file, text.getvalue())
    return [file]


def _or_machine_error(action: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return action(*arguments, **options)
    except OSError as error:
        raise MachineError(
            f"cannot write {error.filename}: {error.strerror}", hint="choose another place"
        ) from error


def _say(text: str) -> None:
    print(f"icckd: {text}", file=sys.stderr, flush=True)


# Where studies stand, and all about one arm or trial.


def status(study: StudyName = None) -> None:
    """Print where a study stands, in plain lines."""
    from icckd.report.standing import write_status

    with open_folder() as results:
        write_status(results, find(results, study), sys.stdout)


def list_studies(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="List the revisions of this study, name or file.",
            autocompletion=completion.studies,
        ),
    ] = None,
    sort: Annotated[
        Literal["planned", "last-run", "name", "trials", "size"],
        typer.Option(help="What comes first: the newest plan, the last run, the largest, ..."),
    ] = "planned",
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to print the studies.")
    ] = "table",
) -> None:
    """List the studies here, or the revisions of one, newest first.

    A study has its last run, trials, verdicts, and bytes; what studies share counts for each.
    """
    from icckd.journal.room import read_room
    from icckd.report.standing import SORTS, studies_as_json, write_revisions, write_studies

    with open_folder() as results:
        if study is not None:
            write_revisions(results, study_name(study), sys.stdout)
            return
        sizes: dict[str, int] = {}
        for room in read_room(results.folder, None).studies:
            for name in room.studies:
                sizes[name] = sizes.get(name, 0) + room.bytes
        rows = [(each, sizes.get(each.study.name, 0)) for each in results.overviews()]
        rows.sort(key=SORTS[sort])
        if output == "json":
            print(studies_as_json(rows))
        else:
            write_studies(rows, sys.stdout)


def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ARM[/SEED]",
            help="An arm, or one trial of it.",
            autocompletion=completion.arms,
        ),
    ],
    study: StudyOption = None,
) -> None:
    """Show all about an arm or a trial.

    What differs, stages, attempts, environment, outcomes, failures.
    """
    from icckd.report.standing import write_arm, write_trial
    from icckd.results.selection import select

    with open_folder() as results:
        chosen = select(results, target, study_name(study), newest=True)
        if chosen.seed is None:
            write_arm(results, chosen.study, chosen.arm, sys.stdout)
        else:
            write_trial(results, chosen.study, chosen.arm, chosen.seed, sys.stdout)


def logs(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[ARM[/SEED]]", help="Only this arm or trial.", autocompletion=completion.arms
        ),
    ] = None,
    study: StudyOption = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Lines from the end.")] = 50,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing as lines come.")
    ] = False,
) -> None:
    """Print the newest log lines of a study, an arm or a trial."""
    from icckd.report.standing import write_log_row
    from icckd.results.selection import select

    with open_folder() as results:
        chosen = select(results, target, study_name(study), newest=True) if target else None
        info = chosen.study if chosen else find(results, study)
        arm, seed = (chosen.arm, chosen.seed) if chosen else (None, None)
        printed = 0
        if follow:
            take_ctrl_c()
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


# Arms beside each other.


def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="ARM, STUDY:ARM, STUDY@REV:ARM; each with /SEED",
            autocompletion=completion.arms,
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The same, to set against it.", autocompletion=completion.arms
        ),
    ],
    study: StudyOption = None,
) -> None:
    """Explain in what two arms or trials differ.

    In settings, conditions, stages and outcomes.
    """
    from icckd.report.terminal import write_diff
    from icckd.results.selection import select

    with open_folder() as results:
        name = study_name(study)
        chosen = [select(results, text, name) for text in (first, second)]
        write_diff(results, chosen[0], chosen[1], sys.stdout)


def compare(
    arms: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDY[@REV]:]ARM...",
            help="Two or more; the first is the reference.",
            autocompletion=completion.arms,
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Outcomes; default: those of the studies.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    study: StudyOption = None,
) -> None:
    """Compare any arms over equal seeds, across studies too."""
    from icckd.report.terminal import write_comparison
    from icckd.results.selection import select
    from icckd.study.metrics import OUTCOMES
    from icckd.study.paths import nearest

    if len(arms) < 2:
        raise UsageError("one arm cannot be compared", hint="icckd compare full no-margin")
    with open_folder() as results:
        default = study_name(study)
        chosen = [select(results, text, default) for text in arms]
        known = dict.fromkeys([*(m for each in chosen for m in each.study.declared), *OUTCOMES])
        for name in metric or ():
            if name not in known:
                raise UsageError(f"unknown metric {name!r}", hint=nearest(name, list(known)))
        asked = metric or [m for each in chosen for m in each.study.metrics]
        write_comparison(results, chosen, list(dict.fromkeys(asked)), sys.stdout)


# Results for other tools, and published numbers.


def export(
    tool: Annotated[
        Exported,
        typer.Argument(
            help="The tracker, from the extra `export-TOOL`; or plan: the ablations that the study"
            " is asked for, as AblationBench's planner writes them."
        ),
    ],
    study: StudyName = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR|FILE",
            parser=expanded,
            help="A new or empty folder; of an ablation plan a new file, by default it is printed.",
        ),
    ] = None,
) -> None:
    """Write trials as runs of another tracker, offline; or a study's ablations as a plan."""
    if tool == "plan":
        from icckd.cli.ablation_plans import export_plan

        if study is None:
            raise UsageError("which study's ablations?", hint="icckd export plan STUDY")
        export_plan(study, None if out == STANDARD_OUTPUT else out)
        return
    if out is None:
        raise UsageError("runs are written into a folder", hint=f"icckd export {tool} -o DIR")
    from icckd.report.export import export as carry_out

    folder = folder_named(str(out))
    with open_folder() as results:
        info = find_reported(results, study, None)
        runs = carry_out(results, info, tool, folder)
        states = Counter(run.state for run in runs)
        unstarted = len(results.trials(info)) - len(runs)
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    left_out = f"; {unstarted} trials that never started are left out" if unstarted else ""
    print(f"wrote {len(runs)} runs of {info.name} to {folder} ({parts}{left_out})")


def mcp() -> None:
    """Serve studies to programs by the Model Context Protocol.

    Plans, comparisons and SQL, on standard input and output, for a client that starts this command
    (extra `mcp`). Read-only.
    """
    from icckd.journal.folder import StateFolder

    try:
        from icckd.api.mcp_server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise MachineError(
            "icckd mcp needs the package mcp, which is not installed",
            hint="pip install 'icckd[mcp]'",
        ) from error
    serve(StateFolder.current())


def published(
    output: Annotated[AnswerFormat, typer.Option("--format", help="How to print.")] = "table",
) -> None:
    """List published CIFAR-100 accuracies, each with its source."""
    from icckd.report.query import write_query
    from icckd.report.terminal import write_published
    from icckd.results.published import published_table

    if output == "table":
        write_published(sys.stdout)
    else:
        write_query(published_table(), output, sys.stdout)
