"""Verdicts by the rule that a plan states: one family of primary questions, one of all others.

Every pair of an arm and a primary metric has two hypotheses, that it does not differ and that it
differs by the smallest effect at least; `stats/family.py` tests all of them together at 0.05. What
is found different helps or hurts, what is found equivalent is equivalent (if both, the difference
is real and smaller than what matters), the rest is undecided, with how many more seeds should
decide. All other outcomes of the family's arms are corrected by Holm among themselves, and never
judged.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from icckd.results.pairing import Pairs
from icckd.results.rules import Evidence, critical_values
from icckd.results.types import Comparison, StudyInfo
from icckd.results.verdicts import part_verdict, with_checks
from icckd.stats.family import Claims, Judged, closed_family
from icckd.stats.fixed import LEAST_PAIRS, NEVER
from icckd.stats.power import seeds_for_effect, seeds_for_equivalence
from icckd.stats.two_stage import LEAST_EXTENSION, extension_size, fixed_size
from icckd.study.records import Arm, Hypothesis

Key = tuple[str, str]
"""Arm and metric."""


def judge(
    study: StudyInfo,
    rows: Mapping[Key, Comparison],
    pairs: Mapping[Key, Pairs],
    evidence: Mapping[Key, Evidence],
) -> dict[Key, Comparison]:
    """Return the rows of the family's arms, corrected; those of primary questions with a verdict.

    Args:
        study: The study.
        rows: Every comparison, by arm and metric.
        pairs: The pairs behind it.
        evidence: What they say.
    """
    asked = {(each.arm, each.metric): each for each in study.questions if each.arm in study.family}
    claims = [_claims(each, evidence.get(key)) for key, each in asked.items()]
    judged = closed_family(claims, study.level)
    arms = {arm.name: arm for arm in study.arms}
    found = {}
    for (key, question), result in zip(asked.items(), judged, strict=True):
        if key in rows:
            row = _corrected(rows[key], evidence[key], question, result)
            row = _with_verdict(study, arms[key[0]], row, pairs[key])
            found[key] = _with_more_items(study, _with_more_seeds(study, row))
    return {**_further(study, rows, evidence, asked), **found}


def _claims(question: Hypothesis, evidence: Evidence | None) -> Claims:
    bound = question.smallest_effect
    if evidence is None:
        return Claims(difference=NEVER, equivalence=None if bound is None else NEVER)
    return Claims(
        difference=evidence.difference,
        equivalence=None if bound is None else evidence.equivalence(bound),
    )


def _corrected(
    row: Comparison, evidence: Evidence, question: Hypothesis, result: Judged
) -> Comparison:
    """Return a row with adjusted p and the interval at the level of its test."""
    bound = question.smallest_effect
    alike = NEVER if bound is None else evidence.equivalence(bound)
    is_known = evidence.p is not None
    return replace(
        with_interval(row, evidence, result.level),
        p_adjusted=result.difference if is_known else None,
        p_equivalence=None if alike is NEVER else min(p for p, _ in alike),
        p_equivalence_adjusted=None if alike is NEVER else result.equivalence,
        smallest_effect=bound,
    )


def with_interval(row: Comparison, evidence: Evidence, level: float) -> Comparison:
    """Return a row with the interval at a level; none while that would be the whole line."""
    if row.difference is None:
        return row
    low, high = evidence.interval(level)
    is_known = math.isfinite(low) and math.isfinite(high)
    return replace(
        row,
        level=level * evidence.spent,
        low=low if is_known else None,
        high=high if is_known else None,
    )


def _with_verdict(study: StudyInfo, arm: Arm, row: Comparison, pairs: Pairs) -> Comparison:
    if len(pairs.seeds) > 1 and not study.is_sequential and not row.about:
        row = with_checks(row, pairs)
    if not (row.pairs or row.to_come or row.is_unpaired):
        return row
    level = study.level
    if row.p_equivalence_adjusted is not None and row.p_equivalence_adjusted <= level:
        return replace(row, verdict="equivalent")
    if row.p_adjusted is not None and row.p_adjusted <= level:
        return replace(row, verdict=part_verdict(study, arm, row, pairs))
    return replace(row, verdict="undecided")


# The other outcomes of the family's arms.


def _further(
    study: StudyInfo,
    rows: Mapping[Key, Comparison],
    evidence: Mapping[Key, Evidence],
    asked: Mapping[Key, Hypothesis],
) -> dict[Key, Comparison]:
    """Return them adjusted by Holm among themselves; metrics without any value do not count."""
    measured = {metric for (_, metric), row in rows.items() if row.n}
    keys = [
        key for key in rows if key[0] in study.family and key[1] in measured and key not in asked
    ]
    claims = [Claims(difference=evidence[key].difference, equivalence=None) for key in keys]
    return {
        key: replace(rows[key], p_adjusted=None if evidence[key].p is None else result.difference)
        for key, result in zip(keys, closed_family(claims, study.level), strict=True)
    }


# How many more seeds would decide.


def _with_more_seeds(study: StudyInfo, row: Comparison) -> Comparison:
    is_open = row.verdict in ("", "undecided") and row.arm not in study.stopped
    if not is_open or row.to_come or row.is_unpaired or row.about or not row.n:
        return row
    if row.why == "no test images":
        return row
    least, most = more_seeds(study, row) or (None, None)
    return replace(row, more_seeds_least=least, more_seeds=most)


def _with_more_items(study: StudyInfo, row: Comparison) -> Comparison:
    """Return a row about items with how many of them a test of the smallest effect takes."""
    bound, error = row.smallest_effect, row.item_error
    if row.about != "items" or row.verdict != "undecided" or row.why or not (bound and error):
        return row
    groups = fixed_size(bound / (error * math.sqrt(row.groups)), len(study.questions))
    if groups is None or groups <= row.groups:
        return row
    return replace(row, more_items=math.ceil(groups * row.items / row.groups))


def more_seeds(study: StudyInfo, row: Comparison) -> tuple[int, int] | None:
    """Return how many more seeds should decide: at the spread seen, and at an upper limit of it.

    None where that cannot be said. The observed difference plays no part.
    """
    bound, spread, size = row.smallest_effect, row.difference_spread, len(study.questions)
    if study.looks == "first look" and (not spread or row.pairs < 3 or bound is None):
        needed = max(LEAST_EXTENSION, LEAST_PAIRS - row.pairs)
        return (needed, needed) if row.pairs < LEAST_PAIRS else None
    if bound is None or not spread or row.pairs < 3:
        return None
    if study.looks == "first look":
        return extension_size(row.pairs, bound / spread, size)
    return _more_afterwards(study, row.pairs, bound / spread, size)


def _more_afterwards(study: StudyInfo, n: int, effect: float, size: int) -> tuple[int, int] | None:
    """Return the same where further seeds are judged by the rule for looks without end."""
    study = study if study.is_sequential else replace(study, added=study.seeds, added_later=(0,))
    real, alike = critical_values(study, size)
    needed = seeds_for_effect(effect, real), seeds_for_equivalence(effect, alike)
    known = [found for found in needed if found is not None]
    more = max(*known, LEAST_PAIRS) - n if len(known) == len(needed) else 0
    return (more, more) if more > 0 else None
