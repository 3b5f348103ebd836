"""Goes on trying what storage refuses: nothing is given up for a quota that is full for an hour."""

import time
from collections.abc import Callable
from typing import TypeVar

from icckd.storage.base import LostError, StorageError

RETRY_SECONDS = 1.0
LOST_SECONDS = 60.0
"""A server that was started again may take so long until it has all that it acknowledged."""
T = TypeVar("T")


class StorageRetry:
    """Repeats what storage refuses; the caller waits meanwhile.

    Args:
        stalled: Told why when waiting begins, and "" when it is over.
        give_up: Asked between two tries; when true the refusal is raised after all.
    """

    def __init__(self, *, stalled: Callable[[str], None], give_up: Callable[[], bool]) -> None:
        self._stalled, self._give_up = stalled, give_up

    def __call__(self, act: Callable[[], T]) -> T:
        """Return what `act` returns.

        Raises:
            StorageError: It was given up.
            LostError: What it acknowledged is not there, nor is it a minute later.
        """
        is_waiting, lost_at = False, float("inf")
        while True:
            try:
                result = act()
            except StorageError as error:
                if isinstance(error, LostError):
                    lost_at = min(lost_at, time.monotonic())
                if self._give_up() or time.monotonic() - lost_at >= LOST_SECONDS:
                    raise
                if not is_waiting:
                    self._stalled(f"stalled: {error.message}")
                is_waiting = True
                time.sleep(RETRY_SECONDS)
            else:
                if is_waiting:
                    self._stalled("")
                return result
