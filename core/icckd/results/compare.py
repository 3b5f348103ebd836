"""Arms against the baseline over paired seeds: the comparison table and factorial effects.

`pairing` forms the pairs and their floors, `rules` says what they tell by the rule of the study,
`judge` corrects within the family and gives verdicts; `classic` does the last two for studies that
were journalled before rules were. Together they are the only place that forms means and
differences. (The SQL views comparison and paired_difference give the plain means to whoever asks in
SQL; a test holds them equal to these.)

Where a seed never reached its target (value inf) no mean and no difference is formed: the table
shows the median and how many never did, and p comes from signed worst ranks (see `worst_rank_p`).
"""

import hashlib
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
    Hits,
    Pairs,
    Right,
    arm_values,
    diverged_seeds,
    pair,
    pair_arms,
)
from icckd.results.rules import Evidence, evidence_apart, evidence_of, remembering
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
    kept: "Kept | None" = None,
) -> tuple[Comparison, ...]:
    """Return the comparison of every arm on every outcome column, both in the study's order.

    Args:
        study: The study.
        outcomes: Its values by metric, arm and seed.
        right: Which test images its models were right about, where that is recorded.
        to_come: Trials, as arm and seed, that are planned and have neither ended nor failed.
        items: The scores of single items, where runs tell them.
        kept: Comparisons of before: those of equal values are not computed again.
    """
    kept = kept or Kept()
    kept.begin(study)
    primary = {(each.arm, each.metric) for each in study.questions}
    pairs: dict[tuple[str, str], Pairs] = {}
    rows: dict[tuple[str, str], Comparison] = {}
    evidence: dict[tuple[str, str], Evidence] = {}
    baselines = _values_of(study, outcomes, study.baseline, right)
    for arm in study.arms:
        values = _values_of(study, outcomes, arm.name, right)
        waiting = _waiting(study, arm.name, to_come)
        for metric, mine in values.items():
            key = arm.name, metric
            baseline = None if arm.name == study.baseline else baselines[metric]
            paired = None
            if baseline is not None:
                paired = _paired_items(study, items, arm.name, metric)
            known = kept.get(mine, baseline, waiting) if paired is None else None
            if known is not None:
                pairs[key], evidence[key], rows[key] = known
                continue
            found = pair({}, {})
            if baseline is not None:
                counts = metric == study.primary or key in primary
                found = pair_arms(mine, baseline, counts_diverged=counts)
            if baseline is not None and paired is not None:
                found = _with_item_floors(found, paired)
                about = about_of(study, len(paired.ids) + len(paired.apart))
                if about:
                    lost = mine.diverged | baseline.diverged
                    told = item_evidence(study, paired, about, to_come=waiting, diverged=bool(lost))
                    pairs[key], evidence[key] = found, told.evidence
                    rows[key] = _item_row(mine, paired, about, told)
                    continue
            told_by = _evidence(study, found, waiting, is_judged=key in primary)
            pairs[key], evidence[key] = told_by.pairs or found, remembering(told_by)
            rows[key] = _row(study, mine, pairs[key], evidence[key])
            if paired is None:
                kept.put(mine, baseline, waiting, (pairs[key], evidence[key], rows[key]))
    if study.rule == "":
        on_primary = {arm: row for (arm, metric), row in rows.items() if metric == study.primary}
        judged = classic.judge(study, on_primary, {a: pairs[a, study.primary] for a in on_primary})
        return tuple({**rows, **{(row.arm, row.metric): row for row in judged}}.values())
    return tuple({**rows, **judge(study, rows, pairs, evidence)}.values())


def _values_of(
    study: StudyInfo, outcomes: Outcomes, arm: str, right: Right
) -> dict[str, ArmValues]:
    """Return an arm's values on every outcome column."""
    diverged = diverged_seeds(outcomes, arm)
    return {
        metric: arm_values(study, outcomes, arm, metric, right, diverged)
        for metric in study.metrics
    }


Known = tuple[Pairs, Evidence, Comparison]


class Kept:
    """Comparisons by what they are made of: values, seeds, test images, what is to come.

    While a study runs one arm changes at a time; the others are taken from here. What the last
    `compare` did not use is forgotten.
    """

    def __init__(self) -> None:
        self._study: StudyInfo | None = None
        self._before: dict[tuple[Any, ...], Known] = {}
        self._now: dict[tuple[Any, ...], Known] = {}
        self._marks: dict[int, bytes] = {}

    def begin(self, study: StudyInfo) -> None:
        """Forget all unless the study is that of before, however much of it is complete."""
        about = replace(study, complete=0, is_complete=False)
        self._before = self._now if about == self._study else {}
        self._study, self._now, self._marks = about, {}, {}

    def get(
        self, arm: ArmValues, baseline: ArmValues | None, waiting: tuple[int, ...]
    ) -> Known | None:
        """Return the comparison of equal values, if there was one."""
        key = self._made_of(arm, baseline, waiting)
        known = self._before.get(key)
        if known is not None:
            self._now[key] = known
        return known

    def put(
        self, arm: ArmValues, baseline: ArmValues | None, waiting: tuple[int, ...], known: Known
    ) -> None:
        """Keep a comparison."""
        self._now[self._made_of(arm, baseline, waiting)] = known

    def _made_of(
        self, arm: ArmValues, baseline: ArmValues | None, waiting: tuple[int, ...]
    ) -> tuple[Any, ...]:
        """Return all that a comparison is made of, besides the study."""
        sides = (arm,) if baseline is None else (arm, baseline)
        return waiting, *(
            (side.arm, side.info, *side.by_seed.items(), side.planned, side.diverged,
             self._mark(side.right))
            for side in sides
        )  # fmt: skip

    def _mark(self, right: Mapping[int, tuple[Hits, ...]]) -> bytes:
        """Return what tells the hits of an arm from others; all its metrics share them."""
        if not right:
            return b""
        mark = self._marks.get(id(right))  # which lives as long as this round of comparisons
        if mark is None:
            digest = hashlib.blake2b(digest_size=16)
            for seed, models in right.items():
                digest.update(f"{seed}:{','.join(str(len(hits)) for hits in models)};".encode())
                for hits in models:
                    digest.update(hits.tobytes())
            mark = self._marks[id(right)] = digest.digest()
        return mark


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
