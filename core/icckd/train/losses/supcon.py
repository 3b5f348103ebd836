"""Supervised contrastive loss: samples of a class attract each other, the opposite of `intra`.

Khosla et al. 2020 (arXiv 2004.11362) over all views of the batch, with the mean over positives
outside the logarithm (equation 2) or inside (equation 3).

Shape suffixes: B batch, D features, V views * batch.
"""

from typing import Literal

from pydantic import Field

from icckd.study.settings import Off
from icckd.study.teacher import LossSettings, teacher_loss
from icckd.train.lazy import Tensor, torch
from icckd.train.losses.base import (
    Embedding,
    Forward,
    LossInputs,
    ProjectionHead,
    TeacherLoss,
    Term,
    full_precision,
    precise,
    unit,
)

Reduction = Literal["outside", "inside"]


def supervised_contrastive(
    embeddings_VD: Tensor, labels_V: Tensor, *, temperature: float, reduction: Reduction = "outside"
) -> Tensor:
    """Return the loss in nats, the mean over all rows; a row without a positive counts as 0.

    Computed in float32 at least, also under autocast.

    Args:
        embeddings_VD: Embeddings of all views, float, shape (views * batch, features).
        labels_V: Their classes, int64.
        temperature: Divides the cosine scores.
        reduction: Where the mean over positives stands: outside the logarithm, or inside.
    """
    with full_precision(embeddings_VD):
        z_VD = unit(precise(embeddings_VD))
        scores_VV = z_VD @ z_VD.mT / temperature
        own_VV = torch.eye(len(labels_V), dtype=torch.bool, device=labels_V.device)
        positive_VV = (labels_V[:, None] == labels_V) & ~own_VV
        others_V = scores_VV.masked_fill(own_VV, -torch.inf).logsumexp(dim=1)
        count_V = positive_VV.sum(dim=1)
        if reduction == "outside":
            total_V = torch.where(positive_VV, scores_VV, 0.0).sum(dim=1)
            positive_V = total_V / count_V.clamp_min(1)
        else:
            # A row without a positive looks at itself: a logarithm of 0 would have no gradient.
            seen_VV = torch.where(count_V[:, None] > 0, positive_VV, own_VV)
            alike_V = scores_VV.masked_fill(~seen_VV, -torch.inf).logsumexp(dim=1)
            positive_V = alike_V - count_V.clamp_min(1).to(alike_V.dtype).log()
        return torch.where(count_V > 0, others_V - positive_V, 0.0).mean()


class SupConLoss(LossSettings):
    """Supervised contrastive loss (Khosla et al. 2020): the opposite force, classes contract."""

    title = "the supervised contrastive loss"
    about = "supervised contrastive loss, mean over all views, before its weight"

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_supcon")
    temperature: float = Field(default=0.1, gt=0, description="tau of the contrastive scores")
    reduction: Reduction = Field(
        default="outside", description="mean over positives outside the logarithm, or inside"
    )
    head: ProjectionHead | Off = "off"


@teacher_loss("supcon", SupConLoss, order=2)
class SupCon(TeacherLoss):
    """The supervised contrastive loss as a teacher's settings describe it."""

    def __init__(self, settings: SupConLoss, inputs: LossInputs) -> None:
        super().__init__(settings)
        self._temperature, self._reduction = settings.temperature, settings.reduction
        self.embedding = Embedding(inputs, head=settings.head)

    def term(self, seen: Forward) -> Term:
        """Return the loss over all views of the batch."""
        labels_B = seen.batch.labels
        with full_precision(seen.features):
            projected_VE = self.embedding.project(seen.features)
            loss = supervised_contrastive(
                projected_VE,
                labels_B.repeat(len(projected_VE) // len(labels_B)),
                temperature=self._temperature,
                reduction=self._reduction,
            )
        return Term(loss, ())
