"""Statements in SQL that somebody typed, answered one at a time in threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from icckd.errors import IcckdError
from icckd_tui.view_model.frame import Answered

if TYPE_CHECKING:
    from icckd.results.types import Table

MOST_ROWS = 5000  # of an answer


class Asker(Protocol):
    """What answers SQL that somebody typed: `icckd.results.fence`."""

    def ask(self, sql: str, *, rows: int) -> tuple[Table, bool]:
        """Return the answer, and whether rows beyond the limit were cut."""

    def close(self) -> None:
        """Stop what runs; the next question starts again, with what is new."""


class Questions:
    """Asks; a newer question stops an older one.

    `is_stale` says that there is news which the asker has not read: the next question starts it
    again.
    """

    def __init__(
        self, asker: Callable[[], Asker] | None, post: Callable[[Answered], object]
    ) -> None:
        self._make = asker
        self._post = post
        self._asker: Asker | None = None
        self._busy = threading.Lock()
        self._newest = 0
        self.is_stale = False

    def ask(self, number: int, sql: str) -> None:
        """Answer a statement; the answer is posted under its number."""
        self._newest = number
        self.close()
        threading.Thread(
            target=self._answer, args=(number, sql), name="icckd-sql", daemon=True
        ).start()

    def close(self) -> None:
        """Stop the statement that is being answered, if there is one, or what has old rows."""
        if self._asker is not None and (self._busy.locked() or self.is_stale):
            self.is_stale = False
            self._asker.close()

    def stop(self) -> None:
        """Stop for good."""
        if self._asker is not None:
            self._asker.close()

    def _answer(self, number: int, sql: str) -> None:
        with self._busy:
            if number != self._newest:
                return
            start, table, cut, reason = time.monotonic(), None, False, ""
            try:
                if self._make is None:
                    raise LookupError("there is nothing to ask")
                self._asker = self._asker or self._make()
                table, cut = self._asker.ask(sql, rows=MOST_ROWS)
            except Exception as error:
                reason = reason_of(error)
            seconds = time.monotonic() - start
        self._post(Answered(number, seconds, table, cut, reason))


def reason_of(error: Exception) -> str:
    """Return one line for a reader."""
    if isinstance(error, IcckdError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
