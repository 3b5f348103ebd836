"""Which seeds were added after results had been seen, and which were left out again.

The journals tell: a seed counts as added when the first session of the study that planned it for
the stages of today's plan started after a student of that plan was complete.
"""

import json
from typing import Any

from icckd.store.store import Store

_ADDED = """
with mine as (
    select study.study, trial_stage.seed, trial_stage.stage
    from study
    inner join trial_stage using (session)
    where study.is_latest
),
first_planned as (
    select mine.study, mine.seed, min(session.started) as time
    from mine
    inner join trial_stage on trial_stage.stage = mine.stage
    inner join session on session.session = trial_stage.session and session.study = mine.study
    group by all
),
first_seen as (
    select mine.study, min(attempt_end.ended) as time
    from mine
    inner join attempt using (stage)
    inner join session on session.session = attempt.session and session.study = mine.study
    inner join attempt_end using (attempt)
    where attempt_end.state = 'complete' and attempt.kind = 'student'
    group by mine.study
)
select first_planned.study, first_planned.seed
from first_planned
inner join first_seen using (study)
where first_planned.time > first_seen.time
order by all
"""
_RAN = """
select distinct session.study, plan.resolved, trial_stage.seed
from session
inner join study_revision as plan using (session)
inner join trial_stage using (session)
inner join attempt using (stage)
inner join attempt_end using (attempt)
where attempt_end.state = 'complete' and attempt.kind = 'student'
order by all
"""


def read_added(store: Store) -> dict[str, tuple[int, ...]]:
    """Return the added seeds of each study that has any."""
    found: dict[str, list[int]] = {}
    for study, seed in store.select(_ADDED):
        found.setdefault(study, []).append(seed)
    return {study: tuple(seeds) for study, seeds in found.items()}


def read_ran(store: Store) -> dict[tuple[str, str], set[int]]:
    """Return the seeds that have results, by study and what it says apart from its seeds."""
    found: dict[tuple[str, str], set[int]] = {}
    for study, resolved, seed in store.select(_RAN):
        found.setdefault((study, without_seeds(json.loads(resolved))), set()).add(seed)
    return found


def without_seeds(resolved: dict[str, Any]) -> str:
    """Return what a study says apart from its seeds, as text to compare."""
    rest = {key: value for key, value in resolved.items() if key not in ("study", "stopped")}
    header = resolved.get("study")
    apart = ("seeds", "sequential")  # how many seeds, and by which rule they were added
    rest["study"] = {k: v for k, v in header.items() if k not in apart} if header else None
    return json.dumps(rest, sort_keys=True)
