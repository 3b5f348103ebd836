"""How a network is optimised, and what else decides the bits."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icckd.spec.settings import Settings


class CosineSchedule(Settings):
    """Learning rate follows half a cosine from `lr` to 0 over the epochs."""

    kind: Literal["cosine"] = "cosine"


class MultistepSchedule(Settings):
    """Learning rate is multiplied by `factor` when each milestone epoch is done."""

    kind: Literal["multistep"]
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    factor: float = Field(default=0.1, gt=0, lt=1)


Schedule = Annotated[CosineSchedule | MultistepSchedule, Field(discriminator="kind")]


DIAGNOSES = 5
"""Epochs at which the costly diagnostics run unless a study says which."""


class Training(Settings):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=2, le=65_536, description="images per step")
    lr: float = Field(default=0.05, gt=0, description="initial learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Schedule = CosineSchedule()
    stop_epoch: int | None = Field(
        default=None, ge=1, description="last epoch trained; the schedule is that of `epochs`"
    )
    diagnose_epochs: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, description="epochs at whose end diagnostics run; five by default"
    )

    @model_validator(mode="after")
    def _epochs_are_trained(self) -> "Training":
        if self.last_epoch > self.epochs:
            raise ValueError(f"stop_epoch = {self.stop_epoch}, there are {self.epochs} epochs")
        late = [epoch for epoch in self.diagnose_epochs or () if epoch > self.last_epoch]
        if late:
            raise ValueError(f"diagnose_epochs names epoch {late[0]}, there are {self.last_epoch}")
        return self

    @property
    def last_epoch(self) -> int:
        """The last epoch trained: that of the schedule unless training stops early."""
        return self.epochs if self.stop_epoch is None else self.stop_epoch

    def diagnosed(self) -> frozenset[int]:
        """Return the epochs at whose end diagnostics run: by default five spread evenly.

        The last epoch is the fifth of them.

        >>> sorted(Training(epochs=30).diagnosed())
        [6, 12, 18, 24, 30]
        """
        if self.diagnose_epochs is not None:
            return frozenset(self.diagnose_epochs)
        return frozenset(
            -(-self.last_epoch * share // DIAGNOSES) for share in range(1, DIAGNOSES + 1)
        )


class Numerics(Settings):
    """What else decides the bits of a result."""

    threads: int = Field(default=1, ge=1, le=256, description="torch threads of a worker on a CPU")
