"""Studies: what their newest session planned."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from icckd.errors import UsageError
from icckd.results.looks import read_added, read_ran, without_seeds
from icckd.results.types import ArmRow, ChangeRow, StudyInfo
from icckd.spec.paths import nearest
from icckd.store.store import Store

_STUDIES = """
select study.study, study.revision, session, study.question, study.baseline, study.primary_metric,
    study.outcomes, study.family, study.smallest_effect, study.planned, plan.resolved
from study
inner join study_revision as plan using (session)
where study.is_latest
order by study.planned desc, study.study
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
    added, ran = read_added(store), read_ran(store)
    return tuple(
        _study(row, arms.get(row[2], ()), tuple(seeds.get(row[2], ())), added, ran)
        for row in store.select(_STUDIES)
    )


def _study(
    row: tuple[Any, ...],
    arms: Sequence[ArmRow],
    seeds: tuple[int, ...],
    added: Mapping[str, tuple[int, ...]],
    ran: Mapping[tuple[str, str], set[int]],
) -> StudyInfo:
    (name, revision, _, question, baseline, primary, metrics, family, smallest_effect,
     planned, resolved) = row  # fmt: skip
    written = json.loads(resolved)
    rule = _table(_table(written, "study"), "sequential")
    earlier = ran.get((name, without_seeds(written)), set())
    return StudyInfo(
        name=name,
        revision=revision,
        question=question,
        baseline=baseline,
        primary=primary,
        metrics=tuple(metrics),
        arms=tuple(arms),
        seeds=seeds,
        smallest_effect=smallest_effect,
        family=tuple(family),
        planned_at=planned,
        resolved=written,
        sequential_effect=float(rule.get("effect", 1.0)),
        always_sequential=bool(rule.get("always", False)),
        added=added.get(name, ()),
        left_out=tuple(sorted(earlier - set(seeds))),
        stopped=_table(written, "stopped"),
    )


def _table(tables: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = tables.get(key)
    return found if isinstance(found, dict) else {}


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
