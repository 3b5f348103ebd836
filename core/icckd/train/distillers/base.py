"""What distillers share: arithmetic, the interface, and how one is built.

Shape suffixes: B batch, C classes, K channels, H height, W width, h and w of the smaller map.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.errors import StageError
from icckd.study.distillers import DISTILLERS
from icckd.study.distillers import Distiller as Settings
from icckd.study.network import NetworkShape, StageShape
from icckd.train.data.batch import Batch
from icckd.train.lazy import Module, Tensor, functional, torch
from icckd.train.networks.base import Output, window_means
from icckd.train.seeding import Key

SMALLEST_NORM = 1e-6
"""Rows shorter than this count as zero: they have no direction, and get no gradient."""


def precise(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_rows(x: Tensor) -> Tensor:
    """Return `x` scaled to length 1 along the last dimension; zero rows stay zero.

    Gradients are at most 1 / SMALLEST_NORM times what comes in, and 0 at a zero row: a sample
    whose units are all dead does not ruin a step.
    """
    square = x.square().sum(dim=-1, keepdim=True)
    alive = square > SMALLEST_NORM**2
    return torch.where(alive, x * torch.where(alive, square, 1.0).rsqrt(), 0.0)


def pooled(x_BKHW: Tensor, height: int, width: int) -> Tensor:
    """Return averages over windows, as adaptive average pooling defines them.

    That one's backward pass is not deterministic on a GPU; these are. A size that the map does
    not reach is left as it is.
    """
    rows, columns = x_BKHW.shape[2:]
    height, width = min(height, rows), min(width, columns)
    if (height, width) == (rows, columns):
        return x_BKHW
    if rows % height == 0 and columns % width == 0:
        return functional.avg_pool2d(x_BKHW, (rows // height, columns // width))
    return window_means(x_BKHW, height, width)


def to_common_size(a_BKHW: Tensor, b_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps with the larger one pooled to the size of the smaller, per side."""
    height, width = (min(a_BKHW.shape[d], b_BKHW.shape[d]) for d in (2, 3))
    return pooled(a_BKHW, height, width), pooled(b_BKHW, height, width)


# What every distiller is and is built from.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The two networks that a distiller joins.

    Attributes:
        student: The student's output for one image: its shapes are those of the network.
        teacher: The teacher's.
        labels: Class indices of all training images, int64: a sample index is a row of it.
        key: Keys the streams of the distiller's own parts.
    """

    student: Output
    teacher: Output
    labels: Tensor
    key: Key


class Distiller(Module, ABC):
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


def build_distiller(settings: Settings, pairing: Pairing) -> Distiller:
    """Return the distiller that joins two networks, on the CPU.

    Raises:
        StageError: If the method cannot join them; a plan that knows their shapes refuses earlier.
    """
    reason = settings.obstacle(network_shape(pairing.student), network_shape(pairing.teacher))
    if reason is not None:
        raise StageError(
            f"distiller {settings.kind!r} cannot join these networks: {reason}",
            hint="see what each method needs in docs/distillers.md",
        )
    made: Distiller = DISTILLERS[settings.kind](settings, pairing)
    return made


def save_learnt(distiller: Module, folder: Path) -> None:
    """Write `distiller.safetensors`: the parameters that a distiller has learnt, if any."""
    from safetensors.torch import save_file

    learnt = {name: p.detach().cpu().contiguous() for name, p in distiller.named_parameters()}
    if learnt:
        save_file(learnt, folder / "distiller.safetensors")
