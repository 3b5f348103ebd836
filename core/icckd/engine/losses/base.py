"""What every loss of the teacher shares.

Shape suffixes: B batch, C classes, D features, V views * batch (view 1 first).
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from icckd.engine.data.stream import Batch
from icckd.engine.groups import ClassGroups
from icckd.engine.models import Classifier
from icckd.engine.seeding import Key

NORM_EPS = 1e-3
"""Added in square under the root: the gradient at a zero vector is at most 1 / NORM_EPS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """What a loss is built for.

    Attributes:
        n_classes: Number of classes.
        n_features: Size of the pooled features.
        image_shape: Channels, height and width of a view.
        key: Stream that the loss's own parameters start from.
    """

    n_classes: int
    n_features: int
    image_shape: tuple[int, int, int]
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One step's forward pass, as a loss sees it.

    Attributes:
        model: The teacher, in training mode.
        features: Pooled features of all views, shape (views * batch, features); a leaf.
        logits: Logits of view 1 without gradient, shape (batch, classes).
        batch: Images, labels and sample indices.
        groups: The batch's layout by class.
        step: Optimiser step, from 0 over the stage.
        epoch: Epoch, from 1.
    """

    model: Classifier
    features: Tensor
    logits: Tensor
    batch: Batch
    groups: ClassGroups
    step: int
    epoch: int


class Term(NamedTuple):
    """A loss in nats, before its weight, and what it saw: scalars in the order of its names.

    `keys` is what the loss wants to remember of the step.
    """

    loss: Tensor
    diagnostics: tuple[Tensor, ...] = ()
    keys: Tensor | None = None


class TeacherLoss(nn.Module, ABC):
    """A term of the teacher's loss. Its parameters and buffers are all that it keeps.

    Attributes:
        weight: Factor of the term in the total.
        diagnostics: Names of what each step tells besides the loss.
    """

    weight: float
    diagnostics: tuple[str, ...] = ()

    @abstractmethod
    def term(self, seen: Forward) -> Term:
        """Return the loss of one step, differentiable by features and own parameters."""

    def remember(self, seen: Forward, term: Term) -> None:
        """Keep what later steps need, once the term's gradient is taken."""


def full_precision(like: Tensor) -> AbstractContextManager[None]:
    """Return a context in which autocast does not touch what is computed from `like`."""
    return torch.autocast(like.device.type, enabled=False)


def precise(x: Tensor) -> Tensor:
    """Return `x` in float32, or in its own type where that is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x_BD: Tensor) -> Tensor:
    """Return rows scaled to length 1, or less where a row is near zero."""
    return x_BD * (x_BD.square().sum(dim=1, keepdim=True) + NORM_EPS**2).rsqrt()


def near_zero(x_BD: Tensor) -> Tensor:
    """Return how many rows are shorter than `NORM_EPS`: those that `unit` takes the pull from."""
    return (x_BD.square().sum(dim=1) < NORM_EPS**2).sum()
