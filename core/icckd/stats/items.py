"""The test of paired items: what a verdict about other items rests on.

Two arms answer the same items (queries, questions, episodes) under the same seeds. Items of one
group (a topic, a document, a game) err together, so the groups are what is drawn anew, and the
difference is the mean over items. Two sources of variation cross: seeds and groups of items.

- **Groups**: the cluster-robust variance CR2 of a mean (Bell and McCaffrey 2002, Survey Methodology
  28) with Satterthwaite's degrees of freedom under independent items (Pustejovsky and Tipton 2018,
  Journal of Business and Economic Statistics 36). CR2 is unbiased for independent items only; where
  groups have unequal sizes it is divided by what remains of it when only the groups vary.
- **Seeds and groups**: the sum of the variances over seeds and over groups. The term that Cameron,
  Gelbach and Miller (2011, Journal of Business and Economic Statistics 29) take off again, that of
  the cells, is left in: with it the sum is never too small in expectation. Degrees of freedom are
  Satterthwaite's of the sum (Biometrics Bulletin 2, 1946), of one less for each of the two.
- **Right or wrong**, one seed and no groups: McNemar's test in its exact form (McNemar 1947,
  Psychometrika 12; the mid-p is not used).
- **Agreement**: where at most `FLIPS_UP_TO` groups differ at all, the exact test over all ways to
  flip their signs has to agree, as for few seeds (`stats/fixed.py`).
- **Floor**: where fewer than half of the groups differ, p is no smaller than that of a normal test
  whose variance is that of the differences around 0, with one more of them: few differences that
  happen to agree say little.
- **Few changes**: where fewer than half of the items change, their number d is itself not well
  known, and few that were seen go with a small difference. Against values farther from 0 than the
  difference seen, the variance over groups is taken times 1 + 2 / sqrt(d), as with d + 2 sqrt(d)
  such changes, plus that of one change as large as scores range.

Shapes: S seeds, G groups.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from icckd.stats.fixed import (
    FLIP_LEVEL,
    FLIPS_UP_TO,
    LEAST_PAIRS,
    Ways,
    normal_quantile,
    normal_tail,
)
from icckd.stats.paired import FloatArray, t_quantile, t_tail

LEAST_GROUPS = LEAST_PAIRS
"""Groups of items below which there is no verdict about items: no exact test could agree."""
_TOLERANCE = 1e-9  # of the largest sum: scores that are equal differ by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How many right-or-wrong items got better, and how many got worse."""

    better: int
    worse: int


@dataclass(frozen=True, kw_only=True)
class ItemSample:
    """Differences of paired items, arm minus baseline, added up by group and seed.

    Attributes:
        sums_SG: The sum over a group's items under each seed, finite, S >= 1, G >= 2.
        sizes_G: How many items each group has.
        crosses_seeds: Whether seeds are drawn anew, too; S >= 2 then. Else they are taken as they
            are: what is found holds for their mean.
        step: The largest change that an item was seen to be able to make: the range of scores.
        changed: How many items differ at all, the mean over seeds; None where all may.
        changes: Of right-or-wrong items of one seed in no groups; None for all others.
    """

    sums_SG: FloatArray  # noqa: N815
    sizes_G: FloatArray  # noqa: N815
    crosses_seeds: bool = False
    step: float = 0.0
    changed: float | None = None
    changes: Changes | None = None

    @cached_property
    def sums(self) -> FloatArray:
        """Sums by group, averaged over seeds, shape (G,)."""
        return np.asarray(self.sums_SG.mean(axis=0))

    @cached_property
    def items(self) -> float:
        """How many items there are."""
        return float(self.sizes_G.sum())

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.sizes_G.size)

    @cached_property
    def mean(self) -> float:
        """Mean difference over items and seeds."""
        return math.fsum(self.sums.tolist()) / self.items

    @cached_property
    def rounding(self) -> float:
        """What two sums may differ by and still be equal."""
        return _TOLERANCE * float(np.abs(self.sums_SG).max(initial=0.0))

    @cached_property
    def differing(self) -> FloatArray:
        """The sums of groups that differ at all."""
        return self.sums[np.abs(self.sums) > self.rounding]

    @cached_property
    def _of_seeds(self) -> float:
        """The variance of the mean that seeds alone give it; 0 where they are as they are."""
        if not self.crosses_seeds:
            return 0.0
        seeds = np.sort(self.sums_SG.sum(axis=1)) / self.items
        return 0.0 if seeds[0] == seeds[-1] else float(seeds.var(ddof=1)) / seeds.size

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Standard error of the mean and its degrees of freedom."""
        variance, freedom = clustered(self.sums, self.sizes_G)
        both = variance + self._of_seeds
        if self.crosses_seeds and both:
            parts = ((variance, freedom), (self._of_seeds, len(self.sums_SG) - 1))
            freedom = both**2 / sum(v**2 / max(1.0, f - 1) for v, f in parts)
        return math.sqrt(both), freedom

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self._moments[0]

    @property
    def freedom(self) -> float:
        """Degrees of freedom of its Student's t."""
        return self._moments[1]

    @cached_property
    def floor_error(self) -> float:
        """The least standard error where fewer than half of the groups differ; else 0."""
        found = self.differing
        if 2 * found.size >= self.groups:
            return 0.0
        one_more = float((found**2).max()) if found.size else self.step**2
        return math.sqrt(float((found**2).sum()) + one_more) / self.items

    @cached_property
    def outer_error(self) -> float:
        """Standard error against values that are farther from 0 than the mean."""
        d = self.changed
        if d is None or 2 * d >= self.items:
            return self.error
        of_groups = (self.error**2 - self._of_seeds) * (1 + 2 / math.sqrt(max(1.0, d)))
        return math.sqrt(of_groups + (self.step / self.items) ** 2 + self._of_seeds)

    def tail(self, value: float, sign: int = 1) -> float:
        """Return the one-sided p of "the mean is at most a value", or at least where sign is -1."""
        distance = sign * (self.mean - value)
        is_inner = min(0.0, self.mean) <= value <= max(0.0, self.mean)
        p = t_tail(self.freedom, distance, self.error if is_inner else self.outer_error)
        return max(p, normal_tail(distance / self.floor_error)) if self.floor_error else p

    def ends(self, level: float) -> tuple[float, float]:
        """Return the values whose one-sided p is just a level."""
        quantile = t_quantile(self.freedom, 1 - level)
        by_floor = normal_quantile(1 - level) * self.floor_error
        inner = max(quantile * self.error, by_floor)
        outer = max(quantile * self.outer_error, by_floor)
        low, high = self.mean - inner, self.mean + inner
        if self.mean <= 0 or low < 0:
            low = min(0.0, self.mean - outer) if self.mean > 0 else self.mean - outer
        if self.mean >= 0 or high > 0:
            high = max(0.0, self.mean + outer) if self.mean < 0 else self.mean + outer
        return low, high

    def flip_tail(self, value: float, sign: int = 1) -> float:
        """Return the exact one-sided p of "the mean is at most a value" over sign flips of groups.

        With a value of 0 only groups that differ count; 0 where there are too many of them, or of
        groups, for the test to be asked.
        """
        shifted = self.sums - value * self.sizes_G if value else self.differing
        return _flip_p(sign * shifted) if shifted.size <= FLIPS_UP_TO else 0.0

    def seed_flip_tail(self, value: float, sign: int = 1) -> float:
        """Return the same over sign flips of seeds; 0 where it is not asked."""
        if not self.crosses_seeds or len(self.sums_SG) > FLIPS_UP_TO:
            return 0.0
        return _flip_p(sign * (self.sums_SG.sum(axis=1) - value * self.items))

    def agreeing(self, value: float, sign: int, sides: int = 1) -> float:
        """Return the exact p that has to agree, of groups and of seeds; 0 where none has to."""
        p = max(self.flip_tail(value, sign), self.seed_flip_tail(value, sign))
        return min(1.0, sides * p)


def _flip_p(differences: FloatArray) -> float:
    """Return the share of sign flips whose sum is no smaller; 1 where there is nothing to flip."""
    scale = float(np.abs(differences).sum())
    sums = np.zeros(1)
    for each in differences:  # what a flip takes away is twice the sum of what it flips
        sums = np.concatenate([sums, sums + each])
    return float((sums <= _TOLERANCE * scale).mean())


def clustered(sums: FloatArray, sizes: FloatArray) -> tuple[float, float]:
    """Return the variance of the mean over items in groups, and its degrees of freedom.

    With N items, n_g of them in group g, w_g = n_g / N, and e_g the sum of a group's residuals:
    CR2 is sum(e_g^2 / (1 - w_g)) / N^2. Where groups alone vary its expectation is a share b of the
    variance, b = sum(w_g^2 (1 - 2 w_g + q) / (1 - w_g)) / q with q = sum(w_g^2): it is divided by
    b, which is 1 for groups of one size. The degrees of freedom are tr(K)^2 / tr(K^2), where
    K_gh = sqrt(c_g c_h) (n_g [g = h] - n_g n_h / N) and c_g = 1 / (N^2 (1 - w_g)).

    Args:
        sums: Sum of the differences of each group, shape (G,), G >= 2.
        sizes: Items of each group, shape (G,).

    >>> clustered(np.array([1.0, 2.0, 4.0]), np.ones(3))  # of single items: variance / n, n - 1
    (0.7777777777777777, 2.0)
    """
    items = float(sizes.sum())
    shares = sizes / items
    residuals = sums - sizes * (float(sums.sum()) / items)
    if float(np.abs(residuals).max()) <= _TOLERANCE * float(np.abs(sums).max()):
        residuals = np.zeros_like(residuals)
    variance = float((residuals**2 / (1 - shares)).sum()) / items**2
    square = float((shares**2).sum())
    kept = float((shares**2 * (1 - 2 * shares + square) / (1 - shares)).sum()) / square
    return variance / min(1.0, kept), clustered_freedom(sizes)


def clustered_freedom(sizes: FloatArray) -> float:
    """Return the degrees of freedom of `clustered`, which the sizes of the groups decide."""
    items = float(sizes.sum())
    c = 1 / (items**2 * (1 - sizes / items))
    diagonal = c * sizes * (1 - sizes / items)
    mixed = float((c * sizes**2).sum()) / items
    of_square = (diagonal**2).sum() + mixed**2 - (c**2 * sizes**4).sum() / items**2
    return round(float(diagonal.sum()) ** 2 / float(of_square), 9)


def mcnemar_p(changes: Changes) -> float:
    """Return the exact two-sided p of McNemar's test: are both kinds of change equally likely?

    >>> mcnemar_p(Changes(better=1, worse=8))
    0.0390625
    """
    from icckd.stats.special import bdtr

    n = changes.better + changes.worse
    return min(1.0, 2 * float(bdtr(min(changes.better, changes.worse), n, 0.5))) if n else 1.0


def difference_ways(sample: ItemSample) -> Ways:
    """Return how "there is a difference" holds, two-sided."""
    p = min(1.0, 2 * min(sample.tail(0.0), sample.tail(0.0, -1)))
    if sample.changes is not None:
        return ((max(p, mcnemar_p(sample.changes)), 0.0),)
    return ((p, min(sample.agreeing(0.0, 1, 2), sample.agreeing(0.0, -1, 2))),)


def equivalence_ways(sample: ItemSample, bound: float) -> Ways:
    """Return how "the mean lies within +-bound" holds, by two one-sided tests (Schuirmann 1987)."""
    p = max(sample.tail(-bound), sample.tail(bound, -1))
    return ((p, max(sample.agreeing(-bound, 1), sample.agreeing(bound, -1))),)


def interval(sample: ItemSample, level: float) -> tuple[float, float]:
    """Return the values that are not rejected at a two-sided level; 0 where it is not."""
    low, high = sample.ends(level / 2)
    p, exact = difference_ways(sample)[0]
    if p > level or exact > FLIP_LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return low, high
