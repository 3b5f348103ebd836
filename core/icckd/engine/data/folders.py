"""Data sets with a file for each image: Tiny ImageNet, ImageNet, any folder of images."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from icckd.engine.data.files import (
    Labelled,
    class_images,
    class_names,
    expect,
    missing,
    raw_folder,
    tiny_imagenet,
)
from icckd.engine.data.images import FileImages
from icckd.engine.data.splits import Split, Splits, Statistics, divide
from icckd.engine.data.stream import pixel_statistics
from icckd.spec.data import ImageFolderData, ImagenetData, TinyImagenetData

IMAGENET_COUNTS = {"train": 1_281_167, "val": 50_000}
IMAGENET_STATISTICS = Statistics(
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255)
)
SHORTER_SIDE = 256 / 224
"""Shorter side of a test image of ImageNet before its middle is cut out, in sizes of the crop."""

SAMPLED = 2000
"""Images whose pixels give the mean and deviation of a folder of images."""


def load_tiny_imagenet(data: TinyImagenetData, root: Path) -> Splits:
    """Return the splits of Tiny ImageNet, resident; `val` is the test set.

    Raises:
        MachineError: If files are missing, too many, or damaged.
    """
    folder = _folder(data, root)
    classes, train, test = tiny_imagenet(folder)
    official = [
        _split(folder / name, part, size=64, shorter=64)
        for name, part in (("train", train), ("val", test))
    ]
    return _hold_out(official, data.validation, data.split_seed, len(classes), resident=True)


def load_imagenet(data: ImagenetData, root: Path) -> Splits:
    """Return the splits of ImageNet, read from files as needed; `val` is the test set.

    Raises:
        MachineError: If files are missing or too many.
    """
    folder = _folder(data, root)
    parts = _official(data.kind, folder, ("train", "val"))
    expect(data.kind, folder, parts, IMAGENET_COUNTS)
    shorter = round(data.size * SHORTER_SIDE)
    official = [
        _split(folder / name, part, size=data.size, shorter=shorter, known=IMAGENET_STATISTICS)
        for name, part in parts.items()
    ]
    n_classes = len(class_names(folder / "train"))
    return _hold_out(official, data.validation, data.split_seed, n_classes, resident=False)


def load_image_folder(data: ImageFolderData, root: Path) -> Splits:
    """Return the splits of a folder of images, resident unless their pixels take too much.

    Raises:
        MachineError: If the folder has no such layout, or an image is damaged.
    """
    folder = _folder(data, root)
    names = class_names(folder)
    given = tuple(name for name in ("train", "val", "test") if name in names)
    if given[:1] == ("train",) and len(given) > 1:
        classes = class_names(folder / "train")
        parts = _official(data.kind, folder, given)
    else:
        classes = names
        parts = {"": class_images(folder, classes)}
    found = [
        _split(folder / name, part, size=data.size, shorter=data.size)
        for name, part in parts.items()
    ]
    n = sum(len(split.labels) for split in found)
    if len(classes) < 2 or min(len(split.labels) for split in found) < 10:
        raise missing(data.kind, f"{folder} holds {n} images of {len(classes)} classes")
    train, validation, test = _divided(data, found)
    fits = n * data.size * data.size * 3 <= data.resident_bytes
    resident = fits and data.augment.resized_crop == "off"
    statistics = pixel_statistics(_sample(train))
    parts_known = [
        replace(_in_memory(split) if resident else split, statistics=statistics)
        for split in (train, validation, test)
    ]
    train, validation, test = parts_known
    return Splits(train=train, validation=validation, test=test, n_classes=len(classes))


def _divided(data: ImageFolderData, found: list[Split]) -> tuple[Split, Split, Split]:
    """Return train, validation and test from the splits that the folder has."""
    if len(found) == 3:
        return found[0], found[1], found[2]
    whole, *given = found
    n = len(whole.labels)
    shares = (data.validation,) if given else (data.validation, data.test)
    sizes = tuple(max(1, round(share * n)) for share in shares)
    validation, *held, train = divide(whole.labels, sizes, data.split_seed)
    test = given[0] if given else whole.take(held[0])
    return whole.take(train), whole.take(validation), test


def _hold_out(
    official: list[Split], validation: int, split_seed: int, n_classes: int, *, resident: bool
) -> Splits:
    whole, test = official
    held, rest = divide(whole.labels, (validation,), split_seed)
    parts = [whole.take(rest), whole.take(held), test]
    train, held_out, test = [_in_memory(split) for split in parts] if resident else parts
    return Splits(train=train, validation=held_out, test=test, n_classes=n_classes)


def _folder(data: TinyImagenetData | ImagenetData | ImageFolderData, root: Path) -> Path:
    folder = raw_folder(data, root)
    assert folder is not None
    return folder


def _official(kind: str, folder: Path, names: tuple[str, ...]) -> dict[str, Labelled]:
    """Return the images of sub-folders that have the same classes."""
    parts = {}
    classes: tuple[str, ...] = ()
    for name in names:
        if not (folder / name).is_dir():
            raise missing(kind, f"{folder / name} is no folder")
        found = class_names(folder / name)
        classes = classes or found
        if found != classes:
            odd = sorted(set(found) ^ set(classes))[0]
            raise missing(kind, f"only one of {names[0]} and {name} in {folder} has class {odd!r}")
        parts[name] = class_images(folder / name, classes)
    return parts


def _split(
    folder: Path, part: Labelled, *, size: int, shorter: int, known: Statistics | None = None
) -> Split:
    return Split(
        images=FileImages(folder, part.names, size=size, shorter=shorter),
        labels=torch.tensor(part.labels, dtype=torch.int64),
        subclasses=None,
        statistics=known,
    )


def _sample(split: Split) -> Split:
    """Return images at even distances, as many as the statistics need."""
    n = len(split.labels)
    count = min(n, SAMPLED)
    return split.take(torch.arange(count) * n // count)


def _in_memory(split: Split) -> Split:
    images = split.images
    return split if isinstance(images, Tensor) else replace(split, images=images[:])
