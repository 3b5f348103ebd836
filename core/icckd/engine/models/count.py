"""How large a network is, and what one image costs."""

from typing import Any

import torch
from torch import Tensor, nn

from icckd.engine.models.base import Classifier


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable numbers; batch norm's running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_macs(model: Classifier, images_BCHW: Tensor) -> int:
    """Return the multiply-adds of convolutions and linear layers for one image.

    The model and its mode are as before; nothing else is counted (no norm, no activation, no
    pooling). Twice the number is what some call FLOPs.

    Args:
        model: Any network.
        images_BCHW: A batch of the shape to count for, on the model's device.
    """
    counted: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        counted.append(output.numel() * module.weight[0].numel())

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks: list[Any] = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    try:
        model.eval()
        model.outputs(images_BCHW)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return sum(counted) // len(images_BCHW)
