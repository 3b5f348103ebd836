"""Is a difference too small to matter?"""

from dataclasses import dataclass

from icckd.stats.paired import FloatArray, mean_and_error, t_quantile, t_tail


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
