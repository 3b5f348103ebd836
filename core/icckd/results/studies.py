"""Studies and their revisions as sessions planned them, and where their results come from.

The journals tell which seeds were added after results had been seen: those that the first session
of the study to plan them for the stages of today's plan planned after a student of that plan was
complete.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from icckd.errors import UsageError
from icckd.results.types import StudyInfo
from icckd.study.metrics import Metric
from icckd.study.paths import Change, nearest
from icckd.study.records import ENGINE_KINDS, Arm, Hypothesis, Rule

if TYPE_CHECKING:
    from icckd.results.store import Store
    from icckd.study.observed import Observed

_JUDGED = """case when split_part(plan.primary_metric, '.', 1) in ('teacher', 'student')
        then 'student' else split_part(plan.primary_metric, '.', 1) end"""
# The kind of stage whose end is a result that somebody can have seen.
_PLANNED_AND_SEEN = f"""
with mine as (
    select study, revision, seed, stage
    from every_stage_of_trial
),
first_planned as (
    select mine.study, mine.revision, mine.seed, min(session.started) as time
    from mine
    inner join trial_stage on trial_stage.stage = mine.stage
    inner join session on session.session = trial_stage.session and session.study = mine.study
    group by all
),
first_seen as (
    select mine.study, mine.revision, mine.seed, min(attempt_end.ended) as time
    from mine
    inner join attempt using (stage)
    inner join session on session.session = attempt.session and session.study = mine.study
    inner join study_revision as plan on plan.session = session.session
    inner join attempt_end using (attempt)
    where attempt_end.state = 'complete' and attempt.kind = {_JUDGED}
    group by mine.study, mine.revision, mine.seed
)
select
    first_planned.study, first_planned.revision, first_planned.seed, first_planned.time,
    first_seen.time
from first_planned
left join first_seen using (study, revision, seed)
order by all
"""
_DECLARED = """
with mine as (
    select distinct study, revision, stage
    from every_stage_of_trial
)
select mine.study, mine.revision, session.started, plan.rule, plan.resolved
from mine
inner join trial_stage using (stage)
inner join session on session.session = trial_stage.session and session.study = mine.study
inner join study_revision as plan on plan.session = session.session
group by
    mine.study, mine.revision, session.session, session.started, session.ordinal, plan.rule,
    plan.resolved
order by mine.study, mine.revision, session.ordinal, session.started, session.session
"""
_RAN = f"""
select distinct session.study, plan.resolved, trial_stage.seed
from session
inner join study_revision as plan using (session)
inner join trial_stage using (session)
inner join attempt using (stage)
inner join attempt_end using (attempt)
where attempt_end.state = 'complete' and attempt.kind = {_JUDGED}
order by all
"""


Key = tuple[str, str]
"""Study and revision."""


@dataclass(frozen=True, slots=True)
class Added:
    """Seeds that were added after results had been seen; `later`: after results of such seeds.

    `first_result` is when the study had its first result.
    """

    seeds: tuple[int, ...] = ()
    later: tuple[int, ...] = ()
    first_result: float = math.inf


def read_added(store: Store) -> dict[Key, Added]:
    """Return the added seeds of each study and revision."""
    times: dict[Key, dict[int, tuple[float, float]]] = {}
    for study, revision, seed, planned, seen in store.select(_PLANNED_AND_SEEN):
        by_seed = times.setdefault((study, revision), {})
        by_seed[seed] = planned, math.inf if seen is None else seen
    found = {}
    for key, seeds in times.items():
        added = _after_first_result(seeds)
        later = _after_first_result({seed: seeds[seed] for seed in added})
        first = min(seen for _, seen in seeds.values())
        found[key] = Added(seeds=added, later=later, first_result=first)
    return found


def _after_first_result(times: Mapping[int, tuple[float, float]]) -> tuple[int, ...]:
    """Return the seeds that were first planned after the first result of any of them."""
    first = min((seen for _, seen in times.values()), default=math.inf)
    return tuple(sorted(seed for seed, (planned, _) in times.items() if planned > first))


@dataclass(frozen=True, slots=True)
class Declared:
    """How verdicts were to be reached, as declared before the first result."""

    rule: Rule = ""
    always: bool = True
    generalise_to: tuple[str, ...] = ()
    common_items: bool = False


def read_declared(store: Store, added: Mapping[Key, Added]) -> dict[Key, Declared]:
    """Return what the last session planned before a revision's first result declares.

    Whoever has seen results cannot change by which rule they count.

    Args:
        store: Where the rows are.
        added: When each had its first result.
    """
    found: dict[Key, Declared] = {}
    for study, revision, started, rule, resolved in store.select(_DECLARED):
        key = study, revision
        if key not in found or started <= added.get(key, Added()).first_result:
            header = _table(written := json.loads(resolved), "study")
            about = header.get("generalise_to")
            found[key] = Declared(
                rule=rule,
                always=_sequential(written)[1],
                generalise_to=tuple(map(str, about)) if isinstance(about, list) else (),
                common_items=header.get("items") == "common",
            )
    return found


def _sequential(written: Mapping[str, Any]) -> tuple[float, bool]:
    """Return the effect that the rule for looks without end is made for, and if it always holds."""
    table = _table(_table(written, "study"), "sequential")
    return float(table.get("effect", 1.0)), bool(table.get("always", False))


def read_ran(store: Store) -> dict[tuple[str, str], set[int]]:
    """Return the seeds that have results, by study and what it says apart from its seeds."""
    found: dict[tuple[str, str], set[int]] = {}
    apart = cache(lambda text: without_seeds(json.loads(text)))  # of few studies, for many seeds
    for study, resolved, seed in store.select(_RAN):
        found.setdefault((study, apart(resolved)), set()).add(seed)
    return found


def without_seeds(resolved: dict[str, Any]) -> str:
    """Return what a study says apart from its seeds, as text to compare."""
    apart_from_all = ("study", "stopped", "requested")
    rest = {key: value for key, value in resolved.items() if key not in apart_from_all}
    header = resolved.get("study")
    apart = ("seeds", "sequential", "extension")  # how many, and by which rule they are added
    rest["study"] = {k: v for k, v in header.items() if k not in apart} if header else None
    return json.dumps(rest, sort_keys=True)


# What the newest session of each revision planned.

_STUDIES = """
select study.study, study.revision, session, study.question, study.baseline, study.primary_metric,
    study.outcomes, study.family, study.smallest_effect, study.planned, plan.resolved, plan.plugins,
    study.is_latest, revision.trials, revision.complete, revision.is_complete
from study
inner join study_revision as plan using (session)
inner join revision on revision.session = study.session
order by
    max(case when study.is_latest then study.planned end) over (partition by study.study) desc,
    study.study, revision.position
"""
_ARMS = """
select session, arm, role, title, action, control_for, metrics, changes, levels
from arm
where session in (select session from revision)
order by session, position
"""
_HYPOTHESES = """
select session, arm, metric, smallest_effect
from hypothesis
where session in (select session from revision)
order by session, position
"""
_SEEDS = """
select session, seed
from planned_trial
where session in (select session from revision)
group by session, seed
order by session, min(position)
"""


def read_studies(store: Store) -> tuple[StudyInfo, ...]:
    """Return all revisions of all studies: those planned last first, of a study in their order."""
    arms: dict[str, list[Arm]] = {}
    for session, *row in store.select(_ARMS):
        arms.setdefault(session, []).append(_arm(row))
    seeds: dict[str, list[int]] = {}
    for session, seed in store.select(_SEEDS):
        seeds.setdefault(session, []).append(seed)
    asked: dict[str, list[Hypothesis]] = {}
    for session, arm, metric, smallest in store.select(_HYPOTHESES):
        question = Hypothesis(arm=arm, metric=metric, smallest_effect=smallest)
        asked.setdefault(session, []).append(question)
    added, ran = read_added(store), read_ran(store)
    declared = read_declared(store, added)
    return tuple(
        replace(
            _study(row, arms.get(row[2], ()), tuple(seeds.get(row[2], ())), ran),
            added=added.get((row[0], row[1]), Added()).seeds,
            added_later=added.get((row[0], row[1]), Added()).later,
            rule=declared.get((row[0], row[1]), Declared()).rule,
            always_declared=declared.get((row[0], row[1]), Declared()).always,
            generalise_to=declared.get((row[0], row[1]), Declared()).generalise_to,
            common_items=declared.get((row[0], row[1]), Declared()).common_items,
            hypotheses=tuple(asked.get(row[2], ())),
        )
        for row in store.select(_STUDIES)
    )


def _study(
    row: tuple[Any, ...],
    arms: Sequence[Arm],
    seeds: tuple[int, ...],
    ran: Mapping[tuple[str, str], set[int]],
) -> StudyInfo:
    (name, revision, _, question, baseline, primary, metrics, family, smallest_effect,
     planned, resolved, plugins, is_newest, trials, complete, is_complete) = row  # fmt: skip
    written = json.loads(resolved)
    kinds, declared = _of_tasks(written)
    if not any(arm.levels for arm in arms):
        arms = _with_levels(arms, written.get("factor"))
    effect, always = _sequential(written)
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
        sequential_effect=effect,
        always_sequential=always,
        left_out=tuple(sorted(earlier - set(seeds))),
        stopped=_table(written, "stopped"),
        is_newest=is_newest,
        trials=trials,
        complete=complete,
        is_complete=is_complete,
        declared={**declared, **_of_plugins(plugins)},
        told_of_plugins=plugins,
        kinds=kinds,
        observed=_observed(written),
    )


# What few studies have is read by modules that take long to import, and only for these studies.


def _of_tasks(written: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Metric]]:
    """Return the kinds of the stages of a trial, and the metrics that its tasks declare."""
    if written.get("task") is None:
        return ENGINE_KINDS, {}
    from icckd.study.tasks import read_back, stage_kinds, task_metrics

    tasks = read_back(written)
    return stage_kinds(tasks), task_metrics(tasks)


def _of_plugins(told: str) -> dict[str, Metric]:
    """Return the metrics of the plug-ins that a journal tells of."""
    if told in ("", "{}"):
        return {}
    from icckd.study.plugins import read_told

    return read_told(told).metrics()


def _observed(written: Mapping[str, Any]) -> Observed | None:
    if "observed" not in written:
        return None
    from icckd.study.observed import read_observed

    return read_observed(written)


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


def refuse_imported(studies: Sequence[StudyInfo], name: str) -> None:
    """Do nothing where no imported study has that name.

    Raises:
        UsageError: One has it: its runs were made elsewhere, and icckd can start none of them.
    """
    for study in studies:
        if study.name == name and study.observed is not None:
            from icckd.study.observed import visible

            raise UsageError(
                f"study {name!r} was imported from {visible(study.observed.file_names)}: its runs"
                " were made elsewhere, and icckd can run none of them",
                hint=f"icckd report {name} shows it; import the file again when it has more runs,"
                " or give the study file another name",
            )


def find_revision(revisions: tuple[StudyInfo, ...], text: str) -> StudyInfo:
    """Return the revision whose name begins with a text, or is it.

    Args:
        revisions: Those of one study.
        text: The beginning of a revision's name.

    Raises:
        UsageError: There is none, or there are several.
    """
    exact = [study for study in revisions if study.revision == text]
    found = exact or [study for study in revisions if text and study.revision.startswith(text)]
    if len(found) == 1:
        return found[0]
    those = found or revisions
    known = ", ".join(study.revision for study in those)
    what = f"several revisions {text!r}" if found else f"no revision {text!r}"
    raise UsageError(
        f"study {revisions[0].name!r} has {what}", hint=f"there are, newest first: {known}"
    )


def _arm(row: list[Any]) -> Arm:
    name, role, title, action, control_for, metrics, changes, levels = row
    return Arm(
        name=name,
        role=role,
        title=title,
        action=action,
        control_for=control_for,
        metrics=tuple(metrics),
        changes=tuple(Change(**change) for change in json.loads(changes)),
        levels=json.loads(levels),
    )


def _with_levels(arms: Sequence[Arm], factors: Any) -> Sequence[Arm]:
    """Return arms with the levels that an early journal tells by their names alone.

    Such a name is "cache=off+weight=1.5"; factors that it leaves out are at their first level, and
    where all are the arm is called `base`.
    """
    if not factors:
        return arms
    from icckd.study.arms import REFERENCE, label, level_labels

    labels = {factor["name"]: level_labels(factor["levels"]) for factor in factors}
    tokens = {
        f"{name}={label(value)}": (name, labels[name][place])
        for factor in factors
        for name in [factor["name"]]
        for place, value in enumerate(factor["levels"])
    }
    first = {name: known[0] for name, known in labels.items()}
    return [
        replace(arm, levels={**first, **dict(tokens[token] for token in named)})
        if all(token in tokens for token in named)
        else arm
        for arm in arms
        for named in [[] if arm.name == REFERENCE else arm.name.split("+")]
    ]


# Where the results of a study come from: sessions, stages, machines, data, code.

_SESSIONS = """
select distinct session.session, session.started, session.arguments, session.version, session.host
from every_stage_of_trial as need
inner join attempt using (attempt)
inner join session on session.session = attempt.session
where need.study = ? and need.revision = ? and need.state = 'complete'
order by session.started, session.session
"""
_ACCEPTED = """
select distinct accepted_source
from session
where accepted_source <> '{}'
    and session in (select unnest(sessions) from revision where study = ? and revision = ?)
order by all
"""
_STAGES = """
select
    need.stage, need.kind, attempt.attempt, attempt.session, attempt.seed,
    attempt.replicate, attempt.fingerprint, attempt.numerics, attempt.code_epoch, attempt.host,
    attempt.environment, attempt.files, list(distinct need.arm order by need.arm)
from every_stage_of_trial as need
inner join attempt using (attempt)
where need.study = ? and need.revision = ? and need.state = 'complete'
group by all
order by need.kind desc, attempt.seed, need.stage
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionProvenance:
    """One `icckd run` behind the results; `started` is Unix seconds."""

    session: str
    started: float
    arguments: tuple[str, ...]
    version: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProvenance:
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
    files: dict[str, str]
    arms: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Sessions and stages behind the results of a study.

    `accepted_source` has what was changed in icckd's source when a user took it to give the same
    numbers: digests of modules by their names.
    """

    sessions: tuple[SessionProvenance, ...]
    stages: tuple[StageProvenance, ...]
    accepted_source: Mapping[str, str] = field(default_factory=dict)


def read_provenance(store: Store, study: StudyInfo) -> Provenance:
    """Return where the results of a study come from, oldest session first."""
    parsed = cache(json.loads)  # most stages tell the same: they share what is read of it
    return Provenance(
        sessions=tuple(
            SessionProvenance(
                session=row[0], started=row[1], arguments=tuple(row[2]), version=row[3], host=row[4]
            )
            for row in store.select(_SESSIONS, list(study.key))
        ),
        stages=tuple(
            StageProvenance(
                stage=row[0], kind=row[1], attempt=row[2], session=row[3], seed=row[4],
                replicate=row[5], fingerprint=row[6], numerics=parsed(row[7]),
                code_epoch=row[8], host=row[9], environment=parsed(row[10]),
                files=parsed(row[11]), arms=tuple(row[12]),
            )
            for row in store.select(_STAGES, list(study.key))
        ),
        accepted_source={
            name: digest
            for (accepted,) in store.select(_ACCEPTED, list(study.key))
            for name, digest in json.loads(accepted).items()
        },
    )  # fmt: skip


_FILES = """
select attempt.kind, attempt.files
from attempt
inner join session using (session)
inner join attempt_end using (attempt)
where session.study = ? and attempt_end.state = 'complete' and attempt.files <> '{}'
order by attempt.ordinal
"""


def read_task_files(store: Store, study: str) -> dict[str, dict[str, str]]:
    """Return, by kind of stage, the user's files under which the newest complete ones stand.

    They are files of tasks and modules of plug-ins, with their digests.
    """
    found: dict[str, dict[str, str]] = {}
    for kind, files in store.select(_FILES, [study]):
        found.setdefault(kind, {}).update(json.loads(files))
    return found


_TEST_IMAGES = """
select min(test_right.images)
from every_stage_of_trial as need
inner join test_right using (attempt)
where need.study = ? and need.revision = ? and need.state = 'complete' and test_right.images > 0
"""


def read_test_images(store: Store, study: StudyInfo) -> int | None:
    """Return how many test images a study's models were tested on, the fewest of its arms."""
    found: int | None = store.select(_TEST_IMAGES, list(study.key))[0][0]
    return found
