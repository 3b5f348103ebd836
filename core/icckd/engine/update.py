"""One optimizer step: gradients over the parts of a batch, clipping, change of the parameters.

Shape suffixes: B batch, V views, C channels, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from icckd.engine.arithmetic import Arithmetic
from icckd.engine.data.stream import Batch
from icckd.engine.optimizers import Gradients, Optimizer
from icckd.engine.step import Step, StepValues
from icckd.errors import NonFiniteError
from icckd.spec.training import Training


class Update:
    """Changes the parameters once for each batch.

    Attributes:
        terms: Names of what an update tells: the gradient norm before clipping, then shares in
            percent of steps that were clipped, or skipped because a gradient overflowed.
    """

    def __init__(self, optimizer: Optimizer, training: Training, arithmetic: Arithmetic) -> None:
        self._optimizer, self._arithmetic = optimizer, arithmetic
        self._clip = None if training.clip_norm == "off" else training.clip_norm
        self._parts = training.accumulate
        clip: tuple[str, ...] = () if self._clip is None else ("clip_share",)
        scaled: tuple[str, ...] = () if arithmetic.scaler is None else ("overflow_share",)
        self.terms: tuple[str, ...] = ("grad_norm", *clip, *scaled)

    def run(
        self, step: Step, batch: Batch, *, number: int, epoch: int, lr: float
    ) -> tuple[StepValues, list[Tensor]]:
        """Change the parameters once; return what the step tells, and the values of `terms`.

        Raises:
            NonFiniteError: If gradients overflow however small the loss scale.
        """
        optimizer = self._optimizer
        optimizer.clear()
        values = self._gradients(step, batch, number=number, epoch=epoch)
        self._arithmetic.unscale(optimizer)
        norm = optimizer.gradient_norm()
        told = [norm]
        if self._clip is not None:
            told.append((norm > self._clip) * 100.0)
            optimizer.clip(norm, self._clip)
        if self._arithmetic.scaler is not None:
            is_finite = norm.isfinite()
            told = [torch.where(is_finite, value, 0.0) for value in told]
            told.append(is_finite.logical_not() * 100.0)
        if not self._arithmetic.update(optimizer, lr):
            raise NonFiniteError(step=number, term="grad_norm")
        return values, told

    def _gradients(self, step: Step, batch: Batch, *, number: int, epoch: int) -> StepValues:
        """Set the mean gradient over the parts of a batch; return the mean values."""
        if self._parts == 1:
            return step(batch, step=number, epoch=epoch)
        total: Gradients | None = None
        values = []
        for part in parts_of(batch, self._parts):
            values.append(step(part, step=number, epoch=epoch))
            total = self._optimizer.take_gradients(total)
        assert total is not None
        self._optimizer.set_gradients(total, share=1 / self._parts)
        return StepValues(
            losses=_means([value.losses for value in values]),
            diagnostics=_means([value.diagnostics for value in values]),
        )


def parts_of(batch: Batch, parts: int) -> Iterator[Batch]:
    """Yield equal parts of a batch in order; all views of an image are in one part."""
    size = len(batch.labels) // parts
    views_VBCHW = batch.images.view(-1, len(batch.labels), *batch.images.shape[1:])
    codes_VB = None if batch.codes is None else batch.codes.view(-1, len(batch.labels))
    for start in range(0, len(batch.labels), size):
        rows = slice(start, start + size)
        yield replace(
            batch,
            images=views_VBCHW[:, rows].flatten(0, 1),
            labels=batch.labels[rows],
            ids=batch.ids[rows],
            codes=None if codes_VB is None else codes_VB[:, rows].flatten(),
        )


def _means(columns: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    by_name = zip(*columns, strict=True)
    return tuple(torch.stack([value.float() for value in values]).mean() for values in by_name)
