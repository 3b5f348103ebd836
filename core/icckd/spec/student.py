"""The student and how it learns from the teacher."""

from typing import Literal

from pydantic import Field

from icckd.spec.models import CnnModel, Model
from icckd.spec.settings import Settings
from icckd.spec.training import Training


class KdDistiller(Settings):
    """Hinton et al. 2015 (arXiv 1503.02531): T^2 KL to the teacher's softened probabilities."""

    kind: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    weight: float = Field(default=0.9, ge=0, description="weight of the distillation term")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the cross-entropy term")


class Student(Settings):
    """The student and how it learns from the teacher."""

    model: Model = CnnModel(widths=(4, 8, 16))
    distiller: KdDistiller = KdDistiller()
    training: Training = Training()
