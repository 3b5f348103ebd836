"""Measures of logits and features on fixed images, in float64.

Shape suffixes: N images, C classes, D features, L levels of confidence, M classes
that have images.
"""

import torch
from torch import Tensor

from icckd.engine.evaluate import soft_probabilities

BINS = 15


def top5(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return how often the label is among the five highest logits, in percent."""
    best_N5 = logits_NC.topk(5, dim=1).indices
    return 100.0 * (best_N5 == labels_N[:, None]).any(dim=1).double().mean().item()


def nll(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    log_p_NC = logits_NC.double().log_softmax(dim=1)
    return -log_p_NC.gather(1, labels_N[:, None]).mean().item()


def entropy(logits_NC: Tensor) -> float:
    """Return the mean entropy of the predicted probabilities, in nats."""
    log_p_NC = logits_NC.double().log_softmax(dim=1)
    return -(log_p_NC.exp() * log_p_NC).sum(dim=1).mean().item()


def calibration_error(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the expected calibration error over 15 bins of equal width, in percent.

    Guo et al. 2017 (arXiv 1706.04599), equation 3: the mean over images of the distance between
    accuracy and mean confidence of the image's bin; bin m holds confidences in ((m-1)/15, m/15].
    """
    confidence_N, guess_N = logits_NC.double().softmax(dim=1).max(dim=1)
    gap_N = (guess_N == labels_N).double() - confidence_N
    bin_N = (confidence_N * BINS).ceil().long().clamp(1, BINS) - 1
    bin_NL = bin_N[:, None] == torch.arange(BINS, device=bin_N.device)
    return 100.0 * (bin_NL.double().T @ gap_N).abs().sum().item() / len(labels_N)


def nc1(features_ND: Tensor, labels_N: Tensor) -> float:
    """Return the within-class scatter over the between-class scatter of features.

    Papyan, Han and Donoho 2020 (arXiv 2008.08186), NC1: trace(S_W pinv(S_B)) / C, where S_W is the
    covariance of features around the mean of their class, over all images, and S_B that of the C
    class means around their own mean. 0 is full collapse; NaN where all class means coincide.
    """
    features_ND = features_ND.double()
    mean_MD, row_N = class_means(features_ND, labels_N)
    between_MD = mean_MD - mean_MD.mean(dim=0)
    _, size_M, axis_MD = torch.linalg.svd(between_MD, full_matrices=False)
    # The means lie in a plane of one dimension less than there are classes; the rest is rounding.
    rounding = torch.finfo(torch.float64).eps * max(mean_MD.shape) * mean_MD.norm()
    used_M = size_M > rounding
    used_M[len(mean_MD) - 1 :] = False
    if not used_M.any():
        return float("nan")
    along_NM = (features_ND - mean_MD[row_N]) @ axis_MD[used_M].T
    return float((along_NM.square().mean(dim=0) / size_M[used_M].square()).sum())


def soft_variance(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the within-class variance of the non-target probabilities at T = 4.

    What a student by distillation can see of the differences between images of one class: the
    squared distance of softmax(logits / 4), its target entry left out, to its mean over the class,
    averaged over images.
    """
    soft_NC = soft_probabilities(logits_NC.double())
    classes_C = torch.arange(soft_NC.shape[1], device=soft_NC.device)
    others_NC = soft_NC.masked_fill(labels_N[:, None] == classes_C, 0.0)
    mean_MC, row_N = class_means(others_NC, labels_N)
    return (others_NC - mean_MC[row_N]).square().sum(dim=1).mean().item()


def agreement(student_NC: Tensor, teacher_NC: Tensor) -> float:
    """Return how often student and teacher predict the same class, in percent."""
    return 100.0 * (student_NC.argmax(dim=1) == teacher_NC.argmax(dim=1)).double().mean().item()


def divergence(student_NC: Tensor, teacher_NC: Tensor) -> float:
    """Return the mean Kullback-Leibler divergence KL(teacher || student) at T = 1, in nats."""
    teacher_NC = teacher_NC.double().log_softmax(dim=1)
    student_NC = student_NC.double().log_softmax(dim=1)
    return (teacher_NC.exp() * (teacher_NC - student_NC)).sum(dim=1).mean().item()


def class_means(values_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each class that has images, and each image's row among the means."""
    present_M, row_N = torch.unique(labels_N, return_inverse=True)
    in_class_NM = (row_N[:, None] == torch.arange(len(present_M), device=row_N.device)).double()
    return in_class_NM.T @ values_ND / in_class_NM.sum(dim=0)[:, None], row_N
