"""Locks on files, and the lock by which one process at a time works on a stage.

A lock is an flock: the kernel releases it when its holder dies, and it does not run out while its
holder sleeps. A lock file may be removed while it is free; whoever waited for the removed one
notices that its name leads elsewhere, and starts again.
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


def try_lock(path: Path) -> int | None:
    """Lock a file, making it where there is none, if nobody holds it; return its descriptor.

    Closing the descriptor releases the lock.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if _flock(handle, fcntl.LOCK_EX) and _leads_to(path, handle):
        return handle
    os.close(handle)
    return None


def wait_for_lock(
    path: Path,
    *,
    waiting: Callable[[], None] = lambda: None,
    give_up: Callable[[], bool] = lambda: False,
    glance_seconds: float = 0.0,
) -> int | None:
    """Lock a file as soon as it is free; return its descriptor, or None where that was given up.

    Args:
        path: The file.
        waiting: Called once when it is not free.
        give_up: Asked between two tries.
        glance_seconds: How long a lock may be held before `waiting` is called.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    tell_at: float | None = time.monotonic() + glance_seconds
    while (handle := try_lock(path)) is None:
        if tell_at is not None and time.monotonic() >= tell_at:
            waiting()
            tell_at = None
        if give_up():
            return None
        time.sleep(_PAUSE_SECONDS)
    return handle


def is_locked(path: Path) -> bool:
    """Whether a process holds a file's lock; nothing is made or changed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _flock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _flock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _leads_to(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


# The lock of a stage.


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
) -> Iterator[int | None]:
    """Hold a stage's lock; yield its descriptor, or None where it is not held.

    Args:
        folder: The state folder.
        digest: The stage.
        waiting: Called once when another process holds the lock.
        give_up: Asked while waiting; when true the lock is not taken.

    Raises:
        MachineError: The lock file cannot be made.
    """
    path = lock_path(folder, digest)
    try:
        handle = wait_for_lock(path, waiting=waiting, give_up=give_up)
    except OSError as error:
        raise MachineError(
            f"cannot lock {path}: {error.strerror}", hint="free space on that disk"
        ) from error
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def try_stage_lock(folder: StateFolder, digest: str) -> Iterator[bool]:
    """Hold a stage's lock if it is free now; yield whether it is held."""
    with stage_lock(folder, digest, waiting=lambda: None, give_up=lambda: True) as held:
        yield held is not None


def is_worked_on(folder: StateFolder, digest: str) -> bool:
    """Whether a process holds a stage's lock; nothing is made or changed."""
    return is_locked(lock_path(folder, digest))


def remove_free_locks(folder: StateFolder) -> None:
    """Remove the lock files of stages that nobody works on."""
    for path in folder.locks.glob("*.lock"):
        handle = try_lock(path)
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)
