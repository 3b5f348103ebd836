"""MNIST and FashionMNIST: 28x28 grey images in IDX files, plain or compressed.

An IDX file (LeCun et al. 1998) has two zero bytes, its type (8: unsigned bytes), its number of
dimensions, each dimension as 4 bytes with the highest first, then the values. A set is two pairs of
such files, images and labels; a subset of one is read just the same.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal, NamedTuple

from pydantic import Field

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
from icckd.train.data.files import missing
from icckd.train.data.splits import Split, Splits, divide
from icckd.train.lazy import Tensor, np, torch

PAIRS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SIDE, CLASSES = 28, 10
CHUNK = 1 << 20


class MnistData(SmallImages):
    """MNIST: handwritten digits; validation images are taken from the training files.

    `coarse` labels put digits 2k and 2k+1 into class k (five classes); the digit itself is kept as
    the hidden sub-class. The files are looked for in `MNIST/raw`, where torchvision puts them, and
    in the data folder itself.
    """

    about = About(
        images="70,000 of 28x28, grey, or a subset",
        labels="`fine` 10, `coarse` 5",
        test_set="the official 10,000, or those of the subset",
        files="`icckd fetch mnist`",
    )
    is_downloaded = True
    folder: ClassVar[str] = "MNIST/raw"

    kind: Literal["mnist"]
    labels: Literal["fine", "coarse"] = Field(
        default="fine", description="the ten classes, or five of two each"
    )
    validation: int = Field(default=5000, ge=10, le=50_000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=2)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=1, height=SIDE, width=SIDE)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return CLASSES if self.labels == "fine" else CLASSES // 2

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return the four files, each pair found sound: whole, and as many labels as images.

        Raises:
            MachineError: A file is missing, damaged, or does not fit its pair.
        """
        return tuple(
            file for part in PAIRS for file in sound_pair(self.kind, self.folder, root, part)
        )

    def counts_in(self, root: Path) -> ImageCounts | None:
        """Return the images of each split, as the headers of the files say."""
        train, test = (
            _checked(self.kind, _find(self.kind, root, self.folder, labels), 1)[0]
            for _, labels in PAIRS.values()
        )
        return ImageCounts(train=train - self.validation, validation=self.validation, test=test)

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files unless they are there."""
        from torchvision.datasets import MNIST

        MNIST(str(root), download=True)


class FashionMnistData(MnistData):
    """FashionMNIST (Xiao et al. 2017, arXiv 1708.07747): clothes, in the format of MNIST.

    `coarse` labels put classes 2k and 2k+1 into class k, whatever they show.
    """

    about = About(
        images="70,000 of 28x28, grey, or a subset",
        labels="`fine` 10, `coarse` 5",
        test_set="the official 10,000, or those of the subset",
        files="`icckd fetch fashion-mnist`",
    )
    folder = "FashionMNIST/raw"

    kind: Literal["fashion-mnist"]  # type: ignore[assignment]

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files unless they are there."""
        from torchvision.datasets import FashionMNIST

        FashionMNIST(str(root), download=True)


@data_set(MnistData, order=8)
@data_set(FashionMnistData, order=9)
def load_mnist(data: MnistData, root: Path) -> Splits:
    """Return the splits; the label level that is not used is kept beside it.

    Raises:
        MachineError: A file is missing, damaged, or does not fit its pair; or there are too few
            images to hold some out.
    """
    coarse = data.labels == "coarse"
    official, digits = {}, {}
    for part in PAIRS:
        images_file, labels_file = sound_pair(data.kind, data.folder, root, part)
        digits_N = _values(labels_file).long()
        if int(digits_N.max()) >= CLASSES:
            raise missing(data.kind, f"{labels_file} holds the label {int(digits_N.max())}")
        digits[part] = digits_N
        official[part] = Split(
            images=_values(images_file)[..., None],
            labels=digits_N // 2 if coarse else digits_N,
            subclasses=digits_N if coarse else None,
            superclasses=None if coarse else digits_N // 2,
        )
    whole = official["train"]
    if data.validation >= len(whole.labels):
        raise MachineError(
            f"data.validation = {data.validation} leaves none of the {len(whole.labels)} training"
            " images of this set",
            hint="lower data.validation",
        )
    validation, train = divide(digits["train"], (data.validation,), data.split_seed)
    return Splits(
        train=whole.take(train),
        validation=whole.take(validation),
        test=official["test"],
        n_classes=CLASSES // 2 if coarse else CLASSES,
    )


# IDX files, looked at without torch.


class Shape(NamedTuple):
    """What a file's first bytes say: its dimensions, and how many bytes they are."""

    dimensions: tuple[int, ...]
    header: int


def sound_pair(kind: str, folder: str, root: Path, part: str) -> tuple[Path, Path]:
    """Return the files of images and labels of a part, once both are found whole and alike.

    Raises:
        MachineError: A file is missing, damaged, or does not fit its pair.
    """
    images_file, labels_file = (_find(kind, root, folder, name) for name in PAIRS[part])
    images, labels = _checked(kind, images_file, 3), _checked(kind, labels_file, 1)
    if images[1:] != (SIDE, SIDE):
        rows, columns = images[1:]
        raise missing(kind, f"{images_file} holds images of {rows}x{columns}, not {SIDE}x{SIDE}")
    if images[0] != labels[0] or not labels[0]:
        raise missing(
            kind, f"{labels_file} holds {labels[0]} labels, {images_file} {images[0]} images"
        )
    return images_file, labels_file


def _find(kind: str, root: Path, folder: str, name: str) -> Path:
    """Return a file, plain or compressed, where torchvision puts it or directly in the root."""
    for place in (root / folder, root):
        for file in (place / name, place / f"{name}.gz"):
            if file.is_file():
                return file
    raise missing(kind, f"{root / folder / name} does not exist, nor {root / f'{name}.gz'}")


def _checked(kind: str, file: Path, dimensions: int) -> tuple[int, ...]:
    """Return the dimensions of a file after reading all of it, a part at a time."""
    try:
        with _opened(file) as stream:
            shape = _shape(stream, dimensions)
            found = sum(len(chunk) for chunk in _chunks(stream))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise missing(kind, f"{file} is damaged: {error}") from error
    if found != math.prod(shape.dimensions):
        whole, held = (shape.header + size for size in (math.prod(shape.dimensions), found))
        words = "truncated: it" if held < whole else "damaged: it"
        raise missing(kind, f"{file} is {words} holds {held} bytes, and says that it has {whole}")
    return shape.dimensions


def _opened(file: Path) -> BinaryIO:
    """Open a file to be read, decompressed where need be; the caller closes it."""
    if file.suffix == ".gz":
        return gzip.open(file)  # type: ignore[return-value]  # both are read alike
    return file.open("rb")


def _shape(stream: BinaryIO, dimensions: int) -> Shape:
    """Return what the header says.

    Raises:
        ValueError: It is not that of unsigned bytes in so many dimensions.
    """
    header = 4 + 4 * dimensions
    found = stream.read(header)
    if len(found) < header or found[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError("it does not begin as an IDX file of unsigned bytes does")
    sizes = (found[place : place + 4] for place in range(4, header, 4))
    return Shape(tuple(int.from_bytes(size, "big") for size in sizes), header)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _values(file: Path) -> Tensor:
    """Return the values of a file that was checked, uint8 in its dimensions."""
    with _opened(file) as stream:
        content = np.frombuffer(stream.read(), dtype=np.uint8)
    dimensions = int(content[3])
    shape = [
        int.from_bytes(content[4 * d : 4 * d + 4].tobytes(), "big")
        for d in range(1, dimensions + 1)
    ]
    return torch.from_numpy(content[4 + 4 * dimensions :].reshape(shape).copy())
