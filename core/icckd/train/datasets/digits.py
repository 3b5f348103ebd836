"""scikit-learn's handwritten digits, read from its packaged file without importing it."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from icckd.errors import MachineError
from icckd.study.data import (
    About,
    Augmentation,
    ImageCounts,
    ImageShape,
    SmallImages,
    SplitSeed,
    data_set,
)
from icckd.train.data.splits import Split, Splits, divide
from icckd.train.lazy import np, torch

IMAGES = 1797


def digits_file() -> Path:
    """Return scikit-learn's packaged digits, found without importing scikit-learn.

    Raises:
        MachineError: If scikit-learn is not installed or lacks the file.
    """
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return file
    raise MachineError(
        "scikit-learn's file digits.csv.gz is not installed", hint="install scikit-learn"
    )


class DigitsData(SmallImages):
    """scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, bundled, no download.

    `coarse` labels put digits 2k and 2k+1 into class k (five classes); the digit itself is kept
    as the hidden sub-class. Images that are in neither `train` nor `validation` are the test set.
    """

    about = About(
        images="1,797 of 8x8, grey",
        labels="`fine` 10, `coarse` 5",
        test_set="the rest of the 1,797",
        files="in scikit-learn",
    )
    is_downloaded = True

    kind: Literal["digits"] = "digits"
    labels: Literal["fine", "coarse"] = Field(
        default="coarse", description="the ten digits, or five classes of two"
    )
    train: int = Field(default=450, ge=20, le=1700, description="training images")
    validation: int = Field(default=347, ge=10, le=1700, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=1)

    @model_validator(mode="after")
    def _leave_a_test_set(self) -> "DigitsData":
        if self.train + self.validation > 1787:
            raise ValueError("train + validation must leave at least 10 of 1,797 images to test on")
        return self

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=1, height=8, width=8)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return 10 if self.labels == "fine" else 5

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split."""
        return ImageCounts(
            train=self.train, validation=self.validation, test=IMAGES - self.train - self.validation
        )

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return scikit-learn's file."""
        return (digits_file(),)

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Check that the file is there: it comes with scikit-learn."""
        digits_file()


@data_set(DigitsData, order=1)
def load_digits(data: DigitsData, root: Path) -> Splits:
    """Return the splits; pixel values are 0 to 16. `root` is not used: the data are bundled.

    Coarse labels are the digit halved, and the digit is the sub-class; with fine labels the coarse
    one is the super-class.
    """
    with gzip.open(digits_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    digits_N = torch.from_numpy(table[:, 64].astype(np.int64))
    coarse = data.labels == "coarse"
    whole = Split(
        images=torch.from_numpy(table[:, :64].reshape(-1, 8, 8, 1).copy()),
        labels=digits_N // 2 if coarse else digits_N,
        subclasses=digits_N if coarse else None,
        superclasses=None if coarse else digits_N // 2,
    )
    train, validation, test = divide(digits_N, (data.train, data.validation), data.split_seed)
    return Splits(
        train=whole.take(train),
        validation=whole.take(validation),
        test=whole.take(test),
        n_classes=5 if coarse else 10,
    )
