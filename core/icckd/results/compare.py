"""Arms against the baseline over paired seeds, and what that says about each part.

The verdict is about the *part*, on the primary metric, for the arms of the study's family. It is
"equivalent" when two one-sided tests hold against the study's smallest effect, else it follows from
a Holm-adjusted p below 0.05, else it is "undecided". Which way it goes depends on the action:

    REMOVE   the arm lacks the part: the part helps when the arm is worse, hurts when it is better
    REPLACE  the baseline has the part: it helps when the replacement is worse, hurts when better
    ADD      the arm has the part: it helps when the arm is better, hurts when it is worse

An arm without an action is judged as REPLACE. A metric without a better direction stays undecided.
Where a seed never reached its target (value inf) no mean is formed: the table shows the median and
how many never did, and a pair with such a seed leaves out the whole difference, for dropping the
pair would favour the arm that fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from icckd.results.types import ArmRow, Comparison, StudyInfo, Verdict
from icckd.spec.metrics import OUTCOMES
from icckd.stats.equivalence import equivalence
from icckd.stats.multiplicity import holm
from icckd.stats.paired import paired_difference
from icckd.store.store import Store

LEVEL = 0.05
_VALUES = "select metric, arm, seed, value from outcome where study = ? order by metric, arm, seed"

BySeed = Mapping[int, float]
Outcomes = Mapping[str, Mapping[str, BySeed]]


@dataclass(frozen=True, slots=True)
class _Paired:
    """The pairs behind a comparison."""

    count: int
    treated: tuple[float, ...]
    baseline: tuple[float, ...]


def read_outcomes(store: Store, study: StudyInfo) -> Outcomes:
    """Return every outcome by metric, arm and seed."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for metric, arm, seed, value in store.select(_VALUES, [study.name]):
        found.setdefault(metric, {}).setdefault(arm, {})[seed] = value
    return found


def compare(study: StudyInfo, outcomes: Outcomes) -> tuple[Comparison, ...]:
    """Return the comparison of every arm on every outcome column, both in the study's order."""
    rows: list[Comparison] = []
    for arm in study.arms:
        for metric in study.metrics:
            by_arm = outcomes.get(metric, {})
            pairs = _pairs(by_arm.get(arm.name, {}), by_arm.get(study.baseline, {}))
            is_baseline = arm.name == study.baseline
            row = _describe(study, arm.name, metric, by_arm.get(arm.name, {}))
            rows.append(row if is_baseline else _against_baseline(row, pairs))
    judged = _judge(study, {row.arm: row for row in rows if row.metric == study.primary}, outcomes)
    return tuple(judged.get(row.arm, row) if row.metric == study.primary else row for row in rows)


def _describe(study: StudyInfo, arm: str, metric: str, by_seed: BySeed) -> Comparison:
    values = np.array([by_seed[seed] for seed in study.seeds if seed in by_seed])
    n, never = int(values.size), int(np.isinf(values).sum())
    return Comparison(
        arm=arm,
        metric=metric,
        unit=OUTCOMES[metric].unit if metric in OUTCOMES else "",
        n=n,
        never=never,
        missing=tuple(seed for seed in study.seeds if seed not in by_seed),
        mean=float(values.mean()) if n and not never else None,
        spread=float(values.std(ddof=1)) if n > 1 and not never else None,
        median=_median(values.tolist()),
        pairs=0,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_adjusted=None,
        verdict="",
    )


def _median(values: list[float]) -> float | None:
    """Return the median; between a number and "never" it is "never"."""
    if not values:
        return None
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _pairs(arm: BySeed, baseline: BySeed) -> _Paired:
    """Return the pairs; their values are left out when one never reached its target."""
    shared = sorted(arm.keys() & baseline.keys())
    treated = tuple(arm[seed] for seed in shared)
    paired = tuple(baseline[seed] for seed in shared)
    if not np.isfinite([*treated, *paired]).all():
        return _Paired(len(shared), (), ())
    return _Paired(len(shared), treated, paired)


def _against_baseline(row: Comparison, pairs: _Paired) -> Comparison:
    if len(pairs.treated) < 2:
        return replace(row, pairs=pairs.count)
    result = paired_difference(np.array(pairs.treated), np.array(pairs.baseline))
    return replace(
        row,
        pairs=pairs.count,
        difference=result.mean,
        low=result.low,
        high=result.high,
        p=result.p,
    )


def _judge(
    study: StudyInfo, rows: Mapping[str, Comparison], outcomes: Outcomes
) -> dict[str, Comparison]:
    """Return the rows of the family with adjusted p and verdict.

    The family counts as planned: an arm without a result yet does not favour the others.
    """
    family = [name for name in study.family if name in rows and name != study.baseline]
    tested = {name: p for name in family if (p := rows[name].p) is not None}
    adjusted = dict(zip(tested, holm(list(tested.values()), family_size=len(family)), strict=True))
    arms = {arm.name: arm for arm in study.arms}
    by_arm = outcomes.get(study.primary, {})
    judged = {}
    for name in family:
        row = replace(rows[name], p_adjusted=adjusted.get(name))
        pairs = _pairs(by_arm.get(name, {}), by_arm.get(study.baseline, {}))
        judged[name] = replace(row, verdict=_verdict(study, arms[name], row, pairs))
    return judged


def _verdict(study: StudyInfo, arm: ArmRow, row: Comparison, pairs: _Paired) -> Verdict:
    if not row.pairs:
        return ""
    if row.difference is None or row.p_adjusted is None:
        return "undecided"
    if study.smallest_effect is not None:
        differences = np.array(pairs.treated) - np.array(pairs.baseline)
        if equivalence(differences, bound=study.smallest_effect).p < LEVEL:
            return "equivalent"
    direction = OUTCOMES[row.metric].direction if row.metric in OUTCOMES else "none"
    if row.p_adjusted >= LEVEL or direction == "none":
        return "undecided"
    arm_is_better = (row.difference > 0) == (direction == "higher")
    arm_has_part = arm.action == "ADD"
    return "helps" if arm_is_better == arm_has_part else "hurts"
