"""What we need of the terminal, and that we end with it, also where the kernel sends no SIGHUP.

A program that is not in the terminal's session (`setsid`, some multiplexers and containers) is not
told that the terminal is gone. Textual cannot notice either: its writing thread dies of EIO, the
event loop then waits for ever for room in that thread's queue, so that no timer of the app runs,
and its reading thread spins on the end of the file.
"""

import os
import select
import signal
import sys
import threading

from icckd.errors import MachineError

HANGUP = 128 + signal.SIGHUP
GRACE_SECONDS = 1.0


def need_screen() -> None:
    """Refuse where no full screen can be drawn.

    On a dumb terminal Textual's idea of the size never settles: it would draw for ever.

    Raises:
        MachineError: This is no terminal, or one without a cursor.
    """
    if os.environ.get("TEXTUAL_DRIVER"):  # the browser's
        return
    hint = "`icckd status` prints the same in a few lines"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MachineError("a full screen needs a terminal for keys and picture", hint=hint)
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        raise MachineError("a dumb terminal has no full screen (TERM=dumb)", hint=hint)


def end_with_terminal(fd: int = 0) -> None:
    """Watch a terminal from a thread of its own, which costs nothing until the terminal is gone."""
    if os.isatty(fd):
        threading.Thread(target=_watch, args=(fd,), name="icckd-hangup", daemon=True).start()


def _watch(fd: int) -> None:
    """Wait for the hang-up, then do to this process what SIGHUP would have done."""
    poll = select.poll()
    poll.register(fd, 0)  # hang-up and errors are always told
    if not any(told & select.POLLHUP for _, told in poll.poll()):
        return  # this platform cannot tell
    os.kill(os.getpid(), signal.SIGHUP)
    threading.Event().wait(GRACE_SECONDS)
    os._exit(HANGUP)  # whoever ignores the signal, as under nohup, has no screen either
