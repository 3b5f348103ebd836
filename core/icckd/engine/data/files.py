"""Where the raw files of a data set lie. Torch-free."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from icckd.errors import MachineError
from icckd.spec.data import Data, ImageFolderData

CIFAR_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
CIFAR_FILES = {
    "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    "cifar100": ("train", "test", "meta"),
}
FOLDERS = {"tiny-imagenet": "tiny-imagenet-200", "imagenet": "imagenet"}
TINY_IMAGENET_COUNTS = {"train": 100_000, "val": 10_000}
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})
TEXT_SUFFIX = ".txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Images of a folder by name below it, each with the number of its class."""

    names: tuple[str, ...]
    labels: tuple[int, ...]


def raw_files(data: Data, root: Path) -> tuple[Path, ...]:
    """Return the few files that decide the data, in a fixed order.

    Sets of one file for each image have a folder instead, see `raw_folder`; synthetic data have
    neither.

    Raises:
        MachineError: If one is missing.
    """
    if data.kind == "digits":
        return (digits_file(),)
    if data.kind not in CIFAR_FOLDER:
        return ()
    folder = root / CIFAR_FOLDER[data.kind]
    files = tuple(folder / name for name in CIFAR_FILES[data.kind])
    for file in files:
        if not file.is_file():
            raise missing(data.kind, f"{file} does not exist")
    return files


def raw_folder(data: Data, root: Path) -> Path | None:
    """Return the folder of a set that has a file for each image.

    Raises:
        MachineError: If it is missing.
    """
    name = data.folder if isinstance(data, ImageFolderData) else FOLDERS.get(data.kind)
    if name is None:
        return None
    folder = root / name
    if not folder.is_dir():
        raise missing(data.kind, f"{folder} is no folder")
    return folder


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's sub-folders, sorted; hidden ones are no classes."""
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")))


def class_images(folder: Path, classes: tuple[str, ...], inner: str = "") -> Labelled:
    """Return the images of each class's sub-folder, sorted by class and name.

    Args:
        folder: Has the sub-folders.
        classes: Their names, in the order of their numbers.
        inner: Name of a folder within each sub-folder that holds the images, if any.
    """
    names: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        own = f"{name}/{inner}" if inner else name
        found = sorted(image_names(folder / own)) if (folder / own).is_dir() else []
        names += (f"{own}/{image}" for image in found)
        labels += [number] * len(found)
    return Labelled(names=tuple(names), labels=tuple(labels))


def image_names(folder: Path) -> list[str]:
    """Return the names of the images directly in a folder."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()
        ]


def tiny_imagenet(folder: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
    """Return the classes of Tiny ImageNet, its training images and its validation images.

    Raises:
        MachineError: If there are not as many as the set has.
    """
    classes = class_names(folder / "train") if (folder / "train").is_dir() else ()
    train = class_images(folder / "train", classes, "images")
    validation = _annotated(folder / "val", classes)
    parts = {"train": train, "val": validation}
    expect("tiny-imagenet", folder, parts, TINY_IMAGENET_COUNTS)
    return classes, train, validation


def _annotated(folder: Path, classes: tuple[str, ...]) -> Labelled:
    """Return Tiny ImageNet's `val`: all images in one folder, their classes in a table."""
    numbers = {name: number for number, name in enumerate(classes)}
    table = folder / "val_annotations.txt"
    try:
        rows = sorted(line.split("\t")[:2] for line in table.read_text().splitlines() if line)
        there = set(image_names(folder / "images"))
        pairs = [(f"images/{name}", numbers[label]) for name, label in rows if name in there]
    except (OSError, ValueError, KeyError) as error:
        raise missing("tiny-imagenet", f"{table}: {error!r}") from error
    return Labelled(names=tuple(n for n, _ in pairs), labels=tuple(number for _, number in pairs))


def expect(kind: str, folder: Path, parts: dict[str, Labelled], counts: dict[str, int]) -> None:
    """Check how many images each part of a set has.

    Raises:
        MachineError: If a part has more or fewer.
    """
    for name, part in parts.items():
        if len(part.names) != counts[name]:
            raise missing(
                kind, f"{folder / name} holds {len(part.names)} images, not {counts[name]}"
            )


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


def missing(kind: str, why: str) -> MachineError:
    """Return the error for a data set that is not there as it should be."""
    hints = {
        "imagenet": "put ImageNet's train and val folders, a sub-folder for each class, into the"
        " folder imagenet in ICCKD_DATA_DIR",
        "image-folder": "data.folder is a folder in ICCKD_DATA_DIR with a sub-folder of images for"
        " each class, or with such folders train and val",
    }
    return MachineError(
        f"data set {kind!r} cannot be read: {why}",
        hint=hints.get(kind, f"run `icckd fetch {kind}`"),
    )
