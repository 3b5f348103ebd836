"""Attempts behind one trial."""

import json

from icckd.results.types import AttemptRow, StudyInfo
from icckd.store.store import Store

_ATTEMPTS = """
select
    attempt.attempt, attempt.stage, attempt.kind, attempt.replicate, attempt_state.state,
    attempt_state.epoch, attempt_state.epochs, attempt_state.started, attempt_state.seconds,
    attempt_state.reason, attempt.host, attempt.environment, attempt.numerics, attempt.settings,
    coalesce(attempt_end.failure_hint, ''), coalesce(attempt_end.failure_traceback, '')
from study
inner join trial_stage using (session)
inner join attempt using (stage)
inner join attempt_state using (attempt)
left join attempt_end using (attempt)
where study.is_latest and study.study = ? and trial_stage.arm = ? and trial_stage.seed = ?
order by trial_stage.position, attempt_state.started
"""


def read_attempts(store: Store, study: StudyInfo, arm: str, seed: int) -> tuple[AttemptRow, ...]:
    """Return every attempt at the stages of a trial, stage by stage, oldest first."""
    return tuple(
        AttemptRow(
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
        )
        for row in store.select(_ATTEMPTS, [study.name, arm, seed])
    )
