"""How far a study is: trials, stages, the queue, attempts, requests and log lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from icckd.journal.folder import OUTPUT
from icckd.results.types import (
    Attempt,
    Cost,
    Estimate,
    LogEntry,
    Outcomes,
    Progress,
    SessionStatus,
    StateCounts,
    StudyInfo,
    TrialStatus,
)
from icckd.study.records import State

if TYPE_CHECKING:
    from icckd.results.store import Store

_TRIALS = """
select arm, seed, state, stage_kind, epoch, epochs, attempts, seconds, reason
from every_trial
where study = ? and revision = ? {}
order by arm_position, seed
"""
_UNSETTLED = "and state not in ('complete', 'pending')"
_TRIAL_COUNTS = """
select state, count(*)
from every_trial
where study = ? and revision = ?
group by state
"""
_OF_STAGES = """
from study
inner join stage using (session)
inner join stage_now using (stage)
where study.study = ? and study.revision = ?
"""
_STAGE_COUNTS = f"select stage_now.state, count(distinct stage.stage) {_OF_STAGES} group by all"
_STAGES_LEFT = f"""
select
    any_value(stage_now.kind), any_value(stage_now.shape), any_value(stage_now.state),
    any_value(stage_now.epoch), any_value(stage_now.epochs), stage.stage, any_value(stage.inputs)
{_OF_STAGES} and stage_now.state in ('pending', 'running')
group by stage.stage
"""
_BEGUN = f"""
select distinct stage.stage, stage_now.kind, stage_now.shape, stage_now.seconds / stage_now.epoch
{_OF_STAGES} and stage_now.epoch > 0
"""
_SESSION = """
select
    session.started, session_end.session is not null, live_session.session is not null,
    coalesce(live_session.paused, false), coalesce(live_session.stalled, '')
from study
inner join session using (session)
left join session_end using (session)
left join live_session using (session)
where study.study = ? and study.revision = ?
"""
_WAITING = "select reason from stalled_attempt order by reason limit 1"
_NEWEST = """
select max(journal.newest)
from journal
where (source = 'session' and name in
        (select unnest(sessions) from revision where study = $1 and revision = $2))
    or (source = 'attempt' and name in (
        select attempt.attempt
        from attempt
        inner join stage using (stage)
        inner join study on study.session = stage.session
        where study.study = $1 and study.revision = $2))
"""
_WORKERS = """
select count(distinct coalesce(nullif(attempt.pack, ''), stage_now.stage))
from stage_now
inner join stage using (stage)
inner join live_session using (session)
left join attempt on attempt.attempt = stage_now.attempt
where stage_now.state = 'running'
"""
_OUTCOMES = """
select study, revision, metric, arm, seed, value
from every_outcome
{}
order by study, revision, metric, arm, seed
"""
_PACKED = f"""
select count(*) > 0
{_OF_STAGES} and stage_now.attempt in (select attempt from attempt where pack <> '')
"""
_VALUES_OF = """
select arm, seed, value
from every_outcome
where study = ? and revision = ? and metric = ? and arm in ({}) and seed in ({})
"""
_MEANS = """
select arm, avg(value), count(*)
from every_outcome
where study = ? and revision = ? and metric = ? and isfinite(value)
group by arm
"""
_ESTIMATES = "select shape, seconds, memory_bytes, disk_bytes, count from stage_cost"

_COST_OF_SESSION = """
select count(*), max(memory_bytes), coalesce(sum(disk_bytes), 0)
from attempt_cost
where session = ?
"""


@dataclass(frozen=True, slots=True)
class _Stage:
    kind: str
    shape: str
    state: State
    epoch: int
    epochs: int
    digest: str
    inputs: str


def read_estimates(store: Store) -> dict[str, Estimate]:
    """Return what complete stages took, by shape."""
    return {
        shape: Estimate(seconds=seconds, memory_bytes=memory, disk_bytes=disk, count=count)
        for shape, seconds, memory, disk, count in store.select(_ESTIMATES)
    }


def read_cost(store: Store, session: str, seconds: float) -> Cost:
    """Return what the stages that a session completed took, which lasted so many seconds."""
    [(stages, memory, disk)] = store.select(_COST_OF_SESSION, [session])
    return Cost(stages=stages, seconds=seconds, memory_bytes=memory, disk_bytes=disk)


def read_outcomes(store: Store, study: StudyInfo) -> Outcomes:
    """Return every outcome by metric, arm and seed."""
    return _outcomes(store, "where study = ? and revision = ?", study.key).get(study.key, {})


def read_every_outcome(store: Store) -> Mapping[tuple[str, str], Outcomes]:
    """Return the outcomes of all revisions by name and revision: one question, not one for each."""
    return _outcomes(store)


def _outcomes(
    store: Store, where: str = "", key: Sequence[str] = ()
) -> dict[tuple[str, str], dict[str, dict[str, dict[int, float]]]]:
    found: dict[tuple[str, str], dict[str, dict[str, dict[int, float]]]] = {}
    last: tuple[str, str, str, str] | None = None
    by_seed: dict[int, float] = {}
    for study, revision, metric, arm, seed, value in store.select(_OUTCOMES.format(where), key):
        if (study, revision, metric, arm) != last:  # they come together
            last, by_seed = (study, revision, metric, arm), {}
            found.setdefault((study, revision), {}).setdefault(metric, {})[arm] = by_seed
        by_seed[seed] = value
    return found


def read_values_of(
    store: Store, study: StudyInfo, metric: str, trials: Collection[tuple[str, int]]
) -> dict[tuple[str, int], float]:
    """Return an outcome of some trials, by arm and seed; what others came to is not read."""
    arms, seeds = sorted({arm for arm, _ in trials}), sorted({seed for _, seed in trials})
    places = [", ".join("?" * len(each)) for each in (arms, seeds)]
    parameters = [*study.key, metric, *arms, *seeds]
    rows = store.select(_VALUES_OF.format(*places), parameters) if trials else []
    return {(arm, seed): value for arm, seed, value in rows if (arm, seed) in trials}


def read_means(store: Store, study: StudyInfo, metric: str) -> dict[str, tuple[float, int]]:
    """Return mean and number of the finite values of an outcome, by arm."""
    rows = store.select(_MEANS, [*study.key, metric])
    return {arm: (mean, count) for arm, mean, count in rows}


def read_trials(
    store: Store, study: StudyInfo, primary: Mapping[str, Mapping[int, float]]
) -> tuple[TrialStatus, ...]:
    """Return every trial, arm by arm in the study's order.

    Args:
        store: Where the rows are.
        study: The study.
        primary: Values of the primary outcome by arm and seed.
    """
    rows = store.select(_TRIALS.format(""), list(study.key))
    return tuple(_trial(row, study, primary) for row in rows)


def read_unsettled(store: Store, study: StudyInfo) -> tuple[TrialStatus, ...]:
    """Return the trials that are neither complete nor pending, in the same order."""
    rows = store.select(_TRIALS.format(_UNSETTLED), list(study.key))
    return tuple(_trial(row, study, {}) for row in rows)


def _trial(
    row: tuple[Any, ...], study: StudyInfo, primary: Mapping[str, Mapping[int, float]]
) -> TrialStatus:
    arm, seed, state, stage, epoch, epochs, attempts, seconds, reason = row
    value = primary.get(arm, {}).get(seed) if state == "complete" else None
    paired = primary.get(study.baseline, {}).get(seed) if arm != study.baseline else None
    return TrialStatus(
        arm=arm,
        seed=seed,
        state=state,
        stage=stage,
        epoch=epoch,
        epochs=epochs,
        attempts=attempts,
        seconds=seconds,
        primary=value,
        difference=None if value is None or paired is None else value - paired,
        reason=reason,
    )


def read_is_packed(store: Store, study: StudyInfo) -> bool:
    """Return whether a stage of a study was trained in a pack."""
    [(found,)] = store.select(_PACKED, list(study.key))
    return bool(found)


def read_progress(
    store: Store, study: StudyInfo, estimates: Callable[[], Mapping[str, Estimate]]
) -> Progress:
    """Return where a study stands. What stages of a shape take is asked for where any are left."""
    key = list(study.key)
    started, has_ended, is_live, paused, stalled = store.select(_SESSION, key)[0]
    workers = store.select(_WORKERS)[0][0] if is_live else 0
    if is_live and not workers and not stalled:  # nothing has begun: what is waited for says why
        stalled = next((why for (why,) in store.select(_WAITING)), "")
    status: SessionStatus = "live" if is_live else "ended" if has_ended else "interrupted"
    stages = StateCounts(**dict(store.select(_STAGE_COUNTS, key)))
    eta: float | None = 0.0
    if stages.pending or stages.running:
        eta = _eta(store, key, estimates(), workers) if workers else None
    return Progress(
        trials=StateCounts(**dict(store.select(_TRIAL_COUNTS, key))),
        stages=stages,
        session=status,
        started=started,
        newest=store.select(_NEWEST, key)[0][0],
        eta_seconds=eta,
        workers=workers,
        paused=paused,
        stalled=stalled,
    )


def _eta(
    store: Store, key: list[str], estimates: Mapping[str, Estimate], workers: int
) -> float | None:
    """Return the seconds left: work over workers, but no less than the longest chain of stages."""
    stages = [_Stage(*row) for row in store.select(_STAGES_LEFT, key)]
    if not {stage.shape for stage in stages} <= estimates.keys():
        epochs = _EpochSeconds(store.select(_BEGUN, key))
    left: dict[str, float] = {}
    for stage in stages:
        if stage.shape in estimates:
            seconds = estimates[stage.shape].seconds
        else:
            an_epoch = epochs.of(stage)
            if an_epoch is None:
                return None
            seconds = an_epoch * stage.epochs
        done = stage.epoch / stage.epochs if stage.state == "running" and stage.epochs else 0.0
        left[stage.digest] = seconds * max(0.0, 1.0 - done)
    chains = [
        seconds + sum(left.get(digest, 0.0) for digest in _digests(stage.inputs))
        for stage, seconds in zip(stages, left.values(), strict=True)
    ]
    return max(sum(left.values()) / workers, *chains)


@lru_cache(maxsize=1 << 15)  # asked for again whenever an epoch ends
def _digests(inputs: str) -> tuple[str, ...]:
    return tuple(json.loads(inputs).values())


class _EpochSeconds:
    """What an epoch took in stages that began: of the same shape, else kind, else of any."""

    def __init__(self, begun: Sequence[tuple[str, str, str, float]]) -> None:
        found: dict[tuple[str, str], list[float]] = {}
        for _, kind, shape, seconds in begun:
            for alike in {("shape", f"{kind} {shape}"), ("kind", kind), ("any", "")}:
                found.setdefault(alike, []).append(seconds)
        self._means = {alike: fmean(seconds) for alike, seconds in found.items()}

    def of(self, stage: _Stage) -> float | None:
        """Return the mean for a stage, None where none of its study has begun."""
        alike = (("shape", f"{stage.kind} {stage.shape}"), ("kind", stage.kind), ("any", ""))
        return next((self._means[key] for key in alike if key in self._means), None)


# The plan as a queue: every stage in the plan's order, and what the session was asked.

_QUEUE_STAGES = """
with users as (
    select stage,
        list(arm order by arm_position, seed) as arms,
        list(seed order by arm_position, seed) as seeds
    from every_stage_of_trial
    where study = $1 and revision = $2
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
where study.study = $1 and study.revision = $2
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
class StageStatus:
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
class AnsweredRequest:
    """A request that a session answered."""

    time: float
    kind: str
    answer: str
    name: str


def read_queue(
    store: Store, study: StudyInfo, estimates: Mapping[str, Estimate]
) -> tuple[StageStatus, ...]:
    """Return every stage of the newest plan, in its order."""
    spreads = dict(store.select(_SPREADS))
    rows = []
    for row in store.select(_QUEUE_STAGES, list(study.key)):
        (stage, kind, shape, replicate, state, epoch, epochs, seconds, started, attempts, attempt,
         reason, arms, seeds, host, boot, pid) = row  # fmt: skip
        whole = estimates[shape].seconds if shape in estimates else None
        done = epoch / epochs if state == "running" and epochs else 0.0
        if whole is None and state == "running" and epoch:
            whole = seconds * epochs / epoch
        open_ = state in ("running", "pending")
        rows.append(
            StageStatus(
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


def read_requests(store: Store, study: StudyInfo) -> tuple[AnsweredRequest, ...]:
    """Return what sessions of this study were asked and answered, oldest first."""
    return tuple(
        AnsweredRequest(time=time, kind=kind, answer=answer, name=name)
        for time, kind, answer, name in store.select(_REQUESTS, [study.name])
    )


# Attempts behind one trial.

_TAIL_BYTES = 1 << 14
_ATTEMPTS = """
select
    attempt.attempt, attempt.stage, attempt.kind, attempt.replicate, attempt_state.state,
    attempt_state.epoch, attempt_state.epochs, attempt_state.started, attempt_state.seconds,
    attempt_state.reason, attempt.host, attempt.environment, attempt.numerics, attempt.settings,
    coalesce(attempt_end.failure_hint, ''), coalesce(attempt_end.failure_traceback, ''),
    attempt_state.cause
from every_stage_of_trial as need
inner join attempt using (stage)
inner join attempt_state on attempt_state.attempt = attempt.attempt
left join attempt_end on attempt_end.attempt = attempt.attempt
where need.study = ? and need.revision = ? and need.arm = ? and need.seed = ?
    and attempt_state.state <> 'superseded'
order by need.position, attempt_state.ordinal, attempt_state.started
"""


def read_attempts(store: Store, study: StudyInfo, arm: str, seed: int) -> tuple[Attempt, ...]:
    """Return the attempts at the stages of a trial that count, stage by stage, oldest first."""
    return tuple(
        Attempt(
            attempt=row[0],
            stage=row[1],
            kind=row[2],
            replicate=row[3],
            state=row[4],
            epoch=row[5],
            epochs=row[6],
            started=row[7],
            seconds=row[8],
            reason=row[9],
            host=row[10],
            environment=json.loads(row[11]),
            numerics=json.loads(row[12]),
            settings=json.loads(row[13]),
            hint=row[14],
            traceback=row[15],
            cause=row[16],
        )
        for row in store.select(_ATTEMPTS, [*study.key, arm, seed])
    )


def output_tail(store: Store, attempt: str, lines: int) -> tuple[str, ...]:
    """Return the last lines that an attempt's process printed, or none."""
    try:
        with (store.folder.attempts / attempt / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-lines:])


# Log lines of a study's stages and sessions.

_COLUMNS = "select time, level, arm, seed, stage_kind, text from every_log"
_ORDER = "order by time desc, source, name desc, sequence desc, use_number desc limit ?"


def read_log(
    store: Store, study: StudyInfo, limit: int, *, arm: str | None, seed: int | None
) -> tuple[LogEntry, ...]:
    """Return the newest lines, the oldest of them first.

    Without arm or seed a line of a shared stage comes once, under the first trial that needs it.
    """
    filters = ["study = ?", "revision = ?"]
    parameters: list[str | int] = [*study.key]
    if arm is not None:
        filters.append("arm = ?")
        parameters.append(arm)
    if seed is not None:
        filters.append("seed = ?")
        parameters.append(seed)
    sql = f"{_COLUMNS} where {' and '.join(filters)}"
    sql += (
        " qualify row_number() over (partition by source, name, sequence order by use_number) = 1"
    )
    rows = store.select(f"{sql} {_ORDER}", [*parameters, limit])
    return tuple(_line(row) for row in reversed(rows))


def _line(row: tuple[Any, ...]) -> LogEntry:
    time, level, arm, seed, stage, text = row
    return LogEntry(time=time, level=level, arm=arm, seed=seed, stage=stage, text=text)
