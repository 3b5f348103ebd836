"""Two arms without a common seed: Welch's t, where nothing can be paired.

Shapes: A values of the arm, B values of the baseline.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from icckd.stats.paired import FloatArray, mean_and_error, t_quantile, t_tail


@dataclass(frozen=True)
class TwoSamples:
    """Finite values of an arm, shape (A,), and of the baseline, shape (B,); A and B >= 2.

    Welch's statistic (Welch 1938, Biometrika 29), the difference of the means over the root of the
    sum of their variances, is taken for Student's t. Its degrees of freedom are min(A, B) - 1, the
    fewest that Welch's approximation can come to: with these the test errs at most at its level for
    normal values of any two variances (Mickey and Brown 1966, Annals of Mathematical Statistics
    37), and with the approximation it errs more often where a family of several arms asks for small
    levels of few seeds (docs/statistics.md). What is tested of pairs is tested of it by the
    functions of `icckd.stats.fixed`; no sign flips are asked.
    """

    arm: FloatArray
    baseline: FloatArray

    @cached_property
    def moments(self) -> tuple[float, float, int]:
        """Difference of means, its standard error, degrees of freedom."""
        mine, my_error = mean_and_error(self.arm)
        theirs, their_error = mean_and_error(self.baseline)
        freedom = int(min(self.arm.size, self.baseline.size)) - 1
        return mine - theirs, math.hypot(my_error, their_error), freedom

    @property
    def mean(self) -> float:
        """Difference of the means."""
        return self.moments[0]

    def tail(self, value: float, sign: int = 1) -> float:
        """Return the one-sided p of "the difference is at most a value", or at least (sign -1)."""
        mean, error, freedom = self.moments
        return t_tail(freedom, sign * (mean - value), error)

    def reach(self, level: float) -> float:
        """Return how far a value must lie from the difference for a one-sided p below a level."""
        _, error, freedom = self.moments
        return t_quantile(freedom, 1 - level) * error

    def flip_tail(self, value: float, sign: int = 1) -> float:
        """Return 0: no exact test is asked."""
        return 0.0

    def flip_bounds(self, level: float) -> tuple[float, float]:
        """Return the difference twice: no exact test is asked."""
        return self.mean, self.mean
