"""From journals to rows: a projection that can be rebuilt from the journals at any time.

First what a line adds to which table, then reading each line exactly once, then which session is
alive.
"""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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
from icckd.journal.live_status import read_live_status
from icckd.journal.owner import boot_id, owner_is_alive
from icckd.results.database import Column, transaction
from icckd.study.model import Convergence
from icckd.study.plan import digest_of
from icckd.study.plugins import plugins_in_journal
from icckd.study.tasks import read_back, task_metrics

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
         _json(event.environment), event.ordinal, _json(event.files)),
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
        """Whether the database holds rows of journals that are gone or were cut.

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
                sync(home / JOURNAL, data_only=True)
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
    """Return a value as the database takes it: a lone surrogate is replaced."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return [_storable(item) for item in value] if isinstance(value, list) else value


# Which session runs now, and how: the newest one, if it has not ended and its process is alive.

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
        now = read_live_status(folder.sessions / row[0])
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
