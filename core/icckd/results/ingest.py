"""From journals to rows: a projection that can be rebuilt from the journals at any time.

First what a line adds to which table, then reading each line exactly once, then which session is
alive.
"""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from duckdb import DuckDBPyConnection
from pydantic import ValidationError

from icckd.errors import MachineError
from icckd.journal.events import (
    EVENT,
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Event,
    ItemScores,
    LogLine,
    Planned,
    RequestAnswered,
    Resumed,
    SessionClosed,
    SessionHeader,
    StageOutcomes,
    StageState,
)
from icckd.journal.file import Chunk, Line, read_chunk, sync
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.listing import JournalListing
from icckd.journal.live_status import LiveStatus, read_elsewhere, read_live_status
from icckd.journal.owner import boot_id, owner_is_alive
from icckd.results.database import Column, transaction

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a journal line adds to which table.

Row = tuple[Any, ...]
TableRow = tuple[str, Row]
ATTEMPT, SESSION = "attempt", "session"
CLOSING = (AttemptClosed, SessionClosed)


def event_of(line: Line, source: str, name: str) -> Event | None:
    """Return the event that a line of journal `name` tells, or None when it has no place there."""
    try:
        event = EVENT.validate_python(line.body)
    except ValidationError:
        return None
    if (source, type(event)) not in _ROWS:
        return None
    if isinstance(event, AttemptHeader) and event.attempt != name:
        return None
    if isinstance(event, SessionHeader) and event.session != name:
        return None
    return event


def rows_of(event: Event, line: Line, source: str, name: str) -> Iterator[TableRow]:
    """Yield the rows that an event adds, each with its table."""
    return _ROWS[source, type(event)](event, line, name)


def _session(event: SessionHeader, line: Line, name: str) -> Iterator[TableRow]:
    yield (
        "session",
        (name, event.study, event.revision, line.time, event.host, event.boot, event.pid,
         event.version, event.arguments, event.ordinal, _json(event.accepted_source)),
    )  # fmt: skip


def _planned(event: Planned, line: Line, name: str) -> Iterator[TableRow]:
    # A plan is new to the database once, and these take longer to import than looking at it does.
    from icckd.study.plan import digest_of
    from icckd.study.plugins import plugins_in_journal
    from icckd.study.tasks import read_back, task_metrics

    stages = digest_of({"stages": sorted(stage.digest for stage in event.stages)})
    plugins = _json(event.plugins)
    yield "study_revision", (name, line.time, *_study(event), stages, event.rule, plugins)
    own = plugins_in_journal(event.plugins).metrics()
    for metric in {**task_metrics(read_back(event.study)), **own}.values():
        yield "declared_metric", (name, metric.name, metric.unit, metric.direction, metric.about)
    for position, asked in enumerate(event.hypotheses):
        yield "hypothesis", (name, position, asked.arm, asked.metric, asked.smallest_effect)
    for position, arm in enumerate(event.arms):
        changes = _json([asdict(change) for change in arm.changes])
        yield (
            "arm",
            (name, position, arm.name, arm.role, arm.title, arm.action, arm.control_for,
             list(arm.metrics), changes, _json(dict(arm.levels))),
        )  # fmt: skip
    for position, trial in enumerate(event.trials):
        yield "planned_trial", (name, position, trial.arm, trial.seed)
        for place, stage in enumerate(trial.stages):
            yield "trial_stage", (name, trial.arm, trial.seed, place, stage)
    for position, planned in enumerate(event.stages):
        yield (
            "stage",
            (name, position, planned.digest, planned.kind, planned.shape, planned.seed,
             planned.replicate, planned.epochs, _json(dict(planned.inputs))),
        )  # fmt: skip


def _study(event: Planned) -> Row:
    """Return the study's row; what a journal of another version lacks has its default."""
    from icckd.study.model import Convergence

    header = _table(event.study, "study")
    targets = _table(header, "convergence")
    primary = str(header.get("primary") or "student.top1")
    ablations = [arm.name for arm in event.arms if arm.role == "ablation"]
    asked = [primary, *_texts(event.study.get("outcomes"))]
    family = event.study.get("family")
    return (
        str(header.get("question") or ""),
        str(header.get("baseline") or ""),
        primary,
        list(dict.fromkeys(asked)),
        _texts(family) if isinstance(family, list) else ablations,
        _number(header.get("smallest_effect")),
        _number(targets.get("teacher")) or Convergence().teacher,
        _number(targets.get("student")) or Convergence().student,
        _json(event.study),
    )


def _stage_state(event: StageState, line: Line, name: str) -> Iterator[TableRow]:
    yield (
        "stage_event",
        (name, line.sequence, line.time, event.stage, event.state, event.attempt, event.reason,
         event.cause),
    )  # fmt: skip


def _request(event: RequestAnswered, line: Line, name: str) -> Iterator[TableRow]:
    yield "request", (name, line.sequence, line.time, event.request, event.kind, event.answer)


def _session_end(event: SessionClosed, line: Line, name: str) -> Iterator[TableRow]:
    yield "session_end", (name, line.time, event.exit_code)


def _attempt(event: AttemptHeader, line: Line, name: str) -> Iterator[TableRow]:
    yield (
        "attempt",
        (name, event.session, event.stage, event.kind, event.shape, event.seed, event.replicate,
         event.epochs, line.time, _json(event.settings), _json(event.inputs), event.fingerprint,
         _json(event.numerics), event.code_epoch, event.host, event.boot, event.pid,
         _json(event.environment), event.ordinal, _json(event.files), event.pack,
         event.members),
    )  # fmt: skip


def _resumption(event: Resumed, line: Line, name: str) -> Iterator[TableRow]:
    yield "resumption", (name, event.attempt, event.epoch, event.seconds)


def _metrics(event: EpochMetrics, line: Line, name: str) -> Iterator[TableRow]:
    for metric, value in event.values.items():
        yield "metric", (name, event.epoch, metric, value)


def _recorded(event: StageOutcomes, line: Line, name: str) -> Iterator[TableRow]:
    for metric, value in event.values.items():
        yield "recorded", (name, metric, value)
    if event.right:
        yield "test_right", (name, event.images, event.right)


def _items(event: ItemScores, line: Line, name: str) -> Iterator[TableRow]:
    """Yield a row a metric; columns of unequal lengths tell nothing."""
    lengths = {len(event.ids), *map(len, event.scores.values())}
    if len(lengths) == 1 and len(event.groups) in (0, len(event.ids)):
        for metric, scores in event.scores.items():
            yield "item_scores", (name, metric, event.ids, event.groups, scores)


def _artifact(event: ArtifactPublished, line: Line, name: str) -> Iterator[TableRow]:
    yield "artifact", (name, line.time, _json(event.files), event.bytes)


def _attempt_end(event: AttemptClosed, line: Line, name: str) -> Iterator[TableRow]:
    why = event.failure
    failure: Row = (None,) * 7
    if why is not None:
        failure = (
            why.type, why.message, why.cause, why.hint, why.step, why.term, why.traceback
        )  # fmt: skip
    yield "attempt_end", (name, line.time, event.state, event.seconds, *failure)


def _log_of(source: str) -> Callable[[LogLine, Line, str], Iterator[TableRow]]:
    def rows(event: LogLine, line: Line, name: str) -> Iterator[TableRow]:
        yield "log_line", (source, name, line.sequence, line.time, event.level, event.text)

    return rows


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _table(tables: dict[str, Any], key: str) -> dict[str, Any]:
    found = tables.get(key)
    return found if isinstance(found, dict) else {}


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None


_ROWS: dict[tuple[str, type], Callable[[Any, Line, str], Iterator[TableRow]]] = {
    (SESSION, SessionHeader): _session,
    (SESSION, Planned): _planned,
    (SESSION, StageState): _stage_state,
    (SESSION, RequestAnswered): _request,
    (SESSION, SessionClosed): _session_end,
    (SESSION, LogLine): _log_of(SESSION),
    (ATTEMPT, AttemptHeader): _attempt,
    (ATTEMPT, Resumed): _resumption,
    (ATTEMPT, EpochMetrics): _metrics,
    (ATTEMPT, StageOutcomes): _recorded,
    (ATTEMPT, ItemScores): _items,
    (ATTEMPT, LogLine): _log_of(ATTEMPT),
    (ATTEMPT, ArtifactPublished): _artifact,
    (ATTEMPT, AttemptClosed): _attempt_end,
}


# From journals to rows, each line exactly once.
#
# How far a journal was read is stored with its rows, in one transaction. An owner makes a journal
# durable before it commits the rows: the database must not hold what a power cut took from the
# journals.

CHUNK_BYTES = 1 << 21


class Position(NamedTuple):
    """How far a journal was read: a row of the table `journal`."""

    source: str
    name: str
    offset: int = 0
    next_sequence: int = 0
    bad_lines: int = 0
    bad_bytes: int = 0
    newest: float = 0.0
    epoch: int = 0
    closed: bool = False


Key = tuple[str, str]
"""Source and name of a journal."""


@dataclass(slots=True)
class _Batch:
    """Rows by table, and the positions that follow them, until they are committed together."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    positions: dict[Key, Position] = field(default_factory=dict)
    bytes: int = 0


class Ingester:
    """Brings a database up to date with the journals of a state folder.

    Args:
        folder: Where the journals are.
        columns: Columns by table.
        durable: Whether rows outlive this process, so that journals must be synced first.
        chunk_bytes: About how much of the journals goes into one transaction.

    Attributes:
        grown: Attempts of which the last run read something.
    """

    def __init__(
        self,
        folder: StateFolder,
        columns: dict[str, list[Column]],
        *,
        durable: bool,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._homes = {SESSION: folder.sessions, ATTEMPT: folder.attempts}
        self._listing = JournalListing(self._homes)
        self._tables = {table: _Table(table, found) for table, found in columns.items()}
        self._durable = durable
        self._chunk_bytes = chunk_bytes
        self._positions: dict[Key, Position] = {}
        self.grown: set[str] = set()
        self._torn: dict[Key, tuple[int, int]] = {}

    def restore(self, connection: DuckDBPyConnection) -> None:
        """Go on where the database says that reading stopped."""
        for row in connection.execute("select * from journal").fetchall():
            position = Position(*row)
            self._positions[row[0], row[1]] = position
            if position.closed:
                self._listing.close(position.source, position.name)

    def is_ahead(self) -> bool:
        """Whether the database holds rows of journals that are gone or were cut.

        It must hold nothing that its journals do not: they are the truth.
        """
        return any(not _reaches(self._path(key), p.offset) for key, p in self._positions.items())

    def forget_durability(self) -> None:
        """Do not sync journals any more: the rows no longer outlive this process."""
        self._durable = False

    def run(
        self,
        connection: DuckDBPyConnection,
        journals: Callable[[], Iterable[Path]] | None = None,
    ) -> frozenset[str]:
        """Add what the journals hold beyond what was read; return the tables that grew.

        Args:
            connection: Where the rows go.
            journals: Journals in the order to read them; by default those of the state folder that
                may have grown.
        """
        changed: set[str] = set()
        self.grown = set()
        batch = _Batch()
        for key in map(self._key, journals()) if journals else self._listing.open():
            while self._read(key, batch):
                if batch.bytes >= self._chunk_bytes:
                    self._commit(connection, batch)
                    changed |= batch.rows.keys()
                    batch = _Batch()
        if batch.positions:
            self._commit(connection, batch)
            changed |= batch.rows.keys()
        return frozenset(changed)

    def _key(self, path: Path) -> Key:
        is_session = path.parent.parent == self._homes[SESSION]
        return SESSION if is_session else ATTEMPT, path.parent.name

    def _path(self, key: Key) -> str:
        source, name = key
        return f"{self._homes[source]}/{name}/{JOURNAL}"

    def _read(self, key: Key, batch: _Batch) -> bool:
        """Read one chunk of a journal into the batch; return whether to look for more of it."""
        before = batch.positions.get(key) or self._positions.get(key) or Position(*key)
        if before.closed:
            return False
        path = self._path(key)
        try:
            size = os.stat(path).st_size
            if size == before.offset or self._torn.get(key) == (before.offset, size):
                return False  # nothing new, or a torn last line that was looked at before
            chunk = read_chunk(Path(path), before.offset, self._chunk_bytes)
        except FileNotFoundError:
            return False  # its folder was made a moment ago, or it was removed
        except OSError as error:
            raise MachineError(f"cannot read journal {path}: {error.strerror}") from error
        if chunk.end == before.offset:
            self._torn[key] = before.offset, size
            return False
        batch.positions[key] = self._take(chunk, before, batch)
        batch.bytes += chunk.end - before.offset
        return True

    def _take(self, chunk: Chunk, position: Position, batch: _Batch) -> Position:
        bad_lines, bad_bytes = position.bad_lines + chunk.bad_lines, position.bad_bytes
        bad_bytes += chunk.bad_bytes
        expected, newest, closed = position.next_sequence, position.newest, False
        epoch = position.epoch
        for line in chunk.lines:
            event = event_of(line, position.source, position.name)
            if event is None or line.sequence < expected:
                bad_lines += 1
                continue
            expected = line.sequence + 1
            newest = max(newest, line.time)
            for table, row in rows_of(event, line, position.source, position.name):
                batch.rows.setdefault(table, []).append(row)
            if isinstance(event, EpochMetrics):
                epoch = max(epoch, event.epoch if event.values else 0)
            elif isinstance(event, StageState) and event.attempt:
                self._listing.expect(ATTEMPT, event.attempt)
            elif isinstance(event, CLOSING):
                closed = True
                break
        return position._replace(
            offset=chunk.end,
            next_sequence=expected,
            bad_lines=bad_lines,
            bad_bytes=bad_bytes,
            newest=newest,
            epoch=epoch,
            closed=closed,
        )

    def _commit(self, connection: DuckDBPyConnection, batch: _Batch) -> None:
        if self._durable:
            for key in batch.positions:
                sync(Path(self._path(key)), data_only=True)
        batch.rows["journal"] = list(batch.positions.values())
        with transaction(connection):
            self._replace_positions(connection, batch.positions)
            for table, rows in batch.rows.items():
                self._tables[table].add(connection, rows)
        self._positions.update(batch.positions)
        self.grown |= {name for source, name in batch.positions if source == ATTEMPT}
        for position in batch.positions.values():
            if position.closed:
                self._listing.close(position.source, position.name)

    def _replace_positions(self, connection: DuckDBPyConnection, keys: Iterable[Key]) -> None:
        known = [key for key in keys if key in self._positions]
        if known:
            connection.execute(
                "delete from journal where (source, name) in"
                " (select (unnest($1::varchar[]), unnest($2::varchar[])))",
                [[source for source, _ in known], [name for _, name in known]],
            )


def _reaches(path: str, offset: int) -> bool:
    try:
        return os.stat(path).st_size >= offset
    except OSError:
        return False


MANY = 100
"""From so many rows on they are handed over as arrays: in a third of the time, per row."""
_INCOMING = "incoming"
_ARRAYS: dict[str, Any] = {"BIGINT": "i8", "INTEGER": "i4", "DOUBLE": "f8", "BOOLEAN": "?"}


class _Table:
    """Adds rows to one table: few as parameters of a statement, many as arrays.

    Args:
        name: The table.
        columns: Its columns, in the order of a row's values.
    """

    def __init__(self, name: str, columns: Sequence[Column]) -> None:
        given = [f"unnest(${number}::{c.kind}[])" for number, c in enumerate(columns, start=1)]
        taken = [f"{column.name}::{column.kind}" for column in columns]
        self._columns = columns
        self._one = _insert(name, columns, given)
        self._many = f"{_insert(name, columns, taken)} from {_INCOMING}"
        self._has_lists = any(column.kind.endswith("[]") for column in columns)

    def add(self, connection: DuckDBPyConnection, rows: Sequence[Row]) -> None:
        """Add rows; the caller has begun a transaction."""
        values = zip(*rows, strict=True)
        if len(rows) < MANY or self._has_lists:
            connection.execute(self._one, [[_storable(v) for v in column] for column in values])
            return
        pairs = zip(self._columns, values, strict=True)
        connection.register(_INCOMING, {column.name: _array(column, of) for column, of in pairs})
        try:
            connection.execute(self._many)
        finally:
            connection.unregister(_INCOMING)


def _insert(table: str, columns: Sequence[Column], values: Sequence[str]) -> str:
    return f"insert into {table} select " + ", ".join(
        # NaN in a list is null to DuckDB 1.5, in an array to every version
        f"coalesce({value}, 'nan')" if column.kind == "DOUBLE" and not column.is_nullable else value
        for column, value in zip(columns, values, strict=True)
    )


def _array(column: Column, values: Sequence[Any]) -> "NDArray[Any]":
    """Return the values of a column; those of texts, and of what may be null, are Python's own."""
    import numpy as np  # where nothing is new, as for most looks, it is not needed

    if column.is_nullable or column.kind not in _ARRAYS:
        array = np.empty(len(values), dtype=object)
        array[:] = [_storable(value) for value in values]
        return array
    return np.array(values, dtype=_ARRAYS[column.kind])


def _storable(value: Any) -> Any:
    """Return a value as the database takes it: a lone surrogate is replaced."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return [_storable(item) for item in value] if isinstance(value, list) else value


# Which sessions run now, and how: the newest one, if it has not ended and its process is alive; and
# those of other machines that shared storage tells of.

_OPEN = """
select session, host, boot, pid,
    (ordinal, started, session) = (select max((ordinal, started, session)) from session)
from session
where not exists (from session_end where session_end.session = session.session)
order by session
"""


def update_live_session(connection: DuckDBPyConnection, folder: StateFolder) -> bool:
    """Bring `live_session` and `stalled_attempt` up to date; return whether they changed."""
    live: list[tuple[str, bool, str]] = []
    stalled: list[tuple[str, str]] = []
    for session, host, boot, pid, is_newest in connection.execute(_OPEN).fetchall():
        home = folder.sessions / session
        if is_newest and _is_alive(folder, host, boot, pid):
            now: LiveStatus | None = read_live_status(home)
        else:
            now = read_elsewhere(home, boot_id())
        if now is not None:
            live.append((session, now.paused, now.stalled.get("", "")))
            stalled += [(name, why) for name, why in now.stalled.items() if name]
    stalled.sort()
    known = connection.execute("from live_session order by all").fetchall()
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
    """Whether the process behind a session runs.

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
