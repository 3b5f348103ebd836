"""How many seeds: what a number of them can tell, conditions on results, when to add more. Pure."""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from icckd.errors import UsageError
from icckd.results.rules import critical_values
from icckd.results.studies import without_seeds
from icckd.results.types import LEVEL, Comparison, StudyInfo
from icckd.stats.paired import smallest_p
from icckd.stats.power import (
    CriticalT,
    detectable_effect,
    power,
    seeds_for_effect,
    seeds_for_equivalence,
    seeds_for_halfwidth,
    student,
)
from icckd.stats.two_stage import first_share
from icckd.study.arms import arms, family, hypotheses, outcome_columns, rule_of
from icckd.study.model import Study
from icckd.study.paths import nearest
from icckd.study.plugins import plugins_of
from icckd.study.records import Arm
from icckd.study.tasks import stage_kinds, task_metrics

PILOT_PAIRS = 3  # fewer say nothing about a standard deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPower:
    """What a number of paired seeds can tell on the primary metric.

    Attributes:
        seeds: Paired seeds.
        family_size: Comparisons corrected together.
        detectable: Smallest difference found with power 0.8 by the hardest comparison of the
            family, in units of the standard deviation of paired differences; None when none is.
        smallest_p: Smallest p of an exact sign-flip test.
        level: Level that Holm allows the hardest comparison.
        spread: Largest standard deviation of paired differences among the family's arms; None
            without a pilot.
        pairs: Pairs behind it.
        needed: Seeds that would decide about the smallest effect then, were all fixed beforehand;
            None if unknown.
        is_sequential: Whether the rule for looks without end applies.
        first_level: What the first look allows the hardest comparison, where one extension may
            follow; None where none may.
        first_detectable: As `detectable`, by the first look alone.
        first_power: With which power the first look finds what all seeds would find with 0.8.
    """

    seeds: int
    family_size: int
    detectable: float | None
    smallest_p: float
    level: float
    spread: float | None
    pairs: int
    needed: int | None
    is_sequential: bool
    first_level: float | None = None
    first_detectable: float | None = None
    first_power: float | None = None


def seed_power(study: StudyInfo, seeds: int, pilot: Mapping[str, Comparison]) -> SeedPower:
    """Return what so many seeds can tell.

    Args:
        study: The study; only its family, smallest effect and rule matter.
        seeds: Paired seeds.
        pilot: Earlier comparisons on the primary metric, by arm.
    """
    size = max(1, len(study.questions))
    real, alike = critical_values(study, size)
    spread, pairs = pilot_spread(study.family, pilot)
    needed = None
    if spread and study.smallest_effect is not None:
        effect = study.smallest_effect / spread
        both = seeds_for_effect(effect, real), seeds_for_equivalence(effect, alike)
        needed = None if None in both else max(n for n in both if n is not None)
    found = SeedPower(
        seeds=seeds,
        family_size=size,
        detectable=detectable_effect(seeds, real) if seeds > 1 else None,
        smallest_p=smallest_p(seeds),
        level=study.level / size,
        spread=spread,
        pairs=pairs,
        needed=needed,
        is_sequential=study.is_sequential,
    )
    return _with_first_look(found) if study.looks == "first look" else found


def _with_first_look(found: SeedPower) -> SeedPower:
    """Add what the first look can tell, and so what it costs that an extension may follow."""
    share = first_share(found.seeds)
    if not share or found.detectable is None:
        return replace(found, first_level=0.0)
    level = share * found.level
    boundary = student(level)
    return replace(
        found,
        first_level=level,
        first_detectable=detectable_effect(found.seeds, boundary),
        first_power=power(found.seeds, found.detectable, boundary),
    )


def pilot_spread(
    arms: tuple[str, ...], pilot: Mapping[str, Comparison]
) -> tuple[float | None, int]:
    """Return the largest standard deviation of paired differences, and the pairs behind it."""
    known = [
        (row.difference_spread, row.pairs)
        for arm in arms
        if (row := pilot.get(arm)) and row.difference_spread and row.pairs >= PILOT_PAIRS
    ]
    return max(known) if known else (None, 0)


def seeds_for(halfwidth: float, spread: float, critical: CriticalT) -> float:
    """Return the seeds at which an interval gets that narrow; infinite if never."""
    found = seeds_for_halfwidth(halfwidth / spread, critical)
    return math.inf if found is None else found


def fixed_plan() -> CriticalT:
    """Return the critical |t| of a plan whose seeds are all fixed before the first result."""
    return student(LEVEL)


# Conditions on results in one line, such as `diff(no-margin, student.top1) > -0.5`.

_FORM = re.compile(
    r"\s*(?P<name>[a-z_]+)\s*\(\s*(?P<args>[^()]*)\)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+.\w]+)\s*"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_READERS: Mapping[str, Callable[[Comparison], float | None]] = {
    "diff": lambda row: row.difference,
    "low": lambda row: row.low,
    "high": lambda row: row.high,
    "halfwidth": lambda row: None if row.low is None or row.high is None
    else (row.high - row.low) / 2,
    "mean": lambda row: row.mean,
    "median": lambda row: row.median,
    "n": lambda row: row.n,
    "pairs": lambda row: row.pairs,
    "p": lambda row: row.p,
    "p_adjusted": lambda row: row.p_adjusted,
}  # fmt: skip
EXAMPLE = "for example: diff(no-margin, student.top1) > -0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A quantity of an arm on a metric, and what it is to be."""

    text: str
    quantity: str
    arms: tuple[str, ...]
    metric: str
    sign: str
    bound: float

    def value(self, rows: Mapping[tuple[str, str], Comparison]) -> float | None:
        """Return the quantity, the largest where it is about several arms; None if unknown."""
        found = [
            _READERS[self.quantity](row) if (row := rows.get((arm, self.metric))) else None
            for arm in self.arms
        ]
        known = [value for value in found if value is not None]
        return max(known) if known and len(known) == len(found) else None

    def holds(self, rows: Mapping[tuple[str, str], Comparison]) -> bool:
        """Whether it holds; a value that is not known does not satisfy a condition."""
        value = self.value(rows)
        return value is not None and _SIGNS[self.sign](value, self.bound)


def parse(text: str, study: StudyInfo) -> Condition:
    """Return a condition on a study's results.

    `quantity(arm, metric)`, or `halfwidth(metric)` for the widest interval of the family. Arms and
    metrics are those of the study; the metric may be left out for the primary one.

    Raises:
        UsageError: It is not such a condition, or names what does not exist.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is not a condition", hint=EXAMPLE)
    quantity, arguments = found["name"], [a.strip() for a in found["args"].split(",") if a.strip()]
    if quantity not in _READERS:
        raise UsageError(
            f"{text!r}: there is no quantity {quantity!r}", hint=nearest(quantity, list(_READERS))
        )
    arms, metric = _subject(text, quantity, arguments, study)
    return Condition(
        text=text.strip(),
        quantity=quantity,
        arms=arms,
        metric=metric,
        sign=found["sign"],
        bound=_number(text, found["bound"]),
    )


def _subject(
    text: str, quantity: str, arguments: list[str], study: StudyInfo
) -> tuple[tuple[str, ...], str]:
    names = [arm.name for arm in study.arms]
    arms = [a for a in arguments if a in names]
    metrics = [a for a in arguments if a in study.metrics]
    unknown = [a for a in arguments if a not in names and a not in study.metrics]
    if unknown:
        raise UsageError(
            f"{text!r}: study {study.name!r} has no arm or outcome {unknown[0]!r}",
            hint=nearest(unknown[0], [*names, *study.metrics]),
        )
    if len(arms) > 1 or len(metrics) > 1 or not (arms or quantity == "halfwidth"):
        raise UsageError(f"{text!r}: {quantity} takes one arm and one outcome", hint=EXAMPLE)
    family = tuple(a for a in study.family if a not in study.stopped) or study.family
    return tuple(arms) or family, metrics[0] if metrics else study.primary


def _number(text: str, bound: str) -> float:
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{text!r}: {bound!r} is not a number", hint=EXAMPLE)
    return value


# Adding seeds: when to stop, which arms need no more, how many a goal takes. Pure.


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What seeds are added for: a condition, or that every verdict of the family is decided."""

    text: str
    condition: Condition | None

    def holds(self, study: StudyInfo, rows: Sequence[Comparison]) -> bool:
        """Whether it is reached; arms that get no more seeds are not waited for."""
        found = {(row.arm, row.metric): row for row in rows}
        if self.condition is None:
            open_arms = [arm for arm in study.family if arm not in study.stopped]
            asked = [each for each in study.questions if each.arm in open_arms]
            verdicts = [found[each.arm, each.metric].verdict for each in asked]
            return all(verdict not in ("", "undecided") for verdict in verdicts)
        waited = tuple(arm for arm in self.condition.arms if arm not in study.stopped)
        return not waited or replace(self.condition, arms=waited).holds(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Seeds that a goal takes at a standard deviation: by the interim rule, and by a fixed plan."""

    sequential: float
    fixed: float
    spread: float


def seeds_missing(study: StudyInfo, goal: Goal, rows: Sequence[Comparison]) -> Need | None:
    """Return the seeds that a goal takes in all; None while no standard deviation is known."""
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
    plain = replace(study, always_sequential=False, added=(), rule=study.rule and "fixed")
    needed = [seed_power(each, 2, pilot).needed or math.inf for each in (study, plain)]
    return Need(sequential=needed[0], fixed=needed[1], spread=spread)


def hopeless_arms(study: StudyInfo, rows: Sequence[Comparison]) -> list[str]:
    """Return the arms that are worse on the primary metric by more than what matters.

    That is, whose whole interval, by the rule for interim analyses, lies on the worse side of the
    smallest effect (of 0 where none is declared). Without a better direction none is.
    """
    direction = study.metric(study.primary).direction
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
            Arm(
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
        rule=rule_of(study),
        hypotheses=hypotheses(study, found),
        declared={**task_metrics(study.task), **plugins_of(study).metrics()},
        told_of_plugins=json.dumps(plugins_of(study).told()),
        kinds=stage_kinds(study.task),
        generalise_to=header.generalise_to,
        common_items=header.items == "common",
    )  # fmt: skip


def same_study(info: StudyInfo, study: Study) -> bool:
    """Whether a session ran this study, whatever its seeds."""
    written = {
        **study.model_dump(mode="json"),
        "outcomes": list(outcome_columns(study)),
        "family": list(family(study, arms(study))),
    }
    return without_seeds(dict(info.resolved)) == without_seeds(written)


def not_known(conditions: Sequence[str], newest: StudyInfo) -> str:
    """Return why conditions cannot be judged by a study's newest revision, which is incomplete."""
    texts = " and ".join(repr(text) for text in conditions)
    return (
        f"not known: {texts}; the newest revision {newest.revision} of {newest.name!r} is"
        f" incomplete, {newest.complete} of {newest.trials} trials"
    )
