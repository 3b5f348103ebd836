"""Which networks a method can join: what it needs of them, and the rules that it has."""

from typing import Literal

from icckd.spec.shapes import NetworkShape, StageShape

Need = Literal["logits", "features", "stages", "preacts", "index", "equal-stages", "hint"]
"""What a method reads (`logits`, pooled `features`, `stages` maps, `preacts` maps, the sample
`index`) and demands: `equal-stages`, as many stages in both networks; `hint`, a regressor."""

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
