"""Train, validation and test images with their labels.

Shape suffixes: N images, H height, W width, K channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from icckd.engine.seeding import generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Images uint8 [N, H, W, K] with labels int64 [N]; sub-classes are None where unknown.

    The row number of a training image is its stable sample index.
    """

    images: Tensor
    labels: Tensor
    subclasses: Tensor | None

    def take(self, rows: Tensor) -> "Split":
        """Return the chosen images, in the order of `rows`."""
        subclasses_N = self.subclasses
        return Split(
            images=self.images[rows],
            labels=self.labels[rows],
            subclasses=None if subclasses_N is None else subclasses_N[rows],
        )

    def to(self, device: str) -> "Split":
        """Return the split on a device."""
        subclasses_N = self.subclasses
        return Split(
            images=self.images.to(device),
            labels=self.labels.to(device),
            subclasses=None if subclasses_N is None else subclasses_N.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """A data set as a study uses it."""

    train: Split
    validation: Split
    test: Split
    n_classes: int

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[3]


def divide(finest_N: Tensor, sizes: tuple[int, ...], split_seed: int) -> tuple[Tensor, ...]:
    """Return the rows of disjoint parts, each holding the classes in nearly equal shares.

    Rows are shuffled within their class and then lined up so that any stretch of the line has
    the proportions of the whole; parts are consecutive stretches. The last one takes the rest.

    Args:
        finest_N: Finest label known of each image, int64.
        sizes: Sizes of all parts but the last.
        split_seed: Keys the shuffle.
    """
    shuffled_N = torch.randperm(len(finest_N), generator=generator(("split", split_seed)))
    by_class_N = shuffled_N[finest_N[shuffled_N].argsort(stable=True)]
    counts = torch.bincount(finest_N)
    starts = counts.cumsum(0) - counts
    labels_N = finest_N[by_class_N]
    rank_N = torch.arange(len(finest_N)) - starts[labels_N]
    position_N = (2 * rank_N + 1).double() / counts[labels_N]
    line_N = by_class_N[position_N.argsort(stable=True)]
    parts = torch.split(line_N, [*sizes, len(line_N) - sum(sizes)])
    return tuple(part.sort().values for part in parts)
