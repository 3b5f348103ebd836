"""Why an attempt failed: the exception that ended it, as a fact with a cause."""

import traceback

from icckd.errors import IcckdError, MachineError, NonFiniteError
from icckd.journal.events import Cause, Failure
from icckd.journal.patience import NO_ROOM

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def failure_of(error: Exception) -> Failure:
    """Return what the journal says of the exception that ended an attempt."""
    return Failure(
        type=type(error).__name__,
        message=str(error),
        cause=_cause(error),
        hint=error.hint if isinstance(error, IcckdError) else "",
        step=error.step if isinstance(error, NonFiniteError) else None,
        term=error.term if isinstance(error, NonFiniteError) else None,
        traceback="".join(traceback.format_exception(error)),
    )


def _cause(error: BaseException) -> Cause:
    refused = error if isinstance(error, OSError) else error.__cause__
    if isinstance(refused, OSError) and refused.errno in NO_ROOM:
        return "disk-full"
    if isinstance(error, NonFiniteError):
        return "non-finite"
    is_about_memory = any(words in str(error).lower() for words in _MEMORY_WORDS)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_about_memory):
        return "out-of-memory"
    return "machine" if isinstance(error, MachineError) else "bug"
