"""The networks of the CIFAR-100 distillation literature, for images of 32 or 64 pixels.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import Field

from icckd.study.data import ImageShape
from icckd.study.network import Model, NetworkShape, Outline, model
from icckd.train.lazy import Module, Tensor, functional, nn, torch
from icckd.train.networks.base import Classifier, ConvNorm, Maps, pooled, through_all_but_last
from icckd.train.seeding import Start

POOL_FOUR_TIMES = 64
"""Images of at least this many pixels a side get a fourth pooling in a VGG."""

CifarName = Literal[
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet8x4",
    "resnet32x4",
    "wrn-16-1",
    "wrn-16-2",
    "wrn-40-1",
    "wrn-40-2",
    "vgg8",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "resnet18",
    "resnet50",
    "mobilenetv2",
    "shufflenetv1",
    "shufflenetv2",
]

_THIN_RESNET = Outline((16, 32, 64), (1, 2, 4))
_OUTLINES = {
    "resnet8x4": Outline((64, 128, 256), (1, 2, 4)),
    "resnet32x4": Outline((64, 128, 256), (1, 2, 4)),
    "wrn-16-2": Outline((32, 64, 128), (1, 2, 4)),
    "wrn-40-2": Outline((32, 64, 128), (1, 2, 4)),
    "resnet18": Outline((64, 128, 256, 512), (1, 2, 4, 8)),
    "resnet50": Outline((256, 512, 1024, 2048), (1, 2, 4, 8)),
    "mobilenetv2": Outline((12, 16, 48, 160), (2, 4, 8, 16), 1280),
    "shufflenetv1": Outline((240, 480, 960), (2, 4, 8)),
    "shufflenetv2": Outline((116, 232, 464), (2, 4, 8), 1024),
}


class CifarModel(Model):
    """A network of the CIFAR-100 distillation literature, for images of 32 or 64 pixels."""

    about = "the networks of the CIFAR-100 distillation literature"

    kind: Literal["cifar"]
    name: CifarName = Field(description="as the field calls them; see models.md")

    def shape(self, image: ImageShape) -> NetworkShape:
        """Return what the network gives for an image."""
        if self.name.startswith("vgg"):
            pools_again = min(image.height, image.width) >= POOL_FOUR_TIMES
            outline = Outline(
                (128, 256, 512, 512), (2, 4, 8, 16 if pools_again else 8), padded_to=1
            )
        else:
            outline = _OUTLINES.get(self.name, _THIN_RESNET)
        return outline.shape(self.name, image)


# Residual networks with activation after the addition (He et al. 2016, arXiv 1512.03385).
#
# For CIFAR: a 3x3 stem without pooling, and a 1x1 convolution with batch norm (option B) wherever a
# block changes the width or the resolution.


class Basic(Module):
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


class Bottleneck(Module):
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


def _shortcut(in_channels: int, out_channels: int, stride: int) -> Module:
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


# Wide residual networks, activated before the convolutions, without dropout.
#
# Zagoruyko and Komodakis 2016, arXiv 1605.07146.


class Unit(Module):
    """Two 3x3 convolutions of the activated input beside a shortcut, and the norm that follows.

    The norm belongs to the next unit of the paper, or ends the network. Its ReLU is what the next
    unit's convolutions see, so it is kept here, where the map of a stage is complete.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride=stride)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.projection = (
            None
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, sum_BCHW: Tensor, active_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum, and what its norm makes of it, before the activation.

        Args:
            sum_BCHW: The sum that the unit before returned.
            active_BCHW: ReLU of the norm of it.
        """
        inner_BCHW = functional.relu(self.first(active_BCHW))
        shortcut_BCHW = sum_BCHW if self.projection is None else self.projection(active_BCHW)
        sum_BCHW = shortcut_BCHW + self.second(inner_BCHW)
        return sum_BCHW, self.norm(sum_BCHW)


class WideResnet(Classifier):
    """WRN-depth-width: three stages of (depth - 4) / 6 units."""

    start = Start(conv="fan-out", linear_bias="zero")

    def __init__(self, depth: int, width: int, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, 16, 3)
        self.stages = nn.ModuleList()
        before = 16
        for number in range(3):
            out_channels = 16 * 2**number * width
            first = Unit(before, out_channels, stride=1 if number == 0 else 2)
            rest = (Unit(out_channels, out_channels, stride=1) for _ in range((depth - 4) // 6 - 1))
            self.stages.append(nn.ModuleList([first, *rest]))
            before = out_channels
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and each stage's map.

        A stage's preact is the norm of its last sum, its map the ReLU of that: what the next
        stage's convolutions, or the pooling, see.
        """
        sum_BCHW = self.stem.conv(images_BCHW)
        active_BCHW = functional.relu(self.stem.norm(sum_BCHW))
        stages, preacts = [], []
        for units in self.stages:
            assert isinstance(units, nn.ModuleList)
            for unit in units:
                sum_BCHW, preact_BCHW = unit(sum_BCHW, active_BCHW)
                active_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(active_BCHW)
        return Maps(pooled(active_BCHW), tuple(stages), tuple(preacts))


# VGG with batch norm (Simonyan and Zisserman 2015, arXiv 1409.1556) for CIFAR: one linear layer.

WIDTHS = (64, 128, 256, 512, 512)


class Vgg(Classifier):
    """Five blocks of 3x3 convolutions with bias; 2x2 max-pooling before blocks 2, 3 and 4.

    Large images are pooled before block 5 too. The first block is the stem, the others are the
    stages.
    """

    start = Start(conv="fan-out", linear="normal", linear_bias="zero")

    def __init__(self, convs: tuple[int, ...], *, in_channels: int, n_classes: int) -> None:
        """Build the network.

        Args:
            convs: Convolutions of each block.
            in_channels: Channels of an image.
            n_classes: Outputs.
        """
        super().__init__()
        self.blocks = nn.ModuleList()
        before = in_channels
        for count, width in zip(convs, WIDTHS, strict=True):
            layers = nn.ModuleList()
            for _ in range(count):
                layers.append(ConvNorm(before, width, 3, bias=True))
                before = width
            self.blocks.append(layers)
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the maps of blocks 2 to 5."""
        pools = 4 if min(images_BCHW.shape[2:]) >= POOL_FOUR_TIMES else 3
        x_BCHW = images_BCHW
        stages, preacts = [], []
        for number, layers in enumerate(self.blocks):
            assert isinstance(layers, nn.ModuleList)
            if 0 < number <= pools:
                x_BCHW = functional.max_pool2d(x_BCHW, 2)
            preact_BCHW = layers[-1](through_all_but_last(layers, x_BCHW))
            x_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(x_BCHW)
        return Maps(pooled(x_BCHW), tuple(stages[1:]), tuple(preacts[1:]))


# MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), half as wide, for CIFAR.

STAGES = (
    ((1, 8, 1, 1), (6, 12, 2, 1)),
    ((6, 16, 3, 2),),
    ((6, 32, 4, 2), (6, 48, 3, 1)),
    ((6, 80, 3, 2), (6, 160, 1, 1)),
)
"""Expansion, channels, blocks and first stride of each group, by stage."""
MOBILENET_STEM, LAST = 16, 1280


class InvertedResidual(Module):
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
        self.stem = ConvNorm(in_channels, MOBILENET_STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        before = MOBILENET_STEM
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


# ShuffleNet V1 and V2, both with a 1x1 stem of stride 1 for CIFAR.
#
# Zhang et al. 2018, arXiv 1707.01083; Ma et al. 2018, arXiv 1807.11164.

SHUFFLENET_STEM = 24
GROUPS = 3
V1_STAGES = ((4, 240), (8, 480), (4, 960))
V2_STAGES = ((4, 116), (8, 232), (4, 464))
"""Units and channels of each stage; the first unit halves the resolution."""
V2_LAST = 1024


class UnitV1(Module):
    """Grouped 1x1 convolution, shuffle, 3x3 depthwise, grouped 1x1, beside the input.

    With stride 2 the pooled input is put behind the result instead of being added.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self._stride = stride
        self._groups = 1 if in_channels == SHUFFLENET_STEM else GROUPS
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


class UnitV2(Module):
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


class DownV2(Module):
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
        self.stem = ConvNorm(in_channels, SHUFFLENET_STEM, 1)
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
        before = SHUFFLENET_STEM
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
        before = SHUFFLENET_STEM
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


# The networks of the CIFAR-100 distillation literature, by name.
#
# Parameter counts and multiply-adds are those of the reference implementations; see docs/models.md.


def _thin(depth: int, *, times: int = 1) -> Callable[..., Classifier]:
    """Return the builder of a ResNet of depth 6n + 2; `times` 4 has a stem twice as wide."""
    return partial(
        Resnet,
        Basic,
        ((depth - 2) // 6,) * 3,
        stem=16 if times == 1 else 32,
        widths=(16 * times, 32 * times, 64 * times),
    )


CIFAR: dict[CifarName, Callable[..., Classifier]] = {
    "resnet8": _thin(8),
    "resnet14": _thin(14),
    "resnet20": _thin(20),
    "resnet32": _thin(32),
    "resnet44": _thin(44),
    "resnet56": _thin(56),
    "resnet110": _thin(110),
    "resnet8x4": _thin(8, times=4),
    "resnet32x4": _thin(32, times=4),
    "wrn-16-1": partial(WideResnet, 16, 1),
    "wrn-16-2": partial(WideResnet, 16, 2),
    "wrn-40-1": partial(WideResnet, 40, 1),
    "wrn-40-2": partial(WideResnet, 40, 2),
    "vgg8": partial(Vgg, (1, 1, 1, 1, 1)),
    "vgg11": partial(Vgg, (1, 1, 2, 2, 2)),
    "vgg13": partial(Vgg, (2, 2, 2, 2, 2)),
    "vgg16": partial(Vgg, (2, 2, 3, 3, 3)),
    "vgg19": partial(Vgg, (2, 2, 4, 4, 4)),
    "resnet18": partial(Resnet, Basic, (2, 2, 2, 2), stem=64, widths=(64, 128, 256, 512)),
    "resnet50": partial(Resnet, Bottleneck, (3, 4, 6, 3), stem=64, widths=(256, 512, 1024, 2048)),
    "mobilenetv2": MobileNetV2,
    "shufflenetv1": ShuffleNetV1,
    "shufflenetv2": ShuffleNetV2,
}


@model(CifarModel, order=2)
def build_cifar(settings: CifarModel, *, in_channels: int, n_classes: int) -> Classifier:
    """Return the network of that name."""
    return CIFAR[settings.name](in_channels=in_channels, n_classes=n_classes)
