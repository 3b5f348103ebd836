"""Intra-class contrastive loss: a sample against others of its own class.

The positive of a sample is its other view; its negatives are the other views of the batch's
samples of the same class and, where there is a cache, past embeddings of that class. The same
within-class term is `l_spread` of Chen et al. 2022 (arXiv 2204.07596). It is a documented
definition consistent with arXiv 2509.22053, not the authors' implementation.

Shape suffixes: B batch, C classes, D features, M places per class, Q cache entries per class,
N = M + Q.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icckd.engine.anchors import true_class_margin
from icckd.engine.cache import NegativeCache
from icckd.engine.groups import ClassGroups

NORM_EPS = 1e-3
"""Added in square under the root: the gradient at a zero vector is at most 1 / NORM_EPS."""


class IntraTerm(NamedTuple):
    """The loss in nats and what it saw, all on the device.

    `anchor_share` is the share of samples that were anchors, in percent; `negatives` the mean
    number of negatives of a sample; `keys` the detached unit embeddings of view 2.
    """

    loss: Tensor
    anchor_share: Tensor
    negatives: Tensor
    keys: Tensor


def unit(x_BD: Tensor) -> Tensor:
    """Return rows scaled to length 1, or less where a row is near zero."""
    return x_BD * (x_BD.square().sum(dim=1, keepdim=True) + NORM_EPS**2).rsqrt()


def intra_class_contrastive(
    view1_BD: Tensor,
    view2_BD: Tensor,
    logits_BC: Tensor,
    ids_B: Tensor,
    groups: ClassGroups,
    *,
    temperature: float,
    threshold: float | None,
    cache: NegativeCache | None,
) -> IntraTerm:
    """Return the loss summed over the anchors and divided by the batch size.

    A sample is an anchor if its margin exceeds the threshold and it has a negative. Without
    anchors the loss is exactly 0 and its gradients are zeros. Computed in float32 at least.

    Args:
        view1_BD: Features of view 1, the side of the anchors, float, shape (batch, features).
        view2_BD: Features of view 2, float, shape (batch, features).
        logits_BC: Logits of view 1 for the margin; no gradient flows through them.
        ids_B: Sample indices from 0, int64, shape (batch,): a sample is no negative of itself.
        groups: The batch's layout by class.
        temperature: Divides the cosine scores.
        threshold: Margin that an anchor exceeds, or None for no filter.
        cache: Source of further negatives, or None. No gradient flows into it.
    """
    precise = torch.promote_types(view1_BD.dtype, torch.float32)
    z_BD, keys_BD = unit(view1_BD.to(precise)), unit(view2_BD.to(precise))
    scores_CMN, negative_CMN = _candidates(z_BD / temperature, keys_BD, ids_B, groups, cache)
    positive_CM = scores_CMN.diagonal(dim1=1, dim2=2)
    own_MN = torch.eye(*scores_CMN.shape[1:], dtype=torch.bool, device=ids_B.device)
    scores_CMN = torch.where(negative_CMN | own_MN, scores_CMN, -torch.inf)
    loss_CM = scores_CMN.logsumexp(dim=2) - positive_CM
    count_CM = negative_CMN.sum(dim=2)
    anchor_CM = count_CM > 0
    if threshold is not None:
        margin_B = true_class_margin(logits_BC.detach().to(precise), groups.labels)
        anchor_CM = anchor_CM & groups.spread(margin_B > threshold, fill=False)
    batch = len(ids_B)
    return IntraTerm(
        loss=torch.where(anchor_CM, loss_CM, 0.0).sum() / batch,
        anchor_share=anchor_CM.sum() * (100.0 / batch),
        negatives=count_CM.sum() / batch,
        keys=keys_BD.detach(),
    )


def _candidates(
    z_BD: Tensor, keys_BD: Tensor, ids_B: Tensor, groups: ClassGroups, cache: NegativeCache | None
) -> tuple[Tensor, Tensor]:
    """Return the scores of each place against its class, and which of them are negatives.

    The first M candidates are view 2 of the batch, the positive on the diagonal. Empty places
    hold zero vectors and the sample index -1; they have no negatives and are none.
    """
    z_CMD, keys_CMD = groups.spread(torch.cat([z_BD, keys_BD], dim=1), fill=0).chunk(2, dim=2)
    id_CM = groups.spread(ids_B, fill=-1)
    key_id_CN = id_CM
    scores_CMN = z_CMD @ keys_CMD.mT
    if cache is not None:
        cached_CQD = cache.Q_emb.to(z_CMD.dtype)
        scores_CMN = torch.cat([scores_CMN, z_CMD @ cached_CQD.mT], dim=2)
        key_id_CN = torch.cat([id_CM, cache.Q_id], dim=1)
    filled_CMN = (id_CM >= 0)[:, :, None] & (key_id_CN >= 0)[:, None, :]
    return scores_CMN, filled_CMN & (id_CM[:, :, None] != key_id_CN[:, None, :])
