"""Arms as the study states them: [[arm]] and [[ablation]] tables, before they are compared."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from icckd.errors import SpecError
from icckd.spec.method import Method
from icckd.spec.paths import off_state
from icckd.spec.study import Ablation, ArmSpec, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An arm before it is compared with the baseline."""

    name: str
    title: str
    settings: Mapping[str, Any]
    source: ArmSpec | Ablation | None


def from_arm_tables(study: Study) -> Iterator[Draft]:
    """Yield the arms written out."""
    for spec in study.arm:
        yield Draft(name=spec.name, title=spec.about, settings=spec.set, source=spec)


def from_ablation_tables(study: Study) -> Iterator[Draft]:
    """Yield an arm for each ablation, or for each of its replacements.

    Raises:
        SpecError: A part to remove has no off-state, or there is no such part.
    """
    for ablation in study.ablation:
        if ablation.action == "REMOVE":
            if not off_state(Method, ablation.part):
                raise SpecError(
                    f"ablation {ablation.name!r}: part {ablation.part!r} has no off-state",
                    hint="use action REPLACE with a list of values",
                )
            options: tuple[Any, ...] = ("off",)
        else:
            off_state(Method, ablation.part)
            options = ablation.replacement or ()
        for value in options:
            single = len(options) == 1
            yield Draft(
                name=ablation.arm if single else f"{ablation.arm}={label(value)}",
                title=ablation.name if single else f"{ablation.name}: {label(value)}",
                settings={ablation.part: value},
                source=ablation,
            )


def label(value: Any) -> str:
    """Return a short name for a level, safe in arm names and paths."""
    if isinstance(value, Mapping):
        return ",".join(f"{_slug(str(k))}.{label(v)}" for k, v in value.items())[:40]
    if isinstance(value, str):
        return _slug(value)
    return _slug(json.dumps(value))


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in ".-_" else "-" for c in text.lower())
    return kept.strip("-")[:40] or "empty"
