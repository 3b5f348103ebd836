"""How a network is optimised, and what else decides the bits."""

from typing import Annotated, Literal

from pydantic import Field

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


class Training(Settings):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=2, le=65_536, description="images per step")
    lr: float = Field(default=0.05, gt=0, description="initial learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Schedule = CosineSchedule()


class Numerics(Settings):
    """What else decides the bits of a result."""

    threads: int = Field(default=1, ge=1, le=256, description="torch threads of a worker on a CPU")
