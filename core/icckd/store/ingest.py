"""From journals to rows, each line exactly once.

How far a journal was read is stored with its rows, in one transaction. An owner makes a journal
durable before it commits the rows: the database must not survive what the truth lost.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.read import Chunk, read_chunk
from icckd.store.rows import ATTEMPT, CLOSING, SESSION, Row, event_of, rows_of
from icckd.store.schema import Column
from icckd.store.transaction import transaction

CHUNK_BYTES = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a journal was read."""

    source: str
    name: str
    offset: int = 0
    next_sequence: int = 0
    bad_lines: int = 0
    bad_bytes: int = 0
    newest: float = 0.0
    closed: bool = False


@dataclass(slots=True)
class _Batch:
    """Rows by table, and the positions that follow them, until they are committed together."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=dict)
    bytes: int = 0


class Ingester:
    """Brings a database up to date with the journals of a state folder.

    Args:
        folder: Where the journals are.
        columns: Columns by table.
        durable: Whether rows outlive this process, so that journals must be synced first.
        chunk_bytes: About how much of the journals goes into one transaction.
    """

    def __init__(
        self,
        folder: StateFolder,
        columns: dict[str, list[Column]],
        *,
        durable: bool,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._folder = folder
        self._inserts = {table: _insert(table, found) for table, found in columns.items()}
        self._durable = durable
        self._chunk_bytes = chunk_bytes
        self._positions: dict[Path, Position] = {}
        self._sizes: dict[Path, int] = {}

    def restore(self, connection: DuckDBPyConnection) -> None:
        """Go on where the database says that reading stopped."""
        for row in connection.execute("select * from journal").fetchall():
            fields = ("source", "name", "offset", "next_sequence", "bad_lines", "bad_bytes",
                      "newest", "closed")  # fmt: skip
            position = Position(**dict(zip(fields, row, strict=True)))
            group = self._folder.sessions if row[0] == SESSION else self._folder.attempts
            self._positions[group / position.name] = position

    def is_ahead(self) -> bool:
        """Say whether the database holds rows of journals that are gone or were cut.

        It must hold nothing that its journals do not: they are the truth.
        """
        return any(not _reaches(home / JOURNAL, p.offset) for home, p in self._positions.items())

    def run(
        self,
        connection: DuckDBPyConnection,
        journals: Callable[[], Iterable[Path]] | None = None,
    ) -> frozenset[str]:
        """Add what the journals hold beyond what was read; return the tables that grew.

        Args:
            connection: Where the rows go.
            journals: Journals in the order to read them; by default that of the state folder.
        """
        changed: set[str] = set()
        batch = _Batch()
        for path in (journals or self._folder.journals)():
            while self._read(path, batch):
                if batch.bytes >= self._chunk_bytes:
                    self._commit(connection, batch)
                    changed |= batch.rows.keys()
                    batch = _Batch()
        if batch.positions:
            self._commit(connection, batch)
            changed |= batch.rows.keys()
        return frozenset(changed)

    def _read(self, path: Path, batch: _Batch) -> bool:
        """Read one chunk of a journal into the batch; return whether to look for more of it."""
        home = path.parent
        source = SESSION if home.parent == self._folder.sessions else ATTEMPT
        before = batch.positions.get(home) or self._positions.get(home)
        before = before or Position(source=source, name=home.name)
        if before.closed:
            return False
        try:
            size = path.stat().st_size
            if self._sizes.get(home) == size:
                return False  # looked at before: nothing new, or a torn last line
            chunk = read_chunk(path, before.offset, self._chunk_bytes)
        except FileNotFoundError:
            return False  # its folder was made a moment ago, or it was removed
        except OSError as error:
            raise MachineError(f"cannot read journal {path}: {error.strerror}") from error
        if chunk.end == before.offset:
            self._sizes[home] = size
            return False
        batch.positions[home] = self._take(chunk, before, batch)
        batch.bytes += chunk.end - before.offset
        return True

    def _take(self, chunk: Chunk, position: Position, batch: _Batch) -> Position:
        bad_lines, bad_bytes = position.bad_lines + chunk.bad_lines, position.bad_bytes
        bad_bytes += chunk.bad_bytes
        expected, newest, closed = position.next_sequence, position.newest, False
        for line in chunk.lines:
            event = event_of(line, position.source, position.name)
            if event is None or line.sequence < expected:
                bad_lines += 1
                continue
            expected = line.sequence + 1
            newest = max(newest, line.time)
            for table, row in rows_of(event, line, position.source, position.name):
                batch.rows.setdefault(table, []).append(row)
            if isinstance(event, CLOSING):
                closed = True
                break
        return replace(
            position,
            offset=chunk.end,
            next_sequence=expected,
            bad_lines=bad_lines,
            bad_bytes=bad_bytes,
            newest=newest,
            closed=closed,
        )

    def _commit(self, connection: DuckDBPyConnection, batch: _Batch) -> None:
        if self._durable:
            for home in batch.positions:
                _sync(home / JOURNAL)
        batch.rows["journal"] = [
            (p.source, p.name, p.offset, p.next_sequence, p.bad_lines, p.bad_bytes, p.newest,
             p.closed)
            for p in batch.positions.values()
        ]  # fmt: skip
        with transaction(connection):
            self._replace_positions(connection, list(batch.positions))
            for table, rows in batch.rows.items():
                connection.execute(self._inserts[table], _by_column(rows))
        self._positions.update(batch.positions)

    def _replace_positions(self, connection: DuckDBPyConnection, homes: list[Path]) -> None:
        known = [self._positions[home] for home in homes if home in self._positions]
        if known:
            connection.execute(
                "delete from journal where (source, name) in"
                " (select (unnest($1::varchar[]), unnest($2::varchar[])))",
                [[p.source for p in known], [p.name for p in known]],
            )


def _reaches(path: Path, offset: int) -> bool:
    try:
        return path.stat().st_size >= offset
    except OSError:
        return False


def _insert(table: str, columns: Sequence[Column]) -> str:
    values = []
    for number, column in enumerate(columns, start=1):
        value = f"unnest(${number}::{column.kind}[])"
        if column.kind == "DOUBLE" and not column.is_nullable:
            value = f"coalesce({value}, 'nan')"  # DuckDB 1.5 takes NaN in a list for null
        values.append(value)
    return f"insert into {table} select {', '.join(values)}"


def _by_column(rows: Sequence[Row]) -> list[list[Any]]:
    return [[_storable(value) for value in column] for column in zip(*rows, strict=True)]


def _storable(value: Any) -> Any:
    """Return a value as the database takes it: half a surrogate pair is no text there."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)
