"""Matched controls: which they are, the weight to try next, and writing it into the study file.

A matched control removes a part and sets a literal weight at which the intra-class loss is as
strong as in the baseline. The step mean of weight * |grad L_intra| / |grad CE| is nearly
proportional to the weight, so that a few teachers on seeds outside the study find it.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.study.arms import INTRA, Design
from icckd.study.load import read_text
from icckd.study.model import Method, Study
from icckd.study.paths import changes, nearest
from icckd.study.records import Arm

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


def matched_controls(study: Study, design: Design, only: str | None) -> tuple[Arm, ...]:
    """Return the controls whose weight is to be found, or the one named `only`.

    Raises:
        SpecError: The study has no such control, or one differs from the arm that it is a control
            for in more than its weight, or there is no strength that a weight could match.
    """
    written = {spec.name for spec in study.arm if WEIGHT in spec.set}
    controls = [arm for arm in design.arms if arm.role == "control" and arm.name in written]
    names = [arm.name for arm in controls]
    if only is not None:
        if only not in names:
            hint = nearest(only, names) if names else ""
            raise SpecError(f"arm {only!r} is not a control that sets {WEIGHT!r}", hint=hint)
        controls = [arm for arm in controls if arm.name == only]
    if not controls:
        raise SpecError(
            f"study {study.study.name!r} has no matched control",
            hint=f'an [[arm]] with control_for and a literal "{WEIGHT}" in its set',
        )
    _check_strength(design)
    for arm in controls:
        _check_only_weight(design, arm)
    return tuple(controls)


def _check_strength(design: Design) -> None:
    baseline = design.arms[0].name
    intra = design.methods[baseline].teacher.intra
    if intra == "off" or intra.weight == 0:
        raise SpecError(
            f"baseline {baseline!r} has no intra-class loss whose strength could be matched",
            hint=f"give it a {WEIGHT!r} above 0",
        )


def _check_only_weight(design: Design, arm: Arm) -> None:
    reference = arm.control_for or ""
    before, after = (design.methods[name].model_dump(mode="json") for name in (reference, arm.name))
    more = [change.path for change in changes(before, after) if change.path != WEIGHT]
    if more:
        raise SpecError(
            f"control {arm.name!r} differs from {reference!r} in {', '.join(more)}: matching"
            " its weight would not make it a control",
            hint=f"it may differ from the arm that it is a control for in {WEIGHT!r} only",
        )


def tried_name(control: Arm, weight: float) -> str:
    """Return the name of a control with another weight."""
    return f"{control.name}={weight:g}"


def with_weight(tried: Design, control: Arm, method: Method, weight: float) -> Design:
    """Return the design of a calibration with one more arm: a control with another weight.

    Args:
        tried: The design so far.
        control: The control.
        method: Its configuration, with an intra-class loss.
        weight: The weight to try.
    """
    teacher = method.teacher
    assert teacher.intra != "off"
    intra = teacher.intra.model_copy(update={"weight": weight})
    arm = Arm(
        name=tried_name(control, weight),
        role="variant",
        title=f"{control.name} with weight {weight:g}",
        action="",
        control_for=None,
        changes=tuple(change for change in control.changes if not change.path.startswith(WEIGHT)),
    )
    weighted = method.model_copy(update={"teacher": teacher.model_copy(update={"intra": intra})})
    return replace(tried, arms=(*tried.arms, arm), methods={**tried.methods, arm.name: weighted})


def is_matched(probe: Probe, target: float, tolerance: float) -> bool:
    """Whether a ratio is within `tolerance` percent of the target."""
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


# Change one number of a study file; comments, layout and everything else stay as they are.

_NUMBER = r"[+-]?[0-9][0-9_]*(?:\.[0-9_]+)?(?:[eE][+-]?[0-9_]+)?"


def set_in_arm(path: Path, arm: str, key: str, value: float) -> None:
    """Write a number into the `set` of an [[arm]] of a study file; written aside, then renamed.

    Raises:
        SpecError: There is no such arm or key, or the file cannot be written.
    """
    path = path.resolve()
    text = edited(read_text(path), arm, key, value)
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise SpecError(
            f"cannot write {path}: {error.strerror}",
            hint=f"set {key!r} = {value:g} in arm {arm!r} by hand",
        ) from error


def edited(text: str, arm: str, key: str, value: float) -> str:
    """Return the text with one number changed.

    Of all numbers that stand behind such a key, the one is changed whose change yields exactly the
    tables that are wanted; parsing decides, not the look of the file.

    Raises:
        SpecError: There is no such arm or key.
    """
    expected = tomllib.loads(text)
    settings = _settings_of(expected, arm)
    if key not in settings:
        raise SpecError(f"arm {arm!r} does not set {key!r}")
    settings[key] = value
    for found in re.finditer(rf"([\"']){re.escape(key)}\1\s*=\s*({_NUMBER})", text):
        start, end = found.span(2)
        changed = f"{text[:start]}{value!r}{text[end:]}"
        if _parsed(changed) == expected:
            return changed
    raise SpecError(
        f"the number behind {key!r} in arm {arm!r} was not found in the text",
        hint=f"set it to {value:g} by hand",
    )


def _settings_of(tables: dict[str, Any], arm: str) -> dict[str, Any]:
    for table in tables.get("arm", ()):
        if table.get("name") == arm:
            settings: dict[str, Any] = table.get("set", {})
            return settings
    raise SpecError(f"there is no [[arm]] named {arm!r}")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Put content in a file's place, whole or not at all; errors as the system has them."""
    mode = path.stat().st_mode
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        aside = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            aside.chmod(mode)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
