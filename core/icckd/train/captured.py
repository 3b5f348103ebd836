"""A step of training that a GPU repeats without the host: a CUDA graph, captured once.

A small network's step is some hundred launches, each of which costs the host more than the GPU. A
captured step is one launch. What it asks for in return is that nothing of it changes but values: it
reads its batch, its number and its learning rate from buffers that stay where they are, has the
shapes of every other step, asks nothing of the host and draws nothing. docs/cuda.md names torch's
restrictions one by one. Elsewhere than on CUDA the same step is executed as it is.

Shape suffix: T terms.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from icckd.errors import StageError
from icckd.train.data.batch import Batch

WARM_UP = 3
"""Steps that are executed before one is captured: libraries set themselves up in the first."""


class Take(Protocol):
    """Takes one step of training, and returns what it tells: scalars on the device."""

    def __call__(
        self, batch: Batch, *, number: int | Tensor, epoch: int, lr: float | Tensor
    ) -> tuple[Tensor, ...]:
        """Change the parameters once."""


class StaticStep:
    """Takes the steps of a stage on buffers whose place and shapes never change.

    Args:
        take: Takes one step. Of its arguments only the epoch is the host's.
        variant: Tells what of a step an epoch decides; where it changes a step is captured anew.
        terms: How many values a step tells.
        largest_class: The most images of a class that any batch of the stage may hold.
    """

    def __init__(
        self, take: Take, variant: Callable[[int], Hashable], *, terms: int, largest_class: int
    ) -> None:
        self._take, self._variant_of = take, variant
        self._terms, self._largest_class = terms, largest_class
        self._variant: Hashable = None
        self._executed = 0
        self._batch: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch, *, number: int, epoch: int, lr: float) -> Tensor:
        """Take a step; return what it tells, float32, shape (terms), valid until the next one.

        Raises:
            StageError: The step cannot be captured.
        """
        held = self._hold(batch)
        self._number.fill_(number)
        self._lr.fill_(lr)
        variant = self._variant_of(epoch)
        if variant != self._variant or not self._executed:
            self._variant, self._executed, self._graph = variant, 0, None
        self._executed += 1
        if not held.images.is_cuda:
            self._execute(held, epoch)
        elif self._graph is None and self._executed <= WARM_UP:
            self._warm_up(held, epoch)
        else:
            self._graph = self._graph or self._captured(held, epoch)
            self._graph.replay()
        return self._told_T

    def _hold(self, batch: Batch) -> Batch:
        """Copy a batch into the buffers, which are made like the first one; return them."""
        if self._batch is None:
            self._batch = replace(
                batch,
                images=torch.empty_like(batch.images),
                labels=torch.empty_like(batch.labels),
                ids=torch.empty_like(batch.ids),
                codes=None if batch.codes is None else torch.empty_like(batch.codes),
                largest_class=self._largest_class,
            )
            self._number = torch.zeros_like(batch.ids[0])
            self._lr = batch.images.new_zeros(())
            self._told_T = batch.images.new_zeros(self._terms)
        held = self._batch
        for own, new in (
            (held.images, batch.images), (held.labels, batch.labels), (held.ids, batch.ids),
            (held.codes, batch.codes),
        ):  # fmt: skip
            if own is not None and new is not None:
                own.copy_(new)
        return held

    def _execute(self, batch: Batch, epoch: int) -> None:
        told = self._take(batch, number=self._number, epoch=epoch, lr=self._lr)
        torch.stack(told, out=self._told_T)

    def _warm_up(self, batch: Batch, epoch: int) -> None:
        """Execute a step on the stream that will capture one: gradients remember their stream."""
        if self._executed == 1:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # untyped in torch
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._execute(batch, epoch)
        current.wait_stream(self._stream)

    def _captured(self, batch: Batch, epoch: int) -> torch.cuda.CUDAGraph:
        """Return a step as a graph; nothing is executed."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._execute(batch, epoch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise StageError(
                f"the step cannot be captured as a CUDA graph: {str(error).splitlines()[0]}",
                hint='set numerics.graphs = "off" for this study',
            ) from error
        return graph
