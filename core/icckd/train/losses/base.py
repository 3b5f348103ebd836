"""What losses of the teacher share: a batch laid out by class, the interface, embeddings.

Shape suffixes: B batch, C classes, M places per class, D features, E embedding, V views * batch
(view 1 first).
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from icckd.study.settings import Off, Settings
from icckd.study.teacher import LossSettings
from icckd.study.training import Precision
from icckd.train.data.batch import Batch
from icckd.train.lazy import Module, Tensor, nn, no_grad, torch
from icckd.train.networks.base import Classifier
from icckd.train.seeding import Key, initialise

if TYPE_CHECKING:
    from icckd.train.data.stream import TrainStream


@contextmanager
def any_order() -> Iterator[None]:
    """Let rows be written in any order: only where none is written twice with other values.

    Then the result does not depend on the order. torch cannot know that, and in deterministic mode
    a GPU would sort the rows first.
    """
    mode = torch.get_deterministic_debug_mode()
    if not mode:
        yield
        return
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassGroups:
    """A place in a (classes, capacity) grid for each row of a batch, in the order of the rows.

    Attributes:
        labels: Class of each row, int64, shape (batch,).
        rank: Rows of the same class before it, int64, shape (batch,).
        counts: Rows of each class, int64, shape (classes,).
        capacity: Places per class.
    """

    labels: Tensor
    rank: Tensor
    counts: Tensor
    capacity: int

    def rows(self) -> Tensor:
        """The row at each place, int64; 0 where a place is empty."""
        return self.spread(torch.arange(len(self.labels), device=self.labels.device), fill=0)

    def spread(self, values: Tensor, fill: float) -> Tensor:
        """Return `values` of shape (B, ...) as (C, M, ...), with `fill` at empty places.

        Each row has a place of its own.
        """
        shape = (len(self.counts), self.capacity, *values.shape[1:])
        place_B = self.labels * self.capacity + self.rank
        empty = values.new_full(shape, fill).flatten(0, 1)
        with any_order():
            return empty.index_copy(0, place_B, values).view(shape)


def group_by_class(labels_B: Tensor, n_classes: int, capacity: int) -> ClassGroups:
    """Return the layout of a batch.

    Args:
        labels_B: Class indices, int64, shape (batch,).
        n_classes: Number of classes.
        capacity: Places per class, at least the size of the largest class in the batch. The
            caller knows it from the labels on the host; reading it here would stall a GPU.
    """
    classes = torch.arange(n_classes, device=labels_B.device)
    member_BC = labels_B[:, None] == classes
    rank_B = member_BC.cumsum(0).gather(1, labels_B[:, None]).squeeze(1) - 1
    return ClassGroups(labels=labels_B, rank=rank_B, counts=member_BC.sum(0), capacity=capacity)


# The interface of a loss.

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
        precision: That of the stage's networks.
    """

    n_classes: int
    n_features: int
    image_shape: tuple[int, int, int]
    key: Key
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One step's forward pass, as a loss sees it.

    Attributes:
        model: The teacher, in training mode.
        features: Pooled features of all views, shape (views * batch, features); a leaf.
        logits: Logits of view 1 without gradient, shape (batch, classes).
        batch: Images, labels and sample indices.
        groups: The batch's layout by class.
        step: Optimiser step, from 0 over the stage; where it is captured, a scalar on the device.
        epoch: Epoch, from 1.
    """

    model: Classifier
    features: Tensor
    logits: Tensor
    batch: Batch
    groups: ClassGroups
    step: int | Tensor
    epoch: int


class Term(NamedTuple):
    """A loss in nats, before its weight, and what it saw: scalars in the order of its names.

    `keys` is what the loss wants to remember of the step.
    """

    loss: Tensor
    diagnostics: tuple[Tensor, ...] = ()
    keys: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """What a loss may look at when a diagnosed epoch is done.

    Attributes:
        model: The teacher as it is now, in training mode.
        stream: The training batches; any is drawn again as it was.
        epoch: The epoch, from 1.
        parts: Parts in which a batch goes through the network.
    """

    model: Classifier
    stream: "TrainStream"
    epoch: int
    parts: int = 1


class TeacherLoss(Module, ABC):
    """A term of the teacher's loss. Its parameters and buffers are all that it keeps.

    Attributes:
        weight: Factor of the term in the total.
        diagnostics: Names of what each step tells besides the loss.
    """

    weight: float
    diagnostics: tuple[str, ...]

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.weight = settings.weight
        self.diagnostics = tuple(each.name for each in settings.told("step"))

    @abstractmethod
    def term(self, seen: Forward) -> Term:
        """Return the loss of one step, differentiable by features and own parameters."""

    def remember(self, seen: Forward, term: Term) -> None:
        """Keep what later steps need, once the term's gradient is taken."""

    def variant(self, epoch: int) -> Hashable:
        """Return what of a step the epoch decides, besides values; nothing, as a rule."""
        return None

    def observe(self, end: EpochEnd) -> dict[str, float]:
        """Return the diagnostics told at the end of an epoch, by name; change nothing."""
        return {}

    def outcomes(self) -> dict[str, float]:
        """Return the diagnostics told at the end of the stage, by name."""
        return {}


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
    return (x_BD.square().sum(dim=1) < NORM_EPS**2).sum().float()


# From pooled features to what a contrastive loss compares: projection head and centring.


class ProjectionHead(Settings):
    """Two linear layers with a ReLU between them, trained with the teacher and dropped after."""

    features: int = Field(default=128, ge=2, le=65_536, description="size of its output")


class BatchMean(Settings):
    """The mean over both views of the batch is subtracted from every feature."""

    kind: Literal["batch-mean"]


class ClassMean(Settings):
    """A running mean of each class is subtracted from the features of that class."""

    kind: Literal["class-mean"]
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the mean kept a step")


Centering = Annotated[BatchMean | ClassMean, Field(discriminator="kind")]


class Projection(Module):
    """Linear, ReLU, linear: the head of SimCLR (Chen et al. 2020) and SupCon."""

    def __init__(self, n_features: int, settings: ProjectionHead, key: Key) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_features, n_features)
        self.out = nn.Linear(n_features, settings.features)
        initialise(self, key)

    def forward(self, features_VD: Tensor) -> Tensor:
        """Return the projected features."""
        projected: Tensor = self.out(self.hidden(features_VD).relu())
        return projected


class Embedding(Module):
    """Projects and centres pooled features.

    Buffers, with class means only: `mean` [C, E], the running mean of each class, and `known` [C],
    whether a class was seen yet; a class unseen has the mean 0.
    """

    mean: Tensor
    known: Tensor

    def __init__(
        self,
        inputs: LossInputs,
        *,
        head: ProjectionHead | Off,
        centering: BatchMean | ClassMean | Off = "off",
    ) -> None:
        super().__init__()
        self.size = inputs.n_features if head == "off" else head.features
        self.head: Projection | None = None
        if head != "off":
            self.head = Projection(inputs.n_features, head, (*inputs.key, "head"))
        self._centering = centering
        if isinstance(centering, ClassMean):
            self.register_buffer("mean", torch.zeros(inputs.n_classes, self.size))
            self.register_buffer("known", torch.zeros(inputs.n_classes, dtype=torch.bool))

    def project(self, features_VD: Tensor) -> Tensor:
        """Return the features, through the head where there is one, in float32 at least."""
        features_VD = precise(features_VD)
        if self.head is None:
            return features_VD
        projected_VE: Tensor = self.head(features_VD)
        return projected_VE

    def center(self, projected_VE: Tensor, labels_V: Tensor) -> Tensor:
        """Return the projected features minus their centre.

        The gradient flows through the mean of a batch, not through running means.
        """
        if self._centering == "off":
            return projected_VE
        if isinstance(self._centering, BatchMean):
            return projected_VE - projected_VE.mean(dim=0, keepdim=True)
        return projected_VE - self.mean.to(projected_VE.dtype)[labels_V]

    @no_grad
    def remember(self, features_VD: Tensor, labels_V: Tensor) -> None:
        """Move the running mean of each class in the batch towards the batch's own."""
        if not isinstance(self._centering, ClassMean):
            return
        projected_VE = self.project(features_VD).to(self.mean.dtype)
        classes_C = torch.arange(len(self.mean), device=labels_V.device)
        member_CV = (labels_V == classes_C[:, None]).to(projected_VE.dtype)
        count_C1 = member_CV.sum(dim=1, keepdim=True)
        mean_CE = member_CV @ projected_VE / count_C1.clamp_min(1)
        kept = self._centering.momentum
        moved_CE = torch.where(
            self.known[:, None], kept * self.mean + (1 - kept) * mean_CE, mean_CE
        )
        self.mean.copy_(torch.where(count_C1 > 0, moved_CE, self.mean))
        self.known.logical_or_(count_C1[:, 0] > 0)
