"""Supervised contrastive loss: samples of a class attract each other, the opposite of `intra`.

Khosla et al. 2020 (arXiv 2004.11362), equation 2 (the mean over positives outside the logarithm),
over all views of the batch.

Shape suffixes: B batch, D features, V views * batch.
"""

import torch
from torch import Tensor

from icckd.engine.losses.base import (
    Forward,
    LossInputs,
    TeacherLoss,
    Term,
    full_precision,
    precise,
    unit,
)
from icckd.engine.losses.embedding import Embedding
from icckd.spec.teacher import SupConLoss


def supervised_contrastive(
    embeddings_VD: Tensor, labels_V: Tensor, *, temperature: float
) -> Tensor:
    """Return the loss in nats, the mean over all rows; a row without a positive counts as 0.

    Computed in float32 at least, also under autocast.

    Args:
        embeddings_VD: Embeddings of all views, float, shape (views * batch, features).
        labels_V: Their classes, int64.
        temperature: Divides the cosine scores.
    """
    with full_precision(embeddings_VD):
        z_VD = unit(precise(embeddings_VD))
        scores_VV = z_VD @ z_VD.mT / temperature
        own_VV = torch.eye(len(labels_V), dtype=torch.bool, device=labels_V.device)
        positive_VV = (labels_V[:, None] == labels_V) & ~own_VV
        others_V = scores_VV.masked_fill(own_VV, -torch.inf).logsumexp(dim=1)
        count_V = positive_VV.sum(dim=1)
        positive_V = torch.where(positive_VV, scores_VV, 0.0).sum(dim=1) / count_V.clamp_min(1)
        return torch.where(count_V > 0, others_V - positive_V, 0.0).mean()


class SupConPart(TeacherLoss):
    """The supervised contrastive loss as a teacher's settings describe it."""

    def __init__(self, settings: SupConLoss, inputs: LossInputs) -> None:
        super().__init__()
        self.weight = settings.weight
        self._temperature = settings.temperature
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
            )
        return Term(loss, ())
