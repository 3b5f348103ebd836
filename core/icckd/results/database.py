"""The DuckDB database of a state folder: tables, views, opening it, transactions."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import duckdb
from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.study import metrics
from icckd.study.metrics import OUTCOMES, SERIES
from icckd.study.registry import packages_digest


@contextlib.contextmanager
def transaction(connection: DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    connection.execute("begin transaction")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.execute("rollback")
        raise


# Tables and views, from the SQL files beside this module.

_HERE = Path(__file__).parent / "sql"
# A view stands after those that it reads.
VIEWS = (
    "attempt_state",
    "stage_state",
    "revision_state",
    "study",
    "every_stage_of_trial",
    "every_trial",
    "every_outcome",
    "every_item",
    "every_curve",
    "stage_of_trial",
    "trial",
    "outcome",
    "item",
    "curve",
    "paired_difference",
    "comparison",
    "convergence",
    "stability",
    "memory",
    "attempt_cost",
    "stage_cost",
    "lineage",
    "every_log",
    "log",
)


def create_tables(connection: DuckDBPyConnection) -> None:
    """Make the tables in the current database: all of them, or none."""
    with transaction(connection):
        connection.execute((_HERE / "schema.sql").read_text())
        connection.execute("insert into made_by values (?, '', -1)", [tables_digest()])


def create_views(connection: DuckDBPyConnection) -> None:
    """Make views and metric catalogue afresh unless this code made those that are there."""
    made = connection.execute("select views from made_by").fetchone()
    if made == (views_digest(),):
        return
    known = list({**SERIES, **OUTCOMES}.values())
    with transaction(connection):
        for name in VIEWS:
            connection.execute(_view_sql(name))
        connection.execute("delete from metric_info")
        connection.execute(
            "insert into metric_info select unnest($1::varchar[]), unnest($2::integer[]),"
            " unnest($3::varchar[]), unnest($4::varchar[]), unnest($5::varchar[])",
            [[m.name for m in known], list(range(len(known))), [m.unit for m in known],
             [m.direction for m in known], [m.about for m in known]],
        )  # fmt: skip
        connection.execute("update made_by set views = ?, said = -1", [views_digest()])


def made_by_this_code(connection: DuckDBPyConnection, database: str) -> bool:
    """Whether an attached database has the tables of this version."""
    has_mark = connection.execute(
        "select 1 from duckdb_tables() where database_name = ? and table_name = 'made_by'",
        [database],
    ).fetchone()
    if has_mark is None:
        return False
    row = connection.execute(f"select tables from {database}.main.made_by").fetchone()
    return row is not None and row[0] == tables_digest()


@cache
def tables_digest() -> str:
    """Return what names this version of the tables."""
    return hashlib.sha256((_HERE / "schema.sql").read_bytes()).hexdigest()[:16]


@cache
def views_digest() -> str:
    """Return what names this version of the views and the metric catalogue.

    That is the source that makes the catalogue, which is read in a tenth of the time that the parts
    take to be imported.
    """
    catalogue = [
        file.read_text("utf-8") for file in sorted(Path(metrics.__file__).parent.glob("*.py"))
    ]
    text = "\0".join([*(_view_sql(name) for name in VIEWS), *catalogue, packages_digest()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: str
    is_nullable: bool


def columns(connection: DuckDBPyConnection) -> dict[str, list[Column]]:
    """Return the columns of each table, in the order of its definition."""
    found: dict[str, list[Column]] = {}
    for table, *column in connection.execute(
        "select table_name, column_name, data_type, is_nullable from duckdb_columns()"
        " where database_name = current_database() and not internal"
        " and table_name in (select table_name from duckdb_tables())"
        " order by table_oid, column_index"
    ).fetchall():
        found.setdefault(table, []).append(Column(*column))
    return found


def about_views() -> list[tuple[str, str]]:
    """Return name and leading comment of every view."""
    return [(name, _leading_comment(_view_sql(name))) for name in VIEWS]


def _leading_comment(sql: str) -> str:
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


@cache
def _view_sql(name: str) -> str:
    return (_HERE / "views" / f"{name}.sql").read_text()


# Opening it: in memory, or as the file that the owner of a state folder keeps.
#
# A connection always starts in memory and attaches the file, so that the file gets the storage
# version that DuckDB 1.5 and 2.x both read, and can be released without closing.

FILE = "store"
MEMORY = "memory"
QUARANTINED = 3
STORAGE_VERSION = "v1.5.0"
_NOT_ITS_FAULT = (
    "Could not set lock", "No space left", "Permission denied", "Read-only file system",
    "File too large", "Disk quota exceeded",
)  # fmt: skip


class DatabaseInUseError(MachineError):
    """Another program has the database file open."""


def connect() -> DuckDBPyConnection:
    """Return a connection to a new, empty database in memory. Nothing is downloaded, ever."""
    connection = duckdb.connect(
        ":memory:",
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False},
    )
    # In a notebook without ipywidgets DuckDB shows no progress bar, and refuses to be told so.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("set enable_progress_bar = false")
    for setting in (
        "python_enable_replacements = false",
        "temp_directory = ''",
        "threads = 1",
        "pandas_analyze_sample = 0",  # arrays of objects are text, whatever the first ones are
    ):
        connection.execute(f"set {setting}")
    return connection


def seal(connection: DuckDBPyConnection) -> None:
    """Cut a connection off from files for good, and lock its configuration."""
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def connect_memory() -> DuckDBPyConnection:
    """Return a sealed connection to empty tables in memory, with the views."""
    connection = connect()
    seal(connection)
    create_tables(connection)
    create_views(connection)
    return connection


def connect_file(folder: StateFolder, notice: Callable[[str], None]) -> DuckDBPyConnection:
    """Return a connection to the database file; the caller holds the owner lock.

    A file that cannot be read, or was made by another version, is moved to `quarantine/`; a new
    one takes its place, to be filled from the journals.

    Raises:
        DatabaseInUseError: Another program has the file open.
        MachineError: The disk refuses to hold one.
    """
    if not folder.database.exists() and _log_of(folder.database).exists():
        notice(f"the database is gone, its write-ahead log is not; moved to {move_aside(folder)}")
    try:
        connection = _try_file(folder.database)
        if connection is not None:
            return connection
        why = "was made by another version of icckd"
    except duckdb.Error as error:
        if is_refusal(error):
            raise _unusable(folder.database, error) from error
        why = "cannot be read"
    moved = move_aside(folder)
    notice(f"the database {why}; moved to {moved}, rebuilding from the journals")
    try:
        connection = _try_file(folder.database)
    except duckdb.Error as error:
        raise _unusable(folder.database, error) from error
    assert connection is not None
    return connection


def is_refusal(error: duckdb.Error) -> bool:
    """Whether an error speaks of disk, rights or locks, not of what the file holds."""
    return any(words in str(error) for words in _NOT_ITS_FAULT)


def first_line(error: duckdb.Error) -> str:
    """Return the part of an error that one reads first; what the system refused in its own words.

    >>> first_line(duckdb.IOException('IO Error: write failed: {"errno":"28"}'))
    'No space left on device'
    """
    if number := re.search(r'"errno":"(\d+)"', str(error)):
        return os.strerror(int(number[1]))
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def attach(connection: DuckDBPyConnection, path: Path, *, read_only: bool = False) -> None:
    """Attach a database file as `FILE`."""
    name = str(path).replace("'", "''")
    how = "read_only" if read_only else f"storage_version '{STORAGE_VERSION}'"
    connection.execute(f"attach '{name}' as {FILE} ({how})")


def _try_file(path: Path) -> DuckDBPyConnection | None:
    """Open the file, making it where it is missing; None when another version made its tables."""
    connection = connect()
    try:
        attach(connection, path)
        connection.execute(f"use {FILE}")
        tables = connection.execute(
            "select table_name from duckdb_tables() where database_name = current_database()"
        ).fetchall()
        if not tables:
            create_tables(connection)
            create_views(connection)
            connection.execute("checkpoint")
        elif not made_by_this_code(connection, FILE):
            connection.close()
            return None
        else:
            create_views(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def move_aside(folder: StateFolder) -> Path:
    """Rename the database and its write-ahead log, whichever is there; neither is opened here.

    Only the newest `QUARANTINED` are kept: nothing is in them that the journals lack.

    Returns:
        Where the database went.

    Raises:
        MachineError: The disk refuses it.
    """
    database = folder.database
    try:
        folder.quarantine.mkdir(exist_ok=True)
        target = folder.quarantine / f"{database.stem}-{_make_room(folder)}.duckdb"
        for old, new in ((_log_of(database), _log_of(target)), (database, target)):
            if old.exists():
                old.rename(new)
    except OSError as error:
        raise MachineError(
            f"cannot move the unreadable database {database} aside: {error.strerror}",
            hint="delete it; it is rebuilt from the journals",
        ) from error
    return target


def _make_room(folder: StateFolder) -> int:
    """Remove what was quarantined long ago; return the number of the next database there."""
    numbers = sorted(
        int(path.stem.rpartition("-")[2])
        for path in folder.quarantine.glob(f"{folder.database.stem}-*.duckdb")
        if path.stem.rpartition("-")[2].isdecimal()
    )
    for number in numbers[: 1 - QUARANTINED]:
        old = folder.quarantine / f"{folder.database.stem}-{number}.duckdb"
        old.unlink(missing_ok=True)
        _log_of(old).unlink(missing_ok=True)
    return numbers[-1] + 1 if numbers else 1


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _unusable(path: Path, error: duckdb.Error) -> MachineError:
    told = f"cannot open the database {path}: {first_line(error)}"
    if "Could not set lock" in str(error):
        return DatabaseInUseError(
            told, hint="close the program that has it open; the journals are complete without it"
        )
    hints = {
        "Permission denied": "ask its owner for the rights, or set ICCKD_HOME to another folder",
        "Read-only file system": "set ICCKD_HOME to a folder that can be written",
    }
    no_room = "free space on that disk, or set ICCKD_HOME to another one; then run again"
    return MachineError(
        told, hint=next((hint for words, hint in hints.items() if words in str(error)), no_room)
    )
