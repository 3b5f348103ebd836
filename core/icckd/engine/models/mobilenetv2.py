"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), half as wide, for CIFAR.

Shape suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import ConvNorm, pooled
from icckd.engine.seeding import Start

STAGES = (
    ((1, 8, 1, 1), (6, 12, 2, 1)),
    ((6, 16, 3, 2),),
    ((6, 32, 4, 2), (6, 48, 3, 1)),
    ((6, 80, 3, 2), (6, 160, 1, 1)),
)
"""Expansion, channels, blocks and first stride of each group, by stage."""
STEM, LAST = 16, 1280


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution, 1x1 projection that is not activated."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = ConvNorm(in_channels, inner, 1)
        self.depthwise = ConvNorm(inner, inner, 3, stride=stride, groups=inner)
        self.project = ConvNorm(inner, out_channels, 1)
        self._adds = stride == 1 and in_channels == out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the projection, plus the input where the shapes agree."""
        inner_BCHW = functional.relu(self.expand(x_BCHW))
        inner_BCHW = functional.relu(self.depthwise(inner_BCHW))
        out_BCHW: Tensor = self.project(inner_BCHW)
        return x_BCHW + out_BCHW if self._adds else out_BCHW


class MobileNetV2(Classifier):
    """A stem of stride 2, inverted residual blocks, a 1x1 convolution to 1280 channels."""

    start = Start(conv="fan-out", linear="normal", linear_bias="zero")
    activated = False

    def __init__(self, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        before = STEM
        for groups in STAGES:
            blocks: list[nn.Module] = []
            for expansion, width, count, stride in groups:
                for number in range(count):
                    step = stride if number == 0 else 1
                    blocks.append(InvertedResidual(before, width, stride=step, expansion=expansion))
                    before = width
            self.stages.append(nn.Sequential(*blocks))
        self.last = ConvNorm(before, LAST, 1)
        self.classifier = nn.Linear(LAST, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the linear map of the bottleneck that ends each stage."""
        x_BCHW = functional.relu(self.stem(images_BCHW))
        stages = []
        for blocks in self.stages:
            x_BCHW = blocks(x_BCHW)
            stages.append(x_BCHW)
        features_BD = pooled(functional.relu(self.last(x_BCHW)))
        return Maps(features_BD, tuple(stages), tuple(stages))
