"""Optimizers of a pack: each changes rows of parameters by rows of gradients.

The rules are those of `icckd.train.optim`, written out: torch's fused updates know one learning
rate, and round the last elements of a tensor otherwise than the rest, so that they would depend on
a replica's place. Learning rate and weight decay are those of the replica.

Shape suffixes: R replicas, P parameters of one replica.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from icckd.study.training import AdamOptimizer, AdamWOptimizer, SgdOptimizer, Training
from icckd.train.optim import Optimizer
from icckd.train.packs.network import Rows

CLIP_EPSILON = 1e-6
"""Added to the norm that a gradient is divided by, as torch's clipping does."""


class RowOptimizer(ABC):
    """Changes the parameters of all replicas once for each step.

    Args:
        rows: The parameters.
        trainings: How each replica is optimised; they differ in numbers alone.
        optimizers: What outside a pack optimises each; what it remembers is where this one begins.

    Attributes:
        terms: Names of what a step tells.
    """

    names: tuple[str, ...]
    """Of the tensors that are remembered of each parameter."""

    def __init__(
        self, rows: Rows, trainings: Sequence[Training], optimizers: Sequence[Optimizer]
    ) -> None:
        self._rows = rows
        decay_R1 = rows.flat.new_tensor([[t.weight_decay] for t in trainings])
        self._decay_RP = decay_R1 if trainings[0].decayed == "all" else decay_R1 * self._decayed()
        self._decays = any(training.weight_decay for training in trainings)
        limits = [[t.clip_norm] for t in trainings if t.clip_norm != "off"]
        self._limit_R1 = rows.flat.new_tensor(limits) if limits else None
        self.terms: tuple[str, ...] = ("grad_norm", "clip_share") if limits else ("grad_norm",)
        self._kept = {name: self._gather(name, optimizers) for name in self.names}

    @torch.no_grad()
    def step(self, gradients_RP: Tensor, lr_R1: Tensor) -> list[Tensor]:
        """Change the parameters; return the values of `terms`, each of shape (replicas).

        Args:
            gradients_RP: The gradients; they are overwritten.
            lr_R1: Learning rate of each replica.
        """
        norm_R = torch.linalg.vector_norm(gradients_RP, dim=1)
        told = [norm_R]
        if self._limit_R1 is not None:
            told.append((norm_R[:, None] > self._limit_R1).flatten() * 100.0)
            gradients_RP.mul_((self._limit_R1 / (norm_R[:, None] + CLIP_EPSILON)).clamp_max(1))
        self._update(self._rows.flat, gradients_RP, lr_R1)
        self._rows.write()
        return told

    def remembered(self, replica: int) -> dict[str, Tensor]:
        """Return what is remembered of one replica, by the names of `Optimizer.state`."""
        found: dict[str, Tensor] = {}
        for name, kept_RP in self._kept.items():
            parts = self._rows.of_row(kept_RP[replica]).values()
            found |= {f"{name}.{number}": part for number, part in enumerate(parts)}
        return found

    @abstractmethod
    def _update(self, flat_RP: Tensor, gradients_RP: Tensor, lr_R1: Tensor) -> None:
        """Change the parameters, in place."""

    def _gather(self, name: str, optimizers: Sequence[Optimizer]) -> Tensor:
        """Return what was remembered under a name, shape (replicas, parameters); 0 at the start."""
        rows = []
        for optimizer in optimizers:
            state = optimizer.state()
            if f"{name}.0" not in state:
                return torch.zeros_like(self._rows.flat)
            named = {p: state[f"{name}.{number}"] for number, p in enumerate(self._rows.places)}
            rows.append(self._rows.row_of(named))
        return torch.stack(rows)

    def _decayed(self) -> Tensor:
        """Return 1 for each parameter that is neither of a norm nor a bias, else 0; shape (P)."""
        places = self._rows.places.values()
        shares = [torch.full((p.last - p.first,), float(len(p.shape) > 1)) for p in places]
        return torch.cat(shares).to(self._rows.flat)


class RowSgd(RowOptimizer):
    """Stochastic gradient descent; the momentum is what it remembers."""

    def __init__(
        self, rows: Rows, trainings: Sequence[Training], optimizers: Sequence[Optimizer]
    ) -> None:
        settings = trainings[0].optimizer
        assert isinstance(settings, SgdOptimizer)
        self._momentum, self._nesterov = trainings[0].momentum, settings.nesterov
        self.names = ("momentum",) if self._momentum else ()
        super().__init__(rows, trainings, optimizers)

    def _update(self, flat_RP: Tensor, gradients_RP: Tensor, lr_R1: Tensor) -> None:
        if self._decays:
            gradients_RP.add_(flat_RP * self._decay_RP)
        step_RP = gradients_RP
        if self._momentum:
            velocity_RP = self._kept["momentum"].mul_(self._momentum).add_(gradients_RP)
            step_RP = velocity_RP
            if self._nesterov:
                step_RP = gradients_RP.add_(velocity_RP * self._momentum)
        flat_RP.sub_(step_RP * lr_R1)


class RowAdam(RowOptimizer):
    """Adam, and AdamW where weight decay is decoupled from the gradient."""

    names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self, rows: Rows, trainings: Sequence[Training], optimizers: Sequence[Optimizer]
    ) -> None:
        settings = trainings[0].optimizer
        assert isinstance(settings, AdamOptimizer | AdamWOptimizer)
        self._settings = settings
        super().__init__(rows, trainings, optimizers)
        self._steps = int(optimizers[0].state()["step.0"])

    def remembered(self, replica: int) -> dict[str, Tensor]:
        """Return what is remembered of one replica, with the steps taken."""
        steps = torch.tensor(float(self._steps), dtype=self._rows.flat.dtype)
        taken = {f"step.{number}": steps for number in range(len(self._rows.places))}
        return super().remembered(replica) | taken

    def _update(self, flat_RP: Tensor, gradients_RP: Tensor, lr_R1: Tensor) -> None:
        settings, self._steps = self._settings, self._steps + 1
        if self._decays and settings.kind == "adamw":
            flat_RP.mul_(1 - lr_R1 * self._decay_RP)
        elif self._decays:
            gradients_RP.add_(flat_RP * self._decay_RP)
        mean_RP, square_RP = self._kept["exp_avg"], self._kept["exp_avg_sq"]
        mean_RP.mul_(settings.beta1).add_(gradients_RP * (1 - settings.beta1))
        square_RP.mul_(settings.beta2).add_(gradients_RP.square() * (1 - settings.beta2))
        root_RP = square_RP.sqrt().div_(math.sqrt(1 - settings.beta2**self._steps))
        step_RP = mean_RP / root_RP.add_(settings.epsilon)
        flat_RP.sub_(step_RP * (lr_R1 / (1 - settings.beta1**self._steps)))


def make_row_optimizer(
    rows: Rows, trainings: Sequence[Training], optimizers: Sequence[Optimizer]
) -> RowOptimizer:
    """Return the optimizer that the settings name."""
    made = RowSgd if trainings[0].optimizer.kind == "sgd" else RowAdam
    return made(rows, trainings, optimizers)
