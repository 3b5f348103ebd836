"""Full disks: what was refused for lack of room is tried again until there is room."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
RETRY_SECONDS = 0.25


def _never_mind(reason: str) -> None:
    pass


def _at_once() -> bool:
    return True


class Patience:
    """Repeats a write that a full disk refuses. Nothing is dropped; the caller waits.

    Args:
        stalled: Told why when waiting begins, and "" when it is over.
        give_up: Asked between two tries; when true the refusal is raised after all.
    """

    def __init__(
        self,
        *,
        stalled: Callable[[str], None] = _never_mind,
        give_up: Callable[[], bool] = _at_once,
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


IMPATIENT = Patience()
