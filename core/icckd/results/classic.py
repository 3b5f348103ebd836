"""The rule of studies that were journalled before rules were: they are reported as they were then.

On the primary metric the verdict is "equivalent" when equivalence with the baseline holds against
the smallest effect, else it follows from a Holm-adjusted p below 0.05, else it is "undecided". Once
seeds were added after results had been seen, intervals and p are those of the sequential rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from icckd.results.pairing import Pairs
from icckd.results.types import LEVEL, Comparison, StudyInfo, Verdict
from icckd.results.verdicts import part_verdict, with_checks
from icckd.stats.paired import (
    FloatArray,
    PairedDifference,
    equivalence,
    holm,
    paired_difference,
    standardized_effect,
    t_quantile,
    worst_rank_p,
    worst_rank_scores,
)
from icckd.stats.power import CriticalT, seeds_for_effect, seeds_for_equivalence, student
from icckd.stats.sequential import anytime_sign_p, critical_t, sequential_difference
from icckd.study.records import Arm


def difference_of(study: StudyInfo, differences: FloatArray) -> PairedDifference:
    """Return mean, interval and p of differences by the rule that the study calls for."""
    if study.is_sequential:
        return sequential_difference(differences, effect=study.sequential_effect)
    return paired_difference(differences, np.zeros_like(differences))


def with_pairs(study: StudyInfo, row: Comparison, pairs: Pairs) -> Comparison:
    """Return a row with the difference over its pairs, interval and p."""
    row = replace(row, pairs=len(pairs.seeds), unpaired=pairs.unpaired)
    if pairs.finite.size > 1 and not pairs.never:
        row = _with_difference(study, row, pairs)
    if pairs.is_complete or len(pairs.seeds) < 2:
        return row
    if study.is_sequential:
        p = anytime_sign_p(worst_rank_scores(pairs.differences))
        return replace(row, p=p, test="sequential sign")
    return replace(row, p=worst_rank_p(pairs.differences), test="worst-rank")


def _with_difference(study: StudyInfo, row: Comparison, pairs: Pairs) -> Comparison:
    result = difference_of(study, pairs.finite)
    has_interval = bool(np.isfinite([result.low, result.high]).all())
    return replace(
        row,
        pairs=result.n,
        difference=result.mean,
        low=result.low if has_interval else None,
        high=result.high if has_interval else None,
        p=result.p,
        test="sequential" if study.is_sequential else "t",
        baseline_mean=pairs.baseline_mean,
        difference_spread=result.spread,
        effect_size=standardized_effect(pairs.finite),
    )


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
    row = with_checks(row, pairs)
    if not pairs.is_complete or study.smallest_effect is None:
        return row
    return replace(row, p_equivalence=equivalence(pairs.differences, bound=study.smallest_effect).p)


def _verdict(study: StudyInfo, arm: Arm, row: Comparison, pairs: Pairs) -> Verdict:
    if not row.pairs:
        return ""
    if row.p_adjusted is None:
        return "undecided"
    if pairs.is_complete and _is_equivalent(study, row):
        return "equivalent"
    if row.p_adjusted >= LEVEL:
        return "undecided"
    return part_verdict(study, arm, row, pairs)


def _is_equivalent(study: StudyInfo, row: Comparison) -> bool:
    """Whether TOST holds; for interim analyses, whether the whole 95 % interval lies inside."""
    bound = study.smallest_effect
    if bound is None:
        return False
    if study.is_sequential:
        known = row.low is not None and row.high is not None
        return known and -bound < (row.low or 0.0) and (row.high or 0.0) < bound
    return row.p_equivalence is not None and row.p_equivalence < LEVEL
