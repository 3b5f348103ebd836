"""Another program for a text: the user's pager or editor, on the terminal that we leave to it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

if TYPE_CHECKING:
    from textual.app import App

_USUAL = ("less", "more")


class PagerError(Exception):
    """Why the text cannot be shown so."""


def show_in_pager(app: App[object], text: str) -> None:
    """Show a text in $PAGER, else $EDITOR, else what is usual, until the user leaves that.

    Raises:
        PagerError: The terminal cannot be left to it, or it cannot be started.
    """
    command = _wanted()
    with tempfile.NamedTemporaryFile("w", prefix="icckd-log-", suffix=".txt") as file:
        file.write(text)
        file.flush()
        try:
            with app.suspend():
                _run(command, file.name)
        except SuspendNotSupported as error:
            raise PagerError("this terminal cannot be left to another program") from error
        finally:
            app.refresh()


def _wanted() -> list[str]:
    try:
        return shlex.split(os.environ.get("PAGER") or os.environ.get("EDITOR") or "")
    except ValueError as error:
        raise PagerError(f"$PAGER is no command: {error}") from error


def _run(command: list[str], path: str) -> None:
    for program in [command] if command else [[usual] for usual in _USUAL]:
        try:
            subprocess.run([*program, path], check=False)
        except OSError:
            continue
        return
    raise PagerError(f"cannot start {command[0] if command else ' or '.join(_USUAL)}: see $PAGER")
