"""The teacher and its losses."""

from typing import Literal

from pydantic import Field, model_validator

from icckd.spec.models import CnnModel, Model
from icckd.spec.settings import Off, Settings
from icckd.spec.training import Training


class MarginFilter(Settings):
    """Only samples whose true-class probability leads by more than `threshold` are anchors."""

    threshold: float = Field(default=0.5, ge=-2, le=1, description="softmax margin, -2 keeps all")


class NegativeCache(Settings):
    """Ring buffer of past embeddings per class, used as extra negatives."""

    per_class: int = Field(default=64, ge=0, le=65_536, description="entries per class")
    warmup_epochs: int = Field(default=1, ge=0, description="epochs before entries are used")


class IntraLoss(Settings):
    """Intra-class contrastive loss of the teacher; see docs/method.md for the definition."""

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_intra")
    temperature: float = Field(default=0.1, gt=0, description="tau of the contrastive scores")
    margin: MarginFilter | Off = MarginFilter()
    cache: NegativeCache | Off = NegativeCache()


class Teacher(Settings):
    """The teacher: cross-entropy on view 1, plus the intra-class loss over two views."""

    model: Model = CnnModel()
    views: Literal[1, 2] = Field(default=2, description="augmented views forwarded per image")
    intra: IntraLoss | Off = IntraLoss()
    training: Training = Training()

    @model_validator(mode="after")
    def _intra_needs_two_views(self) -> "Teacher":
        if self.intra != "off" and self.views != 2:
            raise ValueError('the intra-class loss needs views = 2, or intra = "off"')
        return self
