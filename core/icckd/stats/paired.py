"""Paired comparison of two arms over the seeds they share.

Shapes: S paired seeds, E epochs. SciPy is imported when first needed: it takes longer to
load than everything else that `icckd status` does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


def t_tail(freedom: float, distance: float, error: float) -> float:
    """Return the probability that Student's t exceeds distance / error.

    With error 0 that is 0, 1/2 or 1 for a distance above, at or below 0.
    """
    if error == 0.0:
        return 0.5 * (1 - math.copysign(1, distance)) if distance else 0.5
    from icckd.stats.special import stdtr

    return float(stdtr(freedom, -distance / error))


def t_quantile(freedom: float, probability: float) -> float:
    """Return the quantile of Student's t distribution."""
    from icckd.stats.special import stdtrit

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
    from icckd.stats.special import stdtrit

    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / count
    freedom = np.maximum(count - 1, 1)
    variance = np.nansum((values - mean) ** 2, axis=0) / freedom
    half = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance / count)
    half = np.where(count > 1, half, np.nan)
    return mean, mean - half, mean + half


# How large a paired difference is in units of its own spread.


def hedges_correction(freedom: int) -> float:
    """Return the factor that removes the small-sample bias of a standardized mean difference.

    Hedges 1981 (Journal of Educational Statistics 6): with G the gamma function and m degrees of
    freedom, J(m) = G(m / 2) / (sqrt(m / 2) G((m - 1) / 2)); 0 for m = 1, where the bias is
    infinite.

    >>> round(hedges_correction(7), 4)
    0.8882
    """
    if freedom < 2:
        return 0.0
    half = freedom / 2
    return math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)


def standardized_effect(differences: FloatArray) -> float | None:
    """Return Cohen's d_z with Hedges' correction: J(n - 1) * mean / standard deviation.

    d_z is Cohen 1988 (Statistical Power Analysis, section 2.3.5). It is None with fewer than three
    pairs, and where all differences are equal.

    Args:
        differences: Differences arm minus baseline, finite, shape (S,), S >= 1.
    """
    n = int(differences.size)
    mean, error = mean_and_error(differences) if n > 2 else (0.0, 0.0)
    return hedges_correction(n - 1) * mean / (error * math.sqrt(n)) if error else None


# Exact tests that assume nothing but that "no difference" leaves every sign to chance.
#
# Shapes: S paired seeds.

EXACT_UP_TO = 20  # pairs; beyond, the sign flips are sampled
SAMPLES = 99_999
_ROWS = 1_000  # of the sample, at a time: what is drawn takes eight bytes a sign
_TIE_DIGITS = 9  # of the largest size: differences of equal accuracies differ by rounding
_TOLERANCE = 1e-12  # of the sum of absolute values: sums of equal numbers differ by rounding


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p that a sign-flip or signed-rank test of n pairs can reach.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - n))


def sign_flip_p(differences: FloatArray) -> float:
    """Return the exact two-sided p of "no difference" over all 2^S ways to flip signs.

    Fisher 1935 (The Design of Experiments, section 21): the share of flips whose absolute sum is at
    least that observed. Beyond `EXACT_UP_TO` pairs the flips are drawn, always the same ones, and
    the observed one is counted in (Phipson and Smyth 2010).

    Args:
        differences: Differences arm minus baseline, finite, shape (S,), S >= 1.
    """
    ordered = np.sort(np.abs(differences))
    observed = abs(float(np.sort(differences).sum())) - _TOLERANCE * float(ordered.sum())
    sums = _flipped_sums(ordered)
    extreme = np.abs(sums) >= observed
    return float(extreme.mean()) if ordered.size <= EXACT_UP_TO else _counted_in(extreme)


def one_sided_flip_p(differences: FloatArray) -> float:
    """Return the one-sided p against a positive mean, as `sign_flip_p` the two-sided one."""
    ordered = np.sort(np.abs(differences))
    observed = float(np.sort(differences).sum()) - _TOLERANCE * float(ordered.sum())
    sums = _flipped_sums(ordered)
    if ordered.size > EXACT_UP_TO:
        return _counted_in(sums >= observed)
    return float(((sums >= observed).mean() + (-sums >= observed).mean()) / 2)


def _flipped_sums(sizes: FloatArray) -> FloatArray:
    """Return the sums over all ways to give sizes a sign but the first's, or over a sample."""
    return _sums_of(sizes.tobytes())


@lru_cache(maxsize=2)  # both sides of a test ask for the same ones
def _sums_of(data: bytes) -> FloatArray:
    sizes = np.frombuffer(data, dtype=np.float64)
    if sizes.size > EXACT_UP_TO:
        return np.concatenate([
            (np.unpackbits(rows, axis=1, count=sizes.size) * 2.0 - 1.0) @ sizes
            for rows in _drawn_signs(int(sizes.size))
        ])  # fmt: skip
    sums = sizes[:1]  # flipping all signs turns a sum into its opposite
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


@lru_cache(maxsize=1)  # the arms of a study have as many pairs each, mostly
def _drawn_signs(pairs: int) -> list[NDArray[np.uint8]]:
    """Return the signs of the sample, `_ROWS` at a time, shape (`_ROWS`, S), a bit each: 1 is +."""
    random = np.random.default_rng(0)
    return [
        np.packbits(random.integers(0, 2, (min(_ROWS, SAMPLES - start), pairs)), axis=1)
        for start in range(0, SAMPLES, _ROWS)
    ]


def _counted_in(extreme: np.ndarray) -> float:
    """Return the share of drawn flips, the observed one counted in."""
    return (int(extreme.sum()) + 1) / (SAMPLES + 1)


def worst_rank_scores(differences: FloatArray) -> FloatArray:
    """Return signed ranks of differences, infinite ones ranked above all finite ones.

    A pair in which the arm alone never reached its target, or diverged, has an infinite difference:
    its size is unknown, its sign is not (Lachin 1999, Controlled Clinical Trials 20). Equal sizes
    share their mean rank; zeros, also pairs in which both never did (NaN), score zero.

    Args:
        differences: Oriented so that the sign is meant; infinite or NaN allowed, shape (S,).

    >>> worst_rank_scores(np.array([0.5, -np.inf, 2.0, np.nan])).tolist()
    [2.0, -4.0, 3.0, 0.0]
    """
    sizes = np.abs(np.nan_to_num(differences, nan=0.0, posinf=math.inf, neginf=-math.inf))
    largest = float(sizes[np.isfinite(sizes)].max(initial=0.0))
    grid = np.where(np.isfinite(sizes), np.round(sizes / (largest or 1.0), _TIE_DIGITS), np.inf)
    ordered = np.sort(grid)
    below, up_to = (np.searchsorted(ordered, grid, side) for side in ("left", "right"))
    ranks = below + (up_to - below + 1) / 2
    return np.where(grid > 0, np.sign(differences) * ranks, 0.0)


def worst_rank_p(differences: FloatArray) -> float:
    """Return the exact two-sided p of the signed worst ranks; see `worst_rank_scores`."""
    return sign_flip_p(worst_rank_scores(differences))


# Is a difference too small to matter?


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two one-sided tests against +-bound: the larger p, and the 1 - 2 * alpha interval.

    The interval lies inside the bounds exactly when p < alpha.
    """

    p: float
    low: float
    high: float


def equivalence(
    differences: FloatArray,
    *,
    bound: float,
    alpha: float = 0.05,
) -> Equivalence:
    """Test that a mean paired difference lies within +-bound, by TOST.

    Schuirmann 1987 (Journal of Pharmacokinetics and Biopharmaceutics 15): with mean m and its
    standard error e over n pairs, p is the larger of P(t > (m + bound) / e) and
    P(t > (bound - m) / e) with n - 1 degrees of freedom.

    Args:
        differences: Differences arm minus baseline, finite, shape (S,), S >= 2.
        bound: Smallest difference that matters, in the unit of the differences, above 0.
        alpha: Level of each one-sided test.
    """
    if differences.ndim != 1 or differences.size < 2 or not bound > 0:
        raise ValueError("n >= 2 differences and a bound above 0 are needed")
    mean, error = mean_and_error(differences)
    freedom = int(differences.size) - 1
    half = t_quantile(freedom, 1 - alpha) * error
    p = max(t_tail(freedom, mean + bound, error), t_tail(freedom, bound - mean, error))
    return Equivalence(p=p, low=mean - half, high=mean + half)


# Several comparisons at once.


def holm(p_values: Sequence[float], *, family_size: int | None = None) -> tuple[float, ...]:
    """Return Holm-adjusted p values (Holm 1979, Scandinavian Journal of Statistics 6).

    Sorted ascending, the i-th of m (from 0) becomes the largest of (m - j) * p_j over j <= i, at
    most 1. Rejecting where it is below alpha keeps the chance of any false rejection below alpha.

    Args:
        p_values: Raw p values, in any order.
        family_size: m, when some comparisons of the family have no p value yet; at least
            len(p_values). Counting them keeps an arm that is missing from favouring the others.

    Returns:
        Adjusted p values in the order given.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    size = len(p_values) if family_size is None else family_size
    if size < len(p_values):
        raise ValueError("a family is at least as large as its p values are many")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (size - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


# Bootstrap intervals, from ten pairs on.

BOOTSTRAP_FROM = 10
RESAMPLES = 9_999


def bootstrap_interval(
    differences: FloatArray, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the BCa bootstrap interval of the mean (Efron 1987, JASA 82), always the same one.

    With B resamples of n differences, means m_b, and m_i the mean without difference i: z0 is the
    normal quantile of the share of m_b below the mean (ties count half), a is
    sum (m. - m_i)^3 / (6 (sum (m. - m_i)^2)^(3/2)), and the interval runs between the quantiles of
    m_b at Phi(z0 + (z0 +- z) / (1 - a (z0 +- z))) (Efron and Tibshirani 1993, section 14.3).
    `scipy.stats.bootstrap` gives the same bits, and takes longer to import than a report to make.

    None with fewer than ten pairs, where it covers far too seldom, and for equal differences.

    Args:
        differences: Differences arm minus baseline, finite, shape (S,).
        confidence: Coverage of the interval.
    """
    if differences.size < BOOTSTRAP_FROM or np.ptp(differences) == 0:
        return None
    from icckd.stats.special import ndtr, ndtri

    ordered = np.sort(differences)
    n = ordered.size
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    resampled = ordered[drawn].mean(axis=1)
    mean = ordered.mean()
    below = np.count_nonzero(resampled < mean) + np.count_nonzero(resampled <= mean)
    bias = ndtri(below / (2 * RESAMPLES))
    others = ~np.eye(n, dtype=bool)
    left_out = np.broadcast_to(ordered, (n, n))[others].reshape(n, n - 1).mean(axis=1)
    pulls = (n - 1) * (left_out.mean() - left_out)
    acceleration = 1 / 6 * ((pulls**3).sum() / n**3) / ((pulls**2).sum() / n**2) ** 1.5
    ends = bias + np.array([1, -1]) * float(ndtri((1 - confidence) / 2))
    shares = ndtr(bias + ends / (1 - acceleration * ends))
    low, high = _quantiles(np.sort(resampled), shares)
    return low, high


def _quantiles(ordered: FloatArray, shares: FloatArray) -> list[float]:
    """Return the quantiles of ordered values, on the line between the two nearest."""
    places = shares * ordered.size + (1 - shares)  # counted from 1
    before = np.clip(places.astype(int), 1, ordered.size - 1)
    part = places - before
    return [float(q) for q in (1 - part) * ordered[before - 1] + part * ordered[before]]
