"""Torchvision's networks, which were made for ImageNet, behind the interface of ours.

Dropout and stochastic depth are off: their randomness would have no stream of its own. Families
in `MAPS` give the map of each stage; the others give features and logits alone, as
`icckd.spec.shapes` says. Parameters keep torchvision's names, so that its weights fit.

Shape suffixes: B batch, C channels, D features, H height, W width.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, cat, nn
from torch.nn import functional
from torchvision import models

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import pooled
from icckd.engine.seeding import Key, Start
from icckd.engine.weights import read_weights
from icckd.errors import StageError
from icckd.spec.models import TorchvisionModel

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
        self._weights = settings.weights
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
            StageError: It is no safetensors file, or holds the weights of another network.
        """
        super().initialise(key)
        if self._weights == "off":
            return
        try:
            given = self._renamed(load(read_weights(self._weights)))
            new = {f"classifier.{part}" for part in ("weight", "bias")}
            if given.get("classifier.bias", Tensor()).shape != self.classifier.bias.shape:
                given |= {name: self.state_dict()[name] for name in new}
            self.load_state_dict(given)
        except (RuntimeError, SafetensorError) as error:
            raise StageError(
                f"the weights {self._weights.file} do not fit: {error}",
                hint="they must be torchvision's state dict of that network, as safetensors",
            ) from error

    def _renamed(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        head = f"{self._classifier_name}."
        return {
            f"classifier.{name.removeprefix(head)}" if name.startswith(head) else f"net.{name}": v
            for name, v in given.items()
        }


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
    if x_BCHW.shape[2:] != (7, 7):  # else the pooling changes nothing, and has no repeatable
        x_BCHW = net.avgpool(x_BCHW)  # gradient on a GPU
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
        joined_BCHW = cat([passes_BCHW, made_BCHW], dim=1)
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
