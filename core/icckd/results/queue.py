"""The plan as a queue: every stage in the plan's order, and what the session was asked."""

from collections.abc import Mapping
from dataclasses import dataclass

from icckd.journal.events import State
from icckd.results.types import Estimate, StudyInfo
from icckd.store.store import Store

_STAGES = """
with users as (
    select stage, min(trial_stage.seed) as seed,
        list(trial_stage.arm order by arm.position, trial_stage.seed) as arms,
        list(trial_stage.seed order by arm.position, trial_stage.seed) as seeds
    from trial_stage
    inner join study using (session)
    inner join arm on arm.session = trial_stage.session and arm.arm = trial_stage.arm
    where study.is_latest and study.study = $1
    group by stage
)
select stage.stage, stage.kind, stage.shape, stage.replicate, stage_now.state, stage_now.epoch,
    stage_now.epochs, stage_now.seconds, stage_now.started, stage_now.attempts, stage_now.attempt,
    stage_now.reason, users.arms, users.seeds, attempt.host, attempt.boot, attempt.pid
from study
inner join stage using (session)
inner join stage_now using (stage)
inner join users using (stage)
left join attempt on attempt.attempt = stage_now.attempt
where study.is_latest and study.study = $1
order by stage.position
"""
_SPREADS = """
select attempt.shape, stddev_samp(attempt_end.seconds)
from attempt
inner join attempt_end using (attempt)
where attempt_end.state = 'complete'
group by attempt.shape
having count(*) > 1
"""
_REQUESTS = """
select request.time, request.kind, request.answer, request.request
from request
inner join session using (session)
where session.study = ?
order by request.time, request.sequence
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A stage of the plan. `trials` are the arms and seeds that need it.

    `left` is what it still takes in seconds and `spread` the standard deviation of that over
    complete attempts of its shape, `memory` their median peak in bytes; None where nothing is
    known. `pid` is that of its attempt, which ran on `host` since its start `boot`.
    """

    stage: str
    kind: str
    replicate: int
    state: State
    epoch: int
    epochs: int
    seconds: float
    started: float | None
    attempts: int
    attempt: str | None
    reason: str
    trials: tuple[tuple[str, int], ...]
    left: float | None
    spread: float | None
    memory: float | None
    host: str
    boot: str
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A request that a session answered."""

    time: float
    kind: str
    answer: str
    name: str


def read_queue(
    store: Store, study: StudyInfo, estimates: Mapping[str, Estimate]
) -> tuple[QueueRow, ...]:
    """Return every stage of the newest plan, in its order."""
    spreads = dict(store.select(_SPREADS))
    rows = []
    for row in store.select(_STAGES, [study.name]):
        (stage, kind, shape, replicate, state, epoch, epochs, seconds, started, attempts, attempt,
         reason, arms, seeds, host, boot, pid) = row  # fmt: skip
        whole = estimates[shape].seconds if shape in estimates else None
        done = epoch / epochs if state == "running" and epochs else 0.0
        if whole is None and state == "running" and epoch:
            whole = seconds * epochs / epoch
        open_ = state in ("running", "pending")
        rows.append(
            QueueRow(
                stage=stage,
                kind=kind,
                replicate=replicate,
                state=state,
                epoch=epoch,
                epochs=epochs,
                seconds=seconds,
                started=started,
                attempts=attempts,
                attempt=attempt,
                reason=reason,
                trials=tuple(zip(arms, seeds, strict=True)),
                left=whole * (1.0 - done) if whole is not None and open_ else None,
                spread=spreads[shape] * (1.0 - done) if shape in spreads and open_ else None,
                memory=estimates[shape].memory_bytes if shape in estimates else None,
                host=host or "",
                boot=boot or "",
                pid=pid,
            )
        )
    return tuple(rows)


def read_requests(store: Store, study: StudyInfo) -> tuple[RequestRow, ...]:
    """Return what sessions of this study were asked and answered, oldest first."""
    return tuple(
        RequestRow(time=time, kind=kind, answer=answer, name=name)
        for time, kind, answer, name in store.select(_REQUESTS, [study.name])
    )
