"""Metrics of the predicted probabilities, in float64.

Shape suffixes: N images, C classes, L levels of confidence.
"""

from icckd.study.metrics import metric
from icckd.train.lazy import Tensor, torch
from icckd.train.metrics.base import Evaluation

BINS = 15


@metric(
    "top1",
    unit="%",
    counts="test images",
    direction="higher",
    about="test accuracy after the last epoch",
    on_validation="validation accuracy at the end of the epoch",
    every_epoch=True,
    order=1,
    aliases=(
        "top-1 accuracy",
        "accuracy",
        "test accuracy",
        "classification accuracy",
        "acc",
        "final accuracy",
        "top-1",
        "top-1 acc",
    ),
)
def _top1(evaluation: Evaluation) -> float:
    return top1(evaluation.logits, evaluation.labels)


def top1(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the accuracy in percent."""
    return 100.0 * is_right(logits_NC, labels_N).double().mean().item()


def is_right(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Return of each image whether its highest logit is that of its class, bool, shape (N,)."""
    return logits_NC.argmax(dim=1) == labels_N


@metric(
    "top5",
    unit="%",
    counts="test images",
    direction="higher",
    about="test images whose class is among the five likeliest",
    needs="six classes",
    order=2,
    aliases=("top-5 accuracy", "top-5", "top-5 acc"),
)
def _top5(evaluation: Evaluation) -> float:
    return top5(evaluation.logits, evaluation.labels)


def top5(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return how often the label is among the five highest logits, in percent."""
    best_N5 = logits_NC.topk(5, dim=1).indices
    return 100.0 * (best_N5 == labels_N[:, None]).any(dim=1).double().mean().item()


@metric(
    "nll",
    unit="nats",
    direction="lower",
    about="mean negative log-likelihood of the test labels",
    order=3,
    aliases=("loss", "test loss", "negative log-likelihood", "cross-entropy", "log loss"),
)
def _nll(evaluation: Evaluation) -> float:
    return nll(evaluation.logits, evaluation.labels)


def nll(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    log_p_NC = logits_NC.double().log_softmax(dim=1)
    return -log_p_NC.gather(1, labels_N[:, None]).mean().item()


@metric(
    "ece",
    unit="%",
    direction="lower",
    about="expected calibration error on test, 15 bins of equal width",
    order=4,
    aliases=("expected calibration error", "calibration error", "calibration"),
)
def _ece(evaluation: Evaluation) -> float:
    return calibration_error(evaluation.logits, evaluation.labels)


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


@metric(
    "entropy",
    unit="nats",
    direction="none",
    about="mean entropy of the predicted probabilities on test",
    order=5,
)
def _entropy(evaluation: Evaluation) -> float:
    return entropy(evaluation.logits)


def entropy(logits_NC: Tensor) -> float:
    """Return the mean entropy of the predicted probabilities, in nats."""
    log_p_NC = logits_NC.double().log_softmax(dim=1)
    return -(log_p_NC.exp() * log_p_NC).sum(dim=1).mean().item()


@metric(
    "agreement",
    unit="%",
    counts="test images",
    direction="none",
    about="test images for which student and teacher predict the same class",
    of="student",
    order=14,
)
def _agreement(evaluation: Evaluation) -> float:
    return agreement(evaluation.logits, evaluation.teacher_logits)


def agreement(student_NC: Tensor, teacher_NC: Tensor) -> float:
    """Return how often student and teacher predict the same class, in percent."""
    return 100.0 * (student_NC.argmax(dim=1) == teacher_NC.argmax(dim=1)).double().mean().item()


@metric(
    "teacher_kl",
    unit="nats",
    direction="none",
    about="mean KL divergence from the teacher's to the student's probabilities on test",
    of="student",
    order=15,
)
def _teacher_kl(evaluation: Evaluation) -> float:
    return divergence(evaluation.logits, evaluation.teacher_logits)


def divergence(student_NC: Tensor, teacher_NC: Tensor) -> float:
    """Return the mean Kullback-Leibler divergence KL(teacher || student) at T = 1, in nats."""
    teacher_NC = teacher_NC.double().log_softmax(dim=1)
    student_NC = student_NC.double().log_softmax(dim=1)
    return (teacher_NC.exp() * (teacher_NC - student_NC)).sum(dim=1).mean().item()
