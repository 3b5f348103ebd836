"""The environment variables that icckd reads: what each must be, checked where a command begins.

A path may begin with `~`, as .env files and service units pass it; a relative one is meant from the
current folder. An empty variable counts as not set.
"""

import difflib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from icckd.errors import MachineError, UsageError

HOME = "ICCKD_HOME"
DATA = "ICCKD_DATA_DIR"
CHECKPOINT_SECONDS = "ICCKD_CHECKPOINT_SECONDS"
ALLOW_NETWORK = "ICCKD_ALLOW_NETWORK_HOME"
GLYPHS = "ICCKD_GLYPHS"
GLYPH_SETS = ("braille", "ascii")
PLUGIN_SECONDS = "ICCKD_PLUGIN_SECONDS"
WORKERS = "ICCKD_WORKERS"
WORKER_STARTS = ("fork", "spawn")
"""How workers are started; where nothing is said, on a CPU they are forked."""
PLUGIN_LIMIT = 60.0
"""Seconds that a plug-in has for one answer unless the variable says otherwise."""
MACHINE = "ICCKD_MACHINE_DIR"
SEED, FOLDER, RESUME = "ICCKD_SEED", "ICCKD_FOLDER", "ICCKD_RESUME"
"""What a task is told: seed, run folder, and 1 where it goes on where another attempt stopped."""
CHECKPOINT_EVERY = 30.0
"""Seconds between two checkpoints of a stage unless the variable says otherwise."""


CACHE = "XDG_CACHE_HOME"


def check() -> list[str]:
    """Check every variable that is set; return what the user should know about others.

    Where nobody has a home folder, nothing is cached: neither here nor in processes started here.

    Raises:
        UsageError: One is not what it must be.
        MachineError: A path needs the home folder or the current one, and there is none.
    """
    for read in _READERS.values():
        read()
    try:
        Path.home()
    except RuntimeError:  # neither HOME nor a line in /etc/passwd
        os.environ.setdefault(CACHE, os.devnull)
    return [
        f"{name} is not a variable of icckd{_nearest(name)}"
        for name in sorted(os.environ)
        if name.startswith("ICCKD_") and name not in _READERS and _nearest(name)
    ]


def state_folder() -> Path:
    """Return `ICCKD_HOME`, or `.icckd` in the current folder."""
    return _folder(HOME, ".icckd")


def data_folder() -> Path:
    """Return `ICCKD_DATA_DIR`, or `data` in the current folder."""
    return _folder(DATA, "data")


def cache_folder() -> Path:
    """Return the folder of what icckd can make again: `icckd` in `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        RuntimeError: There is no home folder, and the variable is not set.
    """
    return Path(os.environ.get(CACHE) or "~/.cache").expanduser() / "icckd"


def machine_folder() -> Path:
    """Return `ICCKD_MACHINE_DIR`, or a folder of the user among temporary files.

    Runs on this machine know of each other by it.
    """
    return _folder(MACHINE, str(Path(tempfile.gettempdir()) / f"icckd-{os.getuid()}"))


def checkpoint_seconds() -> float:
    """Return the seconds between two checkpoints of a stage: `ICCKD_CHECKPOINT_SECONDS`."""
    return _seconds(CHECKPOINT_SECONDS, CHECKPOINT_EVERY)


def plugin_seconds() -> float:
    """Return the seconds that a plug-in has for one answer: `ICCKD_PLUGIN_SECONDS`."""
    return _seconds(PLUGIN_SECONDS, PLUGIN_LIMIT)


def allows_network() -> str:
    """Return `ICCKD_ALLOW_NETWORK_HOME`: "" or "0" is no."""
    return os.environ.get(ALLOW_NETWORK, "").strip()


def glyphs() -> str:
    """Return `ICCKD_GLYPHS`: what charts are drawn with; "" lets the terminal decide."""
    text = os.environ.get(GLYPHS, "").strip()
    if text and text not in GLYPH_SETS:
        raise UsageError(f"{GLYPHS}={text!r}: wanted {', '.join(GLYPH_SETS)}", hint="or unset it")
    return text


def forks_workers(otherwise: bool = True) -> bool:
    """Return whether workers are forked where that is possible, by `ICCKD_WORKERS`."""
    text = os.environ.get(WORKERS, "").strip()
    if not text:
        return otherwise
    if text not in WORKER_STARTS:
        raise UsageError(
            f"{WORKERS}={text!r}: wanted {', '.join(WORKER_STARTS)}", hint="or unset it"
        )
    return text == WORKER_STARTS[0]


_READERS: dict[str, Callable[[], object]] = {
    HOME: state_folder,
    DATA: data_folder,
    CHECKPOINT_SECONDS: checkpoint_seconds,
    PLUGIN_SECONDS: plugin_seconds,
    WORKERS: forks_workers,
    ALLOW_NETWORK: allows_network,
    GLYPHS: glyphs,
    MACHINE: machine_folder,
}


def expanded(path: str | Path, whose: str = "") -> Path:
    """Return a path with `~` replaced by the home folder that it means.

    Args:
        path: The path.
        whose: The variable that it comes from, for the message.

    Raises:
        MachineError: There is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        named = f"{whose}={str(path)!r}" if whose else f"{str(path)!r}"
        raise MachineError(
            f"{named}: there is no home folder that ~ could mean", hint="write the path in full"
        ) from error


def _seconds(name: str, usual: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return usual
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"{name}={text!r} is not a number of seconds",
            hint=f"for example {name}=300; without it, {usual:g}",
        )
    return seconds


def _folder(name: str, default: str) -> Path:
    path = expanded(os.environ.get(name) or default, name)
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise MachineError(
            f"the current folder is gone: {str(path)!r} would be in it",
            hint="cd to a folder that exists",
        ) from error


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, _READERS, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


# PYTHONPATH: where Python looks for modules. An empty entry means the current folder.

CURRENT_FOLDER = ("", ".", "./")
_PARENTS = Path(__file__).resolve().parents


def leave_current_folder() -> None:
    """Import nothing from the current folder, unless PYTHONPATH names it in full."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return
    if (Path(here) / "icckd_tui" / "app.py").is_file() and here in map(str, _PARENTS):
        return  # the checkout that this runs from: the monitor is imported from there
    if here not in entries and any(entry in CURRENT_FOLDER for entry in entries):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
