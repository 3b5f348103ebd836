"""What metrics of a trained model are computed from: its outputs for fixed images.

Shape suffixes: N evaluated images, C classes, D features, M classes that have images.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from icckd.train.data.splits import Normaliser, Split
from icckd.train.lazy import Tensor, no_grad, torch
from icckd.train.networks.base import Classifier

IMAGES_AT_ONCE = 256
SOFT_TEMPERATURE = 4.0


class Seen(NamedTuple):
    """Features [N, D] and logits [N, C] of all images of a split."""

    features: Tensor
    logits: Tensor


class NonFiniteOutputsError(ArithmeticError):
    """A network shows NaN or infinity for some image: nothing can be measured of it.

    Attributes:
        model: The network.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__("features or logits are not finite")
        self.model = model


@no_grad
def predict(model: Classifier, split: Split, normalise: Normaliser) -> Seen:
    """Return features and logits of all images, in evaluation mode; the mode is put back.

    Raises:
        NonFiniteOutputsError: One of them is NaN or infinite.
    """
    was_training = model.training
    model.eval()
    features, logits = [], []
    for images in split.chunks(IMAGES_AT_ONCE):
        features.append(model.maps(normalise(images)).features)
        logits.append(model.classifier(features[-1]))
    model.train(was_training)
    return checked(Seen(torch.cat(features), torch.cat(logits)), model)


def checked(seen: Seen, model: Classifier) -> Seen:
    """Return what a model shows.

    Raises:
        NonFiniteOutputsError: Some of it is NaN or infinite.
    """
    if not all(values.isfinite().all() for values in seen):
        raise NonFiniteOutputsError(model)
    return seen


def soft_probabilities(logits_NC: Tensor) -> Tensor:
    """Return probabilities at T = 4, what a student by distillation sees."""
    return (logits_NC / SOFT_TEMPERATURE).softmax(dim=1)


def class_means(values_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each class that has images, and each image's row among the means."""
    present_M, row_N = torch.unique(labels_N, return_inverse=True)
    in_class_NM = (row_N[:, None] == torch.arange(len(present_M), device=row_N.device)).double()
    return in_class_NM.T @ values_ND / in_class_NM.sum(dim=0)[:, None], row_N


@dataclass(frozen=True)
class Reference:
    """Images with known labels that probes learn from, and what the model shows of them."""

    split: Split
    seen: Seen


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a metric is computed from; what costs a forward pass is computed when it is asked for.

    Attributes:
        model: The trained model.
        split: The images, with labels and, where known, sub-classes and super-classes.
        normalise: Turns pixels into what the model takes.
        n_classes: Number of classes.
        train: The training images; None on validation, whose images are their own reference.
        teacher: What a student was distilled from, None for a teacher.
        outputs: The model's outputs for the images, where they are known already.
        train_outputs: Those for the training images.
        teacher_outputs: The teacher's for the images.
    """

    model: Classifier
    split: Split
    normalise: Normaliser
    n_classes: int
    train: Split | None = None
    teacher: Classifier | None = None
    outputs: Seen | None = None
    train_outputs: Seen | None = None
    teacher_outputs: Seen | None = None

    @cached_property
    def seen(self) -> Seen:
        """Features [N, D] and logits [N, C] of the images."""
        return self.outputs or predict(self.model, self.split, self.normalise)

    @property
    def features(self) -> Tensor:
        """Pooled features, shape (N, D)."""
        return self.seen.features

    @property
    def logits(self) -> Tensor:
        """Logits, shape (N, C)."""
        return self.seen.logits

    @property
    def labels(self) -> Tensor:
        """Class indices, int64, shape (N,)."""
        return self.split.labels

    @cached_property
    def reference(self) -> Reference:
        """What probes learn from: training images, or on validation the images themselves."""
        if self.train is None:
            return Reference(self.split, self.seen)
        seen = self.train_outputs or predict(self.model, self.train, self.normalise)
        return Reference(self.train, seen)

    @cached_property
    def teacher_logits(self) -> Tensor:
        """The teacher's logits of the images, shape (N, C)."""
        assert self.teacher is not None
        seen = self.teacher_outputs or predict(self.teacher, self.split, self.normalise)
        return seen.logits
