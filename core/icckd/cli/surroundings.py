"""What `icckd doctor` looks at besides devices: disk, rights, clock, terminal, locale, versions."""

import codecs
import importlib.metadata
import locale
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST_DISK = 1 << 30
"""Free bytes below which a study of some size soon waits for room."""
MOST_SKEW = 2.0
"""Seconds that the clock of the file system may be off; some tell time in steps of two seconds."""
FIRST_MOMENT = 1_767_225_600.0
"""2026 began: no clock that is set says less."""
LEAST_SIZE = (80, 24)
"""Columns and lines that the monitor needs for its panes."""
SHOWN = ("torch", "duckdb", "textual")
"""Packages whose versions are told even where nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: What it is.
        found: What was found.
        advice: What to do about it; "" where nothing is wrong.
    """

    what: str
    found: str
    advice: str = ""


def look_around() -> list[Check]:
    """Look at everything; nothing is changed, and nothing raises."""
    from icckd.journal.folder import StateFolder

    folder = StateFolder.current().root
    return [
        *disk(folder),
        *rights_and_clock(folder),
        *terminal(os.environ, sys.stdout),
        *language(getattr(sys.stdout, "encoding", None) or ""),
        *versions(),
    ]


def nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def disk(folder: Path) -> Iterator[Check]:
    """Look at the room where studies are kept."""
    from icckd.report.numbers import bytes_text
    from icckd.resources import network_file_system

    try:
        usage = shutil.disk_usage(nearest(folder))
    except OSError as error:
        yield Check(what="disk", found=str(error.strerror), advice=_OTHER_HOME)
        return
    found = f"{bytes_text(usage.free)} free of {bytes_text(usage.total)} for {folder}"
    few = usage.free < LEAST_DISK
    advice = "free space (icckd du, icckd clean), or set ICCKD_HOME to a folder on another disk"
    yield Check(what="disk", found=found, advice=advice if few else "")
    if kind := network_file_system(nearest(folder)):
        yield Check(what="file system", found=kind, advice=_OTHER_HOME)


_OTHER_HOME = "set ICCKD_HOME to a folder of yours on a local disk"


def rights_and_clock(folder: Path, clock: Callable[[], float] = time.time) -> Iterator[Check]:
    """Try to write where studies are kept, and hold the file system's clock against ours."""
    home = nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"icckd")
            file.flush()
            moment, now = os.fstat(file.fileno()).st_mtime, clock()
    except OSError as error:
        found = f"{home} cannot be written: {error.strerror}"
        yield Check(what="rights", found=found, advice=_OTHER_HOME)
        return
    yield Check(what="rights", found=f"{home} can be written")
    skew = moment - now
    advice = ""
    if now < FIRST_MOMENT:
        advice = "set the clock of this machine: reports are dated by it"
    elif abs(skew) > MOST_SKEW:
        advice = "set both clocks by NTP: of this machine, and of the one that serves the disk"
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(now))}, files {skew:+.1f} s"
    yield Check(what="clock", found=text, advice=advice)


def terminal(environment: Mapping[str, str], out: Any) -> Iterator[Check]:
    """Look at what the monitor would be drawn on."""
    if not out.isatty():
        yield Check(what="terminal", found="none: output goes to a file or a pipe")
        return
    columns, lines = shutil.get_terminal_size()
    kind, colours = environment.get("TERM", ""), _colours(environment)
    found = f"{columns} x {lines}, {kind or 'no TERM'}, {colours}"
    advice = ""
    if kind in ("", "dumb"):
        advice = "set TERM to what your terminal is, for example: export TERM=xterm-256color"
    elif columns < LEAST_SIZE[0] or lines < LEAST_SIZE[1]:
        advice = "make the window 80 x 24 or larger: the monitor leaves out panes in smaller ones"
    elif colours == "few colours":
        advice = "export COLORTERM=truecolor where your terminal has all colours: most do"
    yield Check(what="terminal", found=found, advice=advice)


def _colours(environment: Mapping[str, str]) -> str:
    if environment.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if environment.get("COLORTERM", "") in ("truecolor", "24bit"):
        return "all colours"
    return "256 colours" if "256" in environment.get("TERM", "") else "few colours"


def language(encoding: str) -> Iterator[Check]:
    """Look at which letters can be printed."""
    names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    asked = next(filter(None, names), "")
    found = f"{asked or 'none set'}, output in {encoding or 'unknown'}"
    try:
        is_utf8 = codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        is_utf8 = False
    advice = "export LC_ALL=C.UTF-8: charts and signs are drawn in plain letters without"
    yield Check(what="locale", found=found, advice="" if is_utf8 else advice)
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        text = f"{asked} is not installed on this machine"
        yield Check(what="locale", found=text, advice="export LC_ALL=C.UTF-8")
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def versions(distribution: str = "icckd") -> Iterator[Check]:
    """Hold what is installed against what icckd is made for."""
    from packaging.requirements import Requirement

    yield Check(what="Python", found=platform.python_version())
    try:
        told = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        text = "icckd is not installed: it runs from its source"
        yield Check(what="packages", found=text, advice="uv sync, or pip install -e .")
        return
    for requirement in map(Requirement, told):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from _package(requirement)


def _package(requirement: Any) -> Iterator[Check]:
    name, wanted = requirement.name, requirement.specifier
    exact = f"pip install '{name}{wanted}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        why = f"; without {name} nothing is trained here" if name in _OF_TRAINING else ""
        yield Check(what=name, found="not installed", advice=f"{exact}{why}")
        return
    if not wanted.contains(found, prereleases=True):
        text = f"{found}, and icckd is made for {wanted}"
        yield Check(what=name, found=text, advice=exact)
    elif name in SHOWN:
        yield Check(what=name, found=found)


_OF_TRAINING = ("torch", "torchvision")
