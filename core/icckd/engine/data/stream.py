"""Training batches: random order, random views.

Shape suffixes: N images, B batch, V views, H height, W width, K channels, S steps of an epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from icckd.engine.data.splits import Split, Statistics
from icckd.engine.data.views import ResidentViews, make_views
from icckd.engine.models import LAYOUT
from icckd.engine.seeding import Key, generator
from icckd.errors import StageError
from icckd.spec.data import Augmentation

IMAGES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's data on the device.

    Attributes:
        images: Normalised views, float32, (views * batch, channels, height, width), view 1 first.
        labels: Class indices, int64, shape (batch,).
        ids: Stable sample indices, int64, shape (batch,).
        largest_class: Images of the most frequent class, known on the host.
        codes: Tell equal views, int64, shape (views * batch,); None where views have no end.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    largest_class: int
    codes: Tensor | None = None


class Normaliser:
    """Turns uint8 pixels into float32 with mean 0 and deviation 1 per channel of a split."""

    def __init__(self, split: Split) -> None:
        found = split.statistics or pixel_statistics(split)
        mean_K = torch.tensor(found.mean, dtype=torch.float64)
        std_K = torch.tensor(found.std, dtype=torch.float64)
        device = split.labels.device
        self._layout = LAYOUT[device.type]
        self._scale_K = (1 / std_K).float().to(device)
        self._shift_K = (-mean_K / std_K).float().to(device)

    def __call__(self, images_BHWK: Tensor) -> Tensor:
        """Return images with channels first."""
        scaled = torch.addcmul(self._shift_K, images_BHWK.float(), self._scale_K)
        return scaled.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)


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


class TrainStream:
    """Yields the batches of an epoch; the last partial batch is left out.

    Order, crops, flips and turns have streams of their own under `key`, one for each epoch and
    view, so view 1 is the same with one view and with two, and the order does not depend on
    augmentation.

    Raises:
        StageError: If there are fewer images than a batch holds.
    """

    def __init__(
        self,
        split: Split,
        normalise: Normaliser,
        augment: Augmentation,
        *,
        batch_size: int,
        views: int,
        key: Key,
        order: Callable[[int], Tensor] | None = None,
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
        """
        self._key, self._batch_size = key, batch_size
        self._labels_N, self._host_labels_N = split.labels, split.labels.cpu()
        self._device = split.labels.device
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

    def all_codes(self) -> Tensor | None:
        """Return the code of every view that can come up, or None where there is no end of them."""
        return self._views.all_codes() if isinstance(self._views, ResidentViews) else None

    def show(self, codes_B: Tensor) -> Tensor:
        """Return the normalised views that codes of `all_codes` name, (batch, K, H, W)."""
        assert isinstance(self._views, ResidentViews)
        return self._views.show(codes_B)

    def _batches(self, order_SB: Tensor, epoch: int) -> Iterator[Batch]:
        largest = self._largest_classes(order_SB)
        ids_SB = order_SB.to(self._device)
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
