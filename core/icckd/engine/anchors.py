"""Margin filter: which samples may serve as contrastive anchors.

Shape suffixes: B batch, C classes.
"""

import torch
from torch import Tensor


def true_class_margin(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the true-class probability minus the best other probability.

    Args:
        logits_BC: Teacher logits, float, shape (batch, classes).
        labels_B: Class indices, int64, shape (batch,).

    Returns:
        Margins p_y - max p_k in [-1, 1], shape (batch,). Negative where misclassified.

    >>> true_class_margin(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])).round()
    tensor([ 1., -1.])
    """
    probs_BC = logits_BC.softmax(dim=1)
    true_B1 = probs_BC.gather(1, labels_B[:, None])
    others_BC = probs_BC.scatter(1, labels_B[:, None], -torch.inf)
    return true_B1.squeeze(1) - others_BC.amax(dim=1)
