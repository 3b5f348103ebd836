"""Matched controls: which they are, and the weight to try next. Pure.

A matched control removes a part and sets a literal weight at which the intra-class loss pulls as
strongly as in the baseline. The step mean of weight * |grad L_intra| / |grad CE| is nearly
proportional to the weight, so that a few teachers on seeds outside the study find it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from icckd.design.arms import INTRA, Arm
from icckd.errors import SpecError
from icckd.spec.paths import changes, nearest
from icckd.spec.study import Study

WEIGHT = f"{INTRA}.weight"
RATIO = "teacher.intra_ratio"
DIGITS = 3
"""Significant digits of a weight: what is trained is exactly what is written."""
LARGEST_STEP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The ratio that a weight gave, as a mean over the calibration seeds."""

    weight: float
    ratio: float


def matched_controls(study: Study, found: Sequence[Arm], only: str | None) -> tuple[Arm, ...]:
    """Return the controls whose weight is to be found, or the one named `only`.

    Raises:
        SpecError: There is none, or one differs from the arm that it is a control for in more than
            its weight, or from nothing that a weight could match.
    """
    written = {spec.name for spec in study.arm if WEIGHT in spec.set}
    controls = [arm for arm in found if arm.role == "control" and arm.name in written]
    names = [arm.name for arm in controls]
    if only is not None:
        if only not in names:
            hint = nearest(only, names) if names else ""
            raise SpecError(f"arm {only!r} is no control that sets {WEIGHT!r}", hint=hint)
        controls = [arm for arm in controls if arm.name == only]
    if not controls:
        raise SpecError(
            f"study {study.study.name!r} has no matched control",
            hint=f'an [[arm]] with control_for and a literal "{WEIGHT}" in its set',
        )
    _check_strength(found[0])
    by_name = {arm.name: arm for arm in found}
    for arm in controls:
        _check_only_weight(arm, by_name[arm.control_for or ""])
    return tuple(controls)


def _check_strength(baseline: Arm) -> None:
    intra = baseline.method.teacher.intra
    if intra == "off" or intra.weight == 0:
        raise SpecError(
            f"baseline {baseline.name!r} has no intra-class loss whose strength could be matched",
            hint=f"give it a {WEIGHT!r} above 0",
        )


def _check_only_weight(arm: Arm, reference: Arm) -> None:
    before, after = (each.method.model_dump(mode="json") for each in (reference, arm))
    more = [change.path for change in changes(before, after) if change.path != WEIGHT]
    if more:
        raise SpecError(
            f"control {arm.name!r} differs from {reference.name!r} in {', '.join(more)}: matching"
            " its weight would not make it a control",
            hint=f"it may differ from the arm that it is a control for in {WEIGHT!r} only",
        )


def with_weight(arm: Arm, weight: float) -> Arm:
    """Return a control as a trial arm of a calibration, with another weight."""
    teacher = arm.method.teacher
    assert teacher.intra != "off"
    intra = teacher.intra.model_copy(update={"weight": weight})
    method = arm.method.model_copy(update={"teacher": teacher.model_copy(update={"intra": intra})})
    return Arm(
        name=f"{arm.name}={weight:g}",
        title=f"{arm.name} with weight {weight:g}",
        method=method,
        role="variant",
        action="",
        control_for=None,
        metrics=(),
        changes=tuple(change for change in arm.changes if not change.path.startswith(WEIGHT)),
    )


def is_matched(probe: Probe, target: float, tolerance: float) -> bool:
    """Say whether a ratio is within `tolerance` percent of the target."""
    return abs(probe.ratio / target - 1) <= tolerance / 100


def next_weight(probes: Sequence[Probe], target: float) -> float | None:
    """Return the weight to try after these, or None when no other has so few digits.

    A straight line through the nearest probes on either side of the target, else through the
    origin and the nearest one.

    >>> next_weight([Probe(weight=0.02, ratio=0.05)], 0.06)
    0.024
    >>> next_weight([Probe(weight=0.02, ratio=0.05), Probe(weight=0.03, ratio=0.08)], 0.06)
    0.0233
    """
    below = max((p for p in probes if p.ratio < target), key=lambda p: p.weight, default=None)
    above = min((p for p in probes if p.ratio >= target), key=lambda p: p.weight, default=None)
    if below and above and below.weight < above.weight:
        share = (target - below.ratio) / (above.ratio - below.ratio)
        line = below.weight + share * (above.weight - below.weight)
        options = [line, (below.weight + above.weight) / 2]
    else:
        nearest_probe = min(probes, key=lambda p: abs(p.ratio - target))
        if nearest_probe.ratio <= 0:
            return None
        factor = target / nearest_probe.ratio
        options = [nearest_probe.weight * min(max(factor, 1 / LARGEST_STEP), LARGEST_STEP)]
    tried = {probe.weight for probe in probes}
    rounded = (float(f"{option:.{DIGITS}g}") for option in options)
    return next((weight for weight in rounded if weight not in tried), None)
