"""What is measured of a trained model on the test set, and at declared epochs on validation."""

import math

import torch
from torch import Tensor

from icckd.engine import measures
from icckd.engine.data.splits import Split
from icckd.engine.evaluate import Seen, predict, soft_probabilities, top1
from icckd.engine.material import Material
from icckd.engine.models import Classifier
from icckd.engine.probes import (
    cosine,
    linear_subclass_accuracy,
    linear_superclass_accuracy,
    nearness,
    subclass_accuracy,
)
from icckd.spec.metric import MANY_CLASSES


@torch.no_grad()
def outcomes_on_test(
    model: Classifier, material: Material, teacher: Classifier | None = None
) -> dict[str, float]:
    """Return the outcomes of the test set by name, without the stage kind.

    Args:
        model: The trained model.
        material: The data.
        teacher: What a student was distilled from, None for a teacher.
    """
    test = material.test
    seen = predict(model, test, material.normalise)
    values = {
        "top1": top1(seen.logits, test.labels),
        "nll": measures.nll(seen.logits, test.labels),
        "ece": measures.calibration_error(seen.logits, test.labels),
        "entropy": measures.entropy(seen.logits),
        **_spread(seen, test.labels),
    }
    if material.n_classes >= MANY_CLASSES:
        values["top5"] = measures.top5(seen.logits, test.labels)
    if teacher is not None:
        told_NC = predict(teacher, test, material.normalise).logits
        values["agreement"] = measures.agreement(seen.logits, told_NC)
        values["teacher_kl"] = measures.divergence(seen.logits, told_NC)
    if test.subclasses is not None or test.superclasses is not None:
        known = predict(model, material.train, material.normalise)
        values |= _probes(seen, test, known, material.train)
    return _finite(values)


@torch.no_grad()
def diagnose(seen: Seen, validation: Split) -> dict[str, float]:
    """Return what validation images show of the features and soft labels, beyond accuracy.

    Sub-classes are probed among the validation images themselves, each left out in its turn.
    """
    values = _spread(seen, validation.labels)
    if validation.subclasses is not None:
        values |= _neighbours(seen, validation, seen, validation)
    return _finite({f"val_{name}": value for name, value in values.items()})


def _spread(seen: Seen, labels_N: Tensor) -> dict[str, float]:
    return {
        "nc1": measures.nc1(seen.features, labels_N),
        "soft_variance": measures.soft_variance(seen.logits, labels_N),
    }


def _neighbours(seen: Seen, test: Split, known: Seen, train: Split) -> dict[str, float]:
    soft_NC, soft_RC = soft_probabilities(seen.logits), soft_probabilities(known.logits)
    return {
        "subclass_features": subclass_accuracy(seen.features, test, known.features, train, cosine),
        "subclass_soft": subclass_accuracy(soft_NC, test, soft_RC, train, nearness),
    }


def _probes(seen: Seen, test: Split, known: Seen, train: Split) -> dict[str, float]:
    values: dict[str, float] = {}
    shown = {"features": (seen.features, known.features)}
    shown["soft"] = (soft_probabilities(seen.logits), soft_probabilities(known.logits))
    if test.subclasses is not None:
        values |= _neighbours(seen, test, known, train)
        for name, (test_ND, train_RD) in shown.items():
            accuracy = linear_subclass_accuracy(test_ND, test, train_RD, train)
            values[f"subclass_linear_{name}"] = accuracy
    if test.superclasses is not None:
        for name, (test_ND, train_RD) in shown.items():
            accuracy = linear_superclass_accuracy(test_ND, test, train_RD, train)
            values[f"superclass_linear_{name}"] = accuracy
    return values


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Leave out what has no value, such as a ratio to a scatter that is zero."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
