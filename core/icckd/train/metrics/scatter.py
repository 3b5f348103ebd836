"""How images of one class differ from each other, in features and in soft labels; in float64.

Shape suffixes: N images, C classes, D features, M classes that have images.
"""

from icckd.study.metrics import metric
from icckd.train.lazy import Tensor, torch
from icckd.train.metrics.base import Evaluation, class_means, soft_probabilities


@metric(
    "nc1",
    unit="1",
    direction="none",
    about=(
        "within-class over between-class scatter of features, trace(S_W pinv(S_B)) / C, on test"
    ),
    on_validation=(
        "within-class over between-class scatter of features, trace(S_W pinv(S_B)) / C,"
        " on validation, at the diagnosed epochs"
    ),
    order=6,
)
def _nc1(evaluation: Evaluation) -> float:
    return nc1(evaluation.features, evaluation.labels)


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


@metric(
    "soft_variance",
    unit="1",
    direction="none",
    about="within-class variance of the non-target probabilities at T = 4, on test",
    on_validation=(
        "within-class variance of the non-target probabilities at T = 4, on validation,"
        " at the diagnosed epochs"
    ),
    order=7,
)
def _soft_variance(evaluation: Evaluation) -> float:
    return soft_variance(evaluation.logits, evaluation.labels)


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
