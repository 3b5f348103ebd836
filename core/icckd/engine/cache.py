"""Negative cache: the last embeddings, or the last inputs, of each class, one ring per class.

Shape suffixes: B batch, C classes, Q entries per class, D features, M places per class, N = C * Q,
K channels, H height, W width.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from icckd.engine.groups import ClassGroups
from icckd.engine.models import LAYOUT


class Entries(NamedTuple):
    """Unit embeddings [C, Q, E] with the sample each is of, [C, Q], -1 where empty."""

    Q_emb: Tensor
    Q_id: Tensor


class NegativeCache(nn.Module):
    """Rings of detached unit embeddings with the sample and step they came from.

    Buffers: `Q_emb` [C, Q, D] float32, `Q_id` [C, Q] int64 (-1 where empty), `Q_step` [C, Q]
    int64 and `Q_ptr` [C] int64, the next entry to be written. They are all its memory and state.
    """

    Q_emb: Tensor
    Q_id: Tensor
    Q_step: Tensor
    Q_ptr: Tensor

    def __init__(self, n_classes: int, per_class: int, n_features: int) -> None:
        super().__init__()
        shape = (n_classes, per_class)
        self.register_buffer("Q_emb", torch.zeros(*shape, n_features))
        self.register_buffer("Q_id", torch.full(shape, -1))
        self.register_buffer("Q_step", torch.full(shape, -1))
        self.register_buffer("Q_ptr", torch.zeros(n_classes, dtype=torch.int64))

    @property
    def nbytes(self) -> int:
        """Exact size of the buffers in bytes."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def entries(self) -> Entries:
        """Return what is held."""
        return Entries(self.Q_emb, self.Q_id)

    @torch.no_grad()
    def push(self, keys_BD: Tensor, ids_B: Tensor, step: int, groups: ClassGroups) -> None:
        """Append a batch, row by row, each to the ring of its class.

        A class with more rows than its ring holds keeps the last ones: the rows that would be
        overwritten write their successor's values, so that equal targets carry equal values.

        Args:
            keys_BD: Embeddings, float, shape (batch, features).
            ids_B: Sample indices, int64, shape (batch,).
            step: Optimiser step of the batch.
            groups: The batch's layout by class.
        """
        per_class = self.Q_id.shape[1]
        labels_B, rank_B = groups.labels, groups.rank
        later_B = (groups.counts[labels_B] - 1 - rank_B) // per_class * per_class
        source_B = groups.rows()[labels_B, rank_B + later_B]
        target_B = labels_B * per_class + (self.Q_ptr[labels_B] + rank_B) % per_class
        self.Q_emb.flatten(0, 1).index_copy_(0, target_B, keys_BD[source_B].to(self.Q_emb.dtype))
        self.Q_id.flatten().index_copy_(0, target_B, ids_B[source_B])
        self.Q_step.flatten().index_fill_(0, target_B, step)
        self.Q_ptr.add_(groups.counts).remainder_(per_class)


class InputCache(nn.Module):
    """Rings of inputs instead of embeddings; whoever uses them encodes them first.

    `ring` is a `NegativeCache` whose embeddings are flattened float32 images.
    """

    def __init__(self, n_classes: int, per_class: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._image_shape = image_shape
        self.ring = NegativeCache(n_classes, per_class, prod(image_shape))

    def push(self, images_BKHW: Tensor, ids_B: Tensor, step: int, groups: ClassGroups) -> None:
        """Append a batch of normalised images, each to the ring of its class."""
        self.ring.push(images_BKHW.flatten(1), ids_B, step, groups)

    def images(self) -> Tensor:
        """Return every entry as an image, shape (N, K, H, W); empty ones are black."""
        flat_NX = self.ring.Q_emb.flatten(0, 1)
        layout = LAYOUT[flat_NX.device.type]
        return flat_NX.view(-1, *self._image_shape).contiguous(memory_format=layout)
