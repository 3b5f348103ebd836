"""By which rule a comparison is judged, and what its pairs say by it.

Of a difference, of equivalence, and of where the difference may lie.

Which rule holds follows from the study (`StudyInfo.looks`): all seeds once, a first look with one
extension, or looks without end. Only its arithmetic is in `icckd.stats`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from icckd.results import classic
from icckd.results.pairing import Pairs
from icckd.results.types import StudyInfo, Test, Why
from icckd.stats import fixed
from icckd.stats.family import first_levels
from icckd.stats.fixed import LEAST_PAIRS, NEVER, Sample, Ways
from icckd.stats.paired import FloatArray, one_sided_flip_p, worst_rank_p, worst_rank_scores
from icckd.stats.power import CriticalT, one_sided, student
from icckd.stats.sequential import SequentialTest, anytime_sign_p, critical_t
from icckd.stats.two_stage import LEAST_EXTENSION, Part, TwoStage, first_share
from icckd.stats.unpaired import TwoSamples

Interval = tuple[float, float]


def _nowhere(bound: float) -> Ways:
    return NEVER


def _anywhere(level: float) -> Interval:
    return -np.inf, np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the pairs of an arm say.

    Attributes:
        test: What p comes from.
        difference: How "there is a difference" holds.
        equivalence: How "it lies within +-bound" holds, by bound.
        interval: The values not rejected at a level.
        why: Why there cannot be a verdict yet.
        to_come: Pairs that are still to come.
        spent: The part of a level that the interval has: that of the first look, else all.
        pairs: The pairs behind it: those of the first look until the extension is complete.
    """

    test: Test
    difference: Ways = NEVER
    equivalence: Callable[[float], Ways] = _nowhere
    interval: Callable[[float], Interval] = _anywhere
    why: Why = ""
    to_come: int = 0
    spent: float = 1.0
    pairs: Pairs | None = None

    @property
    def p(self) -> float | None:
        """The p of "no difference", before any correction; None where there is none yet."""
        return None if self.difference is NEVER else min(p for p, _ in self.difference)


def remembering(evidence: Evidence) -> Evidence:
    """Return evidence that works out each interval, and each equivalence, once."""
    return replace(
        evidence, interval=cache(evidence.interval), equivalence=cache(evidence.equivalence)
    )


@dataclass(frozen=True, slots=True)
class Ranks:
    """Pairs of which some have no size: signed ranks of them, shape (S,)."""

    scores: FloatArray

    def tail(self, value: float, sign: int = 1) -> float:
        """Return the exact one-sided p of "no difference"; ranks know no other value."""
        assert value == 0
        return one_sided_flip_p(sign * self.scores)


def evidence_of(study: StudyInfo, pairs: Pairs, to_come: Collection[int] = ()) -> Evidence:
    """Return what pairs say by the rule of a study.

    Args:
        study: Its looks decide the rule, its seeds which stage each pair is of.
        pairs: The pairs; without floors no verdict is given.
        to_come: Seeds of the comparison that are planned and have neither ended nor failed.
    """
    if study.looks == "always":
        return _always(study, pairs)
    first = np.array([seed not in study.added for seed in pairs.seeds], dtype=bool)
    waiting = [seed for seed in to_come if seed not in study.added]
    if study.looks == "once":
        return _once(pairs, len(waiting))
    return _looks(study, pairs, first, len(waiting), len(to_come) - len(waiting))


def evidence_apart(study: StudyInfo, arm: FloatArray, baseline: FloatArray) -> Evidence:
    """Return what two arms say that share no seed, by Welch's t test.

    There is no rule for it beside that of seeds fixed beforehand, and none that ranks a seed which
    diverged: then nothing is said.

    Args:
        study: Its looks decide.
        arm: Values of the arm, shape (A,).
        baseline: Values of the baseline, shape (B,).
    """
    is_finite = bool(np.isfinite(arm).all() and np.isfinite(baseline).all())
    if study.looks != "once" or not is_finite:
        return Evidence(test="welch", why="no common seeds")
    least = min(arm.size, baseline.size)
    if least < 2:
        return Evidence(test="welch", why="too few seeds")
    why: Why = "too few seeds" if least < LEAST_PAIRS else ""
    samples = TwoSamples(arm, baseline)
    ways = fixed.difference_ways(samples)
    return Evidence(
        test="welch",
        difference=tuple((p, 1.0 if why else exact) for p, exact in ways),
        equivalence=_nowhere if why else lambda bound: fixed.equivalence_ways(samples, bound),
        interval=lambda level: fixed.interval(samples, level),
        why=why,
    )


def _once(pairs: Pairs, waiting: int) -> Evidence:
    n = len(pairs.seeds)
    test: Test = "t" if pairs.is_complete else "worst-rank"
    if waiting:
        return Evidence(test=test, why="seeds to come", to_come=waiting)
    if pairs.floors is None:
        return Evidence(test=test, why="no test images")
    if n < 2:
        return Evidence(test=test, why="too few seeds")
    why: Why = "too few seeds" if n < LEAST_PAIRS else ""
    if not pairs.is_complete:
        p = worst_rank_p(pairs.differences)
        return Evidence(test=test, difference=((p, 0.0 if not why else 1.0),), why=why)
    sample = Sample(pairs.differences, float(pairs.floors.mean()))
    return Evidence(
        test=test,
        difference=fixed.difference_ways(sample),
        equivalence=_nowhere if why else lambda bound: fixed.equivalence_ways(sample, bound),
        interval=lambda level: fixed.interval(sample, level),
        why=why,
    )


def _looks(
    study: StudyInfo, pairs: Pairs, first: np.ndarray, first_waiting: int, second_waiting: int
) -> Evidence:
    """Return what the first look says, and the extension once it is complete."""
    is_second = study.looks == "two looks"
    test: Test = "first look" if pairs.is_complete else "first look, worst-rank"
    if is_second:
        test = "two looks" if pairs.is_complete else "two looks, worst-rank"
    if first_waiting:
        return Evidence(test=test, why="seeds to come", to_come=first_waiting)
    if pairs.floors is None:
        return Evidence(test=test, why="no test images")
    share = first_share(len(study.seeds) - len(study.added))
    has_second = not second_waiting and int((~first).sum()) >= LEAST_EXTENSION
    shown = pairs if has_second else _chosen(pairs, first)
    used = shown.differences
    is_finite = bool(np.isfinite(used).all())
    looks = TwoStage(
        first=_part(pairs, first),
        second=_part(pairs, ~first) if has_second else None,
        whole=_sample(pairs, first | ~first) if has_second and is_finite else None,
        share=share,
    )
    why: Why = "seeds to come" if second_waiting else ""
    if used.size < LEAST_PAIRS:
        why = why or "too few seeds"
        return Evidence(test=test, why=why, to_come=second_waiting, pairs=shown)
    return Evidence(
        test=test,
        difference=looks.difference_ways(),
        equivalence=looks.equivalence_ways if is_finite else _nowhere,
        interval=looks.interval if is_finite else _anywhere,
        why=why,
        to_come=second_waiting,
        spent=1.0 if has_second else share,
        pairs=shown,
    )


def _chosen(pairs: Pairs, chosen: np.ndarray) -> Pairs:
    """Return some of the pairs; what is unpaired and the baseline's mean stay as they are."""
    seeds = tuple(pairs.seeds[place] for place in np.flatnonzero(chosen))
    floors = None if pairs.floors is None else pairs.floors[chosen]
    return replace(pairs, seeds=seeds, differences=pairs.differences[chosen], floors=floors)


def _part(pairs: Pairs, chosen: np.ndarray) -> Part | None:
    """Return the seeds of a stage; None where they are too few for a p."""
    differences = pairs.differences[chosen]
    if differences.size and not np.isfinite(differences).all():
        return Ranks(worst_rank_scores(differences))
    return _sample(pairs, chosen) if differences.size > 1 else None


def _sample(pairs: Pairs, chosen: np.ndarray) -> Sample:
    assert pairs.floors is not None
    return Sample(pairs.differences[chosen], float(pairs.floors[chosen].mean()))


def _always(study: StudyInfo, pairs: Pairs) -> Evidence:
    n = len(pairs.seeds)
    why: Why = "too few seeds" if n < LEAST_PAIRS else ""
    if pairs.floors is None:
        return Evidence(test="sequential", why="no test images")
    if n < 2:
        return Evidence(test="sequential", why="too few seeds")
    least = 1.0 if why else 0.0
    if not pairs.is_complete:
        p = anytime_sign_p(worst_rank_scores(pairs.differences))
        return Evidence(test="sequential sign", difference=((p, least),), why=why)
    sample = Sample(pairs.differences, float(pairs.floors.mean()))
    test = SequentialTest(sample, study.sequential_effect)
    return Evidence(
        test="sequential",
        difference=((test.p(0.0), least),),
        equivalence=_nowhere if why else lambda bound: ((test.equivalence_p(bound), 0.0),),
        interval=_anywhere if why else test.interval,
        why=why,
    )


def critical_values(study: StudyInfo, family_size: int) -> tuple[CriticalT, CriticalT]:
    """Return the |t| that the hardest question of a family takes with all its seeds.

    That of a difference, and how many standard errors the interval reaches that must lie within the
    smallest effect to be equivalent.
    """
    if study.rule == "":
        return classic.critical_values(study, family_size)
    difference, alike = first_levels(max(1, family_size), study.level)
    if study.is_sequential:
        effect = study.sequential_effect
        return (
            lambda n: critical_t(n, effect=effect, alpha=difference),
            lambda n: critical_t(n, effect=effect, alpha=alike),
        )
    return student(difference), one_sided(alike)
