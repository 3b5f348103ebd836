"""Pairs of values under the same seed, and the rule for seeds that have no plain value.

A seed that never reached its target has the value inf. A seed whose training met a NaN or infinite
loss diverged: on the primary metric it counts as the worst outcome there is. Neither is dropped,
which would favour the arm that fails: the size of such a difference is unknown, its sign is not, so
the pairs are compared by signed ranks with these ranked above all others (`worst_rank_scores`).
Seeds that were lost otherwise, or are still to come, are unpaired, and named.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from icckd.spec.metrics import OUTCOMES
from icckd.stats.paired import FloatArray

BySeed = Mapping[int, float]
Outcomes = Mapping[str, Mapping[str, BySeed]]
_KINDS = ("teacher", "student")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Arm minus baseline, seed by seed.

    `differences` has one entry a seed: infinite where one of the pair never reached its target or
    diverged, NaN where both did. `never` says whether some never reached their target.
    """

    seeds: tuple[int, ...]
    unpaired: tuple[int, ...]
    differences: FloatArray
    baseline_mean: float | None
    never: bool

    @property
    def finite(self) -> FloatArray:
        """The differences of pairs in which both have a number."""
        return self.differences[np.isfinite(self.differences)]

    @property
    def is_complete(self) -> bool:
        """Whether every pair has a number."""
        return bool(np.isfinite(self.differences).all())


def diverged_seeds(outcomes: Outcomes, arm: str) -> frozenset[int]:
    """Return the seeds in which a stage of an arm met a NaN or infinite loss."""
    return frozenset(
        seed
        for kind in _KINDS
        for seed, steps in outcomes.get(f"{kind}.nonfinite_steps", {}).get(arm, {}).items()
        if steps > 0
    )


def pair(arm: BySeed, baseline: BySeed) -> Pairs:
    """Return the pairs, seeds ascending."""
    seeds = tuple(sorted(arm.keys() & baseline.keys()))
    theirs = np.array([baseline[seed] for seed in seeds], dtype=np.float64)
    mine = np.array([arm[seed] for seed in seeds], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        differences = mine - theirs
    finite = np.sort(theirs[np.isfinite(differences)])
    return Pairs(
        seeds=seeds,
        unpaired=tuple(sorted(arm.keys() ^ baseline.keys())),
        differences=differences,
        baseline_mean=float(finite.mean()) if finite.size else None,
        never=not np.isfinite(differences).all(),
    )


def pair_with_diverged(outcomes: Outcomes, metric: str, arms: tuple[str, str]) -> Pairs:
    """Return the pairs of an arm and the baseline, diverged seeds counted as worst.

    Args:
        outcomes: Every outcome by metric, arm and seed.
        metric: The metric; without a better direction nothing is worst.
        arms: The arm and the baseline.
    """
    plain = [outcomes.get(metric, {}).get(arm, {}) for arm in arms]
    direction = OUTCOMES[metric].direction if metric in OUTCOMES else "none"
    if direction == "none":
        return pair(plain[0], plain[1])
    worst = -math.inf if direction == "higher" else math.inf
    whole = [
        {**dict.fromkeys(diverged_seeds(outcomes, arm), worst), **values}
        for arm, values in zip(arms, plain, strict=True)
    ]
    return replace(pair(whole[0], whole[1]), never=pair(plain[0], plain[1]).never)
