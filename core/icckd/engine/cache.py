"""Negative cache: the last embeddings of each class, one ring per class.

Shape suffixes: B batch, C classes, Q entries per class, D features, M places per class.
"""

import torch
from torch import Tensor, nn

from icckd.engine.groups import ClassGroups


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
