"""How far a study is, trial by trial and as a whole."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from icckd.journal.events import State
from icckd.results.types import (
    Estimate,
    Progress,
    SessionStatus,
    StateCounts,
    StudyInfo,
    TrialRow,
)
from icckd.store.store import Store

_TRIALS = """
select arm, seed, state, stage_kind, epoch, epochs, attempts, seconds, reason
from trial
where study = ?
order by arm_position, seed
"""
_STAGES = """
select
    any_value(stage_now.kind), any_value(stage_now.shape), any_value(stage_now.state),
    any_value(stage_now.epoch), any_value(stage_now.epochs), any_value(stage_now.seconds),
    stage.stage, any_value(stage.inputs)
from study
inner join stage using (session)
inner join stage_now using (stage)
where study.is_latest and study.study = ?
group by stage.stage
"""
_SESSION = """
select
    session.started, session_end.session is not null, live_session.session is not null,
    coalesce(live_session.paused, false), coalesce(live_session.stalled, '')
from study
inner join session using (session)
left join session_end using (session)
left join live_session using (session)
where study.is_latest and study.study = ?
"""
_NEWEST = """
select max(journal.newest)
from journal
where (source = 'session' and name in
        (select session from session where study = $1 and revision = $2))
    or (source = 'attempt' and name in (
        select attempt.attempt
        from attempt
        inner join stage using (stage)
        inner join study on study.session = stage.session
        where study.is_latest and study.study = $1))
"""
_WORKERS = """
select count(*)
from stage_now
inner join stage using (stage)
inner join live_session using (session)
where stage_now.state = 'running'
"""
_ESTIMATES = "select shape, seconds, memory_bytes, disk_bytes, count from stage_cost"


@dataclass(frozen=True, slots=True)
class _Stage:
    kind: str
    shape: str
    state: State
    epoch: int
    epochs: int
    seconds: float
    digest: str
    inputs: str


def read_estimates(store: Store) -> dict[str, Estimate]:
    """Return what complete stages took, by shape."""
    return {
        shape: Estimate(seconds=seconds, memory_bytes=memory, disk_bytes=disk, count=count)
        for shape, seconds, memory, disk, count in store.select(_ESTIMATES)
    }


def read_trials(
    store: Store, study: StudyInfo, primary: Mapping[str, Mapping[int, float]]
) -> tuple[TrialRow, ...]:
    """Return every trial, arm by arm in the study's order.

    Args:
        store: Where the rows are.
        study: The study.
        primary: Values of the primary outcome by arm and seed.
    """
    return tuple(_trial(row, study, primary) for row in store.select(_TRIALS, [study.name]))


def _trial(
    row: tuple[Any, ...], study: StudyInfo, primary: Mapping[str, Mapping[int, float]]
) -> TrialRow:
    arm, seed, state, stage, epoch, epochs, attempts, seconds, reason = row
    value = primary.get(arm, {}).get(seed) if state == "complete" else None
    paired = primary.get(study.baseline, {}).get(seed) if arm != study.baseline else None
    return TrialRow(
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


def read_progress(
    store: Store, study: StudyInfo, trials: tuple[TrialRow, ...], estimates: Mapping[str, Estimate]
) -> Progress:
    """Return where a study stands."""
    stages = [_Stage(*row) for row in store.select(_STAGES, [study.name])]
    started, has_ended, is_live, paused, stalled = store.select(_SESSION, [study.name])[0]
    workers = store.select(_WORKERS)[0][0] if is_live else 0
    status: SessionStatus = "live" if is_live else "ended" if has_ended else "interrupted"
    return Progress(
        trials=_counts([trial.state for trial in trials]),
        stages=_counts([stage.state for stage in stages]),
        session=status,
        started=started,
        newest=store.select(_NEWEST, [study.name, study.revision])[0][0],
        eta_seconds=_eta(stages, estimates, workers),
        workers=workers,
        paused=paused,
        stalled=stalled,
    )


def _counts(states: list[State]) -> StateCounts:
    counts: dict[str, int] = Counter(states)
    return StateCounts(**counts)


def _eta(stages: list[_Stage], estimates: Mapping[str, Estimate], workers: int) -> float | None:
    """Return the seconds left: work over workers, but no less than the longest chain of stages."""
    unfinished = [stage for stage in stages if stage.state in ("pending", "running")]
    if not unfinished:
        return 0.0
    left: dict[str, float] = {}
    for stage in unfinished:
        seconds = _whole(stage, stages, estimates)
        if seconds is None or not workers:
            return None
        done = stage.epoch / stage.epochs if stage.state == "running" and stage.epochs else 0.0
        left[stage.digest] = seconds * max(0.0, 1.0 - done)
    chains = [
        seconds + sum(left.get(digest, 0.0) for digest in json.loads(stage.inputs).values())
        for stage, seconds in zip(unfinished, left.values(), strict=True)
    ]
    return max(sum(left.values()) / workers, *chains)


def _whole(stage: _Stage, stages: list[_Stage], estimates: Mapping[str, Estimate]) -> float | None:
    """Return what a stage takes from its start: as others of its shape, else of its kind."""
    if stage.shape in estimates:
        return estimates[stage.shape].seconds
    alike = [s for s in stages if s.kind == stage.kind and s.epoch > 0]
    rates = [s.seconds / s.epoch for s in alike if s.shape == stage.shape]
    rates = rates or [s.seconds / s.epoch for s in alike]
    return fmean(rates) * stage.epochs if rates else None
