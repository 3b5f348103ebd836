"""What every distiller is and is built from.

Shape suffixes: B batch, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.numbers import precise
from icckd.engine.models import Output
from icckd.engine.seeding import Key
from icckd.spec.shapes import NetworkShape, StageShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The two networks that a distiller joins.

    Attributes:
        student: The student's output for one image: its shapes are those of the network.
        teacher: The teacher's.
        labels: Class indices of all training images, int64: a sample index is a place in it.
        key: Keys the streams of the distiller's own parts.
    """

    student: Output
    teacher: Output
    labels: Tensor
    key: Key


class Distiller(nn.Module, ABC):
    """Named loss terms before their weights, beside the cross-entropy `ce`.

    The student minimises the weighted sum. Parameters of a distiller's own (regressors, embeddings)
    are optimised with the student's and buffers are kept with them, but neither is part of the
    student.

    Attributes:
        name: What the terms are called: the kind, or the term's name in a sum.
        key: Keys the distiller's streams; no other method of a sum has it.
    """

    def __init__(self, settings: Any, pairing: Pairing, name: str | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.name: str = settings.kind if name is None else name
        self.key: Key = (*pairing.key, self.name)

    def weights(self, epoch: int) -> Mapping[str, float]:
        """Return the weight of each term in an epoch, counted from 1.

        The names and their order are the same in all epochs.
        """
        return {"ce": self.settings.ce_weight, **self.own_weights(epoch)}

    def terms(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> dict[str, Tensor]:
        """Return the terms, scalars in float32 at least, named as the weights.

        No gradient flows to the teacher. What a distiller keeps from step to step changes here, so
        a step calls this once.

        Args:
            student: Of the batch.
            teacher: Of the same images.
            batch: Labels and sample indices.
            step: Optimiser step, counted from 0 over the stage.
        """
        blocked = _detached(teacher)
        with torch.autocast(student.logits.device.type, enabled=False):
            ce = functional.cross_entropy(precise(student.logits), batch.labels)
            return {"ce": ce, **self.own_terms(student, blocked, batch, step=step)}

    @abstractmethod
    def own_weights(self, epoch: int) -> dict[str, float]:
        """Return the weights of all terms but `ce`."""

    @abstractmethod
    def own_terms(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> dict[str, Tensor]:
        """Return all terms but `ce` by name."""


class Method(Distiller):
    """One method from the literature, with a loss for each of its parts.

    Where it has several parts it sets `part_weights`, their weights among themselves, and where
    its weight rises from 0, `warmup_epochs`.
    """

    part_weights: tuple[float, ...] = (1.0,)
    warmup_epochs: int = 0

    def own_weights(self, epoch: int) -> dict[str, float]:
        """Return the weights of the method's parts."""
        rise = min(epoch / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0
        weight = self.settings.weight * rise
        parts = zip(self.settings.parts, self.part_weights, strict=True)
        return {self.name + part: weight * share for part, share in parts}

    def own_terms(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> dict[str, Tensor]:
        """Return the losses of the method's parts by name."""
        losses = self.losses(student, teacher, batch, step=step)
        names = (self.name + part for part in self.settings.parts)
        return dict(zip(names, losses, strict=True))

    @abstractmethod
    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return a scalar for each of the method's parts."""


def network_shape(output: Output) -> NetworkShape:
    """Return the shapes that an output has."""
    return NetworkShape(
        features=output.features.shape[1],
        stages=tuple(
            StageShape(channels=stage.shape[1], height=stage.shape[2], width=stage.shape[3])
            for stage in output.stages
        ),
    )


def _detached(output: Output) -> Output:
    return Output(
        features=output.features.detach(),
        stages=tuple(stage.detach() for stage in output.stages),
        preacts=tuple(preact.detach() for preact in output.preacts),
        logits=output.logits.detach(),
    )
