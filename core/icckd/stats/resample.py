"""Bootstrap intervals, from ten pairs on."""

import numpy as np

from icckd.stats.paired import FloatArray

BOOTSTRAP_FROM = 10
RESAMPLES = 9_999


def bootstrap_interval(
    differences: FloatArray, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the BCa bootstrap interval of the mean (Efron 1987, JASA 82), always the same one.

    None with fewer than ten pairs, where it covers far too seldom, and for equal differences.

    Args:
        differences: Differences arm minus baseline, finite, shape (S,).
        confidence: Coverage of the interval.
    """
    if differences.size < BOOTSTRAP_FROM or np.ptp(differences) == 0:
        return None
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.sort(differences),), np.mean, confidence_level=confidence, n_resamples=RESAMPLES,
        method="BCa", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)
