"""What a comparison says: an arm against the baseline, an effect of a factorial design."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["", "helps", "hurts", "equivalent", "undecided"]
Test = Literal["", "t", "worst-rank", "sequential", "sequential sign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm on one metric, against the baseline over paired seeds.

    Attributes:
        n: Seeds with a value in the arm (the trained teacher is the unit; students of one
            teacher are averaged first).
        never: How many of them never reached the target (value inf).
        missing: Planned seeds without a value in this arm: failed, or still to come.
        mean, spread: Mean and standard deviation over seeds; None when `never` > 0 or n is
            too small.
        median: Median over seeds, defined also with never-reached ones (may be inf).
        pairs: Paired seeds behind the difference.
        difference, low, high: Mean of arm minus baseline, its 95 % interval (of Student's t, or of
            the confidence sequence where `test` is sequential); None for the baseline, with fewer
            than two pairs, or when a pair never reached the target. The interval alone is None
            while a confidence sequence has too few pairs.
        p, p_adjusted: Of `test`, two-sided, and Holm-adjusted within the study's family (primary
            metric only).
        verdict: About the *part*, for arms of the family on the primary metric.
        test: What p comes from: paired t test, exact sign flips of the signed worst ranks where a
            seed never reached its target or diverged, or their counterparts for repeated looks.
        unpaired: Seeds that have a value in one of arm and baseline only.
        diverged: Planned seeds whose training in the arm met a NaN or infinite loss.
        baseline_mean: Mean of the baseline over the pairs behind the difference.
        difference_spread: Standard deviation of the paired differences.
        effect_size: d_z with Hedges' correction.
        p_exact, p_exact_smallest: Exact sign-flip p as a check, the smallest that so many pairs
            allow; judged arms only, and not for repeated looks.
        p_equivalence: Of two one-sided tests against the smallest effect; judged arms only.
        bootstrap_low, bootstrap_high: 95 % BCa bootstrap interval, judged arms from ten pairs on.
        more_seeds: For "undecided": how many more seeds would decide, by smallest effect and
            observed spread; None where that cannot be said.
    """

    arm: str
    metric: str
    unit: str
    n: int
    never: int
    missing: tuple[int, ...]
    mean: float | None
    spread: float | None
    median: float | None
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    test: Test = ""
    unpaired: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    baseline_mean: float | None = None
    difference_spread: float | None = None
    effect_size: float | None = None
    p_exact: float | None = None
    p_exact_smallest: float | None = None
    p_equivalence: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    more_seeds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A main effect or two-way interaction of a factorial design, on the primary metric.

    Attributes:
        factors: Names of the one or two factors.
        levels: The level of each that is set against its reference.
        n: Seeds in which every combination of levels has a finite value.
        mean, low, high: Mean over seeds in the metric's unit and its 95 % interval; an interaction
            is a difference of differences.
        p, p_adjusted: Two-sided, and Holm-adjusted over all effects shown.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    n: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None

    @property
    def name(self) -> str:
        """Factors and levels in one word."""
        pairs = zip(self.factors, self.levels, strict=True)
        return " x ".join(f"{factor}={level}" for factor, level in pairs)
