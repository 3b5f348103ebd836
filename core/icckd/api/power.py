"""How many seeds a question takes, and what a number of seeds can find: before a study is made."""

from dataclasses import dataclass
from typing import Literal

from icckd.errors import UsageError
from icckd.results.rules import critical_values
from icckd.results.types import StudyInfo
from icckd.stats import power as stats
from icckd.stats.fixed import LEAST_PAIRS

MOST_QUESTIONS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a number of paired seeds can find; effects in the unit of `spread`.

    Attributes:
        seeds: Paired seeds: those given, or those that find `effect` with the power wanted; None
            where even 100,000 do not.
        effect: True difference: the one given, or the smallest that `seeds` find with the power
            wanted; None where they find none.
        power: Chance that so many seeds find a difference of that size.
        equivalence_seeds: Seeds at which no difference at all is found equivalent within `effect`,
            with the power wanted, where an effect was given; None otherwise, or if none do.
        spread: Standard deviation of paired differences.
        questions: Primary questions that are corrected together; the numbers are those of the
            hardest of them.
        looks: Whether results are looked at once, or as often as one likes.
    """

    seeds: int | None
    effect: float | None
    power: float
    equivalence_seeds: int | None
    spread: float
    questions: int
    looks: Literal["once", "always"]

    def __str__(self) -> str:
        """Return it in a sentence."""
        what = (
            "one question"
            if self.questions == 1
            else f"{self.questions} questions corrected together"
        )
        if self.seeds is None:
            return f"a difference of {self.effect:g} takes more than 100,000 paired seeds"
        if self.effect is None:
            return f"{self.seeds} paired seeds find no difference, {what}"
        found = f"{self.seeds} paired seeds find a difference of {self.effect:.3g}"
        alike = (
            ""
            if self.equivalence_seeds is None
            else f"; {self.equivalence_seeds} show that there is none as large"
        )
        return f"{found} with power {self.power:.2f}, {what}{alike}"


def power(
    *,
    seeds: int | None = None,
    effect: float | None = None,
    spread: float = 1.0,
    questions: int = 1,
    wanted: float = stats.POWER,
    looks: Literal["once", "always"] = "once",
) -> Power:
    """Return the seeds that an effect takes, the effect that seeds find, or the power of both.

    By the rules that reports judge by (docs/statistics.md): a paired test at the level that the
    hardest of so many questions has after correction; a verdict takes 6 pairs at least. The power
    is that of noncentral t (`icckd.stats.power`).

    Args:
        seeds: Paired seeds; None asks how many `effect` takes.
        effect: True difference from the baseline, in the unit of `spread`; None asks which one
            `seeds` find.
        spread: Standard deviation of the paired differences over seeds, such as
            `results(study).comparison(arm).difference_spread` of a pilot; 1 makes effects d_z.
        questions: Primary questions that are corrected together.
        wanted: Power that is wanted.
        looks: `once`, after all seeds, or `always`, as often as one likes.

    Raises:
        UsageError: Neither seeds nor effect is given, or a number makes no sense.
    """
    _check(seeds, effect, spread, questions, wanted)
    difference, alike = critical_values(_rule(looks), questions)
    size = None if effect is None else abs(effect) / spread
    equivalence_seeds = None
    if size is not None:
        equivalence_seeds = _at_least(stats.seeds_for_equivalence(size, alike, wanted=wanted))
    if seeds is None:
        assert size is not None
        seeds = _at_least(stats.seeds_for_effect(size, difference, wanted=wanted))
    elif size is None:
        found = None if seeds < LEAST_PAIRS else stats.detectable_effect(
            seeds, difference, wanted=wanted
        )  # fmt: skip
        size, effect = found, None if found is None else found * spread
    reached = 0.0
    if seeds is not None and size is not None and seeds >= LEAST_PAIRS:
        reached = stats.power(seeds, size, difference)
    return Power(
        seeds=seeds,
        effect=effect,
        power=reached,
        equivalence_seeds=equivalence_seeds,
        spread=spread,
        questions=questions,
        looks=looks,
    )


def _check(
    seeds: int | None, effect: float | None, spread: float, questions: int, wanted: float
) -> None:
    if seeds is None and effect is None:
        raise UsageError(
            "power needs seeds, an effect, or both", hint="power(effect=0.5, spread=1)"
        )
    if seeds is not None and not 2 <= seeds <= stats.MOST_SEEDS:
        raise UsageError(f"seeds = {seeds!r} is not from 2 to 100,000", hint="power(seeds=12)")
    if effect is not None and not 0 < abs(effect) < float("inf"):
        raise UsageError(f"effect = {effect!r} is no difference", hint="give one that matters")
    if not 0 < spread < float("inf"):
        raise UsageError(f"spread = {spread!r} is no standard deviation", hint="spread=1.0")
    if not 1 <= questions <= MOST_QUESTIONS:
        raise UsageError(
            f"questions = {questions!r} is not from 1 to {MOST_QUESTIONS:,}", hint="questions=2"
        )
    if not 0 < wanted < 1:
        raise UsageError(f"wanted = {wanted!r} is not between 0 and 1", hint="wanted=0.8")


def _at_least(seeds: int | None) -> int | None:
    return None if seeds is None else max(seeds, LEAST_PAIRS)


def _rule(looks: str) -> StudyInfo:
    """Return a study of nothing but its rule."""
    if looks not in ("once", "always"):
        raise UsageError(f"looks = {looks!r} is neither once nor always", hint='looks="once"')
    return StudyInfo(
        name="", revision="", question="", baseline="", primary="", metrics=(), arms=(), seeds=(),
        smallest_effect=None, family=(), planned_at=0.0, rule="fixed",
        always_sequential=looks == "always",
    )  # fmt: skip
