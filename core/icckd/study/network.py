"""What an image and a network's maps measure, known without building the network; and all models.

A *stage* ends where the resolution changes; the stem before the first stage is none. So stage l of
one network means about the same as stage l of another: see docs/models.md. The networks are
registered in the files of `icckd.train.networks`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from icckd.study.data import Data, ImageShape
from icckd.study.registry import Registry
from icckd.study.settings import Off, OneOf, Settings, matching


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


@dataclass(frozen=True, slots=True)
class Outline:
    """How a network shrinks an image, from which follows the map after each of its stages.

    Attributes:
        channels: Channels of the map after each stage.
        strides: By what the image is smaller there.
        features: Width of the pooled features; None, that of the last map.
        padded_to: Strides up to this one round the size up, pooling beyond it rounds down.
        smallest: Pixels that a side of an image needs; None, the last stride.
    """

    channels: Sequence[int]
    strides: tuple[int, ...]
    features: int | None = None
    padded_to: int = 32
    smallest: int | None = None

    def shape(self, name: str, image: ImageShape) -> NetworkShape:
        """Return what a network gives for an image.

        Args:
            name: What the network is called in messages.
            image: The shape of the image.

        Raises:
            ValueError: The image is too small for the network.
        """
        smallest = self.strides[-1] if self.smallest is None else self.smallest
        if min(image.height, image.width) < smallest:
            raise ValueError(
                f"{name} needs images of at least {smallest}x{smallest} pixels,"
                f" not {image.height}x{image.width}"
            )
        return NetworkShape(
            features=self.channels[-1] if self.features is None else self.features,
            stages=tuple(
                StageShape(
                    channels=channels,
                    height=self._shrunk(image.height, stride),
                    width=self._shrunk(image.width, stride),
                )
                for channels, stride in zip(self.channels, self.strides, strict=True)
            ),
        )

    def _shrunk(self, pixels: int, stride: int) -> int:
        padded = min(stride, self.padded_to)
        return -(-pixels // padded) // (stride // padded)


class WeightsFile(Settings):
    """Weights to start from: a safetensors file with the names that torchvision gives them.

    The digest is what identifies them; the file is refused when it has another one.
    """

    places: ClassVar[frozenset[str]] = frozenset({"file"})

    file: str = Field(min_length=1, max_length=4096, description="path, as seen by the worker")
    sha256: Annotated[str, matching(r"^[0-9a-f]{64}$", "64 digits from 0 to f")] = Field(
        description="of the file, as `icckd convert` prints it"
    )


MODELS: Registry["Model"] = Registry("model")
model = MODELS.register
"""Registers a network for its settings: see docs/extending.md."""


class Model(OneOf):
    """Settings of any network.

    Attributes:
        about: What it is, for docs/models.md.
    """

    registry = MODELS

    about: ClassVar[str]

    @property
    def weights_file(self) -> WeightsFile | Off:
        """Weights that the network starts from, where it reads some."""
        return "off"

    @abstractmethod
    def shape(self, image: ImageShape) -> NetworkShape:
        """Return what the network gives for an image.

        Raises:
            ValueError: The image is too small for the network, or has other channels than it needs.
        """


def image_shape(data: Data) -> ImageShape:
    """Return the shape of the images as networks see them."""
    return data.image_shape()


def network_shape(model: Model, image: ImageShape) -> NetworkShape:
    """Return what a network gives for an image.

    Raises:
        ValueError: The image is too small for the network, or has other channels than it needs.
    """
    return model.shape(image)
