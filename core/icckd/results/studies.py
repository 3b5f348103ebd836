"""Studies: what their newest session planned."""

import json
from typing import Any

from icckd.errors import UsageError
from icckd.results.types import ArmRow, ChangeRow, StudyInfo
from icckd.spec.paths import nearest
from icckd.store.store import Store

_STUDIES = """
select study, revision, session, question, baseline, primary_metric, outcomes, family,
    smallest_effect, planned
from study
where is_latest
order by planned desc, study
"""
_ARMS = """
select session, arm, role, title, action, control_for, changes
from arm
where session in (select session from study where is_latest)
order by session, position
"""
_SEEDS = """
select session, seed
from planned_trial
where session in (select session from study where is_latest)
group by session, seed
order by session, min(position)
"""


def read_studies(store: Store) -> tuple[StudyInfo, ...]:
    """Return the latest revision of each study, the one planned last first."""
    arms: dict[str, list[ArmRow]] = {}
    for session, *row in store.select(_ARMS):
        arms.setdefault(session, []).append(_arm(row))
    seeds: dict[str, list[int]] = {}
    for session, seed in store.select(_SEEDS):
        seeds.setdefault(session, []).append(seed)
    return tuple(
        StudyInfo(
            name=name,
            revision=revision,
            question=question,
            baseline=baseline,
            primary=primary,
            metrics=tuple(metrics),
            arms=tuple(arms.get(session, ())),
            seeds=tuple(seeds.get(session, ())),
            smallest_effect=smallest_effect,
            family=tuple(family),
            planned_at=planned,
        )
        for (name, revision, session, question, baseline, primary, metrics, family,
             smallest_effect, planned) in store.select(_STUDIES)
    )  # fmt: skip


def find_study(studies: tuple[StudyInfo, ...], name: str | None) -> StudyInfo:
    """Return the study of that name, or the one planned last.

    Raises:
        UsageError: There is no such study, or none at all.
    """
    if not studies:
        raise UsageError(
            "no study was run in this state folder", hint="start one: icckd run STUDY.toml"
        )
    if name is None:
        return studies[0]
    for study in studies:
        if study.name == name:
            return study
    raise UsageError(
        f"no study {name!r} was run here", hint=nearest(name, [s.name for s in studies])
    )


def _arm(row: list[Any]) -> ArmRow:
    name, role, title, action, control_for, changes = row
    return ArmRow(
        name=name,
        role=role,
        title=title,
        action=action,
        control_for=control_for,
        changes=tuple(ChangeRow(**change) for change in json.loads(changes)),
    )
