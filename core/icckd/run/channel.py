"""The worker's end of its two pipes with the session."""

import itertools
import queue
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, Literal, Protocol

from icckd.run.messages import Order, WorkerMessage, read_session_line, worker_line

STOP = threading.Event()
"""Set by SIGTERM: save a checkpoint at the end of the epoch, then die of that signal."""


Said = Literal["started", "ended", "stalled", "skipped", "unusable"]


class Channel(Protocol):
    """What connects an attempt with the session that ordered it.

    Attributes:
        shows_output: Whether what a stage prints stays where this process prints, as for debugging;
            else it goes to the attempt's output.log.
    """

    shows_output: bool

    def session_died(self) -> bool:
        """Whether nobody waits for the attempt any more."""

    def should_save(self) -> bool:
        """Whether the current stage is to be saved at the end of its epoch, and left."""

    def is_closing(self) -> bool:
        """Whether no further stage is to be begun."""

    def is_skipped(self, order: Order) -> bool:
        """Whether the session took an order back."""

    def send(self, order: Order, what: Said, **fields: Any) -> None:
        """Tell the session."""


class WorkerChannel:
    """The worker's end of its two pipes with the session.

    Args:
        lines: Brings the session's messages; a thread reads them until they end.
        out: Takes the worker's messages, unbuffered.
    """

    shows_output = False

    def __init__(self, lines: IO[bytes], out: IO[bytes]) -> None:
        self._lines = lines
        self._out = out
        self._lists: queue.SimpleQueue[tuple[Order, ...] | None] = queue.SimpleQueue()
        self._skipped: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._had_last = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def packs(self) -> Iterator[tuple[Order, ...]]:
        """Yield what is attempted together until the session died or sends no more.

        That is one order, or those of a pack.
        """
        while (orders := self._lists.get()) is not None:
            for name, together in itertools.groupby(orders, key=lambda order: order.pack):
                for pack in [tuple(together)] if name else zip(together, strict=True):
                    if self.is_closing():
                        return
                    yield pack

    def session_died(self) -> bool:
        """Whether the messages ended without a last one."""
        return self._ended.is_set() and not self._had_last.is_set()

    def should_save(self) -> bool:
        """Whether the current stage is to be saved at the end of its epoch, and left."""
        return STOP.is_set() or self.session_died()

    def is_closing(self) -> bool:
        """Whether no further stage is to be begun."""
        return STOP.is_set() or self._ended.is_set()

    def is_skipped(self, order: Order) -> bool:
        """Whether the session took an order back."""
        return order.attempt in self._skipped

    def send(self, order: Order, what: Said, **fields: Any) -> None:
        """Tell the session; without one, end this process: the journals hold what happened."""
        line = worker_line(WorkerMessage(attempt=order.attempt, what=what, **fields))
        try:
            self._out.write(line)
        except BrokenPipeError:
            sys.exit(0)

    def _read(self) -> None:
        for line in self._lines:
            message = read_session_line(line)
            self._skipped |= message.skipped
            if message.is_last:
                self._had_last.set()
            if message.orders:
                self._lists.put(message.orders)
        self._ended.set()
        self._lists.put(None)
