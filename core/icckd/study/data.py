"""Which images a study trains and tests on: what all data sets have, and how images are augmented.

The data sets are registered in the files of `icckd.train.datasets`; docs/data.md describes them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import ConfigDict, Field, model_validator

from icckd.errors import UsageError
from icckd.study.registry import Registry, kind_of
from icckd.study.settings import Off, OneOf, Settings, known_as

SplitSeed = Annotated[int, Field(ge=0, description="fixes the split for all seeds")]


class ResizedCrop(Settings):
    """A box of random area and shape, resized to the size of the set's images.

    Szegedy et al. 2015 (arXiv 1409.4842); torchvision calls it RandomResizedCrop.
    """

    smallest: float = Field(default=0.08, gt=0, le=1, description="least share of the image's area")
    aspect: float = Field(default=4 / 3, ge=1, le=10, description="width / height, or its inverse")


class Augmentation(Settings):
    """Random views of an image, each drawn anew: turned, cropped from zero padding, mirrored."""

    model_config = ConfigDict(
        json_schema_extra=known_as(
            "data augmentation", "augmentation", "image augmentation", off={}
        )
    )

    padding: int = Field(
        default=0,
        ge=0,
        le=16,
        description="pixels added on each side",
        json_schema_extra=known_as("random crop", "random translation", unit="pixels", off=0),
    )
    flip: bool = Field(
        default=False,
        description="mirror left-right with probability 1/2",
        json_schema_extra=known_as("horizontal flip", "random horizontal flip", off=False),
    )
    rotation: float = Field(
        default=0.0,
        ge=0,
        le=180,
        description="turn by up to these degrees",
        json_schema_extra=known_as("random rotation", unit="degrees", off=0.0),
    )
    resized_crop: ResizedCrop | Off = "off"

    def changes_images(self) -> bool:
        """Whether two views of an image can differ at all."""
        return bool(self.padding or self.flip or self.rotation or self.resized_crop != "off")

    @model_validator(mode="after")
    def _one_crop(self) -> "Augmentation":
        if self.resized_crop != "off" and (self.padding or self.rotation):
            raise ValueError("resized_crop goes with neither padding nor rotation")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """Channels and pixels of one image."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCounts:
    """Images of each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Images of a folder by name below it, each with the number of its class."""

    names: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a folder with a sub-folder for each class holds: what is read, and what is not.

    Plan, fingerprint and reader go by it, so that none sees what another does not.

    Attributes:
        folder: The folder.
        classes: Names of the classes, in the order of their numbers.
        parts: Images of each split that the folder has, by the split's sub-folder; "" is all of
            them, where it has none.
        left_out: What is not read and why, a line each.
        problems: What makes it unfit to train on, a line each.
        as_seen: Whether images are decoded as a viewer shows them; else colours as they are stored.
        counts_anew: Whether an earlier version of icckd counted other classes or images in it.
    """

    folder: Path
    classes: tuple[str, ...]
    parts: Mapping[str, Labelled]
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    as_seen: bool = False
    counts_anew: bool = False

    @property
    def images(self) -> int:
        """Images of all parts."""
        return sum(len(part.names) for part in self.parts.values())

    def files(self) -> dict[str, list[str]]:
        """Return names of images by the folder that has them, below `folder`, both in order."""
        found: dict[str, list[str]] = {}
        for name, part in self.parts.items():
            for image in part.names:
                where, _, file = f"{name}/{image}".lstrip("/").rpartition("/")
                found.setdefault(where, []).append(file)
        return {where: sorted(found[where]) for where in sorted(found, key=_by_level)}


def _by_level(where: str) -> list[str]:
    return where.split("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What docs/data.md says of a data set, a column each."""

    images: str
    labels: str
    test_set: str
    files: str


DATASETS: Registry["Data"] = Registry("data set")
data_set = DATASETS.register
"""Registers what loads a data set for its settings: see docs/extending.md."""


class Data(OneOf):
    """Settings of any data set.

    A set has raw files, a raw folder with a file for each image, or is drawn.

    Attributes:
        about: What docs/data.md says of it.
        absent_hint: What to do where its files are missing.
        is_downloaded: Whether `icckd fetch` gets it.
        drawn: Names the way in which images without files are drawn, and its version.
    """

    registry = DATASETS

    about: ClassVar[About]
    absent_hint: ClassVar[str] = ""
    is_downloaded: ClassVar[bool] = False
    drawn: ClassVar[str] = ""

    if TYPE_CHECKING:
        augment: Augmentation

    @abstractmethod
    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""

    def class_count(self) -> int | None:
        """Return the number of classes, None where only the files tell."""
        return None

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split, None where only the files tell."""
        return None

    def counts_in(self, root: Path) -> ImageCounts | None:
        """Return the images of each split of the files below a folder, None where none tell.

        Raises:
            MachineError: If a file is missing or damaged.
        """
        return self.image_counts()

    def counts_of(self, inventory: Inventory) -> ImageCounts | None:
        """Return the images of each split of what a folder holds."""
        return self.image_counts()

    def has_subclasses(self) -> bool:
        """Whether each label hides known sub-classes."""
        return getattr(self, "labels", "fine") == "coarse"

    def has_superclasses(self) -> bool:
        """Whether the labels form known super-classes."""
        return getattr(self, "labels", "coarse") == "fine"

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return the few files that decide the data, in a fixed order.

        Raises:
            MachineError: If one is missing.
        """
        return ()

    def raw_folder(self, root: Path) -> Path | None:
        """Return the folder of a set that has a file for each image.

        Raises:
            MachineError: If it is missing.
        """
        return None

    def inventory(self, root: Path) -> Inventory | None:
        """Return what the raw folder holds, where a sub-folder for each class holds images.

        Raises:
            MachineError: If the folder is missing or cannot be read.
        """
        return None

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the data set below `root` unless it is there already.

        Raises:
            UsageError: It is not downloaded.
        """
        raise UsageError(
            f"data set {kind_of(cls)!r} is not downloaded by icckd", hint=cls.absent_hint
        )


class SmallImages(Data):
    """Settings of sets whose images all have one small size."""

    augment: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _no_resized_crop(self) -> "SmallImages":
        if self.augment.resized_crop != "off":
            raise ValueError("augment.resized_crop is for image-folder and imagenet")
        return self


def has_subclasses(data: Data) -> bool:
    """Whether each label of these data hides known sub-classes."""
    return data.has_subclasses()


def has_superclasses(data: Data) -> bool:
    """Whether the labels of these data form known super-classes."""
    return data.has_superclasses()


def class_count(data: Data) -> int | None:
    """Return the number of classes, None where only the files tell."""
    return data.class_count()
