"""Training batches: resident images, random order, random views.

Shape suffixes: N images, B batch, V views, H height, W width, K channels, S steps of an epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from icckd.engine.data.splits import Split
from icckd.engine.models import LAYOUT
from icckd.engine.seeding import Key, generator
from icckd.spec.data import Augmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's data on the device.

    Attributes:
        images: Normalised views, float32, (views * batch, channels, height, width), view 1 first.
        labels: Class indices, int64, shape (batch,).
        ids: Stable sample indices, int64, shape (batch,).
        largest_class: Images of the most frequent class, known on the host.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    largest_class: int


class Normaliser:
    """Turns uint8 pixels into float32 with mean 0 and deviation 1 per channel of a split."""

    def __init__(self, split: Split) -> None:
        pixels = split.images.cpu().double().flatten(0, 2)
        mean_K, std_K = pixels.mean(dim=0), pixels.std(dim=0, unbiased=False)
        device = split.images.device
        self._layout = LAYOUT[device.type]
        self._scale_K = (1 / std_K).float().to(device)
        self._shift_K = (-mean_K / std_K).float().to(device)

    def __call__(self, images_BHWK: Tensor) -> Tensor:
        """Return images with channels first."""
        scaled = torch.addcmul(self._shift_K, images_BHWK.float(), self._scale_K)
        return scaled.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)


class TrainStream:
    """Yields the batches of an epoch; the last partial batch is left out.

    Order, crops and flips have streams of their own under `key`, one for each epoch and view, so
    view 1 is the same with one view and with two, and the order does not depend on augmentation.
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
    ) -> None:
        self._key, self._batch_size, self._views = key, batch_size, views
        self._normalise, self._augment = normalise, augment
        self._labels_N, self._host_labels_N = split.labels, split.labels.cpu()
        self._device = split.labels.device
        self._n, self._height, self._width, channels = split.images.shape
        pad = augment.padding
        padded = functional.pad(split.images, (0, 0, pad, pad, pad, pad))
        self._padded_height, self._padded_width = padded.shape[1:3]
        self._pixels_PK = padded.reshape(-1, channels)
        column_W = torch.arange(self._width, device=self._device)
        row_H = torch.arange(self._height, device=self._device) * self._padded_width
        offset_HW = row_H[:, None] + column_W
        self._offset_2HW = torch.stack([offset_HW, offset_HW.flip(1)])
        self.steps = self._n // batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 1."""
        used = self.steps * self._batch_size
        order_N = torch.randperm(self._n, generator=generator((*self._key, "order", epoch)))
        order_SB = order_N[:used].view(self.steps, self._batch_size)
        largest = self._largest_classes(order_SB)
        views = [self._draw(view, epoch) for view in range(1, self._views + 1)]
        start_SVB = torch.stack([start_N[order_SB] for start_N, _ in views], dim=1)
        mirror_SVB = torch.stack([mirror_N[order_SB] for _, mirror_N in views], dim=1)
        ids_SB = order_SB.to(self._device)
        start_SX = start_SVB.flatten(1).to(self._device)
        mirror_SX = mirror_SVB.flatten(1).to(self._device)
        labels_SB = self._labels_N[ids_SB]
        for step in range(self.steps):
            yield Batch(
                images=self._gather(start_SX[step], mirror_SX[step]),
                labels=labels_SB[step],
                ids=ids_SB[step],
                largest_class=largest[step],
            )

    def _draw(self, view: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the first pixel of each image's crop, and 1 where the image is mirrored."""
        crop_N2 = torch.randint(
            2 * self._augment.padding + 1,
            (self._n, 2),
            generator=generator((*self._key, f"view{view}.crop", epoch)),
        )
        row_N = torch.arange(self._n) * self._padded_height + crop_N2[:, 0]
        start_N = row_N * self._padded_width + crop_N2[:, 1]
        coin = generator((*self._key, f"view{view}.flip", epoch))
        coin_N = torch.randint(2, (self._n,), generator=coin)
        return start_N, coin_N * self._augment.flip

    def _gather(self, start_B: Tensor, mirror_B: Tensor) -> Tensor:
        """Return the crops by one gather of pixels."""
        index_BHW = start_B[:, None, None] + self._offset_2HW[mirror_B]
        return self._normalise(self._pixels_PK[index_BHW])

    def _largest_classes(self, order_SB: Tensor) -> list[int]:
        classes = int(self._host_labels_N.max()) + 1
        labels_SB = self._host_labels_N[order_SB]
        cell_SB = labels_SB + classes * torch.arange(self.steps)[:, None]
        counts = torch.bincount(cell_SB.flatten(), minlength=classes * self.steps)
        largest: list[int] = counts.view(self.steps, classes).amax(dim=1).tolist()
        return largest
