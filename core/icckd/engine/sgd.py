"""Stochastic gradient descent with momentum, and its learning rate over the epochs.

The update is torch's own function. `torch.optim.SGD` and its schedulers wrap the same one, but
making one imports torch's compiler: seconds and 150 MB of every worker for nothing.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.sgd import sgd

from icckd.errors import NonFiniteError
from icckd.spec.training import Schedule, Training


class Sgd:
    """Updates parameters from their gradients; the momentum buffers are its state."""

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        self._parameters: list[Tensor] = list(parameters)
        self._momentum, self._weight_decay = training.momentum, training.weight_decay
        self._buffers: list[Tensor | None] = [None] * len(self._parameters)

    def clear(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def gradient_norm(self) -> Tensor:
        """Return the Euclidean norm of the whole gradient, on the device."""
        return get_total_norm(self._gradients())

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update once; every parameter has a gradient."""
        sgd(
            self._parameters,
            self._gradients(),
            self._buffers,
            fused=True,
            lr=lr,
            momentum=self._momentum,
            weight_decay=self._weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def check(self, *, step: int) -> None:
        """Check the parameters after their last update.

        Raises:
            NonFiniteError: If one is not finite; the term is `weights`.
        """
        if not all(parameter.isfinite().all() for parameter in self._parameters):
            raise NonFiniteError(step=step, term="weights")

    def state(self) -> dict[str, Tensor]:
        """Return the momentum buffers by name; those that no step has made yet are left out."""
        named = {f"momentum.{n}": buffer for n, buffer in enumerate(self._buffers)}
        return {name: buffer for name, buffer in named.items() if buffer is not None}

    def expected(self) -> dict[str, Tensor]:
        """Return tensors with the names, shapes and types that `state` has after a step."""
        kept = self._parameters if self._momentum else []
        return {f"momentum.{n}": parameter for n, parameter in enumerate(kept)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned.

        A buffer gets its parameter's memory layout, which the fused update relies on.
        """
        for name, buffer in state.items():
            number = int(name.removeprefix("momentum."))
            self._buffers[number] = torch.empty_like(self._parameters[number]).copy_(buffer)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1."""
    return training.lr * _share(training.schedule, epoch - 1, training.epochs)


def _share(schedule: Schedule, done: int, epochs: int) -> float:
    if schedule.kind == "cosine":
        return (1 + math.cos(math.pi * done / epochs)) / 2
    return schedule.factor ** sum(milestone <= done for milestone in schedule.milestones)
