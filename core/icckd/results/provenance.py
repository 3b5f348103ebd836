"""Where the results of a study come from: sessions, stages, machines, data, code."""

import json
from dataclasses import dataclass
from typing import Any

from icckd.results.types import StudyInfo
from icckd.store.store import Store

_SESSIONS = """
select distinct session.session, session.started, session.arguments, session.version, session.host
from study
inner join trial_stage using (session)
inner join stage_now using (stage)
inner join attempt using (attempt)
inner join session on session.session = attempt.session
where study.is_latest and study.study = ? and stage_now.state = 'complete'
order by session.started, session.session
"""
_STAGES = """
select
    stage_now.stage, stage_now.kind, attempt.attempt, attempt.session, attempt.seed,
    attempt.replicate, attempt.fingerprint, attempt.numerics, attempt.code_epoch, attempt.host,
    attempt.environment, list(distinct trial_stage.arm order by trial_stage.arm)
from study
inner join trial_stage using (session)
inner join stage_now using (stage)
inner join attempt using (attempt)
where study.is_latest and study.study = ? and stage_now.state = 'complete'
group by all
order by stage_now.kind desc, attempt.seed, stage_now.stage
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One `icckd run` behind the results; `started` is Unix seconds."""

    session: str
    started: float
    arguments: tuple[str, ...]
    version: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """The attempt that stands for a complete stage, with what its bits depend on."""

    stage: str
    kind: str
    attempt: str
    session: str
    seed: int
    replicate: int
    fingerprint: str
    numerics: dict[str, Any]
    code_epoch: int
    host: str
    environment: dict[str, str]
    arms: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Sessions and stages behind the results of a study."""

    sessions: tuple[SessionRow, ...]
    stages: tuple[StageRow, ...]


def read_provenance(store: Store, study: StudyInfo) -> Provenance:
    """Return where the results of a study come from, oldest session first."""
    return Provenance(
        sessions=tuple(
            SessionRow(
                session=row[0], started=row[1], arguments=tuple(row[2]), version=row[3], host=row[4]
            )
            for row in store.select(_SESSIONS, [study.name])
        ),
        stages=tuple(
            StageRow(
                stage=row[0], kind=row[1], attempt=row[2], session=row[3], seed=row[4],
                replicate=row[5], fingerprint=row[6], numerics=json.loads(row[7]),
                code_epoch=row[8], host=row[9], environment=json.loads(row[10]),
                arms=tuple(row[11]),
            )
            for row in store.select(_STAGES, [study.name])
        ),
    )  # fmt: skip
