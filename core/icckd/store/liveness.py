"""Which session runs now: the newest one, if it has not ended and its process is alive."""

import os
import socket

from duckdb import DuckDBPyConnection

from icckd.journal.folder import StateFolder
from icckd.journal.origin import boot_id
from icckd.store.lock import owner_is_alive

_NEWEST_OPEN = """
select session, host, boot, pid
from session
where not exists (from session_end where session_end.session = session.session)
    and (started, session) = (select max((started, session)) from session)
"""


def update_live_session(connection: DuckDBPyConnection, folder: StateFolder) -> bool:
    """Bring the table `live_session` up to date; return whether it changed."""
    row = connection.execute(_NEWEST_OPEN).fetchone()
    live = [row[0]] if row is not None and _is_alive(folder, *row[1:]) else []
    known = [name for (name,) in connection.execute("from live_session").fetchall()]
    if live == known:
        return False
    connection.execute("delete from live_session")
    for name in live:
        connection.execute("insert into live_session values (?)", [name])
    return True


def _is_alive(folder: StateFolder, host: str, boot: str, pid: int) -> bool:
    """Say whether the process behind a session runs.

    Its lock is held: only that counts for a process of another machine. One of this machine must
    also exist, since a reader that brings the database up to date holds the lock for a moment.
    """
    if not owner_is_alive(folder):
        return False
    if host != socket.gethostname():
        return True
    if boot != boot_id():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
