"""`icckd fsck` and `icckd clean`: what is wrong with a state folder, and what it no longer needs.

Journals are never changed: what they lost is lost, and they say so. Everything else is either
derived from them or can be made again, so that putting it away is a repair.
"""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from icckd.errors import MachineError
from icckd.journal.artifacts import RUN_FOLDER, is_complete, sweep
from icckd.journal.audit import Audit, Finding, Progress, audit
from icckd.journal.checkpoints import epochs_done, is_whole, stages_at_rest, sweep_checkpoints
from icckd.journal.folder import StateFolder
from icckd.journal.locks import is_worked_on, try_stage_lock
from icckd.journal.owner import try_owner_lock
from icckd.journal.room import size_of
from icckd.results.database import (
    FILE,
    MEMORY,
    attach,
    columns,
    connect,
    create_tables,
    first_line,
    is_refusal,
    made_by_this_code,
    move_aside,
)
from icckd.results.ingest import Ingester
from icckd.results.store import Store

_NO_FACTS = {
    "journal",
    "stage_now",
    "revision",
    "live_session",
    "stalled_attempt",
    "made_by",
    "metric_info",
}


def check(
    folder: StateFolder,
    progress: Progress = lambda what, done, total: None,
    elsewhere: Collection[str] = (),
) -> Audit:
    """Look at everything; nothing is changed.

    Args:
        folder: The state folder.
        progress: Told how far it is.
        elsewhere: Stages whose artifacts lie in storage that machines share.
    """
    found = audit(folder, progress, elsewhere)
    with try_owner_lock(folder) as is_ours:
        if is_ours:
            progress("database", 0, 1)
            found.findings += _database(folder)
            found.findings += _requests(folder)
            found.findings += _checkpoint_findings(folder)
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
        folder.quarantine.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.quarantine.glob(f"{target.name}-*")) + 1
        target.rename(folder.quarantine / f"{target.name}-{number}")


def _requests(folder: StateFolder) -> Iterator[Finding]:
    for path in sorted(folder.requests.glob("*")):
        text = "a request that no session answered"
        where = str(path.relative_to(folder.root))
        yield Finding(verdict="leftover", where=where, text=text, target=path)


def _checkpoint_findings(folder: StateFolder) -> Iterator[Finding]:
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
                text = "damaged; its stage does without it"
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


# `icckd clean`: what a state folder no longer needs, and its removal.
#
# Only what no run of a newest plan would resume from: checkpoints of stages that are complete or
# that no study's newest plan has, what dead attempts left half-done, damaged files that fsck moved
# away. Journals, artifacts and the checkpoints of planned stages stay.

_WANTED = """
select distinct stage
from stage
where session in (select session from study where is_latest)
"""
_USES = """
select trial_stage.stage, first(session.study || ', ' || arm || '/' || seed
    order by session.ordinal desc, trial_stage.arm, trial_stage.seed)
from trial_stage
inner join session using (session)
group by trial_stage.stage
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """Something that can go: a path, what it is, and how much it takes."""

    path: Path
    text: str
    bytes: int


def clean(folder: StateFolder, *, remove: bool) -> tuple[Spare, ...]:
    """Return what can go, and remove it if asked.

    Raises:
        MachineError: A session runs, or the folder cannot be written.
    """
    with try_owner_lock(folder) as is_ours:
        if not is_ours:
            raise MachineError(
                f"the state folder {folder.root} is in use, or cannot be written",
                hint="wait for its session to end",
            )
        with Store.open_file(folder) as store:
            store.ingest()
            found = (
                *_spare_checkpoints(folder, store), *_unfinished(folder), *_moved_away(folder),
                *_run_folders(folder),
            )  # fmt: skip
        if remove:
            sweep_checkpoints(folder)
            sweep(folder)
            for spare in found:
                _remove(folder, spare.path)
    return found


def _spare_checkpoints(folder: StateFolder, store: Store) -> Iterator[Spare]:
    wanted = {stage for (stage,) in store.select(_WANTED)}
    uses = dict(store.select(_USES))
    for stage in stages_at_rest(folder):
        what = f"checkpoint of {uses.get(stage.name, 'no study here')} after {epochs_done(stage)}"
        if is_complete(folder, stage.name):
            yield _spare(stage, f"{what} epochs, complete since")
        elif stage.name not in wanted:
            yield _spare(stage, f"{what} epochs, planned no more")
        else:
            for aside in stage.glob(".*"):
                yield _spare(aside, "an attempt that died was writing it")


def _unfinished(folder: StateFolder) -> Iterator[Spare]:
    for path in sorted(folder.artifacts.glob(".tmp-*")):
        if not is_worked_on(folder, path.name.removeprefix(".tmp-")):
            yield _spare(path, "an attempt that died was preparing it")


def _moved_away(folder: StateFolder) -> Iterator[Spare]:
    for path in sorted(folder.quarantine.glob("*")):
        yield _spare(path, "damaged, moved here by icckd fsck")


def _run_folders(folder: StateFolder) -> Iterator[Spare]:
    for path in sorted(folder.attempts.glob(f"*/{RUN_FOLDER}")):
        yield _spare(path, "the run folder of an attempt without a result")


def _spare(path: Path, text: str) -> Spare:
    return Spare(path=path, text=text, bytes=size_of(path))


def _remove(folder: StateFolder, path: Path) -> None:
    if path.parent == folder.checkpoints:
        with try_stage_lock(folder, path.name) as is_free:
            if is_free:
                shutil.rmtree(path, ignore_errors=True)
    elif path.parent == folder.quarantine or path.name == RUN_FOLDER:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
