"""The store of one state folder: journals in, rows out."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.store.database import (
    FILE,
    MEMORY,
    connect_file,
    connect_memory,
    first_line,
    is_refusal,
    move_aside,
    seal,
)
from icckd.store.ingest import CHUNK_BYTES, Ingester
from icckd.store.liveness import update_live_session
from icckd.store.sandbox import Answer, ask
from icckd.store.schema import columns, create_tables, create_views
from icckd.store.transaction import transaction

T = TypeVar("T")
RETURN_SECONDS = 2.0
"""Time between two looks whether the disk has room for the database again."""


def _say_nothing(text: str) -> None:
    pass


class Store:
    """Rows of one state folder, kept up to date by `ingest`. Threads may share it.

    Use `open_file` while holding the owner lock, `in_memory` otherwise.
    """

    def __init__(
        self,
        folder: StateFolder,
        connection: DuckDBPyConnection,
        *,
        on_file: bool,
        notice: Callable[[str], None] = _say_nothing,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.folder = folder
        self._notice = notice
        self._chunk_bytes = chunk_bytes
        self._writing = threading.RLock()
        self._file_wanted_at = math.inf
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
        notice: Callable[[str], None] = _say_nothing,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> "Store":
        """Open the database file. The caller holds the owner lock until the store is closed.

        Args:
            folder: The state folder.
            notice: Told what a user should know, such as a database moved to quarantine.
            chunk_bytes: About how much of the journals goes into one transaction.

        Raises:
            MachineError: The file is in use by another program, or cannot be made.
        """
        connection = connect_file(folder, notice)
        return cls(folder, connection, on_file=True, notice=notice, chunk_bytes=chunk_bytes)

    @classmethod
    def in_memory(cls, folder: StateFolder, *, chunk_bytes: int = CHUNK_BYTES) -> "Store":
        """Open an empty database in memory, to be filled from the journals."""
        return cls(
            folder, connect_memory(), on_file=False, notice=_say_nothing, chunk_bytes=chunk_bytes
        )

    @property
    def is_on_file(self) -> bool:
        """Whether rows go to the database file."""
        return self._on_file

    def ingest(self, journals: Callable[[], Iterable[Path]] | None = None) -> frozenset[str]:
        """Take in what the journals hold beyond what was read; return the tables that changed.

        A database file that is gone or damaged is replaced; one that the disk has no room for is
        given up for a while, and the store goes on in memory.

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

    def leave_file(self) -> None:
        """Let go of the database file and go on in memory with what it holds."""
        with self._writing:
            self._mending(self._leave_file)

    def _leave_file(self) -> None:
        if self._on_file:
            connection = self._connection
            connection.execute(f"use {MEMORY}")
            create_tables(connection)
            create_views(connection)
            for table in columns(connection).keys() - {"made_by", "metric_info"}:
                connection.execute(f"insert into {table} select * from {FILE}.main.{table}")
            connection.execute(f"detach {FILE}")
            seal(connection)
            self._adopt(connection, on_file=False)

    def close(self) -> None:
        """Release the database."""
        with self._writing:
            self._connection.close()

    def __enter__(self) -> "Store":
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
        self._notice(f"the database refuses rows, going on without it: {first_line(error)}")
        self._close()
        self._file_wanted_at = time.monotonic() + RETURN_SECONDS
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
            self._file_wanted_at = time.monotonic() + RETURN_SECONDS
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
            if changed or not self._settled:
                self._say_stage_now()
        self._settled = True
        return changed

    def _say_stage_now(self) -> None:
        """Write the states of all stages again."""
        if self._on_file:
            self._connection.execute("delete from stage_now")
            self._connection.execute("insert into stage_now from stage_state")
        else:  # in memory DuckDB keeps the room of deleted rows, and a viewer would grow for ever
            self._connection.execute("create or replace table stage_now as from stage_state")

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
