"""What a metric is."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none"]
Needs = Literal["nothing", "sub-classes", "super-classes", "six classes"]

MANY_CLASSES = 6
"""Classes from which on accuracy among the five likeliest says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with a meaning.

    `needs` says what the labels must have for it, `device` where it is recorded.
    """

    name: str
    unit: str
    direction: Direction
    about: str
    needs: Needs = "nothing"
    device: Literal["any", "cpu", "cuda"] = "any"


def for_both(
    name: str, unit: str, direction: Direction, about: str, **more: object
) -> tuple[Metric, Metric]:
    """Return the metric of the student and of the teacher."""
    student, teacher = (
        Metric(name=f"{kind}.{name}", unit=unit, direction=direction, about=about, **more)  # type: ignore[arg-type]
        for kind in ("student", "teacher")
    )
    return student, teacher
