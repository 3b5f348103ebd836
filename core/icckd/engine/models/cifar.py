"""The networks of the CIFAR-100 distillation literature, by name.

Parameter counts and multiply-adds are those of the reference implementations; see docs/models.md.
"""

from collections.abc import Callable
from functools import partial

from icckd.engine.models.base import Classifier
from icckd.engine.models.mobilenetv2 import MobileNetV2
from icckd.engine.models.resnet import Basic, Bottleneck, Resnet
from icckd.engine.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from icckd.engine.models.vgg import Vgg
from icckd.engine.models.wrn import WideResnet
from icckd.spec.models import CifarModel, CifarName


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


def build_cifar(settings: CifarModel, *, in_channels: int, n_classes: int) -> Classifier:
    """Return the network of that name."""
    return CIFAR[settings.name](in_channels=in_channels, n_classes=n_classes)
