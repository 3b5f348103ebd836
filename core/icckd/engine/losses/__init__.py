"""Losses of the teacher besides cross-entropy, under the name of their setting in `[teacher]`."""

from collections.abc import Callable
from typing import Any

from icckd.engine.losses.base import LossInputs, TeacherLoss
from icckd.engine.losses.intra_part import IntraPart
from icckd.engine.losses.supcon import SupConPart

__all__ = ["LOSSES", "LossInputs", "TeacherLoss"]

LOSSES: dict[str, Callable[[Any, LossInputs], TeacherLoss]] = {
    "intra": IntraPart,
    "supcon": SupConPart,
}
