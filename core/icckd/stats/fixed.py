"""The test of a fixed number of paired seeds: Student's t that a collapsed spread cannot deceive.

An accuracy is a count over a test set, so differences of few seeds tie, and their standard
deviation may be far too small by chance. Two things guard against that:

- A floor F on the variance of a seed's difference, where one is known: of accuracies, how many test
  images two models judge differently. p is the larger one of Student's t with the standard
  deviation seen, and of a normal test with variance F.
- Up to `FLIPS_UP_TO` pairs the exact sign-flip test (Fisher 1935, The Design of Experiments,
section
  21) has to agree at `FLIP_LEVEL`; with fewer than `LEAST_PAIRS` it never can.

A test gives *ways*, pairs of a p value and of the exact p that has to agree: what it claims holds
at level a when in one of the ways the first is within a and the second within `FLIP_LEVEL`.
Intervals hold the values that no way rejects.

Shapes: S paired seeds.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from icckd.stats.paired import FloatArray, mean_and_error, t_quantile, t_tail

LEAST_PAIRS = 6
FLIPS_UP_TO = 12
FLIP_LEVEL = 0.05
_TOLERANCE = 1e-9  # of the largest difference: equal accuracies differ by rounding

Ways = tuple[tuple[float, float], ...]
"""Ways in which a claim can hold: a p value, and the exact p that has to agree (0: none has to)."""
NEVER: Ways = ((1.0, 1.0),)


class Estimate(Protocol):
    """A difference whose p a location decides: of paired seeds, or of two samples."""

    @property
    def mean(self) -> float:
        """The difference."""

    def tail(self, value: float, sign: int = 1) -> float:
        """Return the one-sided p of "it is at most a value", or at least where sign is -1."""

    def reach(self, level: float) -> float:
        """Return how far a value must lie from it for a one-sided p below a level."""

    def flip_tail(self, value: float, sign: int = 1) -> float:
        """Return the exact one-sided p that has to agree, 0 where none has to."""

    def flip_bounds(self, level: float) -> tuple[float, float]:
        """Return the values that neither exact one-sided test rejects at a level."""


@dataclass(frozen=True)
class Sample:
    """Paired differences, finite, shape (S,), S >= 2, and the least variance that each can have.

    The unit of `floor` is that of the differences, squared; 0 where nothing is known of it.
    """

    differences: FloatArray
    floor: float = 0.0

    @property
    def n(self) -> int:
        """Number of pairs."""
        return int(self.differences.size)

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and its standard error by the spread seen."""
        return mean_and_error(self.differences)

    @property
    def mean(self) -> float:
        """Mean difference."""
        return self.moments[0]

    @property
    def floor_error(self) -> float:
        """Standard error of the mean where each difference has the least variance."""
        return math.sqrt(self.floor / self.n)

    def tail(self, value: float, sign: int = 1) -> float:
        """Return the one-sided p of "the mean is at most a value", or at least where sign is -1."""
        mean, error = self.moments
        distance = sign * (mean - value)
        p = t_tail(self.n - 1, distance, error)
        return max(p, normal_tail(distance / self.floor_error)) if self.floor else p

    def reach(self, level: float) -> float:
        """Return how far a value must lie from the mean for a one-sided p below a level."""
        by_spread = t_quantile(self.n - 1, 1 - level) * self.moments[1]
        return max(by_spread, normal_quantile(1 - level) * self.floor_error)

    @cached_property
    def subset_means(self) -> FloatArray:
        """Means of all non-empty subsets of the differences, ascending."""
        sums, counts = np.zeros(1), np.zeros(1)
        for difference in np.sort(self.differences):
            sums = np.concatenate([sums, sums + difference])
            counts = np.concatenate([counts, counts + 1])
        return np.sort(sums[1:] / counts[1:])

    @property
    def rounding(self) -> float:
        """What two differences may differ by and still be equal."""
        return _TOLERANCE * float(np.abs(self.differences).max(initial=0.0))

    def flip_tail(self, value: float, sign: int = 1) -> float:
        """Return the exact one-sided p of "the mean is at most a value" over all sign flips.

        A flip of the differences minus that value has no smaller sum exactly when the mean of the
        differences that it flips is no larger than the value. 0 where there are too many pairs for
        the test to be asked.
        """
        if self.n > FLIPS_UP_TO:
            return 0.0
        means = sign * self.subset_means
        flips = 1 + int((means <= sign * value + self.rounding).sum())
        return flips / 2 ** float(self.n)

    def flip_bounds(self, level: float) -> tuple[float, float]:
        """Return the values that neither one-sided sign-flip test rejects at a level."""
        if self.n > FLIPS_UP_TO:
            return self.mean, self.mean
        rejected = math.floor(level * 2**self.n + 1e-9)
        if rejected < 1:
            return -math.inf, math.inf
        low, high = float(self.subset_means[rejected - 1]), float(self.subset_means[-rejected])
        return _exact_zero(low, self.rounding), _exact_zero(high, self.rounding)


def difference_ways(sample: Estimate) -> Ways:
    """Return how "there is a difference" holds, two-sided."""
    p = min(1.0, 2 * min(sample.tail(0.0), sample.tail(0.0, -1)))
    return ((p, flip_p(sample)),)


def flip_p(sample: Estimate) -> float:
    """Return the two-sided exact p that has to agree with a difference, 0 where none has to."""
    return min(1.0, 2 * min(sample.flip_tail(0.0), sample.flip_tail(0.0, -1)))


def equivalence_ways(sample: Estimate, bound: float) -> Ways:
    """Return how "the mean lies within +-bound" holds, by two one-sided tests (Schuirmann 1987)."""
    p = max(sample.tail(-bound), sample.tail(bound, -1))
    return ((p, max(sample.flip_tail(-bound), sample.flip_tail(bound, -1))),)


def interval(sample: Estimate, level: float) -> tuple[float, float]:
    """Return the values that the two-sided test does not reject at a level."""
    low, high = sample.flip_bounds(FLIP_LEVEL / 2)
    reach = sample.reach(level / 2)
    return min(low, sample.mean - reach), max(high, sample.mean + reach)


def _exact_zero(value: float, rounding: float) -> float:
    return 0.0 if abs(value) <= rounding else value


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from icckd.stats.special import ndtri

    return float(ndtri(probability))
