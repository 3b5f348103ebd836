"""How a student learns from its teacher: what all distillers have, and where they are registered.

Each kind is registered in a file of `icckd.train.distillers`; docs/distillers.md has the formulas.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from icckd.study.metrics import Metric
from icckd.study.network import NetworkShape, StageShape
from icckd.study.registry import Part, Registry
from icckd.study.settings import OneOf

Need = Literal["logits", "features", "stages", "preacts", "index", "equal-stages", "hint"]
"""What a method reads (`logits`, pooled `features`, `stages` maps, `preacts` maps, the sample
`index`) and demands: `equal-stages`, as many stages in both networks; `hint`, a regressor."""


def _series(part: Part["Distiller"]) -> tuple[Metric, ...]:
    losses = part.settings.losses if issubclass(part.settings, Term) else ()
    names = [f"student.{part.kind}{loss.suffix}" for loss in losses]
    values = (
        Metric(name=name, unit=loss.unit, direction="lower", about=loss.about, recorded="series")
        for name, loss in zip(names, losses, strict=True)
    )
    ratios = (
        Metric(
            name=f"{name}_ratio",
            unit="1",
            direction="none",
            about="weighted gradient by the student's parameters as a multiple of cross-entropy's,"
            " on a batch of each diagnosed epoch",
            recorded="series",
        )
        for name in names
    )
    return (*values, *ratios)


DISTILLERS: Registry["Distiller"] = Registry("distiller", metrics=_series)
distiller = DISTILLERS.register
"""Registers a distiller for its settings: see docs/extending.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """One loss of a method, recorded as the series `student.<kind><suffix>` before its weight.

    Attributes:
        suffix: What follows the method's name, "" for a method with one loss.
        unit: Unit of its value.
        about: What it is, for the catalogue of metrics.
        formula: Its formula, in the notation of docs/distillers.md.
    """

    suffix: str = ""
    unit: str
    about: str
    formula: str


class Distiller(OneOf):
    """Settings of any distiller. A table that names no kind is that of KD."""

    registry = DISTILLERS
    kind_if_missing: ClassVar[str | None] = "kd"

    @property
    def least_batch(self) -> int:
        """Images that a batch needs for every loss to compare something."""
        return 1

    @property
    def reads_maps(self) -> bool:
        """Whether stage maps are read, not features and logits alone."""
        return True

    def methods(self) -> tuple[str, ...]:
        """Return the kinds of its methods, sorted: what decides the cost of a step."""
        return (self.kind,)

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why two networks cannot be joined, or None if they can."""
        return None


class Term(Distiller):
    """Settings of one method, which may be a term of a sum; a table must name its kind.

    Attributes:
        source: The publication, for docs/distillers.md.
        needs: What the method reads of both networks, and demands of the pair.
        losses: The losses of the method.
        compares: Images of a batch that a loss compares with each other.
    """

    kind_if_missing = None

    source: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]]
    losses: ClassVar[tuple[LossTerm, ...]]
    compares: ClassVar[int] = 1

    kind: str
    weight: float = Field(default=1.0, ge=0, description="weight of the method's terms (beta)")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy")

    @property
    def least_batch(self) -> int:
        """Images that a batch needs for every loss to compare something."""
        return self.compares

    @property
    def reads_maps(self) -> bool:
        """Whether stage maps are read, not features and logits alone."""
        return not {"stages", "preacts"}.isdisjoint(self.needs)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the losses are called after the method's name."""
        return tuple(loss.suffix for loss in self.losses)

    def loss_names(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return what each loss is called if the method is called `name`, and as a rule."""
        return tuple((name + part, self.kind + part) for part in self.parts)

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why two networks cannot be joined, or None if they can."""
        return stages_obstacle(self.needs, student, teacher)


# Which networks a method can join.

HintRule = Literal["halve", "same-or-shrink", "double"]


def stages_obstacle(
    needs: tuple[Need, ...], student: NetworkShape, teacher: NetworkShape
) -> str | None:
    """Return what the maps lack, or None if they are as needed."""
    if "stages" not in needs and "preacts" not in needs:
        return None
    for role, network in (("student", student), ("teacher", teacher)):
        if not network.stages:
            return f"it reads stage maps, and the {role}'s model gives none"
    n_student, n_teacher = len(student.stages), len(teacher.stages)
    if "equal-stages" in needs and n_student != n_teacher:
        return (
            f"it pairs stage with stage, and the student has {n_student} stages,"
            f" the teacher {n_teacher}"
        )
    return None


def hint_rule(student: StageShape, teacher: StageShape) -> HintRule | None:
    """Return how a student's map is brought to the size of the teacher's, or None.

    `halve` and `double` are convolutions of stride 2, `same-or-shrink` one without padding whose
    kernel is as large as the difference asks for. A map smaller than half has no rule.
    """
    sizes = (student.height, student.width), (teacher.height, teacher.width)
    pairs = tuple(zip(*sizes, strict=True))
    if all(s == 2 * t for s, t in pairs):
        return "halve"
    if all(2 * s == t for s, t in pairs):
        return "double"
    if all(s >= t for s, t in pairs):
        return "same-or-shrink"
    return None


def hint_obstacle(stage: int, student: NetworkShape, teacher: NetworkShape) -> str | None:
    """Return why a stage, counted from 1, has no regressor, or None if it has one."""
    for role, network in (("student", student), ("teacher", teacher)):
        if stage > len(network.stages):
            return f"stage = {stage}, and the {role} has {len(network.stages)} stages"
    own, other = student.stages[stage - 1], teacher.stages[stage - 1]
    if hint_rule(own, other) is None:
        return (
            f"no regressor brings the student's {own.height}x{own.width} map of stage {stage}"
            f" to the teacher's {other.height}x{other.width}"
        )
    return None
