"""What a journal line adds to which table. Pure."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from icckd.journal.events import (
    EVENT,
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Event,
    LogLine,
    Planned,
    RequestAnswered,
    Resumed,
    SessionClosed,
    SessionHeader,
    StageOutcomes,
    StageState,
)
from icckd.journal.line import Line
from icckd.spec.study import Convergence

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
         event.version, event.arguments, event.ordinal),
    )  # fmt: skip


def _planned(event: Planned, line: Line, name: str) -> Iterator[TableRow]:
    yield "study_revision", (name, line.time, *_study(event))
    for position, arm in enumerate(event.arms):
        changes = _json([change.model_dump(mode="json") for change in arm.changes])
        yield (
            "arm",
            (name, position, arm.name, arm.role, arm.title, arm.action, arm.control_for,
             arm.metrics, changes),
        )  # fmt: skip
    for position, trial in enumerate(event.trials):
        yield "planned_trial", (name, position, trial.arm, trial.seed)
        for place, stage in enumerate(trial.stages):
            yield "trial_stage", (name, trial.arm, trial.seed, place, stage)
    for position, planned in enumerate(event.stages):
        yield (
            "stage",
            (name, position, planned.digest, planned.kind, planned.shape, planned.seed,
             planned.replicate, planned.epochs, _json(planned.inputs)),
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
         _json(event.environment), event.ordinal),
    )  # fmt: skip


def _resumption(event: Resumed, line: Line, name: str) -> Iterator[TableRow]:
    yield "resumption", (name, event.attempt, event.epoch, event.seconds)


def _metrics(event: EpochMetrics, line: Line, name: str) -> Iterator[TableRow]:
    for metric, value in event.values.items():
        yield "metric", (name, event.epoch, metric, value)


def _recorded(event: StageOutcomes, line: Line, name: str) -> Iterator[TableRow]:
    for metric, value in event.values.items():
        yield "recorded", (name, metric, value)


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
    (ATTEMPT, LogLine): _log_of(ATTEMPT),
    (ATTEMPT, ArtifactPublished): _artifact,
    (ATTEMPT, AttemptClosed): _attempt_end,
}
