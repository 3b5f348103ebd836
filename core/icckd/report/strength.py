"""How strong a loss was beside cross-entropy: matched controls, and losses that dwarf it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from icckd.report.text import display
from icckd.results.types import Curve, StudyInfo
from icckd.study.records import Arm

if TYPE_CHECKING:
    from icckd.results.query import Results

STRENGTH = "teacher.intra_ratio"
MATCHED_WITHIN = 10  # percent of the baseline's
DWARFS = 10.0
"""Times that a loss's gradient is cross-entropy's, from which on a reader is warned."""
RATIO = "_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A control's strength by epoch, in percent of the baseline's over the same seeds."""

    epochs: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def worst(self) -> tuple[int, float]:
        """The epoch at which it is furthest from the baseline's, as a factor, and its share."""
        far = [abs(np.log(max(share, 1e-9) / 100)) for share in self.shares]
        place = int(np.argmax(far))
        return self.epochs[place], self.shares[place]


def matched_notes(results: Results, study: StudyInfo) -> Iterator[str]:
    """Yield how strong each control's loss is: mean over steps, then epoch by epoch."""
    values = results.values(study, STRENGTH)
    baseline = values.get(study.baseline, {})
    curves = {curve.arm: curve for curve in results.curves(study, STRENGTH)}
    for arm in study.arms:
        mine = values.get(arm.name, {})
        shared = sorted(mine.keys() & baseline.keys())
        if arm.role != "control" or not shared:
            continue
        reference = fmean(baseline[seed] for seed in shared)
        if reference > 0:
            seeds = f"{len(shared)} seed{'s' if len(shared) > 1 else ''}"
            share = 100 * fmean(mine[seed] for seed in shared) / reference
            far = abs(share - 100) > MATCHED_WITHIN
            yield (
                f"{display(arm.name)}: effective strength of the intra-class loss ({STRENGTH}) is"
                f" {share:.0f} % of the baseline's over {seeds}"
                f"{f', not matched within {MATCHED_WITHIN} %' if far else ''}."
                f"{_course_text(course_of(curves, arm, study.baseline))}"
            )


def course_of(curves: dict[str, Curve], arm: Arm, baseline: str) -> Course | None:
    """Return a control's strength by epoch; None where neither was recorded.

    Epochs in which the baseline's loss does not pull at all are left out.
    """
    mine, other = curves.get(arm.name), curves.get(baseline)
    if mine is None or other is None:
        return None
    seeds = sorted(set(mine.seeds) & set(other.seeds))
    epochs = sorted(set(mine.epochs_E.tolist()) & set(other.epochs_E.tolist()))
    ours, theirs = (_means(curve, seeds, epochs) for curve in (mine, other))
    known = [
        (epoch, 100 * a / b) for epoch, a, b in zip(epochs, ours, theirs, strict=True) if b > 0
    ]
    if not known:
        return None
    return Course(epochs=tuple(e for e, _ in known), shares=tuple(s for _, s in known))


def _means(curve: Curve, seeds: Sequence[int], epochs: Sequence[int]) -> list[float]:
    rows = np.array([curve.seeds.index(seed) for seed in seeds], dtype=np.int64)
    columns = np.searchsorted(curve.epochs_E, epochs)
    means: list[float] = curve.values_SE[rows][:, columns].mean(axis=0).tolist()
    return means


def _course_text(course: Course | None) -> str:
    if course is None or len(course.epochs) < 2:
        return ""
    epoch, share = course.worst
    low, high = min(course.shares), max(course.shares)
    return (
        f" Epoch by epoch it is {low:.0f} to {high:.0f} %; furthest off at epoch {epoch},"
        f" {share:.0f} %."
    )


def dwarfing_terms(results: Results, study: StudyInfo) -> Iterator[str]:
    """Yield the losses whose weighted gradient dwarfs cross-entropy's, with the arms that do so."""
    ratios = [name for name in results.series(study) if name.endswith(RATIO)]
    for metric in ratios:
        means = {
            curve.arm: float(np.nanmean(curve.values_SE))
            for curve in results.curves(study, metric)
            if np.isfinite(curve.values_SE).any()
        }
        found = {arm: mean for arm, mean in means.items() if mean >= DWARFS}
        if not found:
            continue
        kind, _, loss = metric.removesuffix(RATIO).partition(".")
        arms = ", ".join(f"{display(arm)} {mean:.0f}" for arm, mean in found.items())
        strongest = max(found.values())
        yield (
            f"the {kind}'s {display(loss).upper()} is {strongest:.0f} times cross-entropy,"
            f" by the norms of their weighted gradients ({display(metric)}, mean over epochs and"
            f" seeds: {arms}). Such a pull leaves little of the labels; the study says nothing of a"
            " lower weight."
        )
