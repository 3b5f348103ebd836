"""Several arms at once: one family over differences and equivalences.

Every arm has two hypotheses: it does not differ, and it differs by at least its bound. No arm can
be both, so they need not share the whole level. It is split by cost: an arm costs 3 while its
difference is open, 2 after that while its equivalence is open, then nothing. With r the cost of all
other arms, a difference is tested at level a * 3 / (3 + r) and an equivalence at a * 2 / (2 + r),
until nothing new is found. That is a closed test (Marcus, Peritz and Gabriel 1976, Biometrika 63)
by weighted Bonferroni tests (Hommel, Bretz and Maurer 2007, Statistics in Medicine 26), with
Shaffer's remark that hypotheses which exclude each other are never true together (1986, JASA 81):
the chance of any false finding is at most a. Without bounds it is Holm's test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icckd.stats.fixed import Ways

DIFFERENCE_COST = 3.0
EQUIVALENCE_COST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What could be said of an arm: that it differs, that it is equivalent (None: no bound)."""

    difference: Ways
    equivalence: Ways | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the family makes of an arm's claims.

    Attributes:
        difference, equivalence: Adjusted p: the smallest level of the family at which the claim
            holds; None where there is no such claim.
        level, equivalence_level: The level at which each claim was tested last.
    """

    difference: float
    equivalence: float | None
    level: float
    equivalence_level: float


def closed_family(arms: Sequence[Claims], level: float = 0.05) -> tuple[Judged, ...]:
    """Return adjusted p and levels of every arm, in their order.

    Args:
        arms: The claims of each; an arm without a result yet has `NEVER`, and counts.
        level: Of the family: the chance of any false finding.
    """
    size = len(arms)
    p, exact = _ways([[arm.difference for arm in arms], [arm.equivalence for arm in arms]])
    exists = np.isfinite(p).any(axis=2)
    adjusted = np.full((2, size), np.inf)
    levels: np.ndarray | None = None
    highest = 0.0
    for _ in range(int(exists.sum())):
        shares = _shares(adjusted, exists)
        needed = np.maximum(p / shares[:, :, None], exact).min(axis=2)
        needed[~exists | np.isfinite(adjusted)] = np.inf
        place = np.unravel_index(int(needed.argmin()), needed.shape)
        highest = max(highest, float(needed[place]))
        if highest > level and levels is None:
            levels = level * shares
        adjusted[place] = min(1.0, highest)
    if levels is None:
        levels = level * _shares(adjusted, exists)
    return tuple(
        Judged(
            difference=float(adjusted[0, place]),
            equivalence=float(adjusted[1, place]) if exists[1, place] else None,
            level=float(levels[0, place]),
            equivalence_level=float(levels[1, place]) if exists[1, place] else 0.0,
        )
        for place in range(size)
    )


def _ways(claims: Sequence[Sequence[Ways | None]]) -> tuple[np.ndarray, np.ndarray]:
    """Return p and exact p of every way of every claim, infinite where there is none.

    Both have the shape (2, arms, ways): differences, then equivalences.
    """
    most = max((len(ways) for row in claims for ways in row if ways), default=1)
    p = np.full((2, len(claims[0]), most), np.inf)
    exact = p.copy()
    for kind, row in enumerate(claims):
        for place, ways in enumerate(row):
            for number, way in enumerate(ways or ()):
                p[kind, place, number], exact[kind, place, number] = way
    return p, exact


def _shares(adjusted: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the share of the level that each claim has while some are found."""
    is_open = exists & np.isinf(adjusted)
    cost = np.where(is_open[0], DIFFERENCE_COST, np.where(is_open[1], EQUIVALENCE_COST, 0.0))
    others = cost.sum() - cost
    own = np.array([DIFFERENCE_COST, EQUIVALENCE_COST])
    return np.asarray(own[:, None] / (own[:, None] + others))


def first_levels(size: int, level: float = 0.05) -> tuple[float, float]:
    """Return the levels of a difference and an equivalence before anything is found."""
    others = DIFFERENCE_COST * (size - 1)
    return (
        level * DIFFERENCE_COST / (DIFFERENCE_COST + others),
        level * EQUIVALENCE_COST / (EQUIVALENCE_COST + others),
    )
