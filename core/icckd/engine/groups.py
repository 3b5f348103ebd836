"""Rows of a batch laid out by class, without a loop and without asking the device.

Shape suffixes: B batch, C classes, M places per class.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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
        """Return `values` of shape (B, ...) as (C, M, ...), with `fill` at empty places."""
        shape = (len(self.counts), self.capacity, *values.shape[1:])
        place_B = self.labels * self.capacity + self.rank
        empty = values.new_full(shape, fill).flatten(0, 1)
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
