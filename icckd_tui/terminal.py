"""The process and its terminal: what it needs, how it leaves it, ends with it, and pagers on it.

A program that is not in the terminal's session (`setsid`, some multiplexers and containers) is not
told that the terminal is gone. Textual cannot notice either: its writing thread dies of EIO, the
event loop then waits for ever for room in that thread's queue, so that no timer of the app runs,
and its reading thread spins on the end of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from textual.app import SuspendNotSupported

from icckd.errors import IcckdError, MachineError

if TYPE_CHECKING:
    from textual.app import App

HANGUP = 128 + signal.SIGHUP
GRACE_SECONDS = 1.0
LARGEST = (600, 200)
"""Columns and rows that are ever drawn: a cell costs 4 kB, and 20,000 x 20,000 took 1.7 GB."""


def within_largest(width: int, height: int) -> tuple[int, int]:
    """Return a terminal's size, held to what is drawn."""
    return min(max(width, 1), LARGEST[0]), min(max(height, 1), LARGEST[1])


IN_BROWSER = "ICCKD_IN_BROWSER"  # set in the environment of a tab's process


def in_browser() -> bool:
    """Return whether this is a tab's process: keys and pictures are packets."""
    return bool(os.environ.get(IN_BROWSER))


def need_screen() -> None:
    """Refuse where no full screen can be drawn.

    On a dumb terminal Textual's idea of the size never settles: it would draw for ever.

    Raises:
        MachineError: This is not a terminal, or one without a cursor.
    """
    if in_browser():
        return
    hint = "`icckd status` prints the same in a few lines"
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        raise MachineError("a full screen needs a terminal for keys and picture", hint=hint)
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        raise MachineError("a dumb terminal has no full screen (TERM=dumb)", hint=hint)


def _is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; one that was closed at the start is None."""
    return stream is not None and not stream.closed and stream.isatty()


class CrashedError(IcckdError):
    """The monitor ended by an error of its own, which it has printed."""


_RESTORE = (
    "\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"
    "\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""Switches off what `LinuxDriver` switches on."""


class SignalExit:
    """Has signals that end a program end the app first, so that it leaves the terminal as it was.

    A signal that was ignored when the program started stays ignored.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._received = 0
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
        self._received = number
        try:
            asyncio.get_running_loop().call_soon_threadsafe(self._app.exit)
        except RuntimeError:  # the app does not run yet, or no more
            self.end()
        threading.Thread(target=self._end_late, name="icckd-signal", daemon=True).start()

    def end(self) -> None:
        """End by the signal that was received, if there was one."""
        if self._received:
            os.kill(os.getpid(), self._received)

    def _end_late(self) -> None:
        """Restore the terminal and end, where the app has not done so (stuck in output)."""
        time.sleep(GRACE_SECONDS)
        writing = threading.Thread(target=self._restore, daemon=True)
        writing.start()
        writing.join(0.3)
        self.end()

    def _restore(self) -> None:
        before = getattr(self._app._driver, "attrs_before", None)
        if before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(0, termios.TCSANOW, before)
                os.write(2, _RESTORE.encode())


def has_shell() -> bool:
    """Return whether a shell started this, which takes over when it is stopped."""
    return os.getsid(0) != os.getpid()


def end_with_terminal(fd: int = 0) -> None:
    """End this process when its terminal is gone; a thread waits for that."""
    if os.isatty(fd):
        threading.Thread(target=_watch, args=(fd,), name="icckd-hangup", daemon=True).start()


def _watch(fd: int) -> None:
    """Wait for the hang-up, then do to this process what SIGHUP would have done."""
    poll = select.poll()
    poll.register(fd, 0)  # hang-up and errors are always told
    if not any(told & select.POLLHUP for _, told in poll.poll()):
        return  # this platform cannot tell
    os.kill(os.getpid(), signal.SIGHUP)
    threading.Event().wait(2 * GRACE_SECONDS)
    os._exit(HANGUP)  # whoever ignores the signal, as under nohup, has no screen either


_USUAL = ("less", "more")


class PagerError(Exception):
    """The pager cannot be started; the message says why."""


def show_in_pager(app: App[object], text: str) -> None:
    """Show a text in $PAGER, else $EDITOR, else what is usual, until the user leaves that.

    Raises:
        PagerError: The terminal cannot be left to it, or it cannot be started.
    """
    command = _wanted()
    with tempfile.NamedTemporaryFile("w", prefix="icckd-log-", suffix=".txt") as file:
        file.write(text)
        file.flush()
        try:
            with app.suspend():
                _run(command, file.name)
        except SuspendNotSupported as error:
            raise PagerError("this terminal cannot be left to another program") from error
        finally:
            app.refresh()


def _wanted() -> list[str]:
    try:
        return shlex.split(os.environ.get("PAGER") or os.environ.get("EDITOR") or "")
    except ValueError as error:
        raise PagerError(f"$PAGER is not a command: {error}") from error


def _run(command: list[str], path: str) -> None:
    for program in [command] if command else [[usual] for usual in _USUAL]:
        try:
            subprocess.run([*program, path], check=False)
        except OSError:
            continue
        return
    raise PagerError(f"cannot start {command[0] if command else ' or '.join(_USUAL)}: see $PAGER")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE = 4 << 20
"""Bytes; below it, drawing would ask the kernel for its arrays at each frame (13 ms, not 8)."""
_KEPT = 16 << 20


def return_large_blocks() -> None:
    """Have the C library return large blocks when they are freed, and keep little of the others.

    The GNU library keeps freed arrays of up to 32 MB for later; with curves of 100,000 points that
    was 50 MB of nothing. It must be told before there are any. Other libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
