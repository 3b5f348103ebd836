"""Attempts behind one trial."""

import json
import os

from icckd.journal.folder import OUTPUT
from icckd.results.types import AttemptRow, StudyInfo
from icckd.store.store import Store

_TAIL_BYTES = 1 << 14
_ATTEMPTS = """
select
    attempt.attempt, attempt.stage, attempt.kind, attempt.replicate, attempt_state.state,
    attempt_state.epoch, attempt_state.epochs, attempt_state.started, attempt_state.seconds,
    attempt_state.reason, attempt.host, attempt.environment, attempt.numerics, attempt.settings,
    coalesce(attempt_end.failure_hint, ''), coalesce(attempt_end.failure_traceback, ''),
    attempt_state.cause
from study
inner join trial_stage using (session)
inner join attempt using (stage)
inner join attempt_state using (attempt)
left join attempt_end using (attempt)
where study.is_latest and study.study = ? and trial_stage.arm = ? and trial_stage.seed = ?
order by trial_stage.position, attempt_state.ordinal, attempt_state.started
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
            cause=row[16],
        )
        for row in store.select(_ATTEMPTS, [study.name, arm, seed])
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
