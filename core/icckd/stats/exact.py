"""Exact tests that assume nothing but that "no difference" leaves every sign to chance.

Shapes: S paired seeds.
"""

import math

import numpy as np

from icckd.stats.paired import FloatArray

EXACT_UP_TO = 20  # pairs; beyond, the sign flips are sampled
SAMPLES = 99_999
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
    if ordered.size > EXACT_UP_TO:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (SAMPLES, ordered.size))
        extreme = int((np.abs(signs @ ordered) >= observed).sum())
        return (extreme + 1) / (SAMPLES + 1)
    sums = ordered[:1]  # the first sign stays: flipping all signs changes no absolute sum
    for size in ordered[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return float((np.abs(sums) >= observed).mean())


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
    below = (grid[:, None] > grid[None, :]).sum(axis=1)
    same = (grid[:, None] == grid[None, :]).sum(axis=1)
    ranks = below + (same + 1) / 2
    return np.where(grid > 0, np.sign(differences) * ranks, 0.0)


def worst_rank_p(differences: FloatArray) -> float:
    """Return the exact two-sided p of the signed worst ranks; see `worst_rank_scores`."""
    return sign_flip_p(worst_rank_scores(differences))
