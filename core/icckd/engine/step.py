"""What a step of training is: it sets the gradients of one optimizer step."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from icckd.engine.data.stream import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """Scalars of one step on the device, in the order of the step's names."""

    losses: tuple[Tensor, ...]
    diagnostics: tuple[Tensor, ...] = ()


class Step(Protocol):
    """Sets the gradients of one optimizer step. Losses are logged before their weights.

    Attributes:
        losses: Names of the loss terms.
        diagnostics: Names of what else each step tells.
        state: What steps leave to later ones besides the model: buffers such as a cache, and
            parameters, which are optimised with the model's.
    """

    losses: tuple[str, ...]
    diagnostics: tuple[str, ...]
    state: nn.Module

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients; `step` counts from 0 over the stage, `epoch` from 1."""
