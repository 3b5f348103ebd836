"""Paired comparison of two arms over the seeds they share.

Shapes: S paired seeds, E epochs. SciPy is imported when first needed: it takes longer to
load than everything else that `icckd status` does.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of the differences over n pairs, its t interval, and the two-sided p of "no difference".

    All but `n` and `p` have the unit of the differences.
    """

    n: int
    mean: float
    spread: float
    low: float
    high: float
    p: float


def paired_difference(
    treated: FloatArray,
    baseline: FloatArray,
    *,
    confidence: float = 0.95,
) -> PairedDifference:
    """Compare two arms over paired seeds by Student's t (Student 1908, Biometrika 6).

    With differences d_s = treated_s - baseline_s, mean m, standard deviation s (divisor n - 1):
    the interval is m +- t(n - 1; (1 + confidence) / 2) * s / sqrt(n), and p is the probability of
    a |t| at least |m| / (s / sqrt(n)) with n - 1 degrees of freedom. When all differences are
    equal (s = 0) the interval is that one value, and p is 0, or 1 when they are all zero.

    Args:
        treated: Finite values of the arm, shape (S,), S >= 2.
        baseline: Values of the baseline under the same seeds, shape (S,).
        confidence: Coverage of the interval.

    Returns:
        The difference treated minus baseline.

    >>> r = paired_difference(np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.0, 0.0]))
    >>> round(r.mean, 3), round(r.low, 3), round(r.high, 3), round(r.p, 3)
    (2.333, -1.461, 6.128, 0.118)
    """
    if treated.shape != baseline.shape or treated.ndim != 1 or treated.size < 2:
        raise ValueError("two arrays of the same n >= 2 paired seeds are needed")
    differences = treated - baseline
    n = int(differences.size)
    mean, error = mean_and_error(differences)
    half = t_quantile(n - 1, (1 + confidence) / 2) * error
    return PairedDifference(
        n=n,
        mean=mean,
        spread=error * math.sqrt(n),
        low=mean - half,
        high=mean + half,
        p=min(1.0, 2 * t_tail(n - 1, abs(mean), error)),
    )


def mean_and_error(values: FloatArray) -> tuple[float, float]:
    """Return mean and standard error of the mean, the same bits whatever the order of values.

    The error of equal values is exactly 0.
    """
    ordered = np.sort(values)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), 0.0
    return float(ordered.mean()), float(ordered.std(ddof=1)) / math.sqrt(ordered.size)


def t_tail(freedom: int, distance: float, error: float) -> float:
    """Return the probability that Student's t exceeds distance / error.

    With error 0 that is 0, 1/2 or 1 for a distance above, at or below 0.
    """
    if error == 0.0:
        return 0.5 * (1 - math.copysign(1, distance)) if distance else 0.5
    from scipy.special import stdtr

    return float(stdtr(freedom, -distance / error))


def t_quantile(freedom: int, probability: float) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def mean_interval(
    values: FloatArray,
    *,
    confidence: float = 0.95,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mean over seeds at each epoch and its t interval.

    Args:
        values: Values of one arm, shape (S, E), NaN where a seed has none; every epoch has at
            least one.
        confidence: Coverage of the interval at each single epoch.

    Returns:
        Mean, low and high, each of shape (E,); low and high are NaN with fewer than two seeds.
    """
    from scipy.special import stdtrit

    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / count
    freedom = np.maximum(count - 1, 1)
    variance = np.nansum((values - mean) ** 2, axis=0) / freedom
    half = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance / count)
    half = np.where(count > 1, half, np.nan)
    return mean, mean - half, mean + half
