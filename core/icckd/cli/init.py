"""`icckd init`: a study file to begin with, from a script or for icckd's own engine."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from icckd.errors import UsageError
from icckd.variables import expanded

STARTER = Path(__file__).parents[1] / "study" / "starter.toml"


def init(
    script: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SCRIPT.py",
            parser=expanded,
            help="A script that trains: it is read, not run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            parser=expanded,
            help="Write it here; otherwise it is printed.",
        ),
    ] = None,
) -> None:
    """Make a study file: of your own script with --from, otherwise a small one of digits."""
    if out is not None and out.name == "-":
        out = None
    if script is None:
        text, told = STARTER.read_text(encoding="utf-8"), "a small study of digits"
    else:
        text, told = _of_script(script, out)
    if out is None:
        sys.stdout.write(text)
        print(f"icckd: {told}; --out FILE writes it to a file", file=sys.stderr)
        return
    _write_new(out, text)
    print(f"icckd: wrote {out}: {told}; next: icckd plan {out}", file=sys.stderr)


def _of_script(script: Path, out: Path | None) -> tuple[str, str]:
    """Return the study of a script and what is said of it."""
    from icckd.report.text import display
    from icckd.study.scripts.read import read_script
    from icckd.study.scripts.write import study_text

    found = read_script(script)
    folder = Path.cwd() if out is None else out.absolute().parent
    seen_from = os.path.relpath(os.path.realpath(script), os.path.realpath(folder))
    written = study_text(found, path=seen_from)
    lines = ", ".join(map(str, written.open_lines))
    plural = "line is" if len(written.open_lines) == 1 else "lines are"
    left = f"{len(written.open_lines)} {plural} left to you: {lines}"
    told = f"{written.options} options of {display(script.name)} ({found.found.kind}); {left}"
    return written.text, told


def _write_new(out: Path, text: str) -> None:
    """Write a file that is not there yet, whole or not at all.

    Raises:
        UsageError: It is there, or cannot be written.
    """
    try:
        with out.open("x", encoding="utf-8", newline="\n") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                out.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise UsageError(
            f"{out} is there already, and init overwrites nothing",
            hint="name another file with --out, or remove that one",
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror}", hint="name a file in a folder of yours"
        ) from error
