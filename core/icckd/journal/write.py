"""Append events to one journal, by one process."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from icckd.errors import MachineError
from icckd.journal.events import Fact
from icckd.journal.line import encode
from icckd.journal.patience import IMPATIENT, NO_ROOM, Patience

SYNC_SECONDS = 0.2
"""A line is durable this long after it was appended, at the latest, while the disk keeps up."""


class JournalWriter:
    """The only writer of one journal file. Threads may share it.

    A line is acknowledged in two ways: after `append` returns it survives the death of any
    process; after `append(durable=True)` returns, and otherwise within `SYNC_SECONDS`, it and all
    before it survive a power cut.

    Args:
        path: The journal, which must not exist.
        clock: Time of a line, in Unix seconds.
        patience: What to do about a full disk; by default the refusal is raised.

    Raises:
        FileExistsError: The journal exists already; a new attempt takes a new file.
        MachineError: The disk refuses a write. The file then ends with the last whole line, and
            the same events may be appended again.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        patience: Patience = IMPATIENT,
    ) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR
        self.path = path
        self._clock = clock
        self._patience = patience
        self._count = 0
        self._durable = 0
        self._size = 0
        self._torn = False
        self._failed: OSError | None = None
        self._appending = threading.Lock()
        try:
            self._file = patience(lambda: os.open(path, flags, 0o600))
            _sync_folder(path.parent)
            _sync_folder(path.parent.parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._refused(error) from error
        self._dirty = threading.Event()
        self._over = threading.Event()
        self._syncer: threading.Thread | None = None

    @property
    def count(self) -> int:
        """Lines written so far, which is the next line's sequence number."""
        return self._count

    @property
    def durable(self) -> int:
        """How many of these lines survive a power cut."""
        return self._durable

    def append(self, *events: Fact, durable: bool = False) -> None:
        """Write events in order, as one write."""
        with self._appending:
            now = self._clock()
            block = b"".join(
                encode(event.k, self._count + offset, now, event.model_dump(mode="json"))  # type: ignore[attr-defined]
                for offset, event in enumerate(events)
            )
            try:
                if self._failed is not None:
                    raise self._failed
                self._patience(lambda: self._put(block, durable))
            except OSError as error:
                raise self._refused(error) from error
            self._size += len(block)
            self._count += len(events)
            if durable:
                self._durable = self._count
            else:
                self._sync_later()

    def close(self) -> None:
        """Make everything durable and release the file."""
        self._over.set()
        self._dirty.set()
        if self._syncer is not None:
            self._syncer.join()
        try:
            os.fdatasync(self._file)
            self._durable = self._count
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(self._file)

    def _put(self, block: bytes, durable: bool) -> None:
        """Write a block, or nothing of it."""
        try:
            self._cut_torn_tail()
            self._torn = True
            rest = block
            while rest:  # a disk that fills up takes a part first, and only then says why
                rest = rest[os.write(self._file, rest) :]
            if durable:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                self._cut_torn_tail()
            raise
        self._torn = False

    def _cut_torn_tail(self) -> None:
        """Take back what a refused write left, so that no later line is glued to it."""
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False

    def _sync_later(self) -> None:
        self._dirty.set()
        if self._syncer is None:
            syncer = threading.Thread(target=self._keep_syncing, daemon=True)
            try:
                syncer.start()
            except RuntimeError:  # a process without memory gets no thread; it may still write
                self._sync_now()
            else:
                self._syncer = syncer

    def _keep_syncing(self) -> None:
        """Make lines durable soon after they were appended, until the journal is closed."""
        while self._dirty.wait() and not self._over.wait(SYNC_SECONDS / 2):
            self._dirty.clear()
            if self._over.is_set():  # `close` may have set both between the wait and the clear
                return
            if self._count > self._durable:
                self._sync_now()
            if self._failed is not None:
                return

    def _sync_now(self) -> None:
        """Make durable what was appended so far; a failure is told at the next append."""
        count = self._count
        try:
            os.fdatasync(self._file)
        except OSError as error:
            if error.errno in NO_ROOM:
                self._dirty.set()
            else:
                self._failed = error  # never repeated: the kernel may have dropped the pages
        else:
            self._durable = max(self._durable, count)

    def _refused(self, error: OSError) -> MachineError:
        return MachineError(
            f"cannot write journal {self.path}: {error.strerror}",
            hint="free space on that disk, then run again: finished stages are kept",
        )

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
