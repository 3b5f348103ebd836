"""One declared extension: an interim analysis of the first seeds, and one of all of them.

The first seeds give a one-sided p1, the seeds of the extension alone p2. With z = -Phi^-1(p) the
two are combined with equal weights, C = (z1 + z2) / sqrt(2) (Lehmacher and Wassmer 1999, Biometrics
55; Cui, Hung and Wang 1999, Biometrics 55). A hypothesis is rejected at level L by the first look
when p1 <= f L, by the second when C >= c, where c is such that the two together err with
probability L. That holds whatever size the extension got for what was seen at the first look, since
p2 is from new seeds alone. f is 1/2, and 0 where the first seeds are too few for any verdict:
nothing is spent then.

p is the smallest L at which one of the looks rejects (Posch, Wassmer and Brannath 2008, Biometrika
95).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from icckd.stats.family import first_levels
from icckd.stats.fixed import FLIP_LEVEL, LEAST_PAIRS, NEVER, Sample, Ways
from icckd.stats.paired import FloatArray
from icckd.stats.power import one_sided, seeds_for_effect, seeds_for_equivalence, student

FIRST_SHARE = 0.5
LEAST_EXTENSION = 4
"""Pairs of an extension below which it decides nothing."""
_STEPS = 60
_LEAST_P = 1e-300


def first_share(planned: int) -> float:
    """Return f, the part of a level that the first look of so many planned seeds may spend."""
    return FIRST_SHARE if planned >= LEAST_PAIRS else 0.0


def combined_p(z: FloatArray | float, share: float) -> FloatArray:
    """Return the smallest level at which the second look rejects, elementwise.

    Args:
        z: C, the combined statistic.
        share: f.
    """
    from icckd.stats.special import ndtr

    z = np.asarray(z, dtype=np.float64)
    low = ndtr(-z)
    if not share:
        return np.asarray(low)
    high = np.minimum(1.0, low / (1 - share))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        errs_more = _error(middle, z, share) > middle
        low, high = np.where(errs_more, middle, low), np.where(errs_more, high, middle)
    return np.asarray(high)


def critical_z(level: float, share: float) -> float:
    """Return c, the boundary of the second look at a level.

    >>> round(critical_z(0.025, 0.5), 4)
    2.1251
    """
    from icckd.stats.special import ndtri

    low, high = float(-ndtri(level)), float(-ndtri(level * (1 - share)))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _error(level, middle, share) > level else (low, middle)
    return high


def _error(level: FloatArray | float, z: FloatArray | float, share: float) -> FloatArray:
    """Return P(Z1 >= a or (Z1 + Z2) / sqrt(2) >= z), where a is the first look's boundary."""
    from icckd.stats.special import ndtr, ndtri

    first = np.maximum(share * np.asarray(level), _LEAST_P)
    return np.asarray(first + ndtr(-np.asarray(z)) - _both(ndtri(first), -np.asarray(z)))


def _both(h: FloatArray, k: FloatArray) -> FloatArray:
    """Return P(X <= h, Y <= k) of normal X, Y with correlation sqrt(1/2), by Owen's T (1956)."""
    from icckd.stats.special import ndtr, owens_t

    h, k = (np.where(np.abs(v) < 1e-12, 1e-12, v) for v in np.broadcast_arrays(h, k))
    rho = math.sqrt(0.5)
    of_h, of_k = (k / h - rho) / rho, (h / k - rho) / rho  # sqrt(1 - rho^2) is rho, too
    apart = np.where(h * k > 0, 0.0, 1.0)
    return np.asarray(
        (ndtr(h) + ndtr(k) - apart) / 2 - owens_t(h, of_h) - owens_t(k, of_k), dtype=np.float64
    )


def combine(first: FloatArray | float, second: FloatArray | float) -> FloatArray:
    """Return C of two one-sided p, elementwise."""
    from icckd.stats.special import ndtri

    inside = (np.clip(p, _LEAST_P, 1 - 1e-16) for p in (first, second))
    first_z, second_z = (-ndtri(p) for p in inside)
    return np.asarray((first_z + second_z) / math.sqrt(2))


class Part(Protocol):
    """Seeds of one stage: what gives a one-sided p of "the mean is at most a value"."""

    def tail(self, value: float, sign: int = 1) -> float:
        """Return that p; with sign -1 of "at least"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStage:
    """Seeds of the first look, and those of the extension.

    Attributes:
        first: The first seeds; None where they are too few to give a p.
        second: Those of the extension; None before it is complete.
        whole: All of them; None where a difference is not finite.
        share: f, as planned.
    """

    first: Part | None
    second: Part | None
    whole: Sample | None
    share: float

    def ways_beyond(self, value: float, sign: int, *, sides: int = 1) -> Ways:
        """Return how "the mean is above a value" holds, with sign -1 "below".

        Args:
            value: The value.
            sign: On which side.
            sides: 2 where both sides are asked and p is to be two-sided.
        """
        p_first = 0.5 if self.first is None else self.first.tail(value, sign)
        ways = []
        if self.share and self.first is not None:
            p = min(1.0, sides * p_first / self.share)
            ways.append((p, _flips(self.first, value, sign, sides)))
        if self.second is not None:
            z = combine(p_first, self.second.tail(value, sign))
            p = min(1.0, sides * float(combined_p(z, self.share)))
            ways.append((p, _flips(self.whole, value, sign, sides)))
        return tuple(ways) or NEVER

    def difference_ways(self) -> Ways:
        """Return how "there is a difference" holds, two-sided, look by look."""
        ways = zip(
            self.ways_beyond(0.0, 1, sides=2), self.ways_beyond(0.0, -1, sides=2), strict=True
        )
        return tuple(min(up, down, key=max) for up, down in ways)

    def equivalence_ways(self, bound: float) -> Ways:
        """Return how "the mean lies within +-bound" holds: each side by any of the looks."""
        above, below = self.ways_beyond(-bound, 1), self.ways_beyond(bound, -1)
        return tuple((max(a[0], b[0]), max(a[1], b[1])) for a in above for b in below)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the values that no look rejects at a two-sided level; both stages are samples."""
        lows, highs = [-math.inf], [math.inf]
        if self.share and isinstance(self.first, Sample):
            reach, flips = self.first.reach(self.share * level / 2), _flip_bounds(self.first)
            lows.append(min(self.first.mean - reach, flips[0]))
            highs.append(max(self.first.mean + reach, flips[1]))
        if self.second is not None and self.whole is not None:
            z, flips = critical_z(level / 2, self.share), _flip_bounds(self.whole)
            lows.append(min(self._end(z, 1), flips[0]))
            highs.append(max(self._end(z, -1), flips[1]))
        low, high = max(lows), min(highs)
        return (low, high) if low <= high else ((low + high) / 2, (low + high) / 2)

    def _end(self, z: float, sign: int) -> float:
        """Return the value at which C is z: the lower end for sign 1."""
        assert self.second is not None
        assert self.whole is not None
        second = self.second

        def is_rejected(value: float) -> bool:
            p_first = 0.5 if self.first is None else self.first.tail(value, sign)
            return bool(combine(p_first, second.tail(value, sign)) >= z)

        step = float(np.ptp(self.whole.differences)) + math.sqrt(self.whole.floor) + 1e-12
        return _edge(is_rejected, self.whole.mean, sign, step)


def _edge(is_rejected: Callable[[float], bool], inside: float, sign: int, step: float) -> float:
    """Return the value on the far side of which all are rejected."""
    outside, kept = inside, inside
    for _ in range(_STEPS):
        outside = inside - sign * step
        if is_rejected(outside):
            break
        kept, step = outside, 2 * step
    for _ in range(2 * _STEPS):
        middle = (outside + kept) / 2
        outside, kept = (middle, kept) if is_rejected(middle) else (outside, middle)
    return kept


def _flips(part: Part | None, value: float, sign: int, sides: int) -> float:
    """Return the exact p that has to agree, 0 where none has to."""
    return min(1.0, sides * part.flip_tail(value, sign)) if isinstance(part, Sample) else 0.0


def _flip_bounds(sample: Sample) -> tuple[float, float]:
    return sample.flip_bounds(FLIP_LEVEL / 2)


# How large the extension has to be.
#
# So large that a test with all seeds fixed beforehand, at the family's first levels, would find the
# smallest effect, and find no difference equivalent. Not at the spread seen, which is too small in
# half of all studies, but at an upper limit of it. Both settings were picked by simulation
# (docs/statistics.md); the observed difference plays no part.

_FEW = 8


def spread_limit(n: int, confidence: float) -> float:
    """Return the upper confidence limit of a normal spread over that seen in n differences."""
    from icckd.stats.special import chdtri

    return math.sqrt((n - 1) / float(chdtri(n - 1, confidence)))


def extension_size(n: int, effect: float, size: int) -> tuple[int, int] | None:
    """Return the pairs that an extension should have: at the spread seen, and at its upper limit.

    Args:
        n: Pairs of the first look.
        effect: Smallest effect that matters over the spread seen.
        size: Hypotheses of the family.

    Returns:
        Both, or None where no number of seeds is enough or the spread of so few says nothing.
    """
    least = max(LEAST_EXTENSION, n // 2, LEAST_PAIRS - n)
    confidence, wanted = (0.6, 0.85) if n < _FEW else (0.55, 0.8)
    found = []
    for limit in (1.0, spread_limit(n, confidence)):
        needed = fixed_size(effect / limit, size, wanted=wanted)
        if needed is None:
            return None
        found.append(max(least, needed - n))
    return found[0], found[1]


def fixed_size(effect: float, size: int, *, wanted: float = 0.8) -> int | None:
    """Return the pairs, fixed beforehand, that decide about an effect in units of the spread.

    Args:
        effect: Smallest effect that matters, in units of the spread.
        size: Hypotheses of the family.
        wanted: Power, both of finding that effect and of finding none equivalent.
    """
    difference, equivalence = first_levels(size)
    needed = (
        seeds_for_effect(effect, student(difference), wanted=wanted),
        seeds_for_equivalence(effect, one_sided(equivalence), wanted=wanted),
    )
    known = [n for n in needed if n is not None]
    return max(*known, LEAST_PAIRS) if len(known) == len(needed) else None
