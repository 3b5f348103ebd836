"""Residual networks with activation after the addition (He et al. 2016, arXiv 1512.03385).

For CIFAR: a 3x3 stem without pooling, and a 1x1 convolution with batch norm (option B) wherever a
block changes the width or the resolution.

Shape suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import ConvNorm, pooled, through_all_but_last
from icckd.engine.seeding import Start


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride=stride)
        self.second = ConvNorm(out_channels, out_channels, 3)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum before its activation."""
        inner_BCHW = functional.relu(self.first(x_BCHW))
        sum_BCHW: Tensor = self.second(inner_BCHW) + self.shortcut(x_BCHW)
        return sum_BCHW


class Bottleneck(nn.Module):
    """1x1, 3x3 (which has the stride), 1x1 convolutions beside a shortcut; a quarter as wide."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.first = ConvNorm(in_channels, width, 1)
        self.second = ConvNorm(width, width, 3, stride=stride)
        self.third = ConvNorm(width, out_channels, 1)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum before its activation."""
        inner_BCHW = functional.relu(self.first(x_BCHW))
        inner_BCHW = functional.relu(self.second(inner_BCHW))
        sum_BCHW: Tensor = self.third(inner_BCHW) + self.shortcut(x_BCHW)
        return sum_BCHW


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNorm(in_channels, out_channels, 1, stride=stride)


class Resnet(Classifier):
    """A stem, stages of residual blocks each at half the resolution of the last, a classifier."""

    start = Start(conv="fan-out")

    def __init__(
        self,
        block: type[Basic | Bottleneck],
        blocks: tuple[int, ...],
        *,
        stem: int,
        widths: tuple[int, ...],
        in_channels: int,
        n_classes: int,
    ) -> None:
        """Build the network.

        Args:
            block: Kind of residual block.
            blocks: Number of blocks of each stage.
            stem: Channels of the stem.
            widths: Channels of each stage's map.
            in_channels: Channels of an image.
            n_classes: Outputs.
        """
        super().__init__()
        self.stem = ConvNorm(in_channels, stem, 3)
        self.stages = nn.ModuleList()
        before = stem
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stride = 1 if number == 0 else 2
            first = block(before, width, stride=stride)
            rest = (block(width, width, stride=1) for _ in range(count - 1))
            self.stages.append(nn.ModuleList([first, *rest]))
            before = width
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the sum that ends each stage, before and after ReLU."""
        x_BCHW = functional.relu(self.stem(images_BCHW))
        stages, preacts = [], []
        for blocks in self.stages:
            assert isinstance(blocks, nn.ModuleList)
            preact_BCHW = blocks[-1](through_all_but_last(blocks, x_BCHW))
            x_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(x_BCHW)
        return Maps(pooled(x_BCHW), tuple(stages), tuple(preacts))
