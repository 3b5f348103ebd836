"""What Ctrl-C and the signals of schedulers ask of a session that runs here."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from icckd.run.session import Stopping

_STEPS: tuple[Stopping, ...] = ("", "finish", "save", "kill")


class Signals:
    """What Ctrl-C and the signals of schedulers ask for.

    The first Ctrl-C lets running stages finish, the second saves them at the end of their epochs,
    the third leaves at once. SIGTERM, and SIGHUP when the terminal goes, save. A signal that was
    ignored when the command began, as under nohup, stays ignored. Beside the main thread nothing is
    handled: Python delivers signals to that thread alone.

    Args:
        say: Tells the user what the first Ctrl-C does.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._step = 0
        self._has_told = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handle in (
            (signal.SIGINT, self._next),
            (signal.SIGTERM, self._save),
            (signal.SIGHUP, self._save),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, handle)

    def restore(self) -> None:
        """Handle signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _next(self, number: int, frame: FrameType | None) -> None:
        self._step = min(self._step + 1, len(_STEPS) - 1)

    def _save(self, number: int, frame: FrameType | None) -> None:
        self._step = max(self._step, _STEPS.index("save"))

    @property
    def is_urgent(self) -> bool:
        """Whether the session was to leave before its stages were finished."""
        return _STEPS[self._step] in ("save", "kill")

    def stopping(self) -> Stopping:
        """Return what the signals so far ask for; tell what the first Ctrl-C does."""
        if _STEPS[self._step] == "finish" and not self._has_told:
            self._has_told = True  # not in the handler: the signal may have come amid a print
            self._say("finishing the running stages; Ctrl-C again saves them and leaves")
        return _STEPS[self._step]
