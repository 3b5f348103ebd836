"""Which images a study trains and tests on."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from icckd.spec.settings import Off, Settings

SplitSeed = Annotated[int, Field(ge=0, description="fixes the split for all seeds")]


class ResizedCrop(Settings):
    """A box of random area and shape, resized to the size of the set's images.

    Szegedy et al. 2015 (arXiv 1409.4842); torchvision calls it RandomResizedCrop.
    """

    smallest: float = Field(default=0.08, gt=0, le=1, description="least share of the image's area")
    aspect: float = Field(default=4 / 3, ge=1, le=10, description="width / height, or its inverse")


class Augmentation(Settings):
    """Random views of an image, each drawn anew: turned, cropped from zero padding, mirrored."""

    padding: int = Field(default=0, ge=0, le=16, description="pixels added on each side")
    flip: bool = Field(default=False, description="mirror left-right with probability 1/2")
    rotation: float = Field(default=0.0, ge=0, le=180, description="turn by up to these degrees")
    resized_crop: ResizedCrop | Off = "off"

    @model_validator(mode="after")
    def _one_crop(self) -> "Augmentation":
        if self.resized_crop != "off" and (self.padding or self.rotation):
            raise ValueError("resized_crop goes with neither padding nor rotation")
        return self


class _Small(Settings):
    """Sets whose images all have one small size."""

    augment: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _no_resized_crop(self) -> "_Small":
        if self.augment.resized_crop != "off":
            raise ValueError("augment.resized_crop is for image-folder and imagenet")
        return self


class DigitsData(_Small):
    """scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, bundled, no download.

    `coarse` labels put digits 2k and 2k+1 into class k (five classes); the digit itself is kept
    as the hidden sub-class. Images that are in neither `train` nor `validation` are the test set.
    """

    kind: Literal["digits"] = "digits"
    labels: Literal["fine", "coarse"] = "coarse"
    train: int = Field(default=450, ge=20, le=1700, description="training images")
    validation: int = Field(default=347, ge=10, le=1700, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=1)

    @model_validator(mode="after")
    def _leave_a_test_set(self) -> "DigitsData":
        if self.train + self.validation > 1787:
            raise ValueError("train + validation must leave at least 10 of 1,797 images to test on")
        return self


class Cifar10Data(_Small):
    """CIFAR-10 as torchvision reads it; validation images are taken from the 50,000."""

    kind: Literal["cifar10"]
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=4, flip=True)


class Cifar100Data(_Small):
    """CIFAR-100 as torchvision reads it; the other label level is kept for probes."""

    kind: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = "fine"
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=4, flip=True)


class TinyImagenetData(_Small):
    """Tiny ImageNet: 200 classes of 64x64 pixels; its own validation images are the test set."""

    kind: Literal["tiny-imagenet"]
    validation: int = Field(default=5000, ge=10, le=90000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(rotation=20.0, flip=True)


class ImageFolderData(Settings):
    """Any folder with a sub-folder of images for each class, below the folder of data sets.

    With sub-folders `train` and `val` (and maybe `test`) those are the splits; else `validation`
    and `test` are the shares that are held out of the images.
    """

    places: ClassVar[frozenset[str]] = frozenset({"folder", "resident_bytes"})

    kind: Literal["image-folder"]
    folder: str = Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=500
    )
    size: int = Field(default=64, ge=4, le=1024, description="pixels of a side, after resizing")
    validation: float = Field(default=0.1, gt=0, lt=1, description="share of the images")
    test: float = Field(default=0.2, gt=0, lt=1, description="share of the images")
    split_seed: SplitSeed = 0
    resident_bytes: int = Field(
        default=2 << 30, ge=0, description="more than these bytes of pixels are read as needed"
    )
    augment: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _leave_a_training_set(self) -> "ImageFolderData":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave images to train on")
        return self


class ImagenetData(Settings):
    """ImageNet (ILSVRC 2012) in torchvision's layout; its validation images are the test set."""

    kind: Literal["imagenet"]
    size: int = Field(default=224, ge=32, le=1024, description="pixels of a side of a crop")
    validation: int = Field(default=10000, ge=10, le=1_000_000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(resized_crop=ResizedCrop(), flip=True)


class SyntheticData(_Small):
    """Synthetic images, not real data: each class has several known sub-classes.

    A sub-class is a pattern of its own on top of its class's pattern; docs/data.md has the
    formula. The class is the label, the sub-class is hidden.
    """

    kind: Literal["synthetic"]
    classes: int = Field(default=4, ge=2, le=1000)
    subclasses: int = Field(default=2, ge=1, le=100, description="sub-classes of each class")
    size: int = Field(default=12, ge=4, le=256, description="pixels of a side")
    noise: float = Field(default=1.0, ge=0, le=100, description="deviation; a pattern's is 1")
    train: int = Field(default=400, ge=20, le=1_000_000, description="training images")
    validation: int = Field(default=200, ge=10, le=1_000_000, description="validation images")
    test: int = Field(default=400, ge=10, le=1_000_000, description="test images")
    generator_seed: int = Field(default=0, ge=0, description="fixes all images, for all seeds")
    augment: Augmentation = Augmentation(padding=1)


Data = Annotated[
    DigitsData
    | Cifar10Data
    | Cifar100Data
    | TinyImagenetData
    | ImageFolderData
    | ImagenetData
    | SyntheticData,
    Field(discriminator="kind"),
]


def has_subclasses(data: Any) -> bool:
    """Say whether each label of these data hides known sub-classes."""
    if data.kind == "synthetic":
        return bool(data.subclasses > 1)
    return getattr(data, "labels", "fine") == "coarse"


def has_superclasses(data: Any) -> bool:
    """Say whether the labels of these data form known super-classes."""
    return getattr(data, "labels", "coarse") == "fine"


def class_count(data: Any) -> int | None:
    """Return the number of classes, None where only the files tell."""
    if data.kind == "synthetic":
        return int(data.classes)
    levels = {
        "digits": {"fine": 10, "coarse": 5},
        "cifar10": {"": 10},
        "cifar100": {"fine": 100, "coarse": 20},
        "tiny-imagenet": {"": 200},
        "imagenet": {"": 1000},
    }
    return levels.get(data.kind, {}).get(getattr(data, "labels", ""))
