"""The smallest planted strength that each metric of a trained model finds, for reports.

Measured by `bench/planted.py`; docs/metrics.md says how. A difference that a metric does not show
may still be there below that strength.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from icckd.report.text import display
from icckd.results.types import StudyInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The smallest strength found in 95 % of 200 tries, and what a strength of 1 is."""

    strength: float
    unit: str


_SUB = "deviations between the means of two sub-classes of a class"
_SUPER = "deviations that the mean of a super-class lies off the middle"
_LEAD = "deviations of an output that the label's lead is lower by"
_SCATTER = "share by which the deviation within classes is larger"
_STUDENT = "share by which a student deviates more from its teacher"
SMALLEST_FOUND = {
    "top1": Found(strength=0.2, unit=_LEAD),
    "top5": Found(strength=0.7, unit=_LEAD),
    "nll": Found(strength=0.2, unit=_LEAD),
    "ece": Found(strength=0.5, unit="share by which logits are too large"),
    "entropy": Found(strength=0.1, unit="share by which logits are larger"),
    "nc1": Found(strength=0.15, unit=_SCATTER),
    "soft_variance": Found(strength=0.05, unit=_SCATTER),
    "subclass_features": Found(strength=1.4, unit=_SUB),
    "subclass_soft": Found(strength=0.7, unit=_SUB),
    "subclass_linear_features": Found(strength=1.0, unit=_SUB),
    "subclass_linear_soft": Found(strength=0.4, unit=_SUB),
    "superclass_linear_features": Found(strength=0.5, unit=_SUPER),
    "superclass_linear_soft": Found(strength=0.3, unit=_SUPER),
    "agreement": Found(strength=0.3, unit=_STUDENT),
    "teacher_kl": Found(strength=0.05, unit=_STUDENT),
}
_ANSWERS = frozenset({"top1", "top5", "nll"})
"""What a study asks for itself: no instrument for something else."""


def instrument_notes(study: StudyInfo) -> Iterator[str]:
    """Yield what the diagnostics among a study's metrics can find."""
    by_unit: dict[str, list[str]] = {}
    for metric in study.metrics:
        name = metric.partition(".")[2]
        if metric in study.declared:
            continue
        if name in SMALLEST_FOUND and name not in _ANSWERS:
            found = SMALLEST_FOUND[name]
            by_unit.setdefault(found.unit, []).append(f"{display(metric)} {found.strength:g}")
    if by_unit:
        told = "; ".join(f"{', '.join(metrics)} {unit}" for unit, metrics in by_unit.items())
        yield (
            "The smallest planted strength that each diagnostic finds in 95 % of 200 tries, on a"
            f" set of the size of the digits' (docs/metrics.md): {told}."
        )
