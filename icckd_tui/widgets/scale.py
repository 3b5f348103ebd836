"""Axes: where ticks go and what they say."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that needs at most `most` steps.

    >>> nice_step(30, 6), nice_step(0.7, 4)
    (5.0, 0.2)
    """
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        (factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= rough * (1 - 1e-9)),
        10.0 * power,
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` + 1 nice values within [low, high]; none for a range without width."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    step = nice_step(high - low, most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return 1-2-5 ticks of a logarithmic axis, or powers of ten alone when those are many."""
    if not (0 < low < high and math.isfinite(high)):
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) <= most + 1:
            break
    every = max(1, math.ceil(len(found) / (most + 1)))
    return found[::every] if len(found) >= 2 else ticks(low, high, most)


def widened(low: float, high: float) -> tuple[float, float]:
    """Return a range with some width and a little air around the values, in axis units."""
    if high <= low:
        air = abs(low) * 0.05 or 1.0
        return low - air, high + air
    air = (high - low) * 0.03
    return low - air, high + air


def labels(values: list[float]) -> list[str]:
    """Return short labels, all with the decimals that the finest step needs.

    >>> labels([0.0, 0.5, 1.0]), labels([0.001, 0.01, 0.1])
    (['0.0', '0.5', '1.0'], ['0.001', '0.010', '0.100'])
    """
    if not values:
        return []
    steps = [abs(b - a) for a, b in pairwise(values)]
    finest = min([s for s in steps if s > 0], default=abs(values[0]) or 1.0)
    largest = max(abs(v) for v in values)
    if largest >= 1e6 or finest < 1e-4:
        return [f"{v:.3g}" for v in values]
    decimals = max(0, -math.floor(math.log10(finest) + 1e-9))
    return [f"{v:.{decimals}f}" for v in values]


def transformed(values: Floats, *, log: bool) -> Floats:
    """Return values in axis units; on a log axis what is not positive becomes a gap."""
    if not log:
        return np.where(np.isfinite(values), values, np.nan)
    usable = np.isfinite(values) & (values > 0)
    return np.where(usable, np.log10(np.where(usable, values, 1.0)), np.nan)
