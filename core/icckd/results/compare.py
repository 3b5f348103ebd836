"""Arms against the baseline over paired seeds; `judge` adds what that says about each part.

Where a seed never reached its target (value inf) no mean and no difference is formed: the table
shows the median and how many never did, and p comes from signed worst ranks (see `pairing`). Once
seeds were added after results had been seen, intervals and p are those of the sequential rule.
"""

from dataclasses import replace

import numpy as np

from icckd.results.judge import judge
from icckd.results.pairing import (
    BySeed,
    Outcomes,
    Pairs,
    diverged_seeds,
    pair,
    pair_with_diverged,
)
from icckd.results.types import Comparison, StudyInfo
from icckd.spec.metrics import OUTCOMES
from icckd.stats.effect import standardized_effect
from icckd.stats.exact import worst_rank_p, worst_rank_scores
from icckd.stats.paired import FloatArray, PairedDifference, paired_difference
from icckd.stats.sequential import anytime_sign_p, sequential_difference
from icckd.store.store import Store

_VALUES = "select metric, arm, seed, value from outcome where study = ? order by metric, arm, seed"


def read_outcomes(store: Store, study: StudyInfo) -> Outcomes:
    """Return every outcome by metric, arm and seed."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for metric, arm, seed, value in store.select(_VALUES, [study.name]):
        found.setdefault(metric, {}).setdefault(arm, {})[seed] = value
    return found


def compare(study: StudyInfo, outcomes: Outcomes) -> tuple[Comparison, ...]:
    """Return the comparison of every arm on every outcome column, both in the study's order."""
    pairs = {
        (arm.name, metric): _pairs(study, outcomes, arm.name, metric)
        for arm in study.arms
        for metric in study.metrics
    }
    rows = {
        (arm, metric): _against_baseline(study, _describe(study, outcomes, arm, metric), found)
        for (arm, metric), found in pairs.items()
    }
    primary = {arm: row for (arm, metric), row in rows.items() if metric == study.primary}
    judged = judge(study, primary, {arm: pairs[arm, study.primary] for arm in primary})
    return tuple({**rows, **{(row.arm, row.metric): row for row in judged}}.values())


def difference_of(study: StudyInfo, differences: FloatArray) -> PairedDifference:
    """Return mean, interval and p of differences by the rule that the study calls for."""
    if study.is_sequential:
        return sequential_difference(differences, effect=study.sequential_effect)
    return paired_difference(differences, np.zeros_like(differences))


def _pairs(study: StudyInfo, outcomes: Outcomes, arm: str, metric: str) -> Pairs:
    """Return the pairs with the baseline; on the primary metric diverged seeds count as worst."""
    if arm == study.baseline:
        return pair({}, {})
    if metric == study.primary:
        return pair_with_diverged(outcomes, metric, (arm, study.baseline))
    by_arm = outcomes.get(metric, {})
    return pair(by_arm.get(arm, {}), by_arm.get(study.baseline, {}))


def _describe(study: StudyInfo, outcomes: Outcomes, arm: str, metric: str) -> Comparison:
    by_seed: BySeed = outcomes.get(metric, {}).get(arm, {})
    planned = study.planned_seeds(arm)
    values = np.array([by_seed[seed] for seed in planned if seed in by_seed])
    n, never = int(values.size), int(np.isinf(values).sum())
    diverged = diverged_seeds(outcomes, arm)
    return Comparison(
        arm=arm,
        metric=metric,
        unit=OUTCOMES[metric].unit if metric in OUTCOMES else "",
        n=n,
        never=never,
        missing=tuple(seed for seed in planned if seed not in by_seed),
        diverged=tuple(seed for seed in planned if seed in diverged),
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


def _against_baseline(study: StudyInfo, row: Comparison, pairs: Pairs) -> Comparison:
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
