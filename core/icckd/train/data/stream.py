"""Training batches: random order, random views.

Shape suffixes: N images, B batch, V views, H height, W width, K channels, S steps of an epoch.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from icckd.errors import StageError
from icckd.study.data import Augmentation
from icckd.study.teacher import BalancedSampler
from icckd.train.data.batch import Batch
from icckd.train.data.splits import Normaliser, Split
from icckd.train.data.views import ResidentViews, make_views
from icckd.train.seeding import Key, generator


class Drawn(NamedTuple):
    """Images of each step of an epoch, [S, B], their labels, and what is drawn for their views.

    All are on the host.
    `parts` have the shape (S, V * B), view 1 first; see `ResidentViews.drawn`.
    """

    ids: Tensor
    labels: Tensor
    parts: tuple[Tensor, ...]


class TrainStream:
    """Yields the batches of an epoch; the last partial batch is left out.

    Order, crops, flips and turns have streams of their own under `key`, one for each epoch and
    view, so view 1 is the same with one view and with two, and the order does not depend on
    augmentation.

    Raises:
        StageError: If there are fewer images than a batch holds.
    """

    def __init__(  # noqa: PLR0913  # settings of a stream, by keyword
        self,
        split: Split,
        normalise: Normaliser,
        augment: Augmentation,
        *,
        batch_size: int,
        views: int,
        key: Key,
        order: Callable[[int], Tensor] | None = None,
        host_labels: Tensor | None = None,
    ) -> None:
        """Prepare the stream.

        Args:
            split: Training images.
            normalise: Applied to every view.
            augment: What a view is drawn by.
            batch_size: Images per step.
            views: Views of each image.
            key: Names the streams.
            order: Gives the images of each step of an epoch, [S, B]; shuffled by default.
            host_labels: The labels on the host, read from the device by default.
        """
        self._key, self._batch_size = key, batch_size
        self._labels_N = split.labels
        self._host_labels_N = split.labels.cpu() if host_labels is None else host_labels
        self.device = split.labels.device
        self._n = len(split.labels)
        self._views = make_views(split.images, normalise, augment, views=views, key=key)
        self.steps = self._n // batch_size
        if not self.steps:
            raise StageError(
                f"a batch of {batch_size} images is more than the {self._n} training images",
                hint="lower training.batch_size",
            )
        self._order = order or self._shuffled

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 1."""
        yield from self._batches(self._order(epoch), epoch)

    def batch(self, epoch: int, number: int) -> Batch:
        """Return one batch of an epoch, `number` counted from 0, without drawing the others."""
        return next(self._batches(self._order(epoch)[number : number + 1], epoch))

    @property
    def largest_class(self) -> int:
        """The most images of one class that a batch may hold."""
        return min(self._batch_size, int(self._host_labels_N.bincount().max()))

    def all_codes(self) -> Tensor | None:
        """Return the code of every view that can come up, None if their number is not finite."""
        return self._views.all_codes() if isinstance(self._views, ResidentViews) else None

    def show(self, codes_B: Tensor) -> Tensor:
        """Return the normalised views that codes of `all_codes` name, (batch, K, H, W)."""
        assert isinstance(self._views, ResidentViews)
        return self._views.show(codes_B)

    def drawn(self, epoch: int) -> Drawn:
        """Return what an epoch of resident images consists of."""
        views = self._views
        assert isinstance(views, ResidentViews)
        order_SB = self._order(epoch)
        labels_SB = self._host_labels_N[order_SB]
        return Drawn(order_SB, labels_SB, tuple(views.drawn(order_SB, epoch)))

    def pixels(self, *parts_XR: Tensor) -> Tensor:
        """Return the pixels of resident views, (X, height, width, R, K), from parts of `Drawn`."""
        assert isinstance(self._views, ResidentViews)
        return self._views.pixels(*parts_XR)

    def _batches(self, order_SB: Tensor, epoch: int) -> Iterator[Batch]:
        largest = self._largest_classes(order_SB)
        ids_SB = order_SB.to(self.device)
        labels_SB = self._labels_N[ids_SB]
        for step, shown in enumerate(self._views.of(order_SB, epoch)):
            yield Batch(
                images=shown.images,
                codes=shown.codes,
                labels=labels_SB[step],
                ids=ids_SB[step],
                largest_class=largest[step],
            )

    def _shuffled(self, epoch: int) -> Tensor:
        used = self.steps * self._batch_size
        order_N = torch.randperm(self._n, generator=generator((*self._key, "order", epoch)))
        return order_N[:used].view(self.steps, self._batch_size)

    def _largest_classes(self, order_SB: Tensor) -> list[int]:
        classes = int(self._host_labels_N.max()) + 1
        labels_SB = self._host_labels_N[order_SB]
        cell_SB = labels_SB + classes * torch.arange(len(order_SB))[:, None]
        counts = torch.bincount(cell_SB.flatten(), minlength=classes * len(order_SB))
        largest: list[int] = counts.view(-1, classes).amax(dim=1).tolist()
        return largest


# Class-balanced batches: K images of each of P classes, an alternative to a cache of negatives.
#
# Shape suffixes: N images, S steps of an epoch, B batch.

Order = Callable[[int], Tensor]
"""Gives the images of each step of an epoch, counted from 1, int64 [S, B] on the host."""


def balanced_order(labels_N: Tensor, settings: BalancedSampler, key: Key) -> Order:
    """Return the order of class-balanced training; an epoch has as many steps as without.

    Classes come round after round, each round in a new random order, so that all are seen equally
    often; within a class images come round after round too. What a class has left of a round when
    it is fewer than `per_class` is left out, so that no batch holds an image twice. Each class and
    the rounds of classes have streams of their own, keyed by epoch.

    Raises:
        StageError: If there are fewer classes, or fewer images of a class, than a batch needs.
    """
    counts = torch.bincount(labels_N)
    smallest = int(counts.min())
    if settings.classes > len(counts) or settings.per_class > smallest:
        raise StageError(
            f"the sampler takes {settings.per_class} images of {settings.classes} classes, the"
            f" training images have {len(counts)} classes of {smallest} images or more",
            hint="lower teacher.sampler.classes or teacher.sampler.per_class",
        )
    members = [(labels_N == label).nonzero().squeeze(1) for label in range(len(counts))]
    steps = len(labels_N) // (settings.classes * settings.per_class)

    def order(epoch: int) -> Tensor:
        classes = _rounds(torch.arange(len(members)), settings.classes, (*key, "classes", epoch))
        images = [
            _rounds(rows, settings.per_class, (*key, f"class{label}", epoch))
            for label, rows in enumerate(members)
        ]
        return torch.stack(
            [torch.cat([next(images[c]) for c in next(classes).tolist()]) for _ in range(steps)]
        )

    return order


def _rounds(values: Tensor, size: int, key: Key) -> Iterator[Tensor]:
    """Yield `size` different values at a time, shuffled anew whenever fewer are left."""
    stream = generator(key)
    while True:
        shuffled = values[torch.randperm(len(values), generator=stream)]
        yield from torch.split(shuffled[: len(values) // size * size], size)
