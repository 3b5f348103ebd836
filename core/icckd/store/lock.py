"""The owner lock: one process at a time may write the database file.

The lock is an flock on `owner.lock`, never on the database, whose own lock a mere open and close
in the same process would drop. The kernel releases it when its holder dies.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from icckd.errors import MachineError
from icckd.journal.folder import ALLOW_NETWORK, StateFolder
from icckd.journal.known import open_session_elsewhere
from icckd.resources.filesystems import network_file_system

_GLANCE_SECONDS = 0.25
_PAUSE_SECONDS = 0.02


@contextlib.contextmanager
def owner_lock(
    folder: StateFolder, *, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the owner lock, waiting until it is free.

    Args:
        folder: An existing state folder.
        waiting: Called once when the lock is not free within a moment; a viewer that only looks
            whether somebody holds it does not count.

    Raises:
        MachineError: The lock file cannot be opened, or another machine may work here.
    """
    with _lock_file(folder) as handle:
        deadline = time.monotonic() + _GLANCE_SECONDS
        while not _taken(handle, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
                break
            time.sleep(_PAUSE_SECONDS)
        if host := _host_elsewhere(folder):
            raise MachineError(
                f"the last session in {folder.root} ran on {host} and has not ended; its locks may"
                " not be seen from here",
                hint=f"wait for it, or, if {host} is off, set {ALLOW_NETWORK}={host}",
            )
        yield


@contextlib.contextmanager
def try_owner_lock(folder: StateFolder) -> Iterator[bool]:
    """Hold the owner lock if it is free now; yield whether it is held.

    Where the lock file cannot be opened for writing, or another machine may work here, it is not.
    """
    try:
        file = _lock_file(folder)
        handle = file.__enter__()
    except MachineError:
        yield False
        return
    with contextlib.ExitStack() as stack:
        stack.push(file)
        yield _taken(handle, fcntl.LOCK_EX) and not _host_elsewhere(folder)


def _host_elsewhere(folder: StateFolder) -> str:
    """Return the host that may work here unseen, or "".

    On a local file system the lock says all. On a network file system, which somebody asked for,
    flock may hold within one machine only: there the word of the journals counts, that another
    machine's session has not ended, until the user says that this machine is off.
    """
    if not network_file_system(folder.root):
        return ""
    host = open_session_elsewhere(folder)
    return "" if host == os.environ.get(ALLOW_NETWORK) else host


def owner_is_alive(folder: StateFolder) -> bool:
    """Say whether some process holds the owner lock."""
    try:
        handle = os.open(folder.owner_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _lock_file(folder: StateFolder) -> Iterator[int]:
    try:
        handle = os.open(folder.owner_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineError(
            f"cannot lock the state folder {folder.root}: {error.strerror}",
            hint="set ICCKD_HOME to a folder that can be written",
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)
