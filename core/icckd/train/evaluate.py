"""Which metrics are measured of a trained model, and when; and how much the loss of steps jumps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icckd.study.metrics import MANY_CLASSES, METRICS, Measured
from icckd.study.registry import Part
from icckd.train.data.dataset import Dataset
from icckd.train.lazy import no_grad, torch
from icckd.train.metrics.base import Evaluation, Seen
from icckd.train.metrics.predictions import is_right
from icckd.train.networks.base import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What the test set shows.

    Attributes:
        values: The outcomes by name, without the stage kind.
        right: Of each test image whether the model predicts its class, in their order.
    """

    values: dict[str, float]
    right: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a model shows of test and training images, and its teacher of test images, if known."""

    test: Seen | None = None
    train: Seen | None = None
    teacher: Seen | None = None


NOT_SHOWN = Shown()


@no_grad
def outcomes_on_test(
    model: Classifier,
    dataset: Dataset,
    teacher: Classifier | None = None,
    shown: Shown = NOT_SHOWN,
) -> Tested:
    """Return what the test set shows of a trained model.

    Args:
        model: The trained model.
        dataset: The data.
        teacher: What a student was distilled from, None for a teacher.
        shown: What is known already of their outputs.

    Raises:
        NonFiniteOutputsError: What the model, or its teacher, shows of some image is not finite.
    """
    test = Evaluation(
        model=model,
        split=dataset.test,
        normalise=dataset.normalise,
        n_classes=dataset.n_classes,
        train=dataset.train,
        teacher=teacher,
        outputs=shown.test,
        train_outputs=shown.train,
        teacher_outputs=shown.teacher,
    )
    chosen = (part for part in METRICS.parts() if _applies(part.options["measured"], test))
    return Tested(
        values=_finite({part.kind: _value(part, test) for part in chosen}),
        right=tuple(is_right(test.logits, test.labels).tolist()),
    )


@no_grad
def series_on_validation(validation: Evaluation, *, is_diagnosed: bool) -> dict[str, float]:
    """Return what validation images show at the end of an epoch, without the stage kind.

    Args:
        validation: The images and the model as it is now.
        is_diagnosed: Whether the epoch is one at which the costly metrics are measured too.

    Raises:
        NonFiniteOutputsError: What the model shows of some image is not finite.
    """
    values = {}
    for part in METRICS.parts():
        measured: Measured = part.options["measured"]
        wanted = measured.on_validation and (is_diagnosed or measured.every_epoch)
        if wanted and _applies(measured, validation):
            values[f"val_{part.kind}"] = _value(part, validation)
    return _finite(values)


def _value(part: Part[Any], evaluation: Evaluation) -> float:
    """Return a metric; NaN where its linear algebra has no solution, as for equal features."""
    try:
        value: float = part.build(evaluation)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return math.nan
    return value


def _applies(measured: Measured, evaluation: Evaluation) -> bool:
    """Whether the images and the model have what a metric needs."""
    if measured.of == "student" and evaluation.teacher is None:
        return False
    return {
        "nothing": True,
        "sub-classes": evaluation.split.subclasses is not None,
        "super-classes": evaluation.split.superclasses is not None,
        "six classes": evaluation.n_classes >= MANY_CLASSES,
    }[measured.needs]


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Leave out what has no value, such as a ratio to a scatter that is zero."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


# How much the loss of single steps jumps.


def stability(ce: NDArray[np.float64], steps_per_epoch: int) -> float:
    """Return the root mean square of the step cross-entropy around its moving average, in nats.

    The average at step t is the mean of the steps t - h to t + h, where h is the number of steps
    of an epoch, but no more than there are steps before t or after t: the window stays centred,
    so that a steady descent adds nothing, and shrinks to the step itself at both ends.

    >>> stability(np.array([3.0, 2.0, 1.0]), 1)
    0.0
    """
    at = np.arange(len(ce))
    half = np.minimum(steps_per_epoch, np.minimum(at, len(ce) - 1 - at))
    total = np.concatenate([[0.0], np.cumsum(ce)])
    average = (total[at + half + 1] - total[at - half]) / (2 * half + 1)
    return float(np.sqrt(np.mean((ce - average) ** 2)))
