"""Intra-class contrastive loss: a sample against others of its own class.

The positive of a sample is its other view; its negatives are the batch's samples of the same class
and, where there is a cache, past ones of that class. The same within-class term is `l_spread` of
Chen et al. 2022 (arXiv 2204.07596). It is a documented definition consistent with arXiv 2509.22053,
not the authors' implementation.

Shape suffixes: B batch, C classes, D features, M places per class, Q cache entries per class,
N = M + Q.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icckd.engine.cache import Entries
from icckd.engine.groups import ClassGroups
from icckd.engine.losses.base import full_precision, precise, unit
from icckd.spec.teacher import IntraLoss


class IntraTerm(NamedTuple):
    """The loss in nats and what it saw, all on the device.

    `anchor_share` is the share of samples that were anchors, in percent; `negatives` the mean
    number of negatives of a sample; the cosines are means over samples, and over all pairs of a
    sample and its negative (0 without a pair); `keys` are the detached unit embeddings of view 2.
    """

    loss: Tensor
    anchor_share: Tensor
    negatives: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor
    keys: Tensor


class Scores(NamedTuple):
    """Scores of places against their class, which are negatives, and each place's positive."""

    values: Tensor
    is_negative: Tensor
    positive: Tensor


def intra_class_contrastive(
    view1_BD: Tensor,
    view2_BD: Tensor,
    margin_B: Tensor,
    ids_B: Tensor,
    groups: ClassGroups,
    *,
    settings: IntraLoss,
    cache: Entries | None,
) -> IntraTerm:
    """Return the loss over the anchors, divided by the batch size or by their number.

    A sample is an anchor if its margin exceeds the threshold and it has enough negatives. Without
    anchors the loss is exactly 0 and its gradients are zeros. Computed in float32 at least, also
    under autocast.

    Args:
        view1_BD: Embeddings of view 1, the side of the anchors, float, shape (batch, features).
        view2_BD: Embeddings of view 2, float, shape (batch, features).
        margin_B: Lead of the true class, shape (batch,), without gradient.
        ids_B: Sample indices from 0, int64, shape (batch,): a sample is no negative of itself.
        groups: The batch's layout by class.
        settings: Temperature, filter, reduction, negatives; the cache's are not looked at.
        cache: Further negatives, or None. No gradient flows into them.
    """
    with full_precision(view1_BD):
        z_BD, keys_BD = unit(precise(view1_BD)), unit(precise(view2_BD))
        scores = _scores(z_BD, keys_BD, ids_B, groups, settings, cache)
        count_CM = scores.is_negative.sum(dim=2)
        anchor_CM = count_CM >= settings.min_negatives
        if settings.margin != "off":
            passed_B = margin_B > settings.margin.threshold
            anchor_CM = anchor_CM & groups.spread(passed_B, fill=False)
        return _term(scores, count_CM, anchor_CM, keys_BD.detach(), settings)


def _scores(
    z_BD: Tensor,
    keys_BD: Tensor,
    ids_B: Tensor,
    groups: ClassGroups,
    settings: IntraLoss,
    cache: Entries | None,
) -> Scores:
    """Return the scores; what is neither negative nor positive is -inf.

    The first M candidates are the batch's own, the positive on the diagonal. Empty places hold zero
    vectors and the sample index -1; they have no negatives and are none.
    """
    rows_CMX = groups.spread(torch.cat([z_BD / settings.temperature, keys_BD], dim=1), fill=0)
    z_CMD, keys_CMD = rows_CMX.chunk(2, dim=2)
    id_CM = groups.spread(ids_B, fill=-1)
    key_id_CN = id_CM
    scores_CMN = z_CMD @ keys_CMD.mT
    positive_CM = scores_CMN.diagonal(dim1=1, dim2=2)
    if settings.negatives_view == "same":
        same_CMM = z_CMD @ groups.spread(z_BD, fill=0).mT
        scores_CMN = torch.where(_own(same_CMM), scores_CMN, same_CMM)
    if cache is not None:
        cached_CQD = cache.Q_emb.to(z_CMD.dtype)
        scores_CMN = torch.cat([scores_CMN, z_CMD @ cached_CQD.mT], dim=2)
        key_id_CN = torch.cat([id_CM, cache.Q_id], dim=1)
    filled_CMN = (id_CM >= 0)[:, :, None] & (key_id_CN >= 0)[:, None, :]
    negative_CMN = filled_CMN & (id_CM[:, :, None] != key_id_CN[:, None, :])
    scores_CMN = torch.where(negative_CMN | _own(scores_CMN), scores_CMN, -torch.inf)
    return Scores(scores_CMN, negative_CMN, positive_CM)


def _own(scores_CMN: Tensor) -> Tensor:
    """Return where a place meets itself, shape (M, N)."""
    return torch.eye(*scores_CMN.shape[1:], dtype=torch.bool, device=scores_CMN.device)


def _term(
    scores: Scores, count_CM: Tensor, anchor_CM: Tensor, keys_BD: Tensor, settings: IntraLoss
) -> IntraTerm:
    batch = len(keys_BD)
    loss_CM = scores.values.logsumexp(dim=2) - scores.positive
    if settings.normalize == "log-negatives":
        loss_CM = loss_CM / count_CM.clamp_min(1).to(loss_CM.dtype).log1p()
    anchors, pairs = anchor_CM.sum(), count_CM.sum()
    terms = batch if settings.reduction == "batch" else anchors.clamp_min(1)
    positive, negative = mean_scores(scores, batch, pairs)
    return IntraTerm(
        loss=torch.where(anchor_CM, loss_CM, 0.0).sum() / terms,
        anchor_share=anchors * (100.0 / batch),
        negatives=pairs / batch,
        positive_cosine=positive * settings.temperature,
        negative_cosine=negative * settings.temperature,
        keys=keys_BD,
    )


@torch.no_grad()
def mean_scores(scores: Scores, batch: int, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean score of a positive and of a negative, a diagnostic."""
    negative_sum = torch.where(scores.is_negative, scores.values, 0.0).sum()
    return scores.positive.sum() / batch, negative_sum / pairs.clamp_min(1)
