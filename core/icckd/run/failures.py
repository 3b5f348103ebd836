"""Why an attempt failed: the exception that ended it, as a record with one of the known causes.

Drivers and libraries raise plain `RuntimeError`, so that their messages are all there is to tell a
full memory, a broken GPU and a mistake in a program apart.
"""

import re
import traceback
from collections.abc import Iterator
from typing import cast

from icckd.errors import (
    IcckdError,
    MachineError,
    NonFiniteError,
    StageError,
    TaskFailedError,
)
from icckd.journal.events import Cause, Failure
from icckd.journal.file import NO_ROOM

_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|out_of_memory"
    r"|\b(?:cublas|cudnn|cusolver|cusparse|cufft|curand|nvrtc|nvjpeg)_\w*alloc\w*_failed",
    re.I,
)
"""Words of the system, of torch, and of the libraries beneath it, whose errors torch passes on."""

_LIBRARY = re.compile(
    r"\b(?:cublas|cudnn|cusolver|cusparse|cufft|curand)_"
    r"\w*(?:not_initialized|execution_failed|internal_error|mapping_error|launch_failure)",
    re.I,
)
_DRIVER = re.compile(r"CUDA (?:driver )?error: (?!CU\w+_STATUS)|Triton Error \[CUDA\]")
_PROGRAM = re.compile(
    r"device-side assert triggered|invalid (?:argument|configuration|device func|resource handle)"
    r"|no kernel image|stream is capturing|too many resources|symbol not found|not supported"
)
"""Errors of the program that the GPU reports: they would recur on every GPU."""


def failure_of(error: Exception) -> Failure:
    """Return what the journal says of the exception that ended an attempt."""
    if isinstance(error, TaskFailedError):
        return Failure(
            type="task",
            message=error.message,
            cause=cast(Cause, error.cause),
            hint=error.hint,
            traceback=error.output,
        )
    return Failure(
        type=type(error).__name__,
        message=str(error),
        cause=_cause(error),
        hint=error.hint if isinstance(error, IcckdError) else "",
        step=error.step if isinstance(error, NonFiniteError) else None,
        term=error.term if isinstance(error, NonFiniteError) else None,
        traceback="".join(traceback.format_exception(error)),
    )


def is_about_device(error: BaseException) -> bool:
    """Whether the GPU reported the error, or a library beneath torch that runs on it."""
    return any(_reported_by_device(each) for each in _chain(error))


def _cause(error: BaseException) -> Cause:
    of_system = error if isinstance(error, OSError) else error.__cause__
    if isinstance(of_system, OSError) and of_system.errno in NO_ROOM:
        return "disk-full"
    if isinstance(error, NonFiniteError):
        return "non-finite"
    if any(_is_about_memory(each) for each in _chain(error)):
        return "out-of-memory"
    if is_about_device(error):
        is_program = any(_PROGRAM.search(_first_line(each)) for each in _chain(error))
        return "bug" if is_program else "device"
    if isinstance(error, MachineError):
        return "machine"
    return "study" if isinstance(error, StageError) else "bug"


def _is_about_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error)))


def _reported_by_device(error: BaseException) -> bool:
    if any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__):
        return True
    line = _first_line(error)
    return isinstance(error, RuntimeError) and bool(_DRIVER.search(line) or _LIBRARY.search(line))


def _first_line(error: BaseException) -> str:
    """Return the message without the advice that torch adds, which names other errors too."""
    return str(error).partition("\n")[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
