"""Probes: how much a representation says about a label level that training did not use.

Shape suffixes: B batch, N evaluated images, R reference images, D features, T targets, k
neighbours.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from icckd.engine.data.splits import Split
from icckd.engine.evaluate import IMAGES_AT_ONCE

NEIGHBOURS = 5
RIDGE = 1e-2
"""Penalty of the linear probe for each training image, on features of deviation 1."""

Similarity = Callable[[Tensor, Tensor], Tensor]


def cosine(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the cosine of all pairs, shape (a, b)."""
    normalise = torch.nn.functional.normalize
    return normalise(a_ND, dim=1) @ normalise(b_RD, dim=1).T


def nearness(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the negative Euclidean distance of all pairs, shape (a, b)."""
    return -torch.cdist(a_ND, b_RD, compute_mode="donot_use_mm_for_euclid_dist")


def subclass_accuracy(
    test_ND: Tensor, test: Split, train_RD: Tensor, train: Split, similarity: Similarity
) -> float:
    """Return the sub-class accuracy of nearest neighbours within the label, in percent.

    Each test image takes the majority sub-class of the 5 most similar training images of its own
    label, or of all of them where there are fewer; among tied sub-classes the nearest
    neighbour's wins. An image is no neighbour of itself: where `test` is `train`, each image is
    left out in its turn.

    Args:
        test_ND: What the test images are compared by, float, shape (test images, features).
        test: The test images' labels and sub-classes.
        train_RD: The same of the training images.
        train: The training images' labels and sub-classes.
        similarity: Gives the similarity of all pairs.
    """
    assert test.subclasses is not None
    assert train.subclasses is not None
    right = test_ND.new_zeros((), dtype=torch.float64)
    rows_N = torch.arange(len(test_ND), device=test_ND.device)
    reference_R = torch.arange(len(train_RD), device=test_ND.device)
    for rows_B in torch.split(rows_N, IMAGES_AT_ONCE):
        barred_BR = test.labels[rows_B][:, None] != train.labels
        if test is train:
            barred_BR |= rows_B[:, None] == reference_R
        score_BR = similarity(test_ND[rows_B], train_RD).masked_fill(barred_BR, -torch.inf)
        nearest = score_BR.topk(min(NEIGHBOURS, score_BR.shape[1]), dim=1)
        counts_Bk = nearest.values.isfinite()
        winner_B = _majority(train.subclasses[nearest.indices], counts_Bk)
        right += ((winner_B == test.subclasses[rows_B]) & counts_Bk.any(dim=1)).sum()
    return 100.0 * right.item() / len(test_ND)


def _majority(vote_Bk: Tensor, counts_Bk: Tensor) -> Tensor:
    """Return the most frequent vote of each row; ties go to the first of the tied.

    Args:
        vote_Bk: Votes in order of nearness.
        counts_Bk: Which votes count; those that do come first.
    """
    same_Bkk = (vote_Bk[:, :, None] == vote_Bk[:, None, :]) & counts_Bk[:, None, :]
    first_Bk = torch.arange(vote_Bk.shape[1], 0, -1, device=vote_Bk.device)
    rank_Bk = same_Bkk.sum(dim=2) * (vote_Bk.shape[1] + 1) + first_Bk
    winner_B1 = rank_Bk.masked_fill(~counts_Bk, -1).argmax(dim=1, keepdim=True)
    return vote_Bk.gather(1, winner_B1).squeeze(1)


def linear_scores(test_ND: Tensor, train_RD: Tensor, target_R: Tensor) -> Tensor:
    """Return a ridge regression's scores of each target, float64, shape (test images, targets).

    Hoerl and Kennard 1970: features are centred and divided by their deviation over the training
    images; the weights minimise the squared distance to the targets' indicators plus
    `RIDGE` * (training images) times the squared weights; the intercept is not penalised.

    Args:
        test_ND: Features of the test images.
        train_RD: Features of the training images.
        target_R: Targets of the training images, int64, from 0.
    """
    train_RD, test_ND = train_RD.double(), test_ND.double()
    mean_D, std_D = train_RD.mean(dim=0), train_RD.std(dim=0, unbiased=False)
    scale_D = torch.where(std_D > 0, std_D, 1.0)
    x_RD, x_ND = (train_RD - mean_D) / scale_D, (test_ND - mean_D) / scale_D
    known_T = torch.arange(int(target_R.max()) + 1, device=target_R.device)
    y_RT = (target_R[:, None] == known_T).double()
    share_T = y_RT.mean(dim=0)
    n, features = x_RD.shape
    penalty_DD = RIDGE * n * torch.eye(features, dtype=torch.float64, device=x_RD.device)
    weights_DT = torch.linalg.solve(x_RD.T @ x_RD + penalty_DD, x_RD.T @ (y_RT - share_T))
    scores_NT: Tensor = x_ND @ weights_DT + share_T
    return scores_NT


def linear_subclass_accuracy(test_ND: Tensor, test: Split, train_RD: Tensor, train: Split) -> float:
    """Return the sub-class accuracy of a linear probe, in percent.

    The probe knows the label: the sub-class of the highest score among those that training
    images of the label have.
    """
    assert test.subclasses is not None
    assert train.subclasses is not None
    scores_NT = linear_scores(test_ND, train_RD, train.subclasses)
    n_labels = int(max(train.labels.max(), test.labels.max())) + 1
    own_LT = torch.zeros(n_labels, scores_NT.shape[1], dtype=torch.bool, device=scores_NT.device)
    own_LT[train.labels, train.subclasses] = True
    scores_NT = scores_NT.masked_fill(~own_LT[test.labels], -torch.inf)
    return _percent(scores_NT.argmax(dim=1) == test.subclasses)


def linear_superclass_accuracy(
    test_ND: Tensor, test: Split, train_RD: Tensor, train: Split
) -> float:
    """Return the super-class accuracy of a linear probe, in percent."""
    assert test.superclasses is not None
    assert train.superclasses is not None
    scores_NT = linear_scores(test_ND, train_RD, train.superclasses)
    return _percent(scores_NT.argmax(dim=1) == test.superclasses)


def _percent(right_N: Tensor) -> float:
    return 100.0 * right_N.double().mean().item()
