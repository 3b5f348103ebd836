"""Spread: the supervised contrastive loss, and a term that pushes the images of a class apart.

Chen et al. 2022, "Perfectly Balanced: Improving Transfer and Robustness of Supervised Contrastive
Learning" (ICML, arXiv 2204.07596), call the weighted sum L_spread. The second term is InfoNCE among
the images of a class; the intra-class loss is that term with a filter and a cache.

Shape suffixes: B batch, E embedding.
"""

from pydantic import Field

from icckd.study.settings import Off
from icckd.study.teacher import LossSettings, teacher_loss
from icckd.train.lazy import torch
from icckd.train.losses.base import (
    Embedding,
    Forward,
    LossInputs,
    ProjectionHead,
    TeacherLoss,
    Term,
    full_precision,
)
from icckd.train.losses.contrastive import IntraLoss, intra_class_contrastive
from icckd.train.losses.supcon import supervised_contrastive


class SpreadLoss(LossSettings):
    """L_spread (Chen et al. 2022): classes contract, and their images keep apart."""

    title = "the spread loss"
    about = "supervised contrastive loss and InfoNCE within classes, before its weight"
    views = 2

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_spread")
    temperature: float = Field(default=0.5, gt=0, description="tau of the contrastive scores")
    share: float = Field(
        default=0.5, ge=0, le=1, description="share of the InfoNCE within classes in L_spread"
    )
    head: ProjectionHead | Off = "off"


@teacher_loss("spread", SpreadLoss, order=3)
class Spread(TeacherLoss):
    """L_spread as a teacher's settings describe it."""

    def __init__(self, settings: SpreadLoss, inputs: LossInputs) -> None:
        super().__init__(settings)
        self._temperature, self._share = settings.temperature, settings.share
        self._within = IntraLoss(temperature=settings.temperature, margin="off", cache="off")
        self.embedding = Embedding(inputs, head=settings.head)

    def term(self, seen: Forward) -> Term:
        """Return (1 - share) * L_supcon + share * the mean InfoNCE within classes."""
        labels_B = seen.batch.labels
        with full_precision(seen.features):
            projected_VE = self.embedding.project(seen.features)
            view1_BE, view2_BE = projected_VE.chunk(2)
            alike = supervised_contrastive(
                projected_VE, labels_B.repeat(2), temperature=self._temperature
            )
            within = intra_class_contrastive(
                view1_BE,
                view2_BE,
                torch.zeros_like(labels_B, dtype=projected_VE.dtype),
                seen.batch.ids,
                seen.groups,
                settings=self._within,
                cache=None,
            )
            return Term((1 - self._share) * alike + self._share * within.loss)
