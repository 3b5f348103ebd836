"""What several verbs print in the same way."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from icckd.errors import UsageError


def tell_next(commands: Sequence[tuple[str, str]]) -> None:
    """Say on standard error with which commands one goes on, and what each is for.

    What a command is for is left out where the terminal is too narrow for it.
    """
    begin, gap = "next: ", "   "
    room = shutil.get_terminal_size((100, 24)).columns - 1 - len(begin) - len(gap)
    fitting = [len(command) for command, purpose in commands if len(command) + len(purpose) <= room]
    width = max(fitting, default=0)
    for command, purpose in commands:
        fits = len(command) <= width and width + len(purpose) <= room
        line = f"{command.ljust(width)}{gap}{purpose}" if fits and purpose else command
        print(f"{begin}{line}", file=sys.stderr, flush=True)
        begin = " " * len(begin)


def fit_to_terminal(text: str) -> str:
    """Return a text whose long lines break between words where standard output is a terminal."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns - 1
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, max(40, width), subsequent_indent=f"{indent}    ", break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def write_new(out: Path, text: str) -> None:
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
    except FileExistsError:
        refuse_existing(out)
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror}", hint="name a file in a folder of yours"
        ) from error


def refuse_existing(out: Path) -> None:
    """Say that a file is there already."""
    raise UsageError(
        f"{out} is there already, and nothing is overwritten",
        hint="name another file or remove that one",
    )
