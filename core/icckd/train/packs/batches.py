"""Batches of a pack: of each replica its own images, views and labels.

Shape suffixes: R replicas, S steps of an epoch, V views, B batch of one replica, N rows (V * B), K
channels of an image, X channels of all replicas (R * K), H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from icckd.train.data.splits import Normaliser
from icckd.train.data.stream import TrainStream


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One step's data.

    Attributes:
        images: Normalised views, float32, (N, X, height, width), channels last, view 1 first.
        labels: Class indices, int64, shape (R, B).
        ids: Stable sample indices, int64, shape (R, B).
        codes: Tell equal views, int64, shape (R, N); of no use where images are turned.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    codes: Tensor


def sent(made: Tensor, device: torch.device) -> Tensor:
    """Return what was made on the host on the device; a GPU copies it while the host goes on."""
    if device.type == "cuda":
        made = made.pin_memory()
    return made.to(device, non_blocking=True)


class Feed:
    """Shows of each replica what its own stream shows it outside a pack.

    Args:
        streams: A stream for each replica; all are of the same resident images, batch size, views
            and augmentation.
        normalise: Applied to every view.
    """

    def __init__(self, streams: Sequence[TrainStream], normalise: Normaliser) -> None:
        self._streams, self._normalise = streams, normalise
        self.steps, self._device = streams[0].steps, streams[0].device

    def epoch(self, epoch: int) -> Iterator[PackedBatch]:
        """Yield the batches of an epoch, counted from 1."""
        known = {
            id(stream): stream.drawn(epoch) for stream in self._streams
        }  # ghosts have a mate's
        drawn = [known[id(stream)] for stream in self._streams]
        ids_SRB = self._sent([each.ids for each in drawn], dim=1)
        labels_SRB = self._sent([each.labels for each in drawn], dim=1)
        parts = [self._sent(part, dim=2) for part in zip(*(d.parts for d in drawn), strict=True)]
        codes_SRN = (2 * parts[0] + parts[1].long()).transpose(1, 2).contiguous()
        for step in range(self.steps):
            pixels_NHWRK = self._streams[0].pixels(*(part_SNR[step] for part_SNR in parts))
            yield PackedBatch(
                images=self._normalise.pixels(pixels_NHWRK).flatten(3).permute(0, 3, 1, 2),
                labels=labels_SRB[step],
                ids=ids_SRB[step],
                codes=codes_SRN[step],
            )

    def _sent(self, drawn: Sequence[Tensor], dim: int) -> Tensor:
        """Return what was drawn for each replica, together, on the device."""
        return sent(torch.stack(list(drawn), dim=dim), self._device)

    def first(self, epoch: int) -> PackedBatch:
        """Return the first batch of an epoch."""
        return next(self.epoch(epoch))
