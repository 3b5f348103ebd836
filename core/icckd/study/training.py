"""How a network is optimised, and what else decides the bits."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icckd.study.settings import Many, Off, Settings, known_as

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PresetName = Literal["cifar100", "cifar100-short", "tiny-imagenet", "imagenet"]


class SgdOptimizer(Settings):
    """Stochastic gradient descent (torch.optim.SGD), with `training.momentum`."""

    kind: Literal["sgd"] = "sgd"
    nesterov: bool = Field(default=False, description="look ahead along the momentum")


class AdamOptimizer(Settings):
    """Kingma and Ba 2015 (torch.optim.Adam); weight decay is added to the gradient."""

    kind: Literal["adam"]
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean gradient")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean square")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the root of the mean square")


class AdamWOptimizer(Settings):
    """Loshchilov and Hutter 2019 (torch.optim.AdamW); weights shrink by lr * weight decay."""

    kind: Literal["adamw"]
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean gradient")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean square")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the root of the mean square")


Optimizer = Annotated[SgdOptimizer | AdamOptimizer | AdamWOptimizer, Field(discriminator="kind")]


class CosineSchedule(Settings):
    """Learning rate follows half a cosine from `lr` to 0 over the epochs after the warm-up."""

    kind: Literal["cosine"] = "cosine"


class MultistepSchedule(Settings):
    """Learning rate is multiplied by `factor` when each milestone epoch is done."""

    kind: Literal["multistep"]
    milestones: Many[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="epochs after which the rate falls"
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="what the rate is multiplied by")


class StepSchedule(Settings):
    """Learning rate is multiplied by `factor` when every so many epochs are done."""

    kind: Literal["step"]
    every: int = Field(ge=1, description="epochs between two steps")
    factor: float = Field(default=0.1, gt=0, lt=1, description="what the rate is multiplied by")


class ConstantSchedule(Settings):
    """Learning rate stays `lr`."""

    kind: Literal["constant"]


Schedule = Annotated[
    CosineSchedule | MultistepSchedule | StepSchedule | ConstantSchedule,
    Field(discriminator="kind"),
]


class Warmup(Settings):
    """Learning rate rises linearly from `start_factor` of itself over the first epochs."""

    epochs: int = Field(default=5, ge=1, description="epochs below the full learning rate")
    start_factor: float = Field(default=0.01, gt=0, lt=1, description="of the first epoch")


DIAGNOSES = 5
"""Epochs at which the costly diagnostics run unless a study says which."""


class Training(Settings):
    """How the network is optimised; docs/protocol.md tells each setting and the presets."""

    preset: PresetName | None = Field(
        default=None, description="a published schedule; keys beside it override its values"
    )
    epochs: int = Field(
        default=30, ge=1, le=100_000, description="times that every training image is seen"
    )
    batch_size: int = Field(default=64, ge=2, le=65_536, description="images per step")
    lr: float = Field(
        default=0.05,
        gt=0,
        description="initial learning rate",
        json_schema_extra=known_as("learning rate", "initial learning rate"),
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="of sgd", json_schema_extra=known_as(off=0.0)
    )
    weight_decay: float = Field(
        default=5e-4,
        ge=0,
        description="pull of the weights towards 0",
        json_schema_extra=known_as(off=0.0),
    )
    decayed: Literal["all", "weights"] = Field(
        default="all", description="parameters that decay; weights: neither norms nor biases"
    )
    optimizer: Optimizer = SgdOptimizer()
    schedule: Schedule = CosineSchedule()
    warmup: Warmup | Off = "off"
    clip_norm: Annotated[float, Field(gt=0)] | Off = Field(
        default="off", description="largest gradient norm of a step; longer ones are scaled"
    )
    accumulate: int = Field(
        default=1, ge=1, description="parts of a batch forwarded one after another"
    )
    stop_epoch: int | None = Field(
        default=None, ge=1, description="last epoch trained; the schedule is that of `epochs`"
    )
    diagnose_epochs: Many[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="epochs at whose end diagnostics run; five by default"
    )

    @model_validator(mode="after")
    def _is_resolved(self) -> "Training":
        if self.preset is not None:
            raise ValueError("a preset is resolved when a study is read; here it has no effect")
        return self

    @model_validator(mode="after")
    def _settings_fit(self) -> "Training":
        if self.optimizer.kind != "sgd" and self.momentum != 0.9:
            raise ValueError(f"momentum belongs to sgd; {self.optimizer.kind} has beta1")
        if self.momentum == 0 and getattr(self.optimizer, "nesterov", False):
            raise ValueError("nesterov needs a momentum above 0")
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"accumulate = {self.accumulate} does not split batch_size {self.batch_size}"
                " into equal parts of at least 2 images"
            )
        if self.warmup != "off" and self.warmup.epochs >= self.epochs:
            raise ValueError(f"warmup takes {self.warmup.epochs} of {self.epochs} epochs")
        return self

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
    precision: Precision = Field(
        default="fp32", description="of the networks' forward and backward pass in training"
    )
    deterministic: bool = Field(
        default=True, description="only algorithms that give the same bits at every repeat"
    )
    compile: Literal["off", "auto", "on"] = Field(
        default="off", description="torch.compile; auto: for long stages on CUDA"
    )
    graphs: Literal["off", "on"] = Field(
        default="off", description="the step captured as a CUDA graph, and replayed; see cuda.md"
    )
    packing: Literal["auto", "on", "off"] = Field(
        default="auto", description="stages trained several at once, as one model; see packing.md"
    )
