"""End with the terminal, also where the kernel sends no SIGHUP.

A program that is not in the terminal's session (`setsid`, some multiplexers and containers) is not
told that the terminal is gone. Textual cannot notice either: its writing thread dies of EIO, the
event loop then waits for ever for room in that thread's queue, so that no timer of the app runs,
and its reading thread spins on the end of the file.
"""

import os
import select
import signal
import threading

HANGUP = 128 + signal.SIGHUP
GRACE_SECONDS = 1.0


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
