"""Which session runs now, and how: the newest one, if it has not ended and its process is alive."""

import os
import socket

from duckdb import DuckDBPyConnection

from icckd.journal.folder import StateFolder
from icckd.journal.now import read_now
from icckd.journal.origin import boot_id
from icckd.store.lock import owner_is_alive

_NEWEST_OPEN = """
select session, host, boot, pid
from session
where not exists (from session_end where session_end.session = session.session)
    and (ordinal, started, session) = (select max((ordinal, started, session)) from session)
"""


def update_live_session(connection: DuckDBPyConnection, folder: StateFolder) -> bool:
    """Bring `live_session` and `stalled_attempt` up to date; return whether they changed."""
    row = connection.execute(_NEWEST_OPEN).fetchone()
    live: list[tuple[str, bool, str]] = []
    stalled: list[tuple[str, str]] = []
    if row is not None and _is_alive(folder, *row[1:]):
        now = read_now(folder.sessions / row[0])
        live = [(row[0], now.paused, now.stalled.get("", ""))]
        stalled = sorted((name, why) for name, why in now.stalled.items() if name)
    known = connection.execute("from live_session").fetchall()
    known_stalled = connection.execute("from stalled_attempt order by all").fetchall()
    if live == known and stalled == known_stalled:
        return False
    connection.execute("delete from live_session")
    connection.execute("delete from stalled_attempt")
    for session in live:
        connection.execute("insert into live_session values (?, ?, ?)", session)
    for attempt in stalled:
        connection.execute("insert into stalled_attempt values (?, ?)", attempt)
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
