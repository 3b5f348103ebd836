"""Append events to one journal, by one process."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from icckd.errors import MachineError
from icckd.journal.events import Fact
from icckd.journal.line import encode


class JournalWriter:
    """The only writer of one journal file.

    A line is acknowledged in two ways: after `append` returns it survives the death of any
    process; after `append(durable=True)` returns it and all before it survive a power cut.

    Attributes:
        path: The journal.
        count: Lines written so far, which is the next line's sequence number.

    Raises:
        FileExistsError: The journal exists already; a new attempt takes a new file.
        MachineError: The disk refuses a write. The file then ends with the last whole line, and
            the same events may be appended again.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR
        self.path = path
        self.count = 0
        self._clock = clock
        self._size = 0
        self._torn = False
        try:
            self._file = os.open(path, flags, 0o600)
            _sync_folder(path.parent)
            _sync_folder(path.parent.parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._refused(error) from error

    def append(self, *events: Fact, durable: bool = False) -> None:
        """Write events in order, as one write."""
        now = self._clock()
        block = b"".join(
            encode(event.k, self.count + offset, now, event.model_dump(mode="json"))  # type: ignore[attr-defined]
            for offset, event in enumerate(events)
        )
        try:
            self._cut_torn_tail()
            self._torn = True
            rest = block
            while rest:  # a disk that fills up takes a part first, and only then says why
                rest = rest[os.write(self._file, rest) :]
            if durable:
                os.fdatasync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut_torn_tail()
            raise self._refused(error) from error
        self._torn = False
        self._size += len(block)
        self.count += len(events)

    def close(self) -> None:
        """Make everything durable and release the file."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(self._file)

    def _cut_torn_tail(self) -> None:
        """Take back what a refused write left, so that no later line is glued to it."""
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False

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
