"""Opening DuckDB: in memory, or on the file that the owner of a state folder keeps.

A connection always starts in memory and attaches the file, so that the file gets the storage
version that DuckDB 1.5 and 2.x both read, and so that it can be let go of.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.store.schema import create_tables, create_views, made_by_this_code

FILE = "store"
MEMORY = "memory"
QUARANTINED = 3
STORAGE_VERSION = "v1.5.0"
_NOT_ITS_FAULT = (
    "Could not set lock", "No space left", "Permission denied", "Read-only file system",
    "File too large", "Disk quota exceeded",
)  # fmt: skip


def connect() -> DuckDBPyConnection:
    """Return a connection to a new, empty database in memory. Nothing is downloaded, ever."""
    connection = duckdb.connect(
        ":memory:",
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False},
    )
    for setting in (
        "python_enable_replacements = false",
        "enable_progress_bar = false",
        "temp_directory = ''",
        "threads = 1",
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
        MachineError: The file is in use, or the disk refuses to hold one.
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
    """Say whether an error speaks of disk, rights or locks, not of what the file holds."""
    return any(words in str(error) for words in _NOT_ITS_FAULT)


def first_line(error: duckdb.Error) -> str:
    """Return the part of an error that one reads first."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def attach(connection: DuckDBPyConnection, path: Path, *, read_only: bool = False) -> None:
    """Attach a database file as `FILE`."""
    name = str(path).replace("'", "''")
    how = "read_only" if read_only else f"storage_version '{STORAGE_VERSION}'"
    connection.execute(f"attach '{name}' as {FILE} ({how})")


def _try_file(path: Path) -> DuckDBPyConnection | None:
    """Open the file, making it where there is none; None when its tables are not ours."""
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
        folder.quarantine.mkdir(mode=0o700, exist_ok=True)
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
    return MachineError(
        f"cannot open the database {path}: {first_line(error)}",
        hint="close the program that has it open; the journals are complete without it",
    )
