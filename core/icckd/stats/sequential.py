"""Looking again and again: intervals and p values that stay valid however often one looks.

For paired differences X_1, X_2, ... drawn from a normal distribution of unknown mean and spread,
and the t statistic t_n of "mean = m0" after n of them, the ratio

    M_n = (1 + n g)^(-1/2) * [(1 + t_n^2 / (n - 1)) / (1 + t_n^2 / ((n - 1)(1 + n g)))]^(n / 2)

is the likelihood of t_n when the standardized effect is drawn from N(0, g), over its likelihood
when it is 0. If m0 is the mean, M_n is a non-negative martingale that starts at 1, whatever the
spread, so that it ever exceeds 1 / alpha with probability at most alpha (Ville). The means m0 for
which M_n < 1 / alpha form a confidence sequence: they hold the true mean for all n at once with
probability at least 1 - alpha, and therefore also at any n that was chosen by looking at the data.

Lai 1976, Annals of Statistics 4. Wang and Ramdas, "Anytime-valid t-tests and confidence sequences
for Gaussian means with unknown variance", Sequential Analysis, 2025. Perez-Ortiz, Lardy, de Heide
and Grunwald, "E-statistics, group invariance and anytime-valid testing", Annals of Statistics 52.
"""

import math
from dataclasses import dataclass

from icckd.stats.fixed import Sample
from icckd.stats.paired import FloatArray, PairedDifference, mean_and_error


def critical_t(n: int, *, effect: float, alpha: float = 0.05) -> float:
    """Return the |t| at which M_n reaches 1 / alpha: infinite while n is too small for that.

    With r = ((1 + n g) / alpha^2)^(1 / n) it is sqrt((n - 1)(r - 1) / (1 - r / (1 + n g))), from
    solving M_n = 1 / alpha for t.

    Args:
        n: Pairs, at least 2.
        effect: sqrt(g), the standard deviation of the standardized effects that the rule is made
            for. Any value is valid; near the true one the intervals are shortest.
        alpha: Chance of ever being wrong.
    """
    grown = 1 + n * effect * effect
    log_ratio = (math.log(grown) - 2 * math.log(alpha)) / n
    if log_ratio >= math.log(grown):
        return math.inf
    ratio = math.exp(log_ratio)
    return math.sqrt((n - 1) * (ratio - 1) / (1 - ratio / grown))


def anytime_p(n: int, t: float, *, effect: float) -> float:
    """Return min(1, 1 / M_n), a p value that may be looked at after every pair.

    Args:
        n: Pairs, at least 2.
        t: The t statistic of the mean difference; may be infinite.
        effect: As for `critical_t`.
    """
    grown = 1 + n * effect * effect
    if math.isinf(t):
        ratio = math.log(grown)
    else:
        square = t * t / (n - 1)
        ratio = math.log1p(square) - math.log1p(square / grown)
    return math.exp(min(0.0, 0.5 * math.log(grown) - n / 2 * ratio))


def sequential_difference(
    differences: FloatArray, *, effect: float, alpha: float = 0.05
) -> PairedDifference:
    """Return mean and confidence-sequence interval of paired differences, and the anytime p.

    While n is too small for the rule the interval is the whole line; after that, when all
    differences are equal, it is that one value.

    Args:
        differences: Differences arm minus baseline, finite, shape (S,), S >= 2.
        effect: As for `critical_t`.
        alpha: Chance that the interval is ever wrong.
    """
    n = int(differences.size)
    mean, error = mean_and_error(differences)
    critical = critical_t(n, effect=effect, alpha=alpha)
    half = math.inf if math.isinf(critical) else critical * error
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return PairedDifference(
        n=n,
        mean=mean,
        spread=error * math.sqrt(n),
        low=mean - half,
        high=mean + half,
        p=anytime_p(n, t, effect=effect),
    )


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """The rule for a sample whose spread is not taken for less than its floor allows.

    A larger spread than the one seen makes |t| smaller, and so p larger and intervals wider: what
    held for every number of seeds still holds.
    """

    sample: Sample
    effect: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return max(self.sample.moments[1], self.sample.floor_error)

    def p(self, value: float) -> float:
        """Return the anytime p of "the mean is a value"."""
        distance = abs(self.sample.mean - value)
        t = distance / self.error if self.error else math.inf if distance else 0.0
        return anytime_p(self.sample.n, t, effect=self.effect)

    def equivalence_p(self, bound: float) -> float:
        """Return the anytime p of "the mean lies outside of +-bound"."""
        is_inside = abs(self.sample.mean) < bound
        return max(self.p(-bound), self.p(bound)) if is_inside else 1.0

    def interval(self, level: float) -> tuple[float, float]:
        """Return the values whose p is above a level; all of them while seeds are too few."""
        critical = critical_t(self.sample.n, effect=self.effect, alpha=level)
        half = math.inf if math.isinf(critical) else critical * self.error
        return self.sample.mean - half, self.sample.mean + half


def anytime_sign_p(signs: FloatArray) -> float:
    """Return an anytime-valid p of "both signs are equally likely".

    It is 1 / M with M = 2^n B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) for k positive of n signs that
    are not zero: a fair coin against one whose bias is drawn from Jeffreys' prior (Robbins 1970,
    Annals of Mathematical Statistics 41).

    Args:
        signs: Scores of which only the sign counts, shape (S,).
    """
    plus, minus = int((signs > 0).sum()), int((signs < 0).sum())
    n = plus + minus
    if n == 0:
        return 1.0
    beta = math.lgamma(plus + 0.5) + math.lgamma(minus + 0.5) - math.lgamma(n + 1)
    return math.exp(min(0.0, math.log(math.pi) - n * math.log(2) - beta))
