"""Torchvision's networks, which were made for ImageNet, behind the interface of ours.

Dropout and stochastic depth are off: their randomness would have no stream of its own. Families
in `MAPS` give the map of each stage; the others give features and logits alone, as
`icckd.study.network` says. Parameters keep torchvision's names, so that its weights fit.

Shape suffixes: B batch, C channels, D features, H height, W width.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from icckd.errors import StageError
from icckd.study.data import ImageShape
from icckd.study.network import Model, NetworkShape, Outline, WeightsFile, model
from icckd.study.settings import Off
from icckd.train.data.files import read_weights
from icckd.train.lazy import Tensor, functional, lazy_module, nn, torch
from icckd.train.networks.base import Classifier, Maps, adaptive_averages, pooled
from icckd.train.seeding import Key, Start
from icckd.train.weights import compare, likely_network, shapes_of, today, wanted

models: Any = lazy_module("torchvision.models")  # takes a worker a while to import

CHANNELS = 3
SMALLEST = 32
"""Channels, and pixels a side, that every network of torchvision can take."""

TorchvisionName = Literal[
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet50_2",
    "wide_resnet101_2",
]

_OUTLINES = {
    "densenet121": Outline((256, 512, 1024, 1024), (4, 8, 16, 32), padded_to=4),
    "densenet161": Outline((384, 768, 2112, 2208), (4, 8, 16, 32), padded_to=4),
    "densenet169": Outline((256, 512, 1280, 1664), (4, 8, 16, 32), padded_to=4),
    "densenet201": Outline((256, 512, 1792, 1920), (4, 8, 16, 32), padded_to=4),
    "mobilenet_v2": Outline((24, 32, 96, 320), (4, 8, 16, 32), 1280),
    "shufflenet_v2_x0_5": Outline((48, 96, 192), (8, 16, 32), 1024),
    "shufflenet_v2_x1_0": Outline((116, 232, 464), (8, 16, 32), 1024),
    "shufflenet_v2_x1_5": Outline((176, 352, 704), (8, 16, 32), 1024),
    "shufflenet_v2_x2_0": Outline((244, 488, 976), (8, 16, 32), 2048),
    "mobilenet_v3_large": Outline((), (), smallest=SMALLEST, features=1280),
    "mobilenet_v3_small": Outline((), (), smallest=SMALLEST, features=1024),
    "efficientnet_b0": Outline((), (), smallest=SMALLEST, features=1280),
    "efficientnet_b1": Outline((), (), smallest=SMALLEST, features=1280),
    "efficientnet_b2": Outline((), (), smallest=SMALLEST, features=1408),
    "efficientnet_b3": Outline((), (), smallest=SMALLEST, features=1536),
    "efficientnet_b4": Outline((), (), smallest=SMALLEST, features=1792),
    "efficientnet_b5": Outline((), (), smallest=SMALLEST, features=2048),
    "efficientnet_b6": Outline((), (), smallest=SMALLEST, features=2304),
    "efficientnet_b7": Outline((), (), smallest=SMALLEST, features=2560),
}
_VGG = Outline((128, 256, 512, 512), (2, 4, 8, 16), 4096, padded_to=1)
_SMALL_RESNET = Outline((64, 128, 256, 512), (4, 8, 16, 32))
_RESNET = Outline((256, 512, 1024, 2048), (4, 8, 16, 32))  # also wide ResNet and ResNeXt


class TorchvisionModel(Model):
    """A network of torchvision for ImageNet, without dropout and stochastic depth."""

    about = "torchvision's networks for ImageNet"

    kind: Literal["torchvision"]
    name: TorchvisionName = Field(description="as torchvision calls them; see models.md")
    weights: WeightsFile | Off = "off"

    @property
    def weights_file(self) -> WeightsFile | Off:
        """Weights that the network starts from."""
        return self.weights

    def shape(self, image: ImageShape) -> NetworkShape:
        """Return what the network gives for an image."""
        if image.channels != CHANNELS:
            raise ValueError(
                f"{self.name} of torchvision needs images of {CHANNELS} channels,"
                f" not {image.channels}"
            )
        small = self.name in ("resnet18", "resnet34")
        other = _VGG if self.name.startswith("vgg") else _SMALL_RESNET if small else _RESNET
        return _OUTLINES.get(self.name, other).shape(self.name, image)


STARTS = {
    "densenet": Start(conv="fan-in", linear_bias="zero"),
    "efficientnet": Start(conv="fan-out", linear="outputs", linear_bias="zero"),
    "mobilenet": Start(conv="fan-out", linear="normal", linear_bias="zero"),
    "resnet": Start(conv="fan-out"),
    "resnext": Start(conv="fan-out"),
    "shufflenet": Start(),
    "vgg": Start(conv="fan-out", linear="normal", linear_bias="zero"),
    "wide": Start(conv="fan-out"),
}
"""Torchvision's own distributions, by family."""

OFF: dict[str, dict[str, float]] = {
    "densenet": {"drop_rate": 0.0},
    "efficientnet": {"dropout": 0.0, "stochastic_depth_prob": 0.0},
    "mobilenet": {"dropout": 0.0},
    "vgg": {"dropout": 0.0},
}
"""What builds a family without dropout; the others have none."""


def family_of(name: str) -> str:
    """Return the family of a network.

    >>> family_of("vgg16_bn"), family_of("resnext50_32x4d"), family_of("wide_resnet50_2")
    ('vgg', 'resnext', 'wide')
    """
    return name.split("_")[0].rstrip("0123456789")


@model(TorchvisionModel, order=3)
class Torchvision(Classifier):
    """One of torchvision's networks; its last linear layer is the classifier."""

    def __init__(self, settings: TorchvisionModel, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        if in_channels != 3:
            raise StageError(
                f"{settings.name} of torchvision needs images of 3 channels, not {in_channels}",
                hint='take a model of kind "cifar" or "cnn"',
            )
        family = family_of(settings.name)
        self.start = STARTS[family]
        self.activated = settings.name != "mobilenet_v2"
        self._name, self._weights = settings.name, settings.weights
        self._maps = MAPS.get(settings.name) or MAPS.get(family)
        self.net: Any = models.get_model(
            settings.name, weights=None, num_classes=n_classes, **OFF.get(family, {})
        )
        linear = [name for name, m in self.net.named_modules() if isinstance(m, nn.Linear)][-1]
        self._classifier_name = linear
        self.classifier = self.net.get_submodule(linear)
        self.net.set_submodule(linear, nn.Identity())

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and a map of each stage where the family gives them."""
        if self._maps is None:
            return Maps(self.net(images_BCHW), (), ())
        preacts, features_BD, stages = self._maps(self.net, images_BCHW)
        return Maps(features_BD, tuple(stages), tuple(preacts))

    def initialise(self, key: Key) -> None:
        """Set everything from streams under `key`, then what the weights file holds.

        The classifier of the file is taken if it has as many classes, and starts anew otherwise.

        Raises:
            MachineError: The file is missing or has another digest.
            StageError: It is not a safetensors file, or holds the weights of another network.
        """
        super().initialise(key)
        if self._weights == "off":
            return
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            content = load(read_weights(self._weights))
            given = self._renamed(content)
            new = {f"classifier.{part}" for part in ("weight", "bias")}
            if given.get("classifier.bias", torch.empty(0)).shape != self.classifier.bias.shape:
                given |= {name: self.state_dict()[name] for name in new}
            self.load_state_dict(given)
        except SafetensorError as error:
            raise StageError(
                f"the weights {self._weights.file} are no safetensors file: {error}",
                hint="`icckd convert` makes one of a checkpoint",
            ) from error
        except RuntimeError:
            raise _misfit(self._weights.file, content, self._name) from None  # it names hundreds

    def _renamed(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        head = f"{self._classifier_name}."
        return {
            f"classifier.{name.removeprefix(head)}" if name.startswith(head) else f"net.{name}": v
            for name, v in ((today(name), v) for name, v in given.items())
        }


def _misfit(file: str, given: Mapping[str, Tensor], name: str) -> StageError:
    """Return the error for weights of another network, with the likely one."""
    shapes = shapes_of(given)
    likely = likely_network(shapes)
    instead = f"; they are most likely those of {likely}" if likely not in ("", name) else ""
    return StageError(
        f"the weights {file} do not fit {name}: {compare(shapes, wanted(name)).text()}{instead}",
        hint="name the network of the file, or convert another one: `icckd convert FILE.pth"
        " FILE.safetensors --for STUDY teacher` compares before it writes",
    )


Walked = tuple[list[Tensor], Tensor, list[Tensor]]
"""Each stage's map before its activation; the pooled features; the maps activated."""


def _resnet(net: Any, x_BCHW: Tensor) -> Walked:
    x_BCHW = net.maxpool(functional.relu(net.bn1(net.conv1(x_BCHW))))
    preacts, stages = [], []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        *blocks, last = layer
        for block in blocks:
            x_BCHW = block(x_BCHW)
        preacts.append(_residual_sum(last, x_BCHW))
        x_BCHW = functional.relu(preacts[-1])
        stages.append(x_BCHW)
    return preacts, pooled(x_BCHW), stages


def _residual_sum(block: Any, x_BCHW: Tensor) -> Tensor:
    """Return what torchvision's block computes before its last activation."""
    inner_BCHW = functional.relu(block.bn1(block.conv1(x_BCHW)))
    inner_BCHW = block.bn2(block.conv2(inner_BCHW))
    if isinstance(block, models.resnet.Bottleneck):
        inner_BCHW = block.bn3(block.conv3(functional.relu(inner_BCHW)))
    shortcut_BCHW = x_BCHW if block.downsample is None else block.downsample(x_BCHW)
    sum_BCHW: Tensor = inner_BCHW + shortcut_BCHW
    return sum_BCHW


def _vgg(net: Any, x_BCHW: Tensor) -> Walked:
    preacts, stages = [], []
    for layer, following in pairwise(net.features):
        if isinstance(following, nn.MaxPool2d):
            preacts.append(x_BCHW)
            x_BCHW = functional.relu(x_BCHW)
            stages.append(x_BCHW)
        else:
            x_BCHW = layer(x_BCHW)
    x_BCHW = net.features[-1](x_BCHW)
    if x_BCHW.shape[2:] != (7, 7):
        x_BCHW = adaptive_averages(x_BCHW, 7, 7)
    features_BD: Tensor = net.classifier(x_BCHW.flatten(1))
    return preacts[1:], features_BD, stages[1:]


def _densenet(net: Any, x_BCHW: Tensor) -> Walked:
    parts = net.features
    x_BCHW = parts.pool0(parts.relu0(parts.norm0(parts.conv0(x_BCHW))))
    preacts, stages = [], []
    for number in (1, 2, 3, 4):
        x_BCHW = parts.get_submodule(f"denseblock{number}")(x_BCHW)
        transition = None if number == 4 else parts.get_submodule(f"transition{number}")
        norm = parts.norm5 if transition is None else transition.norm
        preacts.append(norm(x_BCHW))
        stages.append(functional.relu(preacts[-1]))
        if transition is not None:
            x_BCHW = transition.pool(transition.conv(stages[-1]))
    return preacts, pooled(stages[-1]), stages


def _shufflenet(net: Any, x_BCHW: Tensor) -> Walked:
    x_BCHW = net.maxpool(net.conv1(x_BCHW))
    preacts, stages = [], []
    for stage in (net.stage2, net.stage3, net.stage4):
        *units, last = stage
        for unit in units:
            x_BCHW = unit(x_BCHW)
        passes_BCHW, made_BCHW = x_BCHW.chunk(2, dim=1)
        for layer in list(last.branch2)[:-1]:
            made_BCHW = layer(made_BCHW)
        joined_BCHW = torch.cat([passes_BCHW, made_BCHW], dim=1)
        preacts.append(functional.channel_shuffle(joined_BCHW, 2))
        x_BCHW = functional.relu(preacts[-1])
        stages.append(x_BCHW)
    return preacts, pooled(net.conv5(x_BCHW)), stages


def _mobilenet_v2(net: Any, x_BCHW: Tensor) -> Walked:
    stages = []
    for number, layer in enumerate(net.features):
        x_BCHW = layer(x_BCHW)
        if number in (3, 6, 13, 17):  # the last bottleneck before each halving, and the last of all
            stages.append(x_BCHW)
    return stages, pooled(x_BCHW), stages


MAPS: dict[str, Callable[[Any, Tensor], Walked]] = {
    "densenet": _densenet,
    "mobilenet_v2": _mobilenet_v2,
    "resnet": _resnet,
    "resnext": _resnet,
    "shufflenet": _shufflenet,
    "vgg": _vgg,
    "wide": _resnet,
}
"""How to walk through a network, by family or name."""
