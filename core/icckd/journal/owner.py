"""Who owns a state folder: one process at a time may write its database and start a session.

The owner lock is an flock on `owner.lock`, never on the database, whose own lock a mere open and
close in the same process would drop.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from icckd.errors import MachineError
from icckd.journal.file import first_line, last_line, ordinal_of
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.locks import is_locked, try_lock, wait_for_lock
from icckd.resources.host import network_file_system

GLANCE_SECONDS = 0.25
"""A viewer that only looks whether somebody holds the lock holds it for less than this."""
MOST_SESSIONS = 1 << 40
ORDERS_PER_SESSION = 1_000_000
"""The ordinal of an order is that of its session times this, and its number within the session."""


@contextlib.contextmanager
def owner_lock(
    folder: StateFolder,
    *,
    waiting: Callable[[], None] = lambda: None,
    take_over: bool = False,
) -> Iterator[None]:
    """Hold the owner lock, waiting until it is free.

    Args:
        folder: An existing state folder.
        waiting: Called once when the lock is not free within a moment.
        take_over: Whether another machine that worked here has ended for sure.

    Raises:
        MachineError: The lock file cannot be opened, or another machine may work here.
    """
    try:
        handle = wait_for_lock(folder.owner_lock, waiting=waiting, glance_seconds=GLANCE_SECONDS)
    except OSError as error:
        raise MachineError(
            f"cannot lock the state folder {folder.root}: {error.strerror}",
            hint="set ICCKD_HOME to a folder that can be written",
        ) from error
    assert handle is not None  # it is never given up
    try:
        if not take_over and (host := _host_elsewhere(folder)):
            raise MachineError(
                f"the last session in {folder.root} ran on {host} and has not ended; its locks may"
                " not be seen from here",
                hint=f"wait for it, or, if {host} is off: icckd run --take-over; machines that"
                " share studies use storage: docs/storage.md",
            )
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def try_owner_lock(folder: StateFolder) -> Iterator[bool]:
    """Hold the owner lock if it is free now; yield whether it is held.

    It is not where the lock file cannot be opened for writing, or another machine may work here.
    """
    try:
        handle = try_lock(folder.owner_lock)
    except OSError:
        handle = None
    try:
        yield handle is not None and not _host_elsewhere(folder)
    finally:
        if handle is not None:
            os.close(handle)


def owner_is_alive(folder: StateFolder) -> bool:
    """Whether some process holds the owner lock."""
    return is_locked(folder.owner_lock)


def _host_elsewhere(folder: StateFolder) -> str:
    """Return the host that may work here unseen, or "".

    On a local file system the lock says all. On a network file system, which somebody asked for,
    flock may hold within one machine only: there the word of the journals counts, that another
    machine's session has not ended, until somebody takes over who knows that it has.
    """
    return _open_session_elsewhere(folder) if network_file_system(folder.root) else ""


def _open_session_elsewhere(folder: StateFolder) -> str:
    """Return the other host whose session was the last one here and has not ended, or ""."""
    headers = (
        (ordinal_of(header, MOST_SESSIONS), header.time, path, header)
        for path in folder.sessions.glob(f"*/{JOURNAL}")
        if (header := first_line(path)) is not None and header.kind == "H"
    )
    newest = max(headers, key=lambda found: found[:2], default=None)
    if newest is None:
        return ""
    _, _, path, header = newest
    close, host = last_line(path), str(header.body.get("host", ""))
    has_ended = close is not None and close.kind == "Z"
    return "" if has_ended or host == socket.gethostname() else host


def next_session_ordinal(folder: StateFolder) -> int:
    """Return one more than any session's ordinal: an order that no clock can turn round."""
    headers = (first_line(path) for path in folder.sessions.glob(f"*/{JOURNAL}"))
    return 1 + max(
        (ordinal_of(line, MOST_SESSIONS) for line in headers if line is not None), default=0
    )


def boot_id() -> str:
    """Return an identifier of this machine's current boot, or "" where there is none.

    With host and process id it tells a dead writer from a living one.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
