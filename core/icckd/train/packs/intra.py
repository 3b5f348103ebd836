"""The intra-class loss of a pack: `icckd.train.losses.contrastive` for all replicas at once.

The candidates of a sample are the whole batch and the cache of its class; those of other classes
are masked. Sizes follow from the study alone, never from what a batch holds or from mates.

Shape suffixes: R replicas, B batch, C classes, D features, Q cache entries per class, N candidates
(B + Q), V rows of both views (2 * B), T thresholds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from icckd.train.losses.base import NORM_EPS, any_order
from icckd.train.losses.contrastive import MARGINS, IntraClass, IntraLoss
from icckd.train.packs.batches import PackedBatch

FEW_CLASSES = 16
"""Up to so many a CPU computes scores with the caches of all classes, and takes those of its own.

The gradient of that choice would be sorted on a GPU."""


class PackedTerm(NamedTuple):
    """The loss of each replica in nats, shape (R), what it saw, and the keys, shape (R, B, D)."""

    loss: Tensor
    diagnostics: tuple[Tensor, ...]
    keys: Tensor


class PackedIntra:
    """The intra-class loss with the caches of all replicas.

    Args:
        losses: Those outside a pack; their caches are where these begin. They differ in weight,
            temperature, margin threshold and the least number of negatives alone.
        dtype: Type of the features.
        device: Where they are.

    Attributes:
        weights: Factor of each replica's loss, shape (R).
    """

    def __init__(
        self, losses: Sequence[IntraClass], dtype: torch.dtype, device: torch.device
    ) -> None:
        settings = [loss.settings for loss in losses]
        self._shared: IntraLoss = settings[0]
        self.diagnostics = losses[0].diagnostics
        like = torch.empty(0, dtype=dtype, device=device)
        self.weights = like.new_tensor([each.weight for each in settings])
        self._temperature_R11 = like.new_tensor([[[each.temperature]] for each in settings])
        self._threshold_R1 = like.new_tensor([[_threshold(each)] for each in settings])
        self._least_R1 = torch.tensor([[each.min_negatives] for each in settings], device=device)
        self._margins_T = torch.tensor(MARGINS, device=device)
        self._by_mean = any(s.margin != "off" and s.margin.view == "mean" for s in settings)
        self._warmup_epochs = 0
        self._has_cache = losses[0].cache is not None
        if self._has_cache:
            caches = [loss.cache for loss in losses if loss.cache is not None]
            assert self._shared.cache != "off"
            self._warmup_epochs = self._shared.cache.warmup_epochs
            self._embedding_RCQD = torch.stack([cache.Q_emb for cache in caches])  # always float32
            self._id_RCQ = torch.stack([cache.Q_id for cache in caches])
            self._step_RCQ = torch.stack([cache.Q_step for cache in caches])
            self._next_RC = torch.stack([cache.Q_ptr for cache in caches])

    @property
    def needs_second_view(self) -> bool:
        """Whether the margin looks at the probabilities of both views."""
        return self._by_mean

    @torch.no_grad()
    def store(self, replica: int, loss: IntraClass) -> None:
        """Write the cache of one replica into a loss outside a pack."""
        if loss.cache is None:
            return
        loss.cache.Q_emb.copy_(self._embedding_RCQD[replica])
        loss.cache.Q_id.copy_(self._id_RCQ[replica])
        loss.cache.Q_step.copy_(self._step_RCQ[replica])
        loss.cache.Q_ptr.copy_(self._next_RC[replica])

    def term(
        self, features_RVD: Tensor, logits: Sequence[Tensor], batch: PackedBatch, *, epoch: int
    ) -> PackedTerm:
        """Return the loss of one step, differentiable by the features.

        Args:
            features_RVD: Pooled features of both views, view 1 first.
            logits: Of view 1, [R, B, C], and of view 2 where the margin looks at both; no gradient.
            batch: Labels and sample indices.
            epoch: Epoch, from 1.
        """
        labels_RB, ids_RB = batch.labels, batch.ids
        size = labels_RB.shape[1]
        short_RV = features_RVD.detach().square().sum(2) < NORM_EPS**2
        first_RBD, keys_RBD = _unit(features_RVD[:, :size]), _unit(features_RVD[:, size:])
        z_RBD = first_RBD / self._temperature_R11
        own_BB = torch.eye(size, dtype=torch.bool, device=labels_RB.device)
        scores_RBN = z_RBD @ keys_RBD.mT
        positive_RB = scores_RBN.diagonal(dim1=1, dim2=2)
        if self._shared.negatives_view == "same":
            scores_RBN = torch.where(own_BB, scores_RBN, z_RBD @ first_RBD.mT)
        negative_RBN = (labels_RB[:, :, None] == labels_RB[:, None, :]) & (
            ids_RB[:, :, None] != ids_RB[:, None, :]
        )
        counted_RBN = negative_RBN | own_BB
        if self._has_cache and epoch > self._warmup_epochs:
            cached_RBQ, id_RBQ = self._cached(z_RBD, labels_RB)
            old_RBQ = (id_RBQ >= 0) & (id_RBQ != ids_RB[:, :, None])
            scores_RBN = torch.cat([scores_RBN, cached_RBQ], dim=2)
            negative_RBN = torch.cat([negative_RBN, old_RBQ], dim=2)
            counted_RBN = torch.cat([counted_RBN, old_RBQ], dim=2)
        scores_RBN = torch.where(counted_RBN, scores_RBN, -torch.inf)
        count_RB = negative_RBN.sum(2)
        margin_RB = self._margin(logits, labels_RB)
        anchor_RB = (count_RB >= self._least_R1) & (margin_RB > self._threshold_R1)
        loss_RB = scores_RBN.logsumexp(2) - positive_RB
        if self._shared.normalize == "log-negatives":
            loss_RB = loss_RB / count_RB.clamp_min(1).to(loss_RB.dtype).log1p()
        anchors_R, pairs_R = anchor_RB.sum(1), count_RB.sum(1)
        total_R = torch.where(anchor_RB, loss_RB, 0.0).sum(1)
        by_batch = self._shared.reduction == "batch"
        loss_R = total_R / (size if by_batch else anchors_R.clamp_min(1))
        with torch.no_grad():
            temperature_R = self._temperature_R11.flatten()
            held_RX = torch.where(negative_RBN, scores_RBN, 0.0).flatten(1)
            above_RTB = margin_RB[:, None, :] > self._margins_T[:, None]
            told = (
                anchors_R * (100.0 / size),
                pairs_R / size,
                positive_RB.contiguous().sum(1) / size * temperature_R,
                held_RX.sum(1) / pairs_R.clamp_min(1) * temperature_R,
                short_RV.sum(1).float(),
                *(above_RTB.sum(2) * (100.0 / size)).unbind(1),
            )
        return PackedTerm(loss_R, told, keys_RBD.detach())

    @torch.no_grad()
    def remember(self, term: PackedTerm, batch: PackedBatch, *, step: int) -> None:
        """Put view 2 into the caches, row by row, each in the ring of its class."""
        if not self._has_cache:
            return
        labels_RB, keys_RBD = batch.labels, term.keys
        replicas, size = labels_RB.shape
        _, classes, per_class, features = self._embedding_RCQD.shape
        member_RBC = labels_RB[:, :, None] == _range(classes, labels_RB)
        rank_RB = member_RBC.cumsum(1).gather(2, labels_RB[:, :, None]).squeeze(2) - 1
        counts_RC = member_RBC.sum(1)
        ids_RB = batch.ids
        if per_class < size:  # a class may overflow its ring: what would be lost writes its heir
            later_RB = (counts_RC.gather(1, labels_RB) - 1 - rank_RB) // per_class * per_class
            place_RB = labels_RB * size + rank_RB
            row_RX = labels_RB.new_zeros(replicas, classes * size)
            with any_order():  # each row has a place of its own
                row_RX.scatter_(1, place_RB, _range(size, labels_RB).expand(replicas, size))
            source_RB = row_RX.gather(1, place_RB + later_RB)
            keys_RBD = keys_RBD.gather(1, source_RB[:, :, None].expand_as(keys_RBD))
            ids_RB = ids_RB.gather(1, source_RB)
        ring_RB = labels_RB + classes * _range(replicas, labels_RB)[:, None]
        entry_RB = (self._next_RC.gather(1, labels_RB) + rank_RB) % per_class
        target_X = (ring_RB * per_class + entry_RB).flatten()
        with any_order():
            fresh_XD = keys_RBD.flatten(0, 1).to(self._embedding_RCQD.dtype)
            self._embedding_RCQD.view(-1, features).index_copy_(0, target_X, fresh_XD)
            self._id_RCQ.view(-1).index_copy_(0, target_X, ids_RB.flatten())
            self._step_RCQ.view(-1).index_fill_(0, target_X, step)
        self._next_RC.add_(counts_RC).remainder_(per_class)

    def _cached(self, z_RBD: Tensor, labels_RB: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores with the entries of a sample's class, and of what image each is."""
        replicas, classes, per_class, features = self._embedding_RCQD.shape
        size = labels_RB.shape[1]
        row_X = (labels_RB + classes * _range(replicas, labels_RB)[:, None]).flatten()
        id_RBQ = self._id_RCQ.view(-1, per_class)[row_X].view(replicas, size, per_class)
        if classes > FEW_CLASSES or labels_RB.device.type != "cpu":
            own_XQD = self._embedding_RCQD.view(-1, per_class, features)[row_X].to(z_RBD.dtype)
            scores_XQ1 = torch.bmm(own_XQD, z_RBD.reshape(-1, features, 1))
            return scores_XQ1.view(replicas, size, per_class), id_RBQ
        every_RED = self._embedding_RCQD.view(replicas, -1, features).to(z_RBD.dtype)
        scores_RBCQ = (z_RBD @ every_RED.mT).view(replicas, size, classes, per_class)
        index_RB1Q = labels_RB[:, :, None, None].expand(replicas, size, 1, per_class)
        return scores_RBCQ.gather(2, index_RB1Q).squeeze(2), id_RBQ

    @torch.no_grad()
    def _margin(self, logits: Sequence[Tensor], labels_RB: Tensor) -> Tensor:
        """Return the true-class probability minus the best other one, shape (R, B)."""
        probs_RBC = logits[0].softmax(2)
        if self._by_mean:
            probs_RBC = (probs_RBC + logits[1].softmax(2)) / 2
        true_RB1 = probs_RBC.gather(2, labels_RB[:, :, None])
        is_true_RBC = labels_RB[:, :, None] == _range(probs_RBC.shape[2], labels_RB)
        others_RBC = probs_RBC.masked_fill(is_true_RBC, -torch.inf)
        return true_RB1.squeeze(2) - others_RBC.amax(2)


def _range(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device)


def _unit(x_RBD: Tensor) -> Tensor:
    return x_RBD * (x_RBD.square().sum(2, keepdim=True) + NORM_EPS**2).rsqrt()


def _threshold(settings: IntraLoss) -> float:
    """Return what a margin must exceed; without a filter anything does."""
    return -torch.inf if settings.margin == "off" else settings.margin.threshold
