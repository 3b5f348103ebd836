"""What every distiller is and is built from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from icckd.engine.data.stream import Batch
from icckd.engine.models import Output
from icckd.engine.seeding import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The two networks that a distiller joins.

    Attributes:
        student: The student's output for one image: its shapes are those of the network.
        teacher: The teacher's.
        n_images: Training images; sample indices are below it.
        key: Keys the streams of the distiller's own parts.
    """

    student: Output
    teacher: Output
    n_images: int
    key: Key


class Distiller(nn.Module):
    """Gives named loss terms before their weights; the student minimises their weighted sum.

    Parameters of its own (regressors, embeddings) are optimised with the student's and buffers
    are kept with them, but neither is part of the student.
    """

    def __init__(self, settings: Any, pairing: Pairing) -> None:
        super().__init__()

    def weights(self, epoch: int) -> Mapping[str, float]:
        """Return the weight of each term in an epoch, counted from 1.

        The names and their order are the same in all epochs; `ce` is the cross-entropy.
        """
        raise NotImplementedError

    def terms(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms in nats, scalars, named as the weights.

        No gradient flows to the teacher.
        """
        raise NotImplementedError
