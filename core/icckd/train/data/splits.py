"""Train, validation and test images with their labels.

Shape suffixes: N images, H height, W width, K channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from icckd.study.training import Precision
from icckd.train.data.decode import FileImages
from icckd.train.lazy import Tensor, torch
from icckd.train.networks import memory_format
from icckd.train.seeding import generator

IMAGES_AT_ONCE = 4096

Images = Tensor | FileImages
"""Resident images, uint8 [N, H, W, K], or files that are decoded to such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Mean and standard deviation of the pixels, 0 to 255, for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Images with labels int64 [N]; sub-classes and super-classes are None where unknown.

    The row number of a training image is its stable sample index. `statistics` are given where
    they do not follow from all training images.
    """

    images: Images
    labels: Tensor
    subclasses: Tensor | None
    superclasses: Tensor | None = None
    statistics: Statistics | None = None

    def take(self, rows: Tensor) -> "Split":
        """Return the chosen images, in the order of `rows`."""
        images = self.images
        return replace(
            self,
            images=images[rows] if isinstance(images, Tensor) else images.take(rows),
            labels=self.labels[rows],
            subclasses=None if self.subclasses is None else self.subclasses[rows],
            superclasses=None if self.superclasses is None else self.superclasses[rows],
        )

    def to(self, device: str) -> "Split":
        """Return the split on a device."""
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            subclasses=None if self.subclasses is None else self.subclasses.to(device),
            superclasses=None if self.superclasses is None else self.superclasses.to(device),
        )

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield the images in order, `size` at a time: uint8 on the device."""
        if isinstance(self.images, Tensor):
            yield from torch.split(self.images, size)
        else:
            yield from self.images.chunks(size)


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


def pixel_statistics(split: Split) -> Statistics:
    """Return mean and deviation over all pixels, from exact counts of their 256 values."""
    channels = split.images.shape[3]
    count_KL = torch.zeros(channels, 256, dtype=torch.int64)
    for images in split.chunks(IMAGES_AT_ONCE):
        pixels_PK = images.cpu().flatten(0, 2)
        for channel in range(channels):
            count_KL[channel] += torch.bincount(pixels_PK[:, channel], minlength=256)
    level_L = torch.arange(256, dtype=torch.float64)
    share_KL = count_KL / count_KL.sum(dim=1, keepdim=True).double()
    mean_K = (share_KL * level_L).sum(dim=1)
    variance_K = (share_KL * (level_L - mean_K[:, None]).square()).sum(dim=1)
    # A channel that never changes is only shifted.
    std_K = torch.where(variance_K > 0, variance_K.sqrt(), 1.0)
    return Statistics(mean=tuple(mean_K.tolist()), std=tuple(std_K.tolist()))


class Normaliser:
    """Turns uint8 pixels into float32 with mean 0 and deviation 1 per channel of a split."""

    def __init__(self, split: Split, precision: Precision = "fp32") -> None:
        found = split.statistics or pixel_statistics(split)
        mean_K = torch.tensor(found.mean, dtype=torch.float64)
        std_K = torch.tensor(found.std, dtype=torch.float64)
        device = split.labels.device
        self._layout = memory_format(device.type, precision)
        self._scale_K = (1 / std_K).float().to(device)
        self._shift_K = (-mean_K / std_K).float().to(device)

    def __call__(self, images_BHWK: Tensor) -> Tensor:
        """Return images with channels first."""
        scaled = self.pixels(images_BHWK)
        return scaled.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)

    def pixels(self, pixels_K: Tensor) -> Tensor:
        """Return pixels of any shape that ends in the channels."""
        return torch.addcmul(self._shift_K, pixels_K.float(), self._scale_K)
