"""Standard streams that the caller closed, filled or stopped reading.

What matters is in the journals. Notices on standard error may therefore get lost, and never end a
command; what cannot be written to standard output ends one with an error, since it was asked for.
"""

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

from icckd.errors import MachineError


def prepare() -> None:
    """Open what is closed, so that no later file takes its number, and guard notices.

    Characters that the streams' encoding lacks are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # for as long as this process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, Notices):
        sys.stderr = Notices(sys.stderr)


def flush_output() -> None:
    """Write out what was printed.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        MachineError: It cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise unwritten(error) from error


def unwritten(error: OSError) -> OSError | MachineError:
    """Return the error for output that cannot be written; a reader who left stays as it is."""
    if error.errno == errno.EPIPE:
        return error
    return MachineError(
        f"the output cannot be written: {error.strerror}",
        hint="print it elsewhere; what is trained is in the state folder",
    )


def discard_output() -> None:
    """Throw away what standard output holds, so that it does not fail again at the exit."""
    _discard(sys.stdout)


class Notices:
    """Standard error, on which a write that fails is lost and nothing else.

    Once its reader has left, all that follows goes nowhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            return self._stream.write(text)
        except OSError:
            _discard(self._stream)
        return len(text)

    def flush(self) -> None:
        """Write out what is held back, or lose it."""
        try:
            self._stream.flush()
        except OSError:
            _discard(self._stream)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _discard(stream: TextIO) -> None:
    """Lead a stream nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
