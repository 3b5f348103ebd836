"""Folders that come into a state folder together: all of them are put in place, or none.

They are prepared aside, in a folder of the state folder whose name begins with one of `ASIDES`:

    .restore-<name>/placed               what is to be moved, a line each, in this order
    .restore-<name>/attempts/<attempt>/  prepared, and moved to attempts/<attempt>/

Sessions are moved last: without its session no reader sees an attempt. Whoever owns the state
folder next moves back what a process moved that was killed before its last move.
"""

import contextlib
import re
import shutil
from pathlib import Path

from icckd.journal.file import sync
from icckd.journal.folder import StateFolder

ASIDES = (".import-", ".restore-")
_PLACED = "placed"
_GROUPS = ("restored", "artifacts", "checkpoints", "attempts", "sessions")
_ENTRY = re.compile(rf"(?:{'|'.join(_GROUPS)})/[A-Za-z0-9][A-Za-z0-9._-]*")


def place(folder: StateFolder, aside: Path) -> None:
    """Move everything that was prepared aside to its place; the caller owns the state folder.

    Args:
        folder: The state folder.
        aside: The folder aside, with durable files in folders of the groups; it is removed.

    Raises:
        OSError: The disk refuses it; then nothing of it is in place.
    """
    names = [
        f"{group}/{entry.name}" for group in _GROUPS for entry in sorted((aside / group).glob("*"))
    ]
    try:
        (aside / _PLACED).write_text("\n".join(names))
        sync(aside / _PLACED)
        sync(aside)
        for name in names:
            target = folder.root / name
            target.parent.mkdir(exist_ok=True)
            (aside / name).rename(target)
        for group in {name.partition("/")[0] for name in names}:
            sync(folder.root / group)
    except BaseException:
        _move_back(folder, aside, names)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep_unplaced(folder: StateFolder) -> None:
    """Remove what killed processes left aside, and had in place of it; the caller is the owner."""
    for prefix in ASIDES:
        for aside in folder.root.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                names = (aside / _PLACED).read_text().splitlines()
                if any((aside / name).exists() for name in names):
                    _move_back(folder, aside, names)
            shutil.rmtree(aside, ignore_errors=True)


def _move_back(folder: StateFolder, aside: Path, names: list[str]) -> None:
    """Take out of its place what was moved there already: sessions first, so that nobody sees."""
    for name in reversed(names):
        if _ENTRY.fullmatch(name) and not (aside / name).exists():
            with contextlib.suppress(OSError):
                (folder.root / name).rename(aside / name)
