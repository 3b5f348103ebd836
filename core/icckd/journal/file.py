r"""Journal files: lines that prove themselves whole, appended by one process, read by any.

A line is JSON with version, kind, sequence number, time, and a CRC of all before it:

{"v":1,"k":"m","s":3,"t":1790000000.25,"epoch":2,"values":{...},"c":"0a1b2c3d"}\n
"""

import contextlib
import errno
import json
import os
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from icckd.errors import MachineError
from icckd.journal.events import Fact
from icckd.journal.redact import own_redactor

VERSION = 1
_TAIL = len(',"c":"00000000"}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that was read whole and matched its CRC."""

    sequence: int
    time: float
    kind: str
    body: dict[str, Any]


def encode(kind: str, sequence: int, time: float, body: dict[str, Any]) -> bytes:
    """Return the bytes of one line, newline included; secrets are left out of it."""
    head = {"v": VERSION, "k": kind, "s": sequence, "t": round(time, 6)}
    fields = {**head, **{key: value for key, value in body.items() if key != "k"}}
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    start = own_redactor()(text)[:-1].encode()
    return start + b',"c":"%08x"}\n' % zlib.crc32(start)


def decode(raw: bytes) -> Line | None:
    """Return the line that these bytes hold, or None when they are damaged.

    Args:
        raw: One line without its newline.
    """
    start, tail = raw[:-_TAIL], raw[-_TAIL:]
    if tail != b',"c":"%08x"}' % zlib.crc32(start):
        return None
    try:
        fields = json.loads(raw)
        if fields.pop("v") != VERSION:
            return None
        del fields["c"]
        kind, sequence, time = fields["k"], fields.pop("s"), fields.pop("t")
        if type(kind) is not str or type(sequence) is not int or not 0 <= sequence < 2**63:
            return None
        return Line(kind=kind, sequence=sequence, time=float(time), body=fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def sync(path: Path, *, data_only: bool = False) -> None:
    """Make a file, or the names in a folder, survive a power cut.

    Args:
        path: The file or folder.
        data_only: Leave out metadata that is not needed to read the data, such as times.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle) if data_only else os.fsync(handle)
    finally:
        os.close(handle)


# Full disks. A training that has run for days must not die of a disk that is full for a minute:
# what was refused for lack of room is tried again until there is room.

T = TypeVar("T")
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
RETRY_SECONDS = 0.25


class DiskRetry:
    """Repeats a write that a full disk refuses. Nothing is dropped; the caller waits meanwhile.

    Args:
        stalled: Told why when waiting begins, and "" when it is over.
        give_up: Asked between two tries; when true the refusal is raised after all.
    """

    def __init__(
        self,
        *,
        stalled: Callable[[str], None] = lambda reason: None,
        give_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._stalled = stalled
        self._give_up = give_up
        self.seconds = 0.0

    def __call__(self, write: Callable[[], T]) -> T:
        """Return what `write` returns. It must leave nothing behind when it raises.

        Raises:
            OSError: Refused for another reason than room, or given up.
        """
        start: float | None = None
        while True:
            try:
                result = write()
            except OSError as error:
                if error.errno not in NO_ROOM or self._give_up():
                    raise
                if start is None:
                    start = time.monotonic()
                    self._stalled(f"stalled: {error.strerror}")
                time.sleep(RETRY_SECONDS)
            else:
                if start is not None:
                    self.seconds += time.monotonic() - start
                    self._stalled("")
                return result


NO_RETRY = DiskRetry()
"""Raises the refusal at once."""


# Reading journals, which may still be growing or be damaged.


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What a stretch of a journal holds.

    Attributes:
        lines: The intact lines, in file order.
        end: Byte offset after the last whole line; the next read starts there.
        bad_lines: Whole lines that were damaged and skipped.
        bad_bytes: Their bytes, newlines included.
    """

    lines: tuple[Line, ...]
    end: int
    bad_lines: int
    bad_bytes: int


def read_chunk(path: Path, start: int = 0, limit: int | None = None) -> Chunk:
    """Read the whole lines of a journal from byte `start` on.

    A torn last line is left for later. At most about `limit` bytes are read, but always at least
    one whole line where there is one.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read() if limit is None else file.read(limit)
        while limit is not None and b"\n" not in data and (more := file.read(len(data) or limit)):
            data += more
    whole = data[: data.rfind(b"\n") + 1]
    lines: list[Line] = []
    bad_lines = bad_bytes = 0
    for raw in whole.split(b"\n")[:-1]:
        line = decode(raw)
        if line is None:
            bad_lines += 1
            bad_bytes += len(raw) + 1
        else:
            lines.append(line)
    return Chunk(
        lines=tuple(lines), end=start + len(whole), bad_lines=bad_lines, bad_bytes=bad_bytes
    )


_TAIL_BYTES = 1 << 16


def first_line(path: Path) -> Line | None:
    """Return the first line of a journal; None where there is none, or a damaged one."""
    try:
        with path.open("rb") as file:
            return decode(file.readline(1 << 20).removesuffix(b"\n"))
    except OSError:
        return None


def last_line(path: Path) -> Line | None:
    """Return the last whole line of a journal; None where there is none, or a damaged one."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return None
    whole = data[: max(data.rfind(b"\n"), 0)]
    return decode(whole[whole.rfind(b"\n") + 1 :])


def ordinal_of(header: Line, limit: int) -> int:
    """Return the place in the order that a header claims, or 0 unless it is in 0 to limit - 1."""
    said = header.body.get("ordinal", 0)
    return said if isinstance(said, int) and 0 <= said < limit else 0


# Appending events to one journal, by one process.

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
        disk_retry: What to do about a full disk; by default the refusal is raised.

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
        disk_retry: DiskRetry = NO_RETRY,
    ) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR
        self.path = path
        self._clock = clock
        self._disk_retry = disk_retry
        self._count = 0
        self._durable = 0
        self._size = 0
        self._torn = False
        self._failed: OSError | None = None
        self._appending = threading.Lock()
        try:
            self._file = disk_retry(lambda: os.open(path, flags, 0o666))
            sync(path.parent)
            sync(path.parent.parent)
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
                self._encoded(event, offset, now) for offset, event in enumerate(events)
            )
            self._append(block, len(events), durable)

    def line_of(self, event: Fact) -> bytes:
        """Return the next line as it would hold an event, for who must tell it before it counts."""
        return self._encoded(event, 0, self._clock())

    def append_line(self, line: bytes) -> None:
        """Write a line that `line_of` made, with nothing appended since; durable on return."""
        with self._appending:
            self._append(line, 1, durable=True)

    def _encoded(self, event: Fact, offset: int, now: float) -> bytes:
        kind: str = event.k  # type: ignore[attr-defined]  # every event has one, their base has not
        return encode(kind, self._count + offset, now, event.model_dump(mode="json"))

    def _append(self, block: bytes, count: int, durable: bool) -> None:
        """Write lines; the lock is held."""
        try:
            if self._failed is not None:
                raise self._failed
            self._disk_retry(lambda: self._put(block, durable))
        except OSError as error:
            raise self._refused(error) from error
        self._size += len(block)
        self._count += count
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
