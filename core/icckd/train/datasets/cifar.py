"""CIFAR-10 and CIFAR-100 as torchvision reads them."""

import pickle
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

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

CIFAR_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
CIFAR_FILES = {
    "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    "cifar100": ("train", "test", "meta"),
}


class Cifar10Data(SmallImages):
    """CIFAR-10 as torchvision reads it; validation images are taken from the 50,000."""

    about = About(
        images="60,000 of 32x32, RGB",
        labels="10",
        test_set="the official 10,000",
        files="`icckd fetch cifar10`",
    )
    is_downloaded = True

    kind: Literal["cifar10"]
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=4, flip=True)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=3, height=32, width=32)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return 10

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split."""
        return ImageCounts(train=50_000 - self.validation, validation=self.validation, test=10_000)

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return the batches as the archive names them."""
        return _files(self.kind, root)

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the archive unless its files are there."""
        from torchvision.datasets import CIFAR10

        CIFAR10(str(root), download=True)


class Cifar100Data(SmallImages):
    """CIFAR-100 as torchvision reads it; the other label level is kept for probes."""

    about = About(
        images="60,000 of 32x32, RGB",
        labels="`fine` 100, `coarse` 20",
        test_set="the official 10,000",
        files="`icckd fetch cifar100`",
    )
    is_downloaded = True

    kind: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = Field(
        default="fine", description="the 100 classes, or the 20 that hold five each"
    )
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(padding=4, flip=True)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=3, height=32, width=32)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return 100 if self.labels == "fine" else 20

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split."""
        return ImageCounts(train=50_000 - self.validation, validation=self.validation, test=10_000)

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return the batches as the archive names them."""
        return _files(self.kind, root)

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the archive unless its files are there."""
        from torchvision.datasets import CIFAR100

        CIFAR100(str(root), download=True)


def _files(kind: str, root: Path) -> tuple[Path, ...]:
    files = tuple(root / CIFAR_FOLDER[kind] / name for name in CIFAR_FILES[kind])
    for file in files:
        if not file.is_file():
            raise missing(kind, f"{file} does not exist")
    return files


@data_set(Cifar10Data, order=2)
def load_cifar10(data: Cifar10Data, root: Path) -> Splits:
    """Return the splits of CIFAR-10.

    Raises:
        MachineError: If the files are missing or their checksums are wrong.
    """
    from torchvision.datasets import CIFAR10

    parts = [_read(CIFAR10, "cifar10", root, train=train) for train in (True, False)]
    official = [
        Split(images=_images(part), labels=torch.tensor(part.targets), subclasses=None)
        for part in parts
    ]
    return _hold_out_cifar(official, official[0].labels, data, n_classes=10)


@data_set(Cifar100Data, order=3)
def load_cifar100(data: Cifar100Data, root: Path) -> Splits:
    """Return the splits of CIFAR-100; the label level that is not used is kept beside it.

    Raises:
        MachineError: If the files are missing or their checksums are wrong.
    """
    from torchvision.datasets import CIFAR100

    parts = [_read(CIFAR100, "cifar100", root, train=train) for train in (True, False)]
    fine = [torch.tensor(part.targets) for part in parts]
    names = (CIFAR100.train_list[0][0], CIFAR100.test_list[0][0])
    coarse = [_coarse_labels(root / CIFAR100.base_folder / name) for name in names]
    by_fine = data.labels == "fine"
    official = [
        Split(
            images=_images(part),
            labels=fine_N if by_fine else coarse_N,
            subclasses=None if by_fine else fine_N,
            superclasses=coarse_N if by_fine else None,
        )
        for part, fine_N, coarse_N in zip(parts, fine, coarse, strict=True)
    ]
    return _hold_out_cifar(official, fine[0], data, n_classes=100 if by_fine else 20)


def _read(reader: Any, kind: str, root: Path, *, train: bool) -> Any:
    try:
        return reader(str(root), train=train)
    except (OSError, RuntimeError) as error:
        raise missing(kind, str(error)) from error


def _images(part: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part.data))


def _hold_out_cifar(
    official: list[Split], finest_N: Tensor, data: Cifar10Data | Cifar100Data, *, n_classes: int
) -> Splits:
    whole, test = official
    validation, train = divide(finest_N, (data.validation,), data.split_seed)
    return Splits(
        train=whole.take(train), validation=whole.take(validation), test=test, n_classes=n_classes
    )


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers and NumPy arrays, and refuses to call anything else."""

    ALLOWED = frozenset(
        {
            ("_codecs", "encode"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR file")


def _coarse_labels(file: Path) -> Tensor:
    """Return the coarse labels, which torchvision does not read, from a file it has verified."""
    with file.open("rb") as stream:
        entry = _PlainUnpickler(stream, encoding="latin1").load()
    return torch.tensor(entry["coarse_labels"])
