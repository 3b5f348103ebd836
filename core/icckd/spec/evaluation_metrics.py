"""Metrics that evaluation gives: of the test set after the last epoch, of validation on the way."""

from icckd.spec.metric import Metric, for_both

_KNN = "sub-class accuracy of 5-NN within the class on {}"
_LINEAR_SUB = "sub-class accuracy of a linear probe that knows the class, on {}"
_LINEAR_SUPER = "super-class accuracy of a linear probe on {}"
_FEATURES, _SOFT = "pooled features", "probabilities at T = 4"
_NC1 = "within-class over between-class scatter of features, trace(S_W pinv(S_B)) / C, {}"
_SOFT_VARIANCE = "within-class variance of the non-target probabilities at T = 4, {}"

EVALUATED = (
    *for_both("top1", "%", "higher", "test accuracy after the last epoch"),
    *for_both(
        "top5", "%", "higher", "test images whose class is among the five likeliest",
        needs="six classes",
    ),
    *for_both("nll", "nats", "lower", "mean negative log-likelihood of the test labels"),
    *for_both("ece", "%", "lower", "expected calibration error on test, 15 bins of equal width"),
    *for_both("entropy", "nats", "none", "mean entropy of the predicted probabilities on test"),
    *for_both("nc1", "1", "none", _NC1.format("on test")),
    *for_both("soft_variance", "1", "none", _SOFT_VARIANCE.format("on test")),
    *for_both(
        "subclass_features", "%", "higher", _KNN.format(_FEATURES), needs="sub-classes"
    ),
    *for_both("subclass_soft", "%", "higher", _KNN.format(_SOFT), needs="sub-classes"),
    *for_both(
        "subclass_linear_features", "%", "higher", _LINEAR_SUB.format(_FEATURES),
        needs="sub-classes",
    ),
    *for_both(
        "subclass_linear_soft", "%", "higher", _LINEAR_SUB.format(_SOFT), needs="sub-classes"
    ),
    *for_both(
        "superclass_linear_features", "%", "higher", _LINEAR_SUPER.format(_FEATURES),
        needs="super-classes",
    ),
    *for_both(
        "superclass_linear_soft", "%", "higher", _LINEAR_SUPER.format(_SOFT),
        needs="super-classes",
    ),
    Metric(
        name="student.agreement",
        unit="%",
        direction="none",
        about="test images for which student and teacher predict the same class",
    ),
    Metric(
        name="student.teacher_kl",
        unit="nats",
        direction="none",
        about="mean KL divergence from the teacher's to the student's probabilities on test",
    ),
)  # fmt: skip

_WHEN = "on validation, at the diagnosed epochs"
OBSERVED = (
    *for_both("val_top1", "%", "higher", "validation accuracy at the end of the epoch"),
    *for_both("val_nc1", "1", "none", _NC1.format(_WHEN)),
    *for_both("val_soft_variance", "1", "none", _SOFT_VARIANCE.format(_WHEN)),
    *for_both(
        "val_subclass_features", "%", "higher", f"{_KNN.format(_FEATURES)}, {_WHEN}",
        needs="sub-classes",
    ),
    *for_both(
        "val_subclass_soft", "%", "higher", f"{_KNN.format(_SOFT)}, {_WHEN}", needs="sub-classes"
    ),
)  # fmt: skip
