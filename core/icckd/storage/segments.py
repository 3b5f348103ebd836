"""Journals in storage: numbered segments, each made once, that are put together as they are.

A journal has one sequence of bytes, whoever copies it. A segment holds whole lines from where the
one before it ended; so the segments in storage are at any time a beginning of the journal, also
where two processes push the same one, as after a worker's death.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from icckd.journal.events import AttemptHeader, SessionHeader
from icckd.journal.file import Line, ordinal_of, sync
from icckd.storage.base import Entry, Storage, StorageError, TakenError, numbered

SESSIONS, ATTEMPTS = "journals/sessions", "journals/attempts"
SEGMENT_BYTES = 8 << 20
_MOST = 1 << 62


def session_key(ordinal: int, session: str) -> str:
    """Return the folder of a session's segments."""
    return f"{SESSIONS}/{numbered(ordinal)}/{session}"


def attempt_key(ordinal: int, attempt: str) -> str:
    """Return the folder of an attempt's segments."""
    return f"{ATTEMPTS}/{numbered(ordinal)}/{attempt}"


def key_of(header: Line) -> str:
    """Return the folder of the segments of a journal, by its first line; "" if it is none."""
    ordinal = ordinal_of(header, _MOST)
    if header.kind == SessionHeader.model_fields["k"].default:
        return session_key(ordinal, str(header.body.get("session")))
    if header.kind == AttemptHeader.model_fields["k"].default:
        return attempt_key(ordinal, str(header.body.get("attempt")))
    return ""


class SegmentWriter:
    """Pushes one journal, again and again; what it holds is acknowledged when `push` returns.

    Args:
        storage: Where to.
        folder: The folder of its segments.
        path: The journal on this machine.
        entries: What storage has of it; None asks.
    """

    def __init__(
        self, storage: Storage, folder: str, path: Path, entries: Sequence[Entry] | None = None
    ) -> None:
        self._storage, self._folder, self.path = storage, folder, path
        self._number = self.acknowledged = 0
        self._is_known = entries is not None
        if entries is not None:
            self._count(entries)

    def push(self) -> bool:
        """Push the whole lines that storage does not have; return whether there were any.

        Raises:
            StorageError: It refuses; what was acknowledged stays, and the rest is tried again.
        """
        if not self._is_known:
            self._count(self._storage.list(self._folder))
            self._is_known = True
        has_pushed = False
        while data := self._next():
            try:
                self._storage.create(f"{self._folder}/{numbered(self._number)}", data)
            except TakenError:  # somebody pushes the same journal
                self._count(self._storage.list(self._folder))
                continue
            self._number += 1
            self.acknowledged += len(data)
            has_pushed = True
        return has_pushed

    def _count(self, entries: Sequence[Entry]) -> None:
        self._number, self.acknowledged = len(entries), sum(entry.size for entry in entries)

    def _next(self) -> bytes:
        """Return the next whole lines, as many as a segment holds, and one at least."""
        with self.path.open("rb") as file:
            file.seek(self.acknowledged)
            data = file.read(SEGMENT_BYTES)
            while b"\n" not in data and (more := file.read(SEGMENT_BYTES)):
                data += more
        return data[: data.rfind(b"\n") + 1]


def pull_journal(storage: Storage, entries: Sequence[Entry], path: Path) -> bool:
    """Bring a journal on this machine up to what storage has; return whether that was more.

    Args:
        storage: Where from.
        entries: All segments of the journal.
        path: The journal, which nobody on this machine writes if it is shorter.

    Raises:
        StorageError: It refuses, or a segment is not there.
    """
    have = path.stat().st_size if path.exists() else 0
    if sum(entry.size for entry in entries) <= have:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        start = 0
        for entry in entries:
            end = start + entry.size
            if end > have:
                data = storage.get(entry.key)
                if data is None or len(data) != entry.size:
                    raise StorageError(f"storage {storage.url} lost {entry.key}")
                _write_at(handle, data[max(0, have - start) :], max(have, start))
            start = end
    finally:
        os.close(handle)
    sync(path, data_only=True)
    return True


def _write_at(handle: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(handle, data, place)
        data, place = data[written:], place + written
