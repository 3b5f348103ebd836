"""Which journals of a state folder may have grown: the open ones, and those that are new.

A journal whose closing line was read is forgotten: nothing follows that line. A folder of journals
is listed again when the system says that it changed, so that looking costs the same however many
are closed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from icckd.journal.folder import is_journal_name

SETTLE_SECONDS = 2.0
"""So long a folder is listed at every look after it changed: file systems tell time in ticks of up
to two seconds, and what comes within the tick of a look changes no time."""
SURE_SECONDS = 30.0
"""A folder is listed this often whatever the system says."""
NAMES_AT_ONCE, NAMES_PER_SECOND = 2_000, 20_000
"""A folder of many names that changes all the time is listed no more often than so many a second
come to, about a hundredth of a core. What a session tells of its attempts is looked for at once."""

Stamp = tuple[int, ...]


class JournalListing:
    """Finds the journals to read from, again and again.

    Args:
        groups: The folders that hold folders of journals, by what these are of, in the order in
            which they are read.
        clock: Seconds that never go back.
    """

    def __init__(
        self, groups: Mapping[str, Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._groups = {source: _Group(str(path), clock) for source, path in groups.items()}

    def open(self) -> Iterator[tuple[str, str]]:
        """Yield group and name of each journal that may have grown.

        What is told of while this runs is found in the same run, if its group is still to come.
        """
        for source, group in self._groups.items():
            for name in group.open():
                yield source, name

    def close(self, source: str, name: str) -> None:
        """Never yield a journal again: its closing line was read."""
        self._groups[source].closed.add(name)

    def expect(self, source: str, name: str) -> None:
        """Look for a journal that another one tells of."""
        self._groups[source].expect(name)


class _Group:
    """The journals in one folder of the state folder.

    Args:
        path: The folder.
        clock: Seconds that never go back.
    """

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self.closed: set[str] = set()
        self._path = path
        self._clock = clock
        self._open: set[str] = set()
        self._told: set[str] = set()
        self._stamp: Stamp | None = None
        self._changed = self._listed = -float("inf")
        self._wait = 0.0

    def open(self) -> list[str]:
        """Return the names of the journals that may have grown, in their order."""
        now = self._clock()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._changed = now
        self._stamp = stamp
        is_settled = self._listed >= self._changed + SETTLE_SECONDS
        is_due = not is_settled or now >= self._listed + SURE_SECONDS
        if is_due and now >= self._listed + self._wait:
            self._list(now)
        return sorted(self._open - self.closed)

    def expect(self, name: str) -> None:
        """Look for a journal of this name."""
        if is_journal_name(name):
            self._told.add(name)
            self._open.add(name)

    def _list(self, now: float) -> None:
        names = 0
        found: set[str] = set()
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    names += 1
                    name = entry.name
                    if name not in self.closed and is_journal_name(name) and entry.is_dir():
                        found.add(name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        self._open = found | self._told  # its folder is made a moment after it was told of
        self._told = set()
        self._listed, self._wait = now, max(0, names - NAMES_AT_ONCE) / NAMES_PER_SECOND


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (
        found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink,
        found.st_size,
    )  # fmt: skip
