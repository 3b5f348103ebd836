"""`icckd fsck`: prove a state folder whole, say what is not, put that right on request.

Journals are never changed: what they lost is lost, and they say so. Everything else is either
derived from them or can be made again, so that putting it away is a repair.
"""

import shutil
from collections.abc import Iterator

import duckdb

from icckd.errors import MachineError
from icckd.journal.artifact import sweep
from icckd.journal.audit import Audit, Finding, audit
from icckd.journal.folder import StateFolder
from icckd.journal.kept import is_whole, stages_at_rest, sweep_checkpoints
from icckd.journal.known import is_complete
from icckd.store.database import FILE, MEMORY, attach, connect, first_line, is_refusal, move_aside
from icckd.store.ingest import Ingester
from icckd.store.lock import try_owner_lock
from icckd.store.schema import columns, create_tables, made_by_this_code
from icckd.store.store import Store

_NO_FACTS = {"journal", "stage_now", "live_session", "stalled_attempt", "made_by", "metric_info"}


def check(folder: StateFolder) -> Audit:
    """Look at everything; nothing is changed."""
    found = audit(folder)
    with try_owner_lock(folder) as is_ours:
        if is_ours:
            found.findings += _database(folder)
            found.findings += _requests(folder)
            found.findings += _checkpoints(folder)
        else:
            text = "a session runs, or the folder cannot be written: the database is not compared"
            found.findings.append(Finding(verdict="note", where="owner.lock", text=text))
    return found


def repair(folder: StateFolder, found: Audit) -> list[Finding]:
    """Put away what was found wrong and can be made again; return what was mended.

    Raises:
        MachineError: A session runs, or the disk refuses it.
    """
    with try_owner_lock(folder) as is_ours:
        if not is_ours:
            raise MachineError(
                f"the state folder {folder.root} is in use", hint="wait for its session to end"
            )
        mended = [f for f in found.findings if f.verdict != "note" and f.target is not None]
        for finding in mended:
            _put_away(folder, finding)
        sweep_checkpoints(folder)
        sweep(folder)
        with Store.open_file(folder) as store:
            store.ingest()
    return mended


def _put_away(folder: StateFolder, finding: Finding) -> None:
    target = finding.target
    assert target is not None
    if target == folder.database:
        move_aside(folder)
    elif target.is_relative_to(folder.checkpoints) or target.name.startswith(".tmp-"):
        shutil.rmtree(target, ignore_errors=True)
    elif target.parent == folder.requests and not target.is_dir():
        target.unlink(missing_ok=True)
    else:
        folder.quarantine.mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in folder.quarantine.glob(f"{target.name}-*")) + 1
        target.rename(folder.quarantine / f"{target.name}-{number}")


def _requests(folder: StateFolder) -> Iterator[Finding]:
    for path in sorted(folder.requests.glob("*")):
        text = "a request that no session answered"
        where = str(path.relative_to(folder.root))
        yield Finding(verdict="leftover", where=where, text=text, target=path)


def _checkpoints(folder: StateFolder) -> Iterator[Finding]:
    for stage in stages_at_rest(folder):
        if is_complete(folder, stage.name):
            where, text = str(stage.relative_to(folder.root)), "the stage is complete"
            yield Finding(verdict="leftover", where=where, text=text, target=stage)
            continue
        for path in sorted(stage.iterdir()):
            where = str(path.relative_to(folder.root))
            if path.name.startswith("."):
                text = "an attempt was writing it"
                yield Finding(verdict="leftover", where=where, text=text, target=path)
            elif not is_whole(path):
                text = "damaged; its stage goes on without it"
                yield Finding(verdict="damaged", where=where, text=text, target=path)


def _database(folder: StateFolder) -> Iterator[Finding]:
    """Compare the database with the journals, row by row; the caller holds the owner lock."""
    where, path = folder.database.name, folder.database
    if not path.exists():
        yield Finding(verdict="note", where=where, text="none; the next reader makes it")
        return
    connection = connect()
    try:
        attach(connection, path, read_only=True)
        if not made_by_this_code(connection, FILE):
            text = "made by another version of icckd; the next reader makes it anew"
            yield Finding(verdict="note", where=where, text=text, target=path)
            return
        create_tables(connection)
        Ingester(folder, columns(connection), durable=False).run(connection)
        for table in sorted(columns(connection).keys() - _NO_FACTS):
            if rows := _rows_beyond(connection, f"{FILE}.main.{table}", f"{MEMORY}.main.{table}"):
                text = f"table {table} holds {rows} rows that the journals do not tell"
                yield Finding(verdict="damaged", where=where, text=text, target=path)
        yield from _behind(connection, folder)
    except duckdb.Error as error:
        if is_refusal(error):
            text = f"cannot be compared: {first_line(error)}"
            yield Finding(verdict="note", where=where, text=text)
        else:
            text = f"cannot be read: {first_line(error)}"
            yield Finding(verdict="damaged", where=where, text=text, target=path)
    finally:
        connection.close()


def _behind(connection: duckdb.DuckDBPyConnection, folder: StateFolder) -> Iterator[Finding]:
    """Where the database has read as much as there is, it must also hold as much."""
    where = folder.database.name
    read = "select coalesce(sum(byte_offset), 0)::bigint from {}.main.journal"
    there = connection.execute(read.format(MEMORY)).fetchall()[0][0]
    taken = connection.execute(read.format(FILE)).fetchall()[0][0]
    if taken < there:
        text = f"{there - taken} bytes behind the journals; the next reader takes them in"
        yield Finding(verdict="note", where=where, text=text)
        return
    for table in sorted(columns(connection).keys() - _NO_FACTS):
        if rows := _rows_beyond(connection, f"{MEMORY}.main.{table}", f"{FILE}.main.{table}"):
            text = f"table {table} lacks {rows} rows that the journals tell"
            yield Finding(verdict="damaged", where=where, text=text, target=folder.database)


def _rows_beyond(connection: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    sql = f"select count(*) from (from {left} except all from {right})"
    return int(connection.execute(sql).fetchall()[0][0])
