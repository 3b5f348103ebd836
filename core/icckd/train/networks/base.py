"""What networks share: the interface, common blocks, and their size.

Shape suffixes: B batch, C classes or channels, D features, H height, W width.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from icckd.train.lazy import Module, Tensor, functional, nn, no_grad, torch
from icckd.train.seeding import Key, Start, initialise


class Maps(NamedTuple):
    """What a network computes before its classifier.

    Attributes:
        features: Pooled features, what the classifier sees, shape (batch, features).
        stages: Map after each stage, activated, shapes (batch, channels, height, width).
        preacts: The same maps before their last activation.
    """

    features: Tensor
    stages: tuple[Tensor, ...]
    preacts: tuple[Tensor, ...]


class Output(NamedTuple):
    """`Maps` and the logits, shape (batch, classes)."""

    features: Tensor
    stages: tuple[Tensor, ...]
    preacts: tuple[Tensor, ...]
    logits: Tensor


class Classifier(Module, ABC):
    """A network that ends in one linear layer on pooled features.

    Attributes:
        start: How its parameters start.
        activated: Whether each stage is the ReLU of its preact; otherwise the two are the same
            map, which has no activation (linear bottlenecks).
    """

    start: Start = Start()
    activated: bool = True
    classifier: "nn.Linear"

    @abstractmethod
    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return everything below the classifier of one forward pass."""

    def outputs(self, images_BCHW: Tensor) -> Output:
        """Return everything of one forward pass."""
        maps = self.maps(images_BCHW)
        return Output(*maps, logits=self.classifier(maps.features))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits, shape (batch, classes)."""
        return self.outputs(images_BCHW).logits

    def initialise(self, key: Key) -> None:
        """Set every parameter and buffer from streams under `key`."""
        initialise(self, key, self.start)


# Parts that several networks are made of.


class ConvNorm(Module):
    """Convolution, padded so that stride 1 keeps the size, then batch norm; not activated."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=bias,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map before its activation."""
        normed_BCHW: Tensor = self.norm(self.conv(x_BCHW))
        return normed_BCHW


def pooled(map_BCHW: Tensor) -> Tensor:
    """Return the mean over all positions, shape (batch, channels)."""
    return map_BCHW.mean(dim=(2, 3))


def adaptive_averages(map_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Return averages over windows, as adaptive average pooling defines them.

    On a CPU it is that; elsewhere a product of matrices, since its own gradient does not repeat its
    bits on a GPU, and is refused in deterministic mode.
    """
    if map_BCHW.device.type == "cpu":
        return functional.adaptive_avg_pool2d(map_BCHW, (height, width))
    return window_means(map_BCHW, height, width)


def window_means(map_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Return `adaptive_averages` as a product of matrices."""
    down_hH = _windows(map_BCHW.shape[2], height, map_BCHW)
    down_wW = _windows(map_BCHW.shape[3], width, map_BCHW)
    return down_hH @ map_BCHW @ down_wW.T


def _windows(size: int, parts: int, like: Tensor) -> Tensor:
    """Return the matrix that averages `size` values over `parts` windows of similar length."""
    part = torch.arange(parts, device=like.device)[:, None]
    place = torch.arange(size, device=like.device)
    first, last = part * size // parts, -(-(part + 1) * size // parts)
    inside = ((place >= first) & (place < last)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def through_all_but_last(blocks: "nn.ModuleList", x_BCHW: Tensor) -> Tensor:
    """Return what the last block receives when the output of each block is activated."""
    for block in list(blocks)[:-1]:
        x_BCHW = functional.relu(block(x_BCHW))
    return x_BCHW


# How large a network is, and what one image costs.


def count_parameters(model: Module) -> int:
    """Return the number of trainable numbers; not batch norm's running statistics."""
    return sum(parameter.numel() for parameter in model.parameters())


@no_grad
def count_macs(model: Classifier, images_BCHW: Tensor) -> int:
    """Return the multiply-adds of convolutions and linear layers for one image.

    The model and its mode are as before; nothing else is counted (no norm, no activation, no
    pooling). Twice the number is what some call FLOPs.

    Args:
        model: Any network.
        images_BCHW: A batch of the shape to count for, on the model's device.
    """
    counted: list[int] = []

    def count(module: Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
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
