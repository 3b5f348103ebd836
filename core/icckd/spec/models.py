"""Which networks there are. docs/models.md describes them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from icckd.spec.settings import Off, Settings

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


class CnnModel(Settings):
    """Three blocks of 3x3 convolution, batch norm, ReLU; pooled between; one linear classifier."""

    kind: Literal["cnn"] = "cnn"
    widths: tuple[
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ] = (16, 32, 64)


class CifarModel(Settings):
    """A network of the CIFAR-100 distillation literature, for images of 32 or 64 pixels."""

    kind: Literal["cifar"]
    name: CifarName


class WeightsFile(Settings):
    """Weights to start from: a safetensors file with the names that torchvision gives them.

    The digest is what identifies them; the file is refused when it has another one.
    """

    places: ClassVar[frozenset[str]] = frozenset({"file"})

    file: str = Field(min_length=1, max_length=4096, description="path, as seen by the worker")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class TorchvisionModel(Settings):
    """A network of torchvision for ImageNet, without dropout and stochastic depth."""

    kind: Literal["torchvision"]
    name: TorchvisionName
    weights: WeightsFile | Off = "off"


Model = Annotated[CnnModel | CifarModel | TorchvisionModel, Field(discriminator="kind")]
