"""How large a paired difference is in units of its own spread."""

import math

from icckd.stats.paired import FloatArray, mean_and_error


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
