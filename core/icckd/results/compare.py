"""Arms against the baseline over paired seeds: the comparison table and factorial effects.

`pairing` forms the pairs and their floors, `rules` says what they tell by the rule of the study,
`judge` corrects within the family and gives verdicts; `classic` does the last two for studies that
were journalled before rules were. Together they are the only place that forms means and
differences. (The SQL views comparison and paired_difference give the plain means to whoever asks in
SQL; a test holds them equal to these.)

Where a seed never reached its target (value inf) no mean and no difference is formed: the table
shows the median and how many never did, and p comes from signed worst ranks (see `worst_rank_p`).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from icckd.results import classic
from icckd.results.items import (
    NO_ITEMS,
    ItemEvidence,
    ItemPairs,
    ItemRuns,
    about_of,
    item_evidence,
    pair_items,
)
from icckd.results.judge import judge, with_interval
from icckd.results.pairing import (
    NONE_KNOWN,
    ArmValues,
    Pairs,
    Right,
    arm_values,
    pair,
    pair_arms,
)
from icckd.results.rules import Evidence, evidence_apart, evidence_of
from icckd.results.types import (
    LEVEL,
    About,
    BySeed,
    Comparison,
    Effect,
    Outcomes,
    StudyInfo,
)
from icckd.stats.factorial import Contrast, contrasts
from icckd.stats.fixed import NEVER
from icckd.stats.paired import FloatArray, holm, mean_and_error, standardized_effect
from icckd.stats.unpaired import TwoSamples
from icckd.study.arms import level_labels

NOTHING: frozenset[tuple[str, int]] = frozenset()


def compare(
    study: StudyInfo,
    outcomes: Outcomes,
    right: Right = NONE_KNOWN,
    to_come: Collection[tuple[str, int]] = NOTHING,
    items: ItemRuns = NO_ITEMS,
) -> tuple[Comparison, ...]:
    """Return the comparison of every arm on every outcome column, both in the study's order.

    Args:
        study: The study.
        outcomes: Its values by metric, arm and seed.
        right: Which test images its models were right about, where that is recorded.
        to_come: Trials, as arm and seed, that are planned and have neither ended nor failed.
        items: The scores of single items, where runs tell them.
    """
    primary = {(each.arm, each.metric) for each in study.questions}
    pairs: dict[tuple[str, str], Pairs] = {}
    rows: dict[tuple[str, str], Comparison] = {}
    evidence: dict[tuple[str, str], Evidence] = {}
    for arm in study.arms:
        for metric in study.metrics:
            key = arm.name, metric
            mine = arm_values(study, outcomes, arm.name, metric, right)
            found, paired = pair({}, {}), None
            if arm.name != study.baseline:
                baseline = arm_values(study, outcomes, study.baseline, metric, right)
                counts = metric == study.primary or key in primary
                found = pair_arms(mine, baseline, counts_diverged=counts)
                paired = _paired_items(study, items, arm.name, metric)
            waiting = _waiting(study, arm.name, to_come)
            if paired is not None:
                found = _with_item_floors(found, paired)
                about = about_of(study, len(paired.ids) + len(paired.apart))
                if about:
                    lost = mine.diverged | baseline.diverged
                    told = item_evidence(study, paired, about, to_come=waiting, diverged=bool(lost))
                    pairs[key], evidence[key] = found, told.evidence
                    rows[key] = _item_row(mine, paired, about, told)
                    continue
            evidence[key] = _evidence(study, found, waiting, is_judged=key in primary)
            pairs[key] = evidence[key].pairs or found
            rows[key] = _row(study, mine, pairs[key], evidence[key])
    if study.rule == "":
        on_primary = {arm: row for (arm, metric), row in rows.items() if metric == study.primary}
        judged = classic.judge(study, on_primary, {a: pairs[a, study.primary] for a in on_primary})
        return tuple({**rows, **{(row.arm, row.metric): row for row in judged}}.values())
    return tuple({**rows, **judge(study, rows, pairs, evidence)}.values())


def _paired_items(study: StudyInfo, items: ItemRuns, arm: str, metric: str) -> ItemPairs | None:
    runs = items.get(metric, {})
    if study.rule == "" or not runs:
        return None
    return pair_items(runs, arm, study.baseline, unit=study.metric(metric).unit)


def _with_item_floors(pairs: Pairs, items: ItemPairs) -> Pairs:
    """Return pairs whose floors follow from which items the two arms had right."""
    floors = items.floors()
    if pairs.seeds != items.seeds or not floors:
        return pairs
    return replace(pairs, floors=np.array([floors[seed] for seed in pairs.seeds]))


def _item_row(arm: ArmValues, items: ItemPairs, about: About, told: ItemEvidence) -> Comparison:
    """Return what an arm reached, with the difference over its items."""
    evidence, sample = told.evidence, told.sample
    row = replace(
        _describe(arm),
        pairs=len(told.places),
        p=evidence.p,
        test=evidence.test,
        why=evidence.why,
        to_come=evidence.to_come,
        about=about,
        items=len(items.ids),
        groups=items.group_count,
        items_apart=len(items.apart),
    )
    if sample is None:
        return row
    places = list(told.places)
    row = replace(
        row,
        difference=sample.mean,
        item_error=sample.error,
        baseline_mean=float(items.theirs_SI[places].mean()),
        effect_size=standardized_effect(items.differences_SI[places].mean(axis=0)),
    )
    return with_interval(row, evidence, LEVEL)


def compare_pairs(study: StudyInfo, arm: ArmValues, pairs: Pairs) -> Comparison:
    """Return what an arm reached, and its difference over pairs that no plan declared.

    `study` decides the rule only: that for repeated looks once its seeds were added after looking,
    or where it declares so, else that of seeds fixed beforehand.
    """
    if study.rule:
        study = replace(study, rule="fixed")
    return _row(study, arm, pairs, _evidence(study, pairs, (), is_judged=False))


def _waiting(study: StudyInfo, arm: str, to_come: Collection[tuple[str, int]]) -> tuple[int, ...]:
    """Return the seeds of which arm or baseline is still to come."""
    if arm == study.baseline or not to_come:
        return ()
    planned = study.planned_seeds(arm)
    return tuple(
        seed for seed in planned if (arm, seed) in to_come or (study.baseline, seed) in to_come
    )


def _evidence(
    study: StudyInfo, pairs: Pairs, waiting: Collection[int], *, is_judged: bool
) -> Evidence:
    """Return what pairs say; where nothing is judged, counts without a known floor have none."""
    if study.observed is not None and pairs.apart is not None:
        return evidence_apart(study, *pairs.apart)
    if study.rule == "" or not (pairs.seeds or waiting):
        return Evidence(test="")
    if pairs.floors is None and not is_judged:
        pairs = replace(pairs, floors=np.zeros(len(pairs.seeds)))
    return evidence_of(study, pairs, waiting)


def _row(study: StudyInfo, arm: ArmValues, pairs: Pairs, evidence: Evidence) -> Comparison:
    """Return what an arm reached, with the difference over its pairs."""
    row = _describe(arm)
    if study.rule == "":
        return classic.with_pairs(study, row, pairs)
    pairs = evidence.pairs or pairs
    row = replace(
        row,
        pairs=len(pairs.seeds),
        unpaired=pairs.unpaired,
        p=evidence.p,
        test=evidence.test,
        why=evidence.why,
        to_come=evidence.to_come,
    )
    if evidence.test == "welch" and pairs.apart is not None:
        return _row_apart(row, *pairs.apart, evidence)
    if pairs.finite.size < 2 or pairs.never:
        return row
    mean, error = mean_and_error(pairs.finite)
    row = replace(
        row,
        pairs=int(pairs.finite.size),
        difference=mean,
        baseline_mean=pairs.baseline_mean,
        difference_spread=error * float(np.sqrt(pairs.finite.size)),
        effect_size=standardized_effect(pairs.finite),
    )
    return with_interval(row, evidence, LEVEL)


def _row_apart(
    row: Comparison, arm: FloatArray, baseline: FloatArray, evidence: Evidence
) -> Comparison:
    """Return a row with the difference of two means that share no seed."""
    if evidence.difference is NEVER:
        return row
    samples = TwoSamples(arm, baseline)
    row = replace(row, difference=samples.mean, baseline_mean=float(baseline.mean()))
    return with_interval(row, evidence, LEVEL)


def _describe(arm: ArmValues) -> Comparison:
    """Return what an arm reached, without a difference."""
    values = np.array([arm.by_seed[seed] for seed in arm.planned if seed in arm.by_seed])
    n, never = int(values.size), int(np.isinf(values).sum())
    return Comparison(
        arm=arm.arm,
        metric=arm.info.name,
        unit=arm.info.unit,
        n=n,
        never=never,
        missing=tuple(seed for seed in arm.planned if seed not in arm.by_seed),
        diverged=tuple(seed for seed in arm.planned if seed in arm.diverged),
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


# Main effects and two-way interactions of a factorial design, on the primary metric.


def effects(study: StudyInfo, outcomes: Outcomes) -> tuple[Effect, ...]:
    """Return the effects of a full factorial design; none for other designs.

    Seeds in which a combination of levels has no finite value are left out as a whole: a
    contrast needs every cell of its block.
    """
    factors = _factors(study)
    names = [factor["name"] for factor in factors]
    levels = [level_labels(factor["levels"]) for factor in factors]
    cells = _cells(study, names, levels)
    if cells is None:
        return ()
    seeds, values = _blocks(study, outcomes.get(study.primary, {}), cells)
    found = [_effect(study, names, levels, seeds, contrast) for contrast in contrasts(values)]
    known = [effect.p for effect in found if effect.p is not None]
    adjusted = iter(holm(known, family_size=len(found)))
    return tuple(
        effect if effect.p is None else replace(effect, p_adjusted=next(adjusted))
        for effect in found
    )


def _factors(study: StudyInfo) -> list[Mapping[str, Any]]:
    header = study.resolved.get("study", {})
    factors = study.resolved.get("factor", [])
    return list(factors) if header.get("design") == "factorial" else []


def _cells(study: StudyInfo, names: list[str], levels: list[list[str]]) -> np.ndarray | None:
    """Return the arm of every combination of levels; None unless every one was planned."""
    if not names:
        return None
    by_levels = {tuple(map(arm.levels.get, names)): arm.name for arm in study.arms}
    cells = np.empty([len(each) for each in levels], dtype=object)
    for place in np.ndindex(cells.shape):
        arm = by_levels.get(tuple(each[i] for each, i in zip(levels, place, strict=True)))
        if arm is None:
            return None
        cells[place] = arm
    return cells


def _blocks(
    study: StudyInfo, by_arm: Mapping[str, BySeed], cells: np.ndarray
) -> tuple[tuple[int, ...], FloatArray]:
    """Return the seeds that have all cells, and values, shape (seeds, levels of factor 1, ...)."""
    values = np.array(
        [[by_arm.get(arm, {}).get(seed, np.nan) for arm in cells.ravel()] for seed in study.seeds],
        dtype=np.float64,
    )
    is_whole = np.isfinite(values).all(axis=1).astype(bool)
    seeds = tuple(study.seeds[place] for place in np.flatnonzero(is_whole))
    return seeds, values[is_whole].reshape(-1, *cells.shape)


def _effect(
    study: StudyInfo,
    names: list[str],
    levels: list[list[str]],
    seeds: tuple[int, ...],
    contrast: Contrast,
) -> Effect:
    n = int(contrast.by_seed.size)
    p, low, high = _contrast(study, seeds, contrast.by_seed) if n > 1 else (None, None, None)
    return Effect(
        factors=tuple(names[axis] for axis in contrast.factors),
        levels=tuple(
            levels[axis][level]
            for axis, level in zip(contrast.factors, contrast.levels, strict=True)
        ),
        n=n,
        mean=float(contrast.by_seed.mean()) if n else None,
        low=low,
        high=high,
        p=p,
        p_adjusted=None,
    )


def _contrast(
    study: StudyInfo, seeds: tuple[int, ...], by_seed: FloatArray
) -> tuple[float | None, float | None, float | None]:
    """Return p and the 95 % interval of a contrast by the rule of the study."""
    if study.rule == "":
        found = classic.difference_of(study, by_seed)
        p: float | None = found.p
        low, high = found.low, found.high
    else:
        evidence = evidence_of(study, replace(pair({}, {}), seeds=seeds, differences=by_seed,
                                              floors=np.zeros(len(seeds))))  # fmt: skip
        p, (low, high) = evidence.p, evidence.interval(LEVEL)
    is_known = bool(np.isfinite([low, high]).all())
    return p, low if is_known else None, high if is_known else None
