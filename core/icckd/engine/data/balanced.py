"""Class-balanced batches: K images of each of P classes, an alternative to a cache of negatives.

Shape suffixes: N images, S steps of an epoch, B batch.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from icckd.engine.seeding import Key, generator
from icckd.errors import StageError
from icckd.spec.teacher import BalancedSampler

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
