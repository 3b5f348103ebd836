"""A small convolutional network for images of at least 4x4 pixels."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from icckd.study.data import ImageShape
from icckd.study.network import Model, NetworkShape, Outline, model
from icckd.train.lazy import Module, Tensor, functional, nn
from icckd.train.networks.base import Classifier, Maps


class CnnModel(Model):
    """Three blocks of 3x3 convolution, batch norm, ReLU; pooled between; one linear classifier."""

    about = (
        "three blocks of 3x3 convolution, batch norm and ReLU with 2x2 max-pooling between them;"
        " for the digits"
    )

    kind: Literal["cnn"] = "cnn"
    widths: Annotated[
        tuple[
            Annotated[int, Field(ge=1, le=4096)],
            Annotated[int, Field(ge=1, le=4096)],
            Annotated[int, Field(ge=1, le=4096)],
        ],
        Strict(False),  # as `Many`: the file has a list
    ] = Field(default=(16, 32, 64), description="channels of the three blocks")

    def shape(self, image: ImageShape) -> NetworkShape:
        """Return what the network gives for an image."""
        return Outline(self.widths, (1, 2, 4), padded_to=1).shape(self.kind, image)


class Block(Module):
    """3x3 convolution without bias, then batch norm; the activation is left to the caller."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map before its activation, same height and width."""
        x_BCHW = self.norm(self.conv(x_BCHW))
        return x_BCHW


@model(CnnModel, order=1)
class Cnn(Classifier):
    """Three blocks with ReLU, 2x2 max-pooling between them, global average pooling, linear."""

    def __init__(self, settings: CnnModel, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        first, second, third = settings.widths
        self.block1 = Block(in_channels, first)
        self.block2 = Block(first, second)
        self.block3 = Block(second, third)
        self.classifier = nn.Linear(third, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, shape (batch, third width), and a map of each block."""
        pre1 = self.block1(images_BCHW)
        stage1 = functional.relu(pre1)
        pre2 = self.block2(functional.max_pool2d(stage1, 2))
        stage2 = functional.relu(pre2)
        pre3 = self.block3(functional.max_pool2d(stage2, 2))
        stage3 = functional.relu(pre3)
        return Maps(stage3.mean(dim=(2, 3)), (stage1, stage2, stage3), (pre1, pre2, pre3))
