"""How a stage computes: precision of its forward passes, scale of its loss, compiler.

fp32 and tf32 use the networks as they are; bf16 and fp16 run them under autocast, with weights in
fp32. What comes out is fp32 again, and the linear classifier and every loss work on that.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.amp import GradScaler

from icckd.engine.models import Classifier, Maps, Output
from icckd.engine.optimizers import Optimizer
from icckd.errors import MachineError
from icckd.spec.training import Numerics

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

Forward = Callable[[Tensor], Maps]


class Arithmetic:
    """How one stage computes, by its numerics."""

    def __init__(self, numerics: Numerics, device: str) -> None:
        self._dtype = HALF.get(numerics.precision)
        self._device = device
        self._compiled = numerics.compile == "on"
        self.scaler = GradScaler(device) if numerics.precision == "fp16" else None

    def forward(self, model: Classifier) -> Forward:
        """Return the function that computes a model's maps in training; they are fp32."""
        run: Forward = model.maps
        if self._compiled:
            run = Compiled(model)
        return run if self._dtype is None else self._half(run, self._dtype)

    def scaled(self, tensor: Tensor) -> Tensor:
        """Return a loss or a gradient times the loss scale, which an update takes out again."""
        return tensor if self.scaler is None else self.scaler.scale(tensor)

    def unscale(self, optimizer: Optimizer) -> None:
        """Take the loss scale out of the gradients."""
        if self.scaler is not None:
            self.scaler.unscale_(cast(torch.optim.Optimizer, optimizer))

    def update(self, optimizer: Optimizer, lr: float) -> bool:
        """Update the parameters unless a gradient overflowed; return False if the scale is lost.

        An overflow skips the step and halves the loss scale. Below 1 it is no overflow any more.
        """
        if self.scaler is None:
            optimizer.step(lr)
            return True
        self.scaler.step(cast(torch.optim.Optimizer, optimizer), lr=lr)
        self.scaler.update()
        return self.scaler.get_scale() >= 1

    def _half(self, run: Forward, dtype: torch.dtype) -> Forward:
        def forward(images_BCHW: Tensor) -> Maps:
            with torch.autocast(self._device, dtype=dtype):
                maps = run(images_BCHW)
            return Maps(
                maps.features.float(),
                tuple(stage_BCHW.float() for stage_BCHW in maps.stages),
                tuple(preact_BCHW.float() for preact_BCHW in maps.preacts),
            )

        return forward


PLAIN = Arithmetic(Numerics(), "cpu")
"""fp32 without a compiler, on any device."""


class Compiled:
    """A model's forward pass through torch.compile.

    A stage's identity says that it is compiled, so without a compiler it does not run at all.
    """

    def __init__(self, model: Classifier) -> None:
        self._run = cast(Forward, torch.compile(model.maps, dynamic=False))

    def __call__(self, images_BCHW: Tensor) -> Maps:
        """Return the maps; the first call compiles.

        Raises:
            MachineError: If torch cannot compile here.
        """
        try:
            return self._run(images_BCHW)
        except _compiler_errors() as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MachineError(
                f"torch.compile failed: {reason[:300]}",
                hint='install what it asks for (a C++ compiler), or set numerics.compile = "off"',
            ) from error


def _compiler_errors() -> tuple[type[Exception], ...]:
    """Return the errors of torch's compiler, which is imported only where it is used."""
    from torch._dynamo.exc import TorchDynamoException

    return (TorchDynamoException,)


def output_of(model: Classifier, maps: Maps) -> Output:
    """Return maps with the logits of the model's classifier, in fp32."""
    return Output(*maps, logits=model.classifier(maps.features))
