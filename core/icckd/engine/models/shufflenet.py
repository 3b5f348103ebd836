"""ShuffleNet V1 and V2, both with a 1x1 stem of stride 1 for CIFAR.

Zhang et al. 2018, arXiv 1707.01083; Ma et al. 2018, arXiv 1807.11164.

Shape suffixes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import ConvNorm, pooled, through_all_but_last

STEM = 24
GROUPS = 3
V1_STAGES = ((4, 240), (8, 480), (4, 960))
V2_STAGES = ((4, 116), (8, 232), (4, 464))
"""Units and channels of each stage; the first unit halves the resolution."""
V2_LAST = 1024


class UnitV1(nn.Module):
    """Grouped 1x1 convolution, shuffle, 3x3 depthwise, grouped 1x1, beside the input.

    With stride 2 the pooled input is put behind the result instead of being added.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self._stride = stride
        self._groups = 1 if in_channels == STEM else GROUPS
        made = out_channels - in_channels if stride == 2 else out_channels
        width = made // 4
        self.first = ConvNorm(in_channels, width, 1, groups=self._groups)
        self.depthwise = ConvNorm(width, width, 3, stride=stride, groups=width)
        self.last = ConvNorm(width, made, 1, groups=GROUPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map before its activation."""
        inner_BCHW = functional.relu(self.first(x_BCHW))
        inner_BCHW = functional.channel_shuffle(inner_BCHW, self._groups)
        inner_BCHW = functional.relu(self.depthwise(inner_BCHW))
        made_BCHW: Tensor = self.last(inner_BCHW)
        if self._stride == 1:
            return made_BCHW + x_BCHW
        shortcut_BCHW = functional.avg_pool2d(x_BCHW, 3, stride=2, padding=1)
        return torch.cat([made_BCHW, shortcut_BCHW], dim=1)


class UnitV2(nn.Module):
    """1x1, 3x3 depthwise, 1x1 convolutions of half the channels; the other half passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = ConvNorm(half, half, 1)
        self.depthwise = ConvNorm(half, half, 3, groups=half)
        self.last = ConvNorm(half, half, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the shuffled map before its activation; the half that passes stays as it was.

        That half is activated already, and ReLU leaves it alone.
        """
        passes_BCHW, changes_BCHW = x_BCHW.chunk(2, dim=1)
        inner_BCHW = functional.relu(self.first(changes_BCHW))
        made_BCHW = self.last(self.depthwise(inner_BCHW))
        return functional.channel_shuffle(torch.cat([passes_BCHW, made_BCHW], dim=1), 2)


class DownV2(nn.Module):
    """Two branches of half the channels at half the resolution, shuffled."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.left_depthwise = ConvNorm(in_channels, in_channels, 3, stride=2, groups=in_channels)
        self.left_last = ConvNorm(in_channels, half, 1)
        self.right_first = ConvNorm(in_channels, half, 1)
        self.right_depthwise = ConvNorm(half, half, 3, stride=2, groups=half)
        self.right_last = ConvNorm(half, half, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map before its activation."""
        left_BCHW = self.left_last(self.left_depthwise(x_BCHW))
        right_BCHW = functional.relu(self.right_first(x_BCHW))
        right_BCHW = self.right_last(self.right_depthwise(right_BCHW))
        return functional.channel_shuffle(torch.cat([left_BCHW, right_BCHW], dim=1), 2)


class _ShuffleNet(Classifier):
    """The way through the stages, which both versions share."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, STEM, 1)
        self.stages = nn.ModuleList()

    def _stage_maps(self, images_BCHW: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        x_BCHW = functional.relu(self.stem(images_BCHW))
        stages, preacts = [], []
        for units in self.stages:
            assert isinstance(units, nn.ModuleList)
            preact_BCHW = units[-1](through_all_but_last(units, x_BCHW))
            x_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(x_BCHW)
        return tuple(stages), tuple(preacts)


class ShuffleNetV1(_ShuffleNet):
    """Three groups; the first unit's 1x1 convolution is not grouped."""

    def __init__(self, *, in_channels: int, n_classes: int) -> None:
        super().__init__(in_channels)
        before = STEM
        for count, width in V1_STAGES:
            first = UnitV1(before, width, stride=2)
            rest = (UnitV1(width, width, stride=1) for _ in range(count - 1))
            self.stages.append(nn.ModuleList([first, *rest]))
            before = width
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the map that ends each stage."""
        stages, preacts = self._stage_maps(images_BCHW)
        return Maps(pooled(stages[-1]), stages, preacts)


class ShuffleNetV2(_ShuffleNet):
    """Width 1; a 1x1 convolution to 1024 channels before the pooling."""

    def __init__(self, *, in_channels: int, n_classes: int) -> None:
        super().__init__(in_channels)
        before = STEM
        for count, width in V2_STAGES:
            rest = (UnitV2(width) for _ in range(count - 1))
            self.stages.append(nn.ModuleList([DownV2(before, width), *rest]))
            before = width
        self.last = ConvNorm(before, V2_LAST, 1)
        self.classifier = nn.Linear(V2_LAST, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the map that ends each stage."""
        stages, preacts = self._stage_maps(images_BCHW)
        return Maps(pooled(functional.relu(self.last(stages[-1]))), stages, preacts)
