"""What a number of seeds can tell: power, detectable effects, seeds needed.

Effects are in units of the spread (standard deviation) of the paired differences: d_z.
"""

import math
from collections.abc import Callable

from icckd.stats.paired import t_quantile

POWER = 0.8
MOST_SEEDS = 100_000

CriticalT = Callable[[int], float]
"""From a number of pairs to the |t| at which a difference counts as real."""


def student(alpha: float) -> CriticalT:
    """Return the critical |t| of the two-sided paired t test at level alpha."""
    return lambda n: t_quantile(n - 1, 1 - alpha / 2)


def one_sided(alpha: float) -> CriticalT:
    """Return the critical t of a one-sided t test at level alpha."""
    return lambda n: t_quantile(n - 1, 1 - alpha)


def power(n: int, effect: float, critical: CriticalT) -> float:
    """Return the probability that |t| of n pairs exceeds its critical value.

    t has the noncentral t distribution with n - 1 degrees of freedom and noncentrality
    effect * sqrt(n).

    Args:
        n: Pairs, at least 2.
        effect: True d_z.
        critical: Critical |t| by number of pairs.
    """
    limit, shift = critical(n), abs(effect) * math.sqrt(n)
    if math.isinf(limit):
        return 0.0
    return 1 - _noncentral_t(n - 1, shift, limit) + _noncentral_t(n - 1, shift, -limit)


def equivalence_power(n: int, bound: float, critical: CriticalT) -> float:
    """Return the probability that no difference is found equivalent: |mean| + critical < bound.

    A lower bound, 1 - 2 P(T <= critical) with T noncentral t shifted by bound * sqrt(n): exact but
    for the dependence of the two one-sided tests, which only helps (Phillips 1990, Journal of
    Pharmacokinetics and Biopharmaceutics 18).

    Args:
        n: Pairs, at least 2.
        bound: Smallest difference that matters, in units of the spread.
        critical: Half-width of the interval that must lie inside, in standard errors.
    """
    limit = critical(n)
    if math.isinf(limit):
        return 0.0
    return max(0.0, 1 - 2 * _noncentral_t(n - 1, bound * math.sqrt(n), limit))


def _noncentral_t(freedom: int, shift: float, limit: float) -> float:
    """Return the probability that noncentral t is at most a limit.

    Far out in the tails scipy has no answer; there it is 0 or 1.
    """
    from icckd.stats.special import nctdtr

    below = float(nctdtr(freedom, shift, limit))
    return below if math.isfinite(below) else float(limit > shift)


def seeds_where(holds: Callable[[int], bool], *, start: int = 2) -> int | None:
    """Return the smallest n >= start for which a condition holds that stays true once it is.

    None when it does not hold even at `MOST_SEEDS`.
    """
    if holds(start):
        return start
    low, high = start, start * 2
    while not holds(high):
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(high * 2, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def seeds_for_effect(effect: float, critical: CriticalT, *, wanted: float = POWER) -> int | None:
    """Return the pairs at which a true d_z is found with the wanted power."""
    return seeds_where(lambda n: power(n, effect, critical) >= wanted)


def seeds_for_equivalence(
    bound: float, critical: CriticalT, *, wanted: float = POWER
) -> int | None:
    """Return the pairs at which no difference is found equivalent with the wanted power."""
    return seeds_where(lambda n: equivalence_power(n, bound, critical) >= wanted)


def seeds_for_halfwidth(halfwidth: float, critical: CriticalT) -> int | None:
    """Return the pairs at which critical(n) / sqrt(n) falls below a half-width in units of spread.

    >>> seeds_for_halfwidth(0.3 / 1.5, student(0.05))
    99
    """
    return seeds_where(lambda n: critical(n) / math.sqrt(n) < halfwidth)


def detectable_effect(n: int, critical: CriticalT, *, wanted: float = POWER) -> float | None:
    """Return the smallest d_z that n pairs find with the wanted power; None when none is found."""
    if n < 2 or math.isinf(critical(n)):
        return None
    low, high = 0.0, 1.0
    while power(n, high, critical) < wanted:
        low, high = high, high * 2
        if high > 1e4:
            return None
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, critical) >= wanted else (middle, high)
    return high
