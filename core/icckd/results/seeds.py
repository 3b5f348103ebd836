"""How many seeds: what so many can tell, and how many a goal needs. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from icckd.results.judge import LEVEL, critical_values
from icckd.results.types import Comparison, StudyInfo
from icckd.stats.exact import smallest_p
from icckd.stats.power import (
    CriticalT,
    detectable_effect,
    seeds_for_effect,
    seeds_for_equivalence,
    seeds_for_halfwidth,
    student,
)

PILOT_PAIRS = 3  # fewer say nothing about a spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a number of paired seeds can tell on the primary metric.

    Attributes:
        seeds: Paired seeds.
        family_size: Comparisons corrected together.
        detectable: Smallest difference found with power 0.8 by the hardest comparison of the
            family, in units of the spread of paired differences; None when none is.
        smallest_p: Smallest p of an exact sign-flip test.
        level: Level that Holm allows the hardest comparison.
        spread: Largest spread seen among the family's arms; None without a pilot.
        pairs: Pairs behind that spread.
        needed: Seeds that would decide about the smallest effect at that spread; None if unknown.
        is_sequential: Whether the rule for repeated looks is meant.
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


def outlook(study: StudyInfo, seeds: int, pilot: Mapping[str, Comparison]) -> Outlook:
    """Return what so many seeds can tell.

    Args:
        study: The study; only its family, smallest effect and rule matter.
        seeds: Paired seeds.
        pilot: Earlier comparisons on the primary metric, by arm.
    """
    size = max(1, len(study.family))
    real, alike = critical_values(study, size)
    spread, pairs = pilot_spread(study.family, pilot)
    needed = None
    if spread and study.smallest_effect is not None:
        effect = study.smallest_effect / spread
        both = seeds_for_effect(effect, real), seeds_for_equivalence(effect, alike)
        needed = None if None in both else max(n for n in both if n is not None)
    return Outlook(
        seeds=seeds,
        family_size=size,
        detectable=detectable_effect(seeds, real) if seeds > 1 else None,
        smallest_p=smallest_p(seeds),
        level=LEVEL / size,
        spread=spread,
        pairs=pairs,
        needed=needed,
        is_sequential=study.is_sequential,
    )


def pilot_spread(
    arms: tuple[str, ...], pilot: Mapping[str, Comparison]
) -> tuple[float | None, int]:
    """Return the largest spread of paired differences among arms, and the pairs behind it."""
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
