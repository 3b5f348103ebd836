"""One process at a time works on a stage.

The lock is an flock on a file of the stage's own: the kernel releases it when its holder dies, and
it does not run out while its holder sleeps. A lock file may be removed while it is free; whoever
waited for the removed one notices that its name leads elsewhere, and starts again.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder

PREFIX = 16
_PAUSE_SECONDS = 0.05


def lock_path(folder: StateFolder, digest: str) -> Path:
    """Return the lock file of a stage, given its digest or the beginning of it."""
    return folder.locks / f"{digest[:PREFIX]}.lock"


@contextlib.contextmanager
def stage_lock(
    folder: StateFolder,
    digest: str,
    *,
    waiting: Callable[[], None],
    give_up: Callable[[], bool],
) -> Iterator[bool]:
    """Hold a stage's lock; yield whether it is held.

    Args:
        folder: The state folder.
        digest: The stage.
        waiting: Called once when another process holds the lock.
        give_up: Asked while waiting; when true the lock is not taken.

    Raises:
        MachineError: The lock file cannot be made.
    """
    handle = _take(lock_path(folder, digest))
    if handle is None:
        waiting()
    while handle is None and not give_up():
        time.sleep(_PAUSE_SECONDS)
        handle = _take(lock_path(folder, digest))
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def try_stage_lock(folder: StateFolder, digest: str) -> Iterator[bool]:
    """Hold a stage's lock if it is free now; yield whether it is held."""
    with stage_lock(folder, digest, waiting=lambda: None, give_up=lambda: True) as held:
        yield held


def is_worked_on(folder: StateFolder, digest: str) -> bool:
    """Say whether a process holds a stage's lock; nothing is made or changed."""
    try:
        handle = os.open(lock_path(folder, digest), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def remove_free_locks(folder: StateFolder) -> None:
    """Remove the lock files that nobody holds."""
    for path in folder.locks.glob("*.lock"):
        handle = _take(path)
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _take(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineError(
            f"cannot lock {path}: {error.strerror}", hint="free space on that disk"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _leads_to(path, handle):
            return handle
    except BlockingIOError:
        pass
    os.close(handle)
    return None


def _leads_to(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
