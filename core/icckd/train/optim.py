"""Optimizers: how gradients change parameters.

The updates are torch's own functions. The classes of torch.optim wrap the same ones, but making one
imports torch's compiler: seconds and 150 MB of every worker for nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from icckd.errors import NonFiniteError
from icckd.study.training import AdamOptimizer, AdamWOptimizer, Schedule, SgdOptimizer, Training

Gradients = list[Tensor | None]
"""One for each parameter; None where a loss does not reach it."""


class Optimizer(ABC):
    """Updates parameters from their gradients; what it remembers of them is its state."""

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        self._parameters: list[nn.Parameter] = list(parameters)
        self._groups = _groups(self._parameters, training)
        self._slots: dict[str, dict[int, Tensor]] = {}

    def clear(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def take_gradients(self, before: Gradients | None) -> Gradients:
        """Return the gradients plus those taken before, and drop them."""
        taken = [parameter.grad for parameter in self._parameters]
        self.clear()
        if before is None:
            return taken
        return [_sum(old, new) for old, new in zip(before, taken, strict=True)]

    def set_gradients(self, gradients: Gradients, *, share: float) -> None:
        """Put a share of gradients in place, one for each parameter."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient * share

    def gradients(self) -> list[Tensor]:
        """Return the gradients that there are."""
        return [p.grad for p in self._parameters if p.grad is not None]

    def gradient_norm(self) -> Tensor:
        """Return the Euclidean norm of the whole gradient, on the device."""
        return get_total_norm(self.gradients())

    def clip(self, norm: Tensor, limit: float) -> None:
        """Scale the whole gradient, whose norm is `norm`, down to `limit` where it is longer."""
        clip_grads_with_norm_(self._parameters, limit, norm)

    @torch.no_grad()
    def step(self, lr: float | Tensor, skip: Tensor | None = None) -> None:
        """Update once; parameters without a gradient are left alone.

        Args:
            lr: Learning rate, a scalar on the device where the step is captured.
            skip: 1.0 on the device where nothing may change, parameters and state, else 0.0.
        """
        for numbers, weight_decay in self._groups:
            active = [n for n in numbers if self._parameters[n].grad is not None]
            if active:
                self._update(active, lr, weight_decay, skip)

    def check(self, *, step: int) -> None:
        """Check the parameters after their last update.

        Raises:
            NonFiniteError: If one is not finite; the term is `weights`.
        """
        if not all(parameter.isfinite().all() for parameter in self._parameters):
            raise NonFiniteError(step=step, term="weights")

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered, by name."""
        return {f"{s}.{n}": kept for s, slot in self._slots.items() for n, kept in slot.items()}

    @abstractmethod
    def expected(self) -> dict[str, Tensor]:
        """Return tensors with the names, shapes and types that `state` has after a step."""

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned.

        A tensor like its parameter gets that one's memory layout, which fused updates rely on.
        """
        self._slots = {}
        for name, kept in state.items():
            slot, _, number = name.partition(".")
            parameter = self._parameters[int(number)]
            like = parameter if kept.shape == parameter.shape else kept.to(parameter.device)
            self._slots.setdefault(slot, {})[int(number)] = torch.empty_like(like).copy_(kept)

    @abstractmethod
    def _update(
        self, numbers: list[int], lr: float | Tensor, weight_decay: float, skip: Tensor | None
    ) -> None:
        """Update the parameters with these numbers; all have gradients."""

    def _gradients(self, numbers: list[int]) -> list[Tensor]:
        gradients = (self._parameters[n].grad for n in numbers)
        return [gradient for gradient in gradients if gradient is not None]


class Sgd(Optimizer):
    """Stochastic gradient descent; the momentum buffers are its state."""

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        super().__init__(parameters, training)
        assert isinstance(training.optimizer, SgdOptimizer)
        self._momentum, self._nesterov = training.momentum, training.optimizer.nesterov

    def expected(self) -> dict[str, Tensor]:
        """Return tensors with the names, shapes and types that `state` has after a step."""
        kept = self._parameters if self._momentum else []
        return {f"momentum.{n}": parameter for n, parameter in enumerate(kept)}

    def _update(
        self, numbers: list[int], lr: float | Tensor, weight_decay: float, skip: Tensor | None
    ) -> None:
        slot = self._slots.setdefault("momentum", {})
        if skip is not None and self._momentum:  # a skipped first update would leave them unset
            for n in numbers:
                if n not in slot:
                    slot[n] = torch.zeros_like(self._parameters[n])
        buffers = [slot.get(n) for n in numbers]
        sgd(
            [self._parameters[n] for n in numbers],
            self._gradients(numbers),
            buffers,
            fused=True,
            found_inf=skip,
            lr=lr,
            momentum=self._momentum,
            weight_decay=weight_decay,
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
        )
        slot.update({n: b for n, b in zip(numbers, buffers, strict=True) if b is not None})


class Adam(Optimizer):
    """Adam, and AdamW where weight decay is decoupled from the gradient.

    State: both moments and the number of steps of each parameter.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        super().__init__(parameters, training)
        assert isinstance(training.optimizer, AdamOptimizer | AdamWOptimizer)
        self._settings = training.optimizer
        self._slots = {
            "exp_avg": {n: torch.zeros_like(p) for n, p in enumerate(self._parameters)},
            "exp_avg_sq": {n: torch.zeros_like(p) for n, p in enumerate(self._parameters)},
            "step": {n: p.new_zeros(()) for n, p in enumerate(self._parameters)},
        }

    def expected(self) -> dict[str, Tensor]:
        """Return tensors with the names, shapes and types that `state` has after a step."""
        return self.state()

    def _update(
        self, numbers: list[int], lr: float | Tensor, weight_decay: float, skip: Tensor | None
    ) -> None:
        settings = self._settings
        adam(
            [self._parameters[n] for n in numbers],
            self._gradients(numbers),
            [self._slots["exp_avg"][n] for n in numbers],
            [self._slots["exp_avg_sq"][n] for n in numbers],
            [],
            [self._slots["step"][n] for n in numbers],
            fused=True,
            found_inf=skip,
            decoupled_weight_decay=settings.kind == "adamw",
            amsgrad=False,
            beta1=settings.beta1,
            beta2=settings.beta2,
            lr=lr,
            weight_decay=weight_decay,
            eps=settings.epsilon,
            maximize=False,
        )


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": Sgd, "adam": Adam, "adamw": Adam}


def make_optimizer(parameters: Iterable[nn.Parameter], training: Training) -> Optimizer:
    """Return the optimizer that the settings name."""
    return OPTIMIZERS[training.optimizer.kind](parameters, training)


def _groups(parameters: list[nn.Parameter], training: Training) -> list[tuple[list[int], float]]:
    """Return numbers of parameters with their weight decay.

    Norms and biases are the parameters with one dimension.
    """
    every = list(range(len(parameters)))
    if training.decayed == "all":
        return [(every, training.weight_decay)]
    weights = [n for n in every if parameters[n].ndim > 1]
    return [(weights, training.weight_decay), ([n for n in every if n not in weights], 0.0)]


def _sum(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    if old is None or new is None:
        return new if old is None else old
    return old.add_(new)


# Learning rates over the epochs, the values that torch's schedulers give once per epoch.


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1.

    The warm-up is torch's LinearLR. After it a cosine covers the epochs that are left; milestones
    and steps count the stage's epochs, those of the warm-up included.
    """
    done = epoch - 1
    if training.warmup == "off":
        return training.lr * _share(training.schedule, done, training.epochs, 0)
    first = training.warmup.epochs
    if done < first:
        start = training.warmup.start_factor
        return training.lr * (start + (1 - start) * done / first)
    return training.lr * _share(training.schedule, done, training.epochs, first)


def _share(schedule: Schedule, done: int, epochs: int, first: int) -> float:
    if schedule.kind == "cosine":
        return (1 + math.cos(math.pi * (done - first) / (epochs - first))) / 2
    if schedule.kind == "multistep":
        return schedule.factor ** sum(milestone <= done for milestone in schedule.milestones)
    if schedule.kind == "step":
        return schedule.factor ** (done // schedule.every)
    return 1.0
