"""`icckd init`: a study to begin with, from what one has: a script, images, a table, or nothing."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args

import typer

from icckd.cli import take_ctrl_c
from icckd.cli.common import refuse_existing, tell_next, write_new
from icckd.errors import UsageError
from icckd.study.starters import Starter, Template, of_folder, of_template
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.imports.guess import Guessed

T = TypeVar("T")
TEMPLATES: tuple[Template, ...] = get_args(Template)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begin:
    """What a study is to be made of: one of these at most, the template where there is none."""

    template: Template | None = None
    script: Path | None = None
    images: Path | None = None
    table: Path | None = None


def init(
    template: Annotated[
        Template | None, typer.Option("--template", help="An example to begin with.")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SCRIPT.py",
            parser=expanded,
            help="A script that trains: it is read, not run.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            parser=expanded,
            help="A folder with a sub-folder of images for each class.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            parser=expanded,
            help="A table with a row for each run that you have: it is imported.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            parser=expanded,
            help="Write the study there, overwriting nothing; - prints it.",
        ),
    ] = None,
) -> None:
    """Write a short study file to begin with.

    On a terminal it asks three questions, unless an option answers them.
    """
    begin = _Begin(template=template, script=script, images=data, table=table)
    given = [
        name
        for name, value in (
            ("--template", template), ("--from", script), ("--data", data), ("--csv", table),
        )
        if value is not None
    ]  # fmt: skip
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} do not go together", hint="a study begins with one of them"
        )
    asks = not given and _is_terminal()
    if asks:
        begin = _asked_begin()
    if begin.table is not None:
        if out is not None:
            raise UsageError(
                "--csv writes no study file: its runs are imported as they are",
                hint="leave out --out",
            )
        _import_table(begin.table, asks=asks)
        return
    if asks and out is None:
        out = _asked("Write the study to", str(_usual_file(begin)), _new_file)
    out = _usual_file(begin) if out is None else out
    is_printed = out.name == "-"
    if is_printed:
        out = _usual_file(begin)
    starter = _starter(begin, out, here=is_printed)
    if is_printed:
        sys.stdout.write(starter.text)
        print(f"icckd: {starter.about}; --out FILE writes it to a file", file=sys.stderr)
        return
    _write(out, starter)


def _usual_file(begin: _Begin) -> Path:
    """Return where a study is written unless the user says otherwise."""
    if begin.script is not None:
        return Path(f"{begin.script.stem}.toml")
    if begin.images is not None:
        return Path(f"{begin.images.resolve().name}.toml")
    return Path(f"{begin.template or 'digits'}.toml")


def _starter(begin: _Begin, out: Path, *, here: bool) -> Starter:
    """Return the study; `here` says that it is printed, so that files are seen from here."""
    if begin.script is not None:
        return _of_script(begin.script, Path.cwd() if here else out.absolute().parent)
    if begin.images is not None:
        return _of_images(begin.images, str(out))
    starter = of_template(begin.template or "digits", str(out))
    if here and starter.files:
        raise UsageError(
            f"the template {begin.template} has files beside it, and cannot be printed",
            hint="name a file with --out",
        )
    return starter


def _write(out: Path, starter: Starter) -> None:
    texts = {**{out.parent / name: text for name, text in starter.files.items()}, out: starter.text}
    for path in texts:
        if path.exists() or path.is_symlink():
            refuse_existing(path)
    for path, text in texts.items():
        write_new(path, text)
    print(f"icckd: wrote {', '.join(map(str, reversed(texts)))}: {starter.about}", file=sys.stderr)
    named = f"{shlex.quote(str(out))}{starter.options}"
    tell_next([
        (f"icckd plan {named}", "what would be trained"),
        (f"icckd run {named}", "trains it"),
    ])  # fmt: skip


# From a script, from images, from a table.


def _of_script(script: Path, folder: Path) -> Starter:
    """Return the study of a script and what is said of it."""
    from icckd.report.text import display
    from icckd.study.scripts.read import read_script
    from icckd.study.scripts.write import study_text

    found = read_script(script)
    seen_from = os.path.relpath(os.path.realpath(script), os.path.realpath(folder))
    written = study_text(found, path=seen_from)
    lines = ", ".join(map(str, written.open_lines))
    plural = "line is" if len(written.open_lines) == 1 else "lines are"
    left = f"{len(written.open_lines)} {plural} left to you: {lines}"
    told = f"{written.options} options of {display(script.name)} ({found.found.kind}); {left}"
    return Starter(text=written.text, about=told, files={})


def _of_images(images: Path, file: str) -> Starter:
    """Return the study of a folder of images.

    Raises:
        UsageError: It is none, or has a name that a study cannot hold.
        DataError: A study could not train on it.
    """
    import re

    from icckd.cli.data import as_data
    from icckd.errors import DataError
    from icckd.report.text import display
    from icckd.run.prepare import data_root
    from icckd.train.data.files import survey

    if not images.is_dir():
        raise UsageError(
            f"there is no folder {display(str(images))}",
            hint="name the folder that has a sub-folder of images for each class",
        )
    data, parent = as_data(images)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", data.folder):
        raise UsageError(
            f"a study cannot hold the name of the folder {display(data.folder)!r}",
            hint="letters, digits, dots, - and _ do: rename it, or make a link to it",
        )
    found = survey(data, parent)
    assert found is not None
    if problems := found.problems():
        raise DataError(
            f"{display(str(images))} cannot be trained on: {display(problems[0])}",
            hint=f"icckd data check {shlex.quote(str(images))} shows all of it",
        )
    inventory, counts = found.inventory, data.counts_of(found.inventory)
    return of_folder(
        file,
        folder=data.folder,
        root="" if parent == data_root().resolve() else shlex.quote(str(images.parent)),
        counts=f"{inventory.images:,} images of {len(inventory.classes)} classes",
        training=counts.train,
        test=counts.test,
    )


def _import_table(table: Path, *, asks: bool) -> None:
    """Import the runs of a table whose columns are guessed, and say by which command line.

    Raises:
        UsageError: It is not there, or which of its columns are which is not clear.
    """
    from icckd.cli.importing import carry_out
    from icckd.imports.guess import guess_columns
    from icckd.imports.load import ImportRequest
    from icckd.report.text import display

    if not table.is_file():
        raise UsageError(f"there is no table {display(str(table))}", hint="name a file of runs")
    found = guess_columns(table)
    arm, seed, metrics = found.arm, found.seed, list(found.metrics)
    if asks and metrics:
        first = _asked("Which column answers the question", metrics[0], _one_of(found.metrics))
        metrics = [first, *(name for name in metrics if name != first)]
    if not (arm and seed and metrics):
        raise _unclear(table, found)
    command = ["icckd", "import", "csv", str(table), "--arm", arm, "--seed", seed]
    command += [word for name in metrics for word in ("--metric", name)]
    command += ["--step", found.step, "--rule", "last"] if found.step else []
    print(f"icckd: the same as: {display(shlex.join(command), 1000)}", file=sys.stderr)
    carry_out(
        ImportRequest(
            kind="csv",
            path=table,
            metrics=tuple(metrics),
            arm=arm,
            seed=seed,
            step=found.step or None,
            rule="last" if found.step else "",
        )
    )


def _unclear(table: Path, found: "Guessed") -> UsageError:
    from icckd.report.text import display

    known = {"the arm": found.arm, "the seed": found.seed, "a result": found.metrics}
    lacking = [name for name, columns in known.items() if not columns]
    columns = display(", ".join(name for name in found.names if name), 300)
    return UsageError(
        f"it is not clear which column of {display(table.name)} is {' and '.join(lacking)};"
        f" there are: {columns or 'none'}",
        hint=f"icckd import csv {shlex.quote(display(str(table)))} --arm NAME --seed NAME"
        " --metric NAME",
    )


# The questions.


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _asked_begin() -> _Begin:
    """Ask what the study is to be made of: the first two questions."""
    print("What do you have?", file=sys.stderr)
    for number, text in enumerate(_KINDS, start=1):
        print(f"  {number}  {text}", file=sys.stderr)
    kind = _asked("Number", "4", _number)
    if kind == 1:
        return _Begin(script=_asked("Which script", "train.py", _existing_file))
    if kind == 2:
        return _Begin(images=_asked("Which folder", "data", _existing_folder))
    if kind == 3:
        return _Begin(table=_asked("Which table", "results.csv", _existing_file))
    return _Begin(template=_asked(f"Which of {', '.join(TEMPLATES)}", "digits", _template))


_KINDS = (
    "a script that trains",
    "a folder of images",
    "a table of runs that are done (CSV)",
    "nothing yet: an example",
)


def _asked(question: str, usual: str, read: Callable[[str], T]) -> T:
    """Return the answer to a question; what does not fit is said, and asked again."""
    take_ctrl_c()
    found: T = typer.prompt(
        question, default=usual, value_proc=lambda text: read(text.strip()), err=True
    )
    return found


def _number(text: str) -> int:
    if text not in ("1", "2", "3", "4"):
        raise typer.BadParameter("a number from 1 to 4")
    return int(text)


def _template(text: str) -> Template:
    for name in TEMPLATES:
        if text == name:
            return name
    raise typer.BadParameter(f"one of {', '.join(TEMPLATES)}")


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"one of {', '.join(names)}")
        return text

    return read


def _existing_file(text: str) -> Path:
    path = expanded(text)
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {text}")
    return path


def _existing_folder(text: str) -> Path:
    path = expanded(text)
    if not path.is_dir():
        raise typer.BadParameter(f"there is no folder {text}")
    return path


def _new_file(text: str) -> Path:
    path = expanded(text)
    if path.exists():
        raise typer.BadParameter(f"{text} is there already, and nothing is overwritten")
    return path
