"""From pooled features to what a contrastive loss compares: projection head and centring.

Shape suffixes: V views * batch, C classes, D features, E embedding.
"""

import torch
from torch import Tensor, nn

from icckd.engine.losses.base import LossInputs, precise
from icckd.engine.seeding import Key, initialise
from icckd.spec.settings import Off
from icckd.spec.teacher import BatchMean, ClassMean, ProjectionHead


class Projection(nn.Module):
    """Linear, ReLU, linear: the head of SimCLR (Chen et al. 2020) and SupCon."""

    def __init__(self, n_features: int, settings: ProjectionHead, key: Key) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_features, n_features)
        self.out = nn.Linear(n_features, settings.features)
        initialise(self, key)

    def forward(self, features_VD: Tensor) -> Tensor:
        """Return the projected features."""
        projected: Tensor = self.out(self.hidden(features_VD).relu())
        return projected


class Embedding(nn.Module):
    """Projects and centres pooled features.

    Buffers, with class means only: `mean` [C, E], the running mean of each class, and `known` [C],
    whether a class was seen yet; a class unseen has the mean 0.
    """

    mean: Tensor
    known: Tensor

    def __init__(
        self,
        inputs: LossInputs,
        *,
        head: ProjectionHead | Off,
        centering: BatchMean | ClassMean | Off = "off",
    ) -> None:
        super().__init__()
        self.size = inputs.n_features if head == "off" else head.features
        self.head: Projection | None = None
        if head != "off":
            self.head = Projection(inputs.n_features, head, (*inputs.key, "head"))
        self._centering = centering
        if isinstance(centering, ClassMean):
            self.register_buffer("mean", torch.zeros(inputs.n_classes, self.size))
            self.register_buffer("known", torch.zeros(inputs.n_classes, dtype=torch.bool))

    def project(self, features_VD: Tensor) -> Tensor:
        """Return the features, through the head where there is one, in float32 at least."""
        features_VD = precise(features_VD)
        if self.head is None:
            return features_VD
        projected_VE: Tensor = self.head(features_VD)
        return projected_VE

    def center(self, projected_VE: Tensor, labels_V: Tensor) -> Tensor:
        """Return the projected features minus their centre.

        The gradient flows through the mean of a batch, not through running means.
        """
        if self._centering == "off":
            return projected_VE
        if isinstance(self._centering, BatchMean):
            return projected_VE - projected_VE.mean(dim=0, keepdim=True)
        return projected_VE - self.mean.to(projected_VE.dtype)[labels_V]

    @torch.no_grad()
    def remember(self, features_VD: Tensor, labels_V: Tensor) -> None:
        """Move the running mean of each class in the batch towards the batch's own."""
        if not isinstance(self._centering, ClassMean):
            return
        projected_VE = self.project(features_VD).to(self.mean.dtype)
        classes_C = torch.arange(len(self.mean), device=labels_V.device)
        member_CV = (labels_V == classes_C[:, None]).to(projected_VE.dtype)
        count_C1 = member_CV.sum(dim=1, keepdim=True)
        mean_CE = member_CV @ projected_VE / count_C1.clamp_min(1)
        kept = self._centering.momentum
        moved_CE = torch.where(
            self.known[:, None], kept * self.mean + (1 - kept) * mean_CE, mean_CE
        )
        self.mean.copy_(torch.where(count_C1 > 0, moved_CE, self.mean))
        self.known.logical_or_(count_C1[:, 0] > 0)
