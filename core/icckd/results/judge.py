"""What the comparisons of the family say about each part, on the primary metric.

The verdict is "equivalent" when equivalence with the baseline holds against the study's smallest
effect, else it follows from a Holm-adjusted p below 0.05, else it is "undecided", with about how
many more seeds would decide. Which way it goes depends on the action:

    REMOVE   the arm lacks the part: the part helps when the arm is worse, hurts when it is better
    REPLACE  the baseline has the part: it helps when the replacement is worse, hurts when better
    ADD      the arm has the part: it helps when the arm is better, hurts when it is worse

An arm without an action is judged as REPLACE. A metric without a better direction stays undecided,
and so does equivalence where a seed never reached its target or diverged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from icckd.results.pairing import Pairs
from icckd.results.types import ArmRow, Comparison, StudyInfo, Verdict
from icckd.spec.metrics import OUTCOMES
from icckd.stats.equivalence import equivalence
from icckd.stats.exact import sign_flip_p, smallest_p, worst_rank_p, worst_rank_scores
from icckd.stats.multiplicity import holm
from icckd.stats.paired import t_quantile
from icckd.stats.power import CriticalT, seeds_for_effect, seeds_for_equivalence, student
from icckd.stats.resample import bootstrap_interval
from icckd.stats.sequential import critical_t

LEVEL = 0.05


def judge(
    study: StudyInfo, rows: Mapping[str, Comparison], pairs: Mapping[str, Pairs]
) -> Iterator[Comparison]:
    """Yield the rows of the family with adjusted p, checks and verdict.

    The family counts as planned: an arm without a result yet does not favour the others.

    Args:
        study: The study.
        rows: The comparison of each arm on the primary metric.
        pairs: The pairs behind it.
    """
    family = [name for name in study.family if name in rows and name != study.baseline]
    tested = {name: p for name in family if (p := rows[name].p) is not None}
    adjusted = dict(zip(tested, holm(list(tested.values()), family_size=len(family)), strict=True))
    arms = {arm.name: arm for arm in study.arms}
    for name in family:
        row = replace(rows[name], p_adjusted=adjusted.get(name))
        row = _with_checks(study, row, pairs[name])
        row = replace(row, verdict=_verdict(study, arms[name], row, pairs[name]))
        if row.verdict == "undecided" and name not in study.stopped:
            row = replace(row, more_seeds=more_seeds(study, row, len(family)))
        yield row


def more_seeds(study: StudyInfo, row: Comparison, family_size: int) -> int | None:
    """Return how many more pairs would decide, with power 0.8; None when that cannot be said.

    So many that a true difference of the smallest effect would be found at the level that Holm
    allows the hardest comparison, and that no difference would be found equivalent, at the spread
    observed so far. The observed difference plays no part.
    """
    spread = row.difference_spread
    if study.smallest_effect is None or not spread or row.pairs < 3:
        return None
    real, alike = critical_values(study, family_size)
    effect = study.smallest_effect / spread
    needed = (seeds_for_effect(effect, real), seeds_for_equivalence(effect, alike))
    known = [n for n in needed if n is not None]
    more = max(known) - row.pairs if len(known) == 2 else 0
    return more if more > 0 else None


def critical_values(study: StudyInfo, family_size: int) -> tuple[CriticalT, CriticalT]:
    """Return the |t| of the hardest comparison of the family, and of its equivalence interval."""
    level = LEVEL / max(1, family_size)
    if study.is_sequential:
        effect = study.sequential_effect
        return (
            lambda n: critical_t(n, effect=effect, alpha=level),
            lambda n: critical_t(n, effect=effect, alpha=LEVEL),
        )
    return student(level), lambda n: t_quantile(n - 1, 1 - LEVEL)


def _with_checks(study: StudyInfo, row: Comparison, pairs: Pairs) -> Comparison:
    """Add the exact p, the bootstrap interval and the equivalence p, where each is valid."""
    if study.is_sequential or len(pairs.seeds) < 2:
        return row
    check = sign_flip_p if pairs.is_complete else worst_rank_p
    row = replace(
        row,
        p_exact=check(pairs.differences),
        p_exact_smallest=smallest_p(len(pairs.seeds)),
    )
    if not pairs.is_complete:
        return row
    interval = bootstrap_interval(pairs.differences)
    if interval is not None:
        row = replace(row, bootstrap_low=interval[0], bootstrap_high=interval[1])
    if study.smallest_effect is None:
        return row
    return replace(row, p_equivalence=equivalence(pairs.differences, bound=study.smallest_effect).p)


def _verdict(study: StudyInfo, arm: ArmRow, row: Comparison, pairs: Pairs) -> Verdict:
    if not row.pairs:
        return ""
    if row.p_adjusted is None:
        return "undecided"
    if pairs.is_complete and _is_equivalent(study, row):
        return "equivalent"
    direction = OUTCOMES[row.metric].direction if row.metric in OUTCOMES else "none"
    if row.p_adjusted >= LEVEL or direction == "none":
        return "undecided"
    arm_is_better = (_sign(row, pairs) > 0) == (direction == "higher")
    arm_has_part = arm.action == "ADD"
    return "helps" if arm_is_better == arm_has_part else "hurts"


def _is_equivalent(study: StudyInfo, row: Comparison) -> bool:
    """Say whether TOST holds; for repeated looks, whether the whole 95 % interval lies inside."""
    bound = study.smallest_effect
    if bound is None:
        return False
    if study.is_sequential:
        known = row.low is not None and row.high is not None
        return known and -bound < (row.low or 0.0) and (row.high or 0.0) < bound
    return row.p_equivalence is not None and row.p_equivalence < LEVEL


def _sign(row: Comparison, pairs: Pairs) -> float:
    if pairs.is_complete and row.difference is not None:
        return row.difference
    return float(np.sum(worst_rank_scores(pairs.differences)))
