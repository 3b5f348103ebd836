"""Adding seeds: when to stop, which arms need no more, how many a goal takes. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from icckd.design import Arm, arms, family, outcome_columns
from icckd.results.formula import Condition
from icckd.results.judge import critical_values
from icckd.results.looks import without_seeds
from icckd.results.seeds import fixed_plan, outlook, pilot_spread, seeds_for
from icckd.results.types import ArmRow, Comparison, StudyInfo
from icckd.spec.metrics import OUTCOMES
from icckd.spec.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What seeds are added for: a condition, or that every verdict of the family is decided."""

    text: str
    condition: Condition | None

    def holds(self, study: StudyInfo, rows: Sequence[Comparison]) -> bool:
        """Say whether it is reached; arms that get no more seeds are not waited for."""
        found = {(row.arm, row.metric): row for row in rows}
        if self.condition is None:
            open_arms = [arm for arm in study.family if arm not in study.stopped]
            verdicts = [found[arm, study.primary].verdict for arm in open_arms]
            return all(verdict not in ("", "undecided") for verdict in verdicts)
        waited = tuple(arm for arm in self.condition.arms if arm not in study.stopped)
        return not waited or replace(self.condition, arms=waited).holds(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Seeds that a goal takes at a spread: by the rule for repeated looks, and by a fixed plan."""

    sequential: float
    fixed: float
    spread: float


def seeds_missing(study: StudyInfo, goal: Goal, rows: Sequence[Comparison]) -> Need | None:
    """Return the seeds that a goal takes in all; None while no spread is known."""
    study = replace(study, always_sequential=True)
    condition = goal.condition
    metric = condition.metric if condition else study.primary
    waited = tuple(
        arm for arm in (condition.arms if condition else study.family) if arm not in study.stopped
    )
    pilot = {row.arm: row for row in rows if row.metric == metric}
    spread, _ = pilot_spread(waited, pilot)
    if spread is None:
        return None
    if condition is not None:
        _, alike = critical_values(study, 1)
        return Need(
            sequential=seeds_for(condition.bound, spread, alike),
            fixed=seeds_for(condition.bound, spread, fixed_plan()),
            spread=spread,
        )
    plain = replace(study, always_sequential=False, added=())
    needed = [outlook(each, 2, pilot).needed or math.inf for each in (study, plain)]
    return Need(sequential=needed[0], fixed=needed[1], spread=spread)


def hopeless_arms(study: StudyInfo, rows: Sequence[Comparison]) -> list[str]:
    """Return the arms that are worse on the primary metric by more than what matters.

    That is, whose whole interval, of the rule for repeated looks, lies on the worse side of the
    smallest effect (of 0 where none is declared). Without a better direction none is.
    """
    direction = OUTCOMES[study.primary].direction if study.primary in OUTCOMES else "none"
    bound = study.smallest_effect or 0.0
    return [
        row.arm
        for row in rows
        if row.metric == study.primary
        and row.test == "sequential"
        and row.low is not None
        and row.high is not None
        and (
            (direction == "higher" and row.high < -bound)
            or (direction == "lower" and row.low > bound)
        )
    ]


def study_as_planned(study: Study, found: Sequence[Arm] | None = None) -> StudyInfo:
    """Return a study before its first session, as results will show it."""
    found = arms(study) if found is None else found
    header = study.study
    return StudyInfo(
        name=header.name,
        revision="",
        question=header.question,
        baseline=header.baseline,
        primary=header.primary,
        metrics=outcome_columns(study),
        arms=tuple(
            ArmRow(
                name=arm.name, role=arm.role, title=arm.title, action=arm.action,
                control_for=arm.control_for, changes=(),
            )
            for arm in found
        ),
        seeds=header.seeds.all(),
        smallest_effect=header.smallest_effect,
        family=family(study, found),
        planned_at=0.0,
        sequential_effect=header.sequential.effect,
        always_sequential=header.sequential.always,
    )  # fmt: skip


def same_study(info: StudyInfo, study: Study) -> bool:
    """Say whether a session ran this study, whatever its seeds."""
    written = {
        **study.model_dump(mode="json"),
        "outcomes": list(outcome_columns(study)),
        "family": list(family(study, arms(study))),
    }
    return without_seeds(dict(info.resolved)) == without_seeds(written)
