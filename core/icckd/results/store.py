"""The store of a state folder: journals in, rows out, and answers to SQL that a user typed.

It keeps the database up to date with the journals, replaces a damaged file, and goes on in memory
while the disk is full.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from duckdb import DuckDBPyConnection, StatementType

from icckd.errors import MachineError, UsageError
from icckd.journal.folder import StateFolder
from icckd.journal.placing import sweep_unplaced
from icckd.results.database import (
    FILE,
    MEMORY,
    DatabaseInUseError,
    columns,
    connect_file,
    connect_memory,
    first_line,
    is_refusal,
    move_aside,
    seal,
    transaction,
)
from icckd.results.ingest import CHUNK_BYTES, Ingester, update_live_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What protects the database is not the type of a statement, which a `with x as (insert ...)` hides,
# but a sealed connection and a read-only transaction that is always rolled back. MULTI is what
# DuckDB calls a PIVOT.
_READING = (StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Column names and rows; `is_cut` when there were more than asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


def ask(cursor: DuckDBPyConnection, sql: str, *, rows: int) -> Answer:
    """Return the answer to one reading statement on a sealed connection, so many rows at most.

    Raises:
        UsageError: It is not one reading statement, or DuckDB refuses it.
    """

    def fetch(result: DuckDBPyConnection) -> Answer:
        found = tuple(result.fetchmany(rows + 1))
        columns = tuple(str(column[0]) for column in result.description or ())
        return Answer(columns=columns, rows=found[:rows], is_cut=len(found) > rows)

    return reading(cursor, sql, fetch)


def reading(cursor: DuckDBPyConnection, sql: str, fetch: Callable[[DuckDBPyConnection], T]) -> T:
    """Return what is fetched of the answer to one reading statement on a sealed connection.

    Raises:
        UsageError: It is not one reading statement, or DuckDB refuses it.
    """
    if any("\ud800" <= character <= "\udfff" for character in sql):
        raise UsageError("SQL: it is not valid UTF-8", hint="type the statement anew")
    try:
        statements = cursor.extract_statements(sql)
        _refuse_unless_reading(statements)
        cursor.execute("begin transaction read only")
        try:
            return fetch(cursor.execute(statements[0]))
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.execute("rollback")
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory() from error
    except duckdb.Error as error:
        raise UsageError(
            f"SQL: {str(error).strip()}", hint="views and tables: show tables"
        ) from error


def out_of_memory() -> UsageError:
    """Return the error for a statement that needs more memory than it may have."""
    return UsageError(
        "SQL: it needed more memory than it may have", hint="ask for less, or add a limit"
    )


def _refuse_unless_reading(statements: list[Any]) -> None:
    if not statements:
        raise UsageError("SQL: no statement", hint="for example: from comparison")
    if len(statements) > 1:
        raise UsageError(f"SQL: {len(statements)} statements", hint="give one statement at a time")
    try:
        kind = statements[0].type
        name = kind.name
    except ValueError:  # a kind that DuckDB's enumeration for Python lacks: UPDATE EXTENSIONS
        kind, name = None, " ".join(statements[0].query.split()[:2]).upper()
    if kind not in _READING:
        raise UsageError(
            f"SQL: {name} statements cannot be run here",
            hint="only statements that read, such as select",
        )


_SAID = (("stage_now", "stage_state"), ("revision", "revision_state"))
_BYTES_READ = "select coalesce(sum(byte_offset), 0)::bigint from journal"
_HAS_SAID_ALL = f"select said = ({_BYTES_READ}) from made_by"
_NOTE_SAID = f"update made_by set said = ({_BYTES_READ})"
_GROWN = """
update stage_now
set epoch = now.epoch, seconds = now.seconds
from (select attempt, epoch, seconds from attempt_state where attempt in ({})) as now
where stage_now.attempt = now.attempt
"""
MOST_GROWN = 100
"""Attempts that go on at once; of more than these the states of all stages are said again."""
GROWING = frozenset({"metric", "log_line", "journal"})
"""Tables that grow while stages run; no state follows from them but how far an attempt is."""
RETURN_SECONDS = 2.0
"""Time between two attempts to return to the database file after the disk was full."""


class Store:
    """Rows of one state folder, kept up to date by `ingest`. Threads may share it.

    Use `open_file` while holding the owner lock, `in_memory` otherwise.
    """

    _on_file: bool
    _inode: tuple[int, int] | None
    _ingester: Ingester

    def __init__(
        self,
        folder: StateFolder,
        connection: DuckDBPyConnection,
        *,
        on_file: bool,
        notice: Callable[[str], None] = lambda text: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.folder = folder
        self._notice = notice
        self._chunk_bytes = chunk_bytes
        self._writing = threading.RLock()
        self._file_wanted_at = math.inf
        self._settled = False
        try:
            self._adopt(connection, on_file=on_file)
        except duckdb.Error as error:
            if not on_file:
                raise
            self._replace_file(f"cannot be read ({first_line(error)})")
        if self._on_file and self._ingester.is_ahead():
            self._replace_file("holds what its journals do not")

    @classmethod
    def open_file(
        cls,
        folder: StateFolder,
        *,
        notice: Callable[[str], None] = lambda text: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Store:
        """Open the database file. The caller holds the owner lock until the store is closed.

        While another program has the file open, rows are kept in memory: the file is only a
        projection of the journals, and is filled once it is free.

        Args:
            folder: The state folder.
            notice: Told what a user should know, such as a database moved to quarantine.
            chunk_bytes: About how much of the journals goes into one transaction.

        Raises:
            MachineError: The file cannot be made.
        """
        sweep_unplaced(folder)
        try:
            connection, on_file = connect_file(folder, notice), True
        except DatabaseInUseError as error:
            notice(f"{error.message}; rows are kept in memory until it is free")
            connection, on_file = connect_memory(), False
        store = cls(folder, connection, on_file=on_file, notice=notice, chunk_bytes=chunk_bytes)
        if not on_file:
            store.want_file()
        return store

    @classmethod
    def in_memory(cls, folder: StateFolder, *, chunk_bytes: int = CHUNK_BYTES) -> Store:
        """Open an empty database in memory, to be filled from the journals."""
        return cls(
            folder,
            connect_memory(),
            on_file=False,
            chunk_bytes=chunk_bytes,
        )

    def want_file(self) -> None:
        """Try to go on with the database file after a while."""
        self._file_wanted_at = time.monotonic() + RETURN_SECONDS

    @property
    def is_on_file(self) -> bool:
        """Whether rows go to the database file."""
        return self._on_file

    def ingest(self, journals: Callable[[], Iterable[Path]] | None = None) -> frozenset[str]:
        """Take in what the journals hold beyond what was read; return the tables that changed.

        A database file that is gone or damaged is replaced; one that the disk has no room for is
        given up for a while, and the store continues in memory.

        Args:
            journals: Journals in the order to read them; by default all of the state folder.

        Raises:
            MachineError: A journal cannot be read.
        """
        with self._writing:
            if self._on_file and self._inode != _inode(self.folder.database):
                self._replace_file("was removed or replaced")
            elif not self._on_file and time.monotonic() >= self._file_wanted_at:
                self._return_to_file()
            return self._mending(lambda: self._ingest(journals))

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query of our own."""

        def rows() -> list[tuple[Any, ...]]:
            return self._cursor().execute(sql, list(parameters)).fetchall()

        return self._mending(rows)

    def columns(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, NDArray[Any]]:
        """Return the columns of a query of our own, which has no nulls, as arrays by their names.

        A row takes bytes here and not several hundred, as it does in `select`.
        """
        import numpy as np

        def columns() -> dict[str, NDArray[Any]]:
            found = self._cursor().execute(sql, list(parameters)).fetchnumpy()
            return {name: np.asarray(values) for name, values in found.items()}

        return self._mending(columns)

    def ask(self, sql: str, *, rows: int) -> Answer:
        """Return the answer to a statement, so many rows at most; it can change nothing.

        Raises:
            UsageError: It is not one reading statement, or DuckDB refuses it.
        """
        if not self._on_file:
            return ask(self._cursor(), sql, rows=rows)
        with Store.in_memory(self.folder) as copy:
            copy.ingest()
            return copy.ask(sql, rows=rows)

    def fetch(
        self, sql: str, parameters: Sequence[Any], fetch: Callable[[DuckDBPyConnection], T]
    ) -> T:
        """Return what is fetched of the answer to a query of our own."""
        return self._mending(lambda: fetch(self._cursor().execute(sql, list(parameters))))

    def fetch_asked(self, sql: str, fetch: Callable[[DuckDBPyConnection], T]) -> T:
        """Return what is fetched of the answer to a statement; errors as `ask`.

        The store is in memory, where nothing that is asked can change anything.
        """
        assert not self._on_file
        return reading(self._cursor(), sql, fetch)

    def leave_file(self) -> None:
        """Release the database file and continue in memory with what it holds."""
        with self._writing:
            self._mending(self._leave_file)

    def _leave_file(self) -> None:
        if self._on_file:
            connection = self._connection
            connection.execute(f"use {MEMORY}")
            connection.execute(f"copy from database {FILE} to {MEMORY}")
            connection.execute(f"detach {FILE}")
            seal(connection)
            self._on_file, self._inode = False, None
            self._local = threading.local()
            self._ingester.forget_durability()

    def close(self) -> None:
        """Release the database."""
        with self._writing:
            self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _adopt(self, connection: DuckDBPyConnection, *, on_file: bool) -> None:
        self._connection = connection
        self._on_file = on_file
        self._inode = _inode(self.folder.database) if on_file else None
        self._local = threading.local()
        self._ingester = Ingester(
            self.folder, columns(connection), durable=on_file, chunk_bytes=self._chunk_bytes
        )
        self._ingester.restore(connection)
        self._settled = False

    def _mending(self, act: Callable[[], T]) -> T:
        """Return what `act` returns, after mending the database file if that is what fails."""
        try:
            return act()
        except duckdb.Error as error:
            with self._writing:
                if not self._on_file or isinstance(error, duckdb.ProgrammingError):
                    raise
                if is_refusal(error):
                    self._give_up_file(error)
                else:
                    self._replace_file(f"cannot be read ({first_line(error)})")
                self._ingest(None)
                return act()

    def _give_up_file(self, error: duckdb.Error) -> None:
        self._notice(f"the database refuses rows, all continues without it: {first_line(error)}")
        self._close()
        self.want_file()
        self._adopt(connect_memory(), on_file=False)

    def _replace_file(self, why: str) -> None:
        """Put a new file, to be filled from the journals, in the place of a bad one or of none."""
        self._close()
        moved = f"; moved to {move_aside(self.folder)}" if self.folder.database.exists() else ""
        self._notice(f"the database {why}{moved}, rebuilding from the journals")
        try:
            self._adopt(connect_file(self.folder, self._notice), on_file=True)
        except MachineError as error:
            self._notice(error.message)
            self._adopt(connect_memory(), on_file=False)

    def _return_to_file(self) -> None:
        """Go on with the file once the disk has room for it."""
        memory = self._connection
        try:
            self._adopt(connect_file(self.folder, self._notice), on_file=True)
            self._ingest(None)
        except (MachineError, duckdb.Error):
            if self._connection is not memory:
                self._close()
                self._adopt(memory, on_file=False)
            self.want_file()
        else:
            memory.close()
            self._file_wanted_at = math.inf
            self._notice("the database takes rows again")

    def _close(self) -> None:
        with contextlib.suppress(duckdb.Error):
            self._connection.close()

    def _ingest(self, journals: Callable[[], Iterable[Path]] | None) -> frozenset[str]:
        changed = self._ingester.run(self._connection, journals)
        with transaction(self._connection):
            if update_live_session(self._connection, self.folder):
                changed |= {"live_session"}
            grown = self._ingester.grown
            if self._settled and changed <= GROWING and len(grown) <= MOST_GROWN:
                if changed:
                    self._say_how_far(sorted(grown))
            elif changed or not (self._settled or self._has_said_all()):
                self._say_states()
        self._settled = True
        return changed

    def _has_said_all(self) -> bool:
        """Whether whoever had the file before said the states of all that it took in."""
        return self._on_file and self._connection.execute(_HAS_SAID_ALL).fetchone() == (True,)

    def _say_states(self) -> None:
        """Write the states of all stages, then of all revisions, again."""
        if self._on_file:
            for table, view in _SAID:
                self._connection.execute(f"delete from {table}")
                self._connection.execute(f"insert into {table} from {view}")
            self._connection.execute(_NOTE_SAID)
        else:  # in memory DuckDB keeps the room of deleted rows, and a viewer would grow for ever
            for table, view in _SAID:
                self._connection.execute(f"create or replace table {table} as from {view}")

    def _say_how_far(self, attempts: list[str]) -> None:
        """Write how far some attempts are, at the stages that they stand for; all else stays."""
        if attempts:
            places = ", ".join(f"${number}" for number, _ in enumerate(attempts, start=1))
            self._connection.execute(_GROWN.format(places), attempts)
        if self._on_file:
            self._connection.execute(_NOTE_SAID)

    def _cursor(self) -> DuckDBPyConnection:
        """Return this thread's own cursor: a shared one hands results to the wrong thread."""
        cursor: DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._connection.cursor()
            if self._on_file:
                cursor.execute(f"use {FILE}")
            self._local.cursor = cursor
        return cursor


def _inode(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one put in its place; the file is not opened."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
