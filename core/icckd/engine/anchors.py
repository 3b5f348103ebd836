"""Margin filter: which samples may serve as contrastive anchors.

Shape suffixes: B batch, C classes.
"""

import torch
from torch import Tensor


def margin_of(probs_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the true-class probability minus the best other probability.

    Args:
        probs_BC: Class probabilities, float, shape (batch, classes).
        labels_B: Class indices, int64, shape (batch,).

    Returns:
        Margins p_y - max p_k in [-1, 1], shape (batch,). Negative where misclassified.

    >>> margin_of(torch.tensor([[0.9, 0.1], [0.75, 0.25]]), torch.tensor([0, 1]))
    tensor([ 0.8000, -0.5000])
    """
    true_B1 = probs_BC.gather(1, labels_B[:, None])
    others_BC = probs_BC.scatter(1, labels_B[:, None], -torch.inf)
    return true_B1.squeeze(1) - others_BC.amax(dim=1)


def margin_over(margin_B: Tensor, thresholds_T: Tensor) -> Tensor:
    """Return the share of samples, in percent, whose margin exceeds each threshold.

    >>> margin_over(torch.tensor([-0.5, 0.2, 0.6, 0.8]), torch.tensor([0.0, 0.5]))
    tensor([75., 50.])
    """
    return (margin_B[:, None] > thresholds_T).sum(dim=0) * (100.0 / len(margin_B))
