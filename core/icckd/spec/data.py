"""Which images a study trains and tests on."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from icckd.spec.settings import Settings


class Augmentation(Settings):
    """Random views of an image: a zero-padded crop of the original size, and a mirror image."""

    padding: int = Field(default=0, ge=0, le=16, description="pixels added on each side")
    flip: bool = Field(default=False, description="mirror left-right with probability 1/2")


class DigitsData(Settings):
    """scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, bundled, no download.

    `coarse` labels put digits 2k and 2k+1 into class k (five classes); the digit itself is kept
    as the hidden sub-class. Images that are in neither `train` nor `validation` are the test set.
    """

    kind: Literal["digits"] = "digits"
    labels: Literal["fine", "coarse"] = "coarse"
    train: int = Field(default=450, ge=20, le=1700, description="training images")
    validation: int = Field(default=347, ge=10, le=1700, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=1)

    @model_validator(mode="after")
    def _leave_a_test_set(self) -> "DigitsData":
        if self.train + self.validation > 1787:
            raise ValueError("train + validation must leave at least 10 of 1,797 images to test on")
        return self


class Cifar10Data(Settings):
    """CIFAR-10 as torchvision reads it; validation images are taken from the 50,000."""

    kind: Literal["cifar10"]
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=4, flip=True)


class Cifar100Data(Settings):
    """CIFAR-100 as torchvision reads it; `coarse` keeps the 100 fine labels as sub-classes."""

    kind: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = "fine"
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=4, flip=True)


Data = Annotated[DigitsData | Cifar10Data | Cifar100Data, Field(discriminator="kind")]


def has_subclasses(data: Any) -> bool:
    """Say whether each label of these data hides known sub-classes."""
    return getattr(data, "labels", "fine") == "coarse"
