"""What an image and a network's maps measure, known without building the network.

A *stage* ends where the resolution changes; the stem before the first stage is none. So stage l
of one network means about the same as stage l of another: see docs/models.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from icckd.spec.data import Data
from icckd.spec.models import CnnModel, Model

POOL_FOUR_TIMES = 64
"""Images of at least this many pixels a side get a fourth pooling in a CIFAR VGG."""

TORCHVISION_CHANNELS = 3
TORCHVISION_SMALLEST = 32
"""Channels, and pixels a side, that every network of torchvision can take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """Channels and pixels of one image."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShape:
    """Channels and positions of the map after a stage."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """Width of the pooled features, and the map after each stage for one image.

    A network that gives no maps has no stages.
    """

    features: int
    stages: tuple[StageShape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """Channels of each stage, and by what the image is smaller there.

    Padding rounds up as far as the stride `padded_to`, pooling beyond it rounds down.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    features: int
    padded_to: int


def image_shape(data: Data) -> ImageShape:
    """Return the shape of the images as networks see them."""
    fixed = {
        "digits": ImageShape(channels=1, height=8, width=8),
        "cifar10": ImageShape(channels=3, height=32, width=32),
        "cifar100": ImageShape(channels=3, height=32, width=32),
        "tiny-imagenet": ImageShape(channels=3, height=64, width=64),
    }
    if data.kind == "synthetic":
        return ImageShape(channels=1, height=data.size, width=data.size)
    if data.kind in ("image-folder", "imagenet"):
        return ImageShape(channels=3, height=data.size, width=data.size)
    return fixed[data.kind]


def network_shape(model: Model, image: ImageShape) -> NetworkShape:
    """Return what a network gives for an image.

    Raises:
        ValueError: The image is too small for the network, or has other channels than it needs.
    """
    outline = _outline(model, image)
    name = model.kind if isinstance(model, CnnModel) else model.name
    if model.kind == "torchvision" and image.channels != TORCHVISION_CHANNELS:
        raise ValueError(
            f"{name} of torchvision needs images of {TORCHVISION_CHANNELS} channels,"
            f" not {image.channels}"
        )
    smallest = outline.strides[-1] if outline.strides else TORCHVISION_SMALLEST
    if min(image.height, image.width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest}x{smallest} pixels,"
            f" not {image.height}x{image.width}"
        )
    return NetworkShape(
        features=outline.features,
        stages=tuple(
            StageShape(
                channels=channels,
                height=_shrunk(image.height, stride, outline.padded_to),
                width=_shrunk(image.width, stride, outline.padded_to),
            )
            for channels, stride in zip(outline.channels, outline.strides, strict=True)
        ),
    )


def _shrunk(pixels: int, stride: int, padded_to: int) -> int:
    padded = min(stride, padded_to)
    return -(-pixels // padded) // (stride // padded)


def _outline(model: Model, image: ImageShape) -> _Outline:
    if model.kind == "cnn":
        return _of(model.widths, (1, 2, 4), padded_to=1)
    if model.kind == "torchvision":
        return _TORCHVISION.get(model.name) or _torchvision_outline(model.name)
    if model.name.startswith("vgg"):
        pools_again = min(image.height, image.width) >= POOL_FOUR_TIMES
        strides = (2, 4, 8, 16 if pools_again else 8)
        return _of((128, 256, 512, 512), strides, padded_to=1)
    return _CIFAR.get(model.name, _THIN_RESNET)


def _of(
    channels: Sequence[int],
    strides: tuple[int, ...],
    features: int | None = None,
    *,
    padded_to: int = 32,
) -> _Outline:
    return _Outline(
        channels=tuple(channels),
        strides=strides,
        features=channels[-1] if features is None else features,
        padded_to=padded_to,
    )


def _torchvision_outline(name: str) -> _Outline:
    if name.startswith("vgg"):
        return _of((128, 256, 512, 512), (2, 4, 8, 16), 4096, padded_to=1)
    if name in ("resnet18", "resnet34"):
        return _of((64, 128, 256, 512), (4, 8, 16, 32))
    return _of((256, 512, 1024, 2048), (4, 8, 16, 32))  # ResNet, wide ResNet and ResNeXt


_THIN_RESNET = _of((16, 32, 64), (1, 2, 4))
_CIFAR = {
    "resnet8x4": _of((64, 128, 256), (1, 2, 4)),
    "resnet32x4": _of((64, 128, 256), (1, 2, 4)),
    "wrn-16-2": _of((32, 64, 128), (1, 2, 4)),
    "wrn-40-2": _of((32, 64, 128), (1, 2, 4)),
    "resnet18": _of((64, 128, 256, 512), (1, 2, 4, 8)),
    "resnet50": _of((256, 512, 1024, 2048), (1, 2, 4, 8)),
    "mobilenetv2": _of((12, 16, 48, 160), (2, 4, 8, 16), 1280),
    "shufflenetv1": _of((240, 480, 960), (2, 4, 8)),
    "shufflenetv2": _of((116, 232, 464), (2, 4, 8), 1024),
}
_TORCHVISION = {
    "densenet121": _of((256, 512, 1024, 1024), (4, 8, 16, 32), padded_to=4),
    "densenet161": _of((384, 768, 2112, 2208), (4, 8, 16, 32), padded_to=4),
    "densenet169": _of((256, 512, 1280, 1664), (4, 8, 16, 32), padded_to=4),
    "densenet201": _of((256, 512, 1792, 1920), (4, 8, 16, 32), padded_to=4),
    "mobilenet_v2": _of((24, 32, 96, 320), (4, 8, 16, 32), 1280),
    "shufflenet_v2_x0_5": _of((48, 96, 192), (8, 16, 32), 1024),
    "shufflenet_v2_x1_0": _of((116, 232, 464), (8, 16, 32), 1024),
    "shufflenet_v2_x1_5": _of((176, 352, 704), (8, 16, 32), 1024),
    "shufflenet_v2_x2_0": _of((244, 488, 976), (8, 16, 32), 2048),
    "mobilenet_v3_large": _of((), (), 1280),
    "mobilenet_v3_small": _of((), (), 1024),
    "efficientnet_b0": _of((), (), 1280),
    "efficientnet_b1": _of((), (), 1280),
    "efficientnet_b2": _of((), (), 1408),
    "efficientnet_b3": _of((), (), 1536),
    "efficientnet_b4": _of((), (), 1792),
    "efficientnet_b5": _of((), (), 2048),
    "efficientnet_b6": _of((), (), 2304),
    "efficientnet_b7": _of((), (), 2560),
}
