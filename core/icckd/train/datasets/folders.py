"""Data sets with a file for each image: Tiny ImageNet, ImageNet, any folder of images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from icckd.errors import MachineError
from icckd.study.data import (
    About,
    Augmentation,
    Data,
    ImageCounts,
    ImageShape,
    Inventory,
    Labelled,
    ResizedCrop,
    SmallImages,
    SplitSeed,
    data_set,
)
from icckd.train.data.decode import FileImages
from icckd.train.data.files import (
    Survey,
    class_images,
    class_names,
    expect,
    folder_of,
    image_names,
    missing,
)
from icckd.train.data.inventory import shown, take_inventory
from icckd.train.data.splits import Split, Splits, Statistics, divide, pixel_statistics
from icckd.train.lazy import Tensor, torch

TINY_IMAGENET_FOLDER = "tiny-imagenet-200"
TINY_IMAGENET_COUNTS = {"train": 100_000, "val": 10_000}
TINY_IMAGENET_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
IMAGENET_COUNTS = {"train": 1_281_167, "val": 50_000}
IMAGENET_STATISTICS = Statistics(
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255)
)
SHORTER_SIDE = 256 / 224
"""Shorter side of a test image of ImageNet before its middle is cut out, in sizes of the crop."""

SAMPLED = 2000
"""Images whose pixels give the mean and deviation of a folder of images."""


class TinyImagenetData(SmallImages):
    """Tiny ImageNet: 200 classes of 64x64 pixels; its own validation images are the test set."""

    about = About(
        images="110,000 of 64x64, RGB",
        labels="200",
        test_set="its `val`, 10,000",
        files="`icckd fetch tiny-imagenet`",
    )
    is_downloaded = True

    kind: Literal["tiny-imagenet"]
    validation: int = Field(default=5000, ge=10, le=90000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(rotation=20.0, flip=True)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=3, height=64, width=64)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return 200

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split; a folder with others is refused."""
        return _counts_without(self.validation, TINY_IMAGENET_COUNTS)

    def raw_folder(self, root: Path) -> Path | None:
        """Return the folder of the images."""
        return folder_of(self.kind, root / TINY_IMAGENET_FOLDER)

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the archive unless its images are there."""
        from torchvision.datasets.utils import download_and_extract_archive

        folder = root / TINY_IMAGENET_FOLDER
        try:
            tiny_imagenet(folder)
        except MachineError:
            download_and_extract_archive(TINY_IMAGENET_URL, str(root), md5=TINY_IMAGENET_MD5)
            tiny_imagenet(folder)


class ImageFolderData(Data):
    """Any folder with a sub-folder of images for each class, below the folder of data sets.

    With sub-folders `train` and `val` (and maybe `test`) those are the splits; else `validation`
    and `test` are the shares that are held out of the images.
    """

    about = About(
        images="any, RGB", labels="sub-folders", test_set="see below", files="a folder of yours"
    )
    absent_hint = (
        "data.folder is a folder in ICCKD_DATA_DIR with a sub-folder of images for"
        " each class, or with such folders train and val"
    )

    places: ClassVar[frozenset[str]] = frozenset({"folder", "resident_bytes"})

    kind: Literal["image-folder"]
    folder: str = Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        max_length=500,
        description="below --data or ICCKD_DATA_DIR: a folder of images for each class",
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

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=3, height=self.size, width=self.size)

    def raw_folder(self, root: Path) -> Path | None:
        """Return the folder of the images."""
        return folder_of(self.kind, root / self.folder)

    def inventory(self, root: Path) -> Inventory | None:
        """Return what the folder holds; classes and images that are too few are a problem."""
        found = take_inventory(folder_of(self.kind, root / self.folder), as_seen=True)
        problems = list(found.problems)
        if len(found.classes) == 1:
            problems.append(
                f"{found.folder} holds {found.images} images of one class"
                f" ({shown(found.classes[0])}); a study needs at least 2 classes"
            )
        elif not found.classes and not problems:
            problems.append(f"{found.folder} has no sub-folder with images; each class is one")
        few = [f"{n or 'all'}: {len(p.names)}" for n, p in found.parts.items() if len(p.names) < 10]
        if few and found.classes:
            problems.append(
                f"{found.folder} holds too few images ({', '.join(few)}); a study needs at least 10"
                " in each split"
            )
        return replace(found, problems=tuple(problems))

    def held_out(self, images: int, *, has_test: bool) -> tuple[int, ...]:
        """Return how many images are held out of the first split, for validation and test."""
        shares = (self.validation,) if has_test else (self.validation, self.test)
        return tuple(max(1, round(share * images)) for share in shares)

    def counts_of(self, inventory: Inventory) -> ImageCounts:
        """Return how many images each split has, as they are divided."""
        whole, *given = (len(part.names) for part in inventory.parts.values())
        if len(given) == 2:
            return ImageCounts(train=whole, validation=given[0], test=given[1])
        held = self.held_out(whole, has_test=bool(given))
        validation, test = (*held, *given)
        return ImageCounts(train=whole - sum(held), validation=validation, test=test)


class ImagenetData(Data):
    """ImageNet (ILSVRC 2012) in torchvision's layout; its validation images are the test set."""

    about = About(
        images="1.33 million, RGB",
        labels="1,000",
        test_set="its `val`, 50,000",
        files="a folder of yours",
    )
    absent_hint = (
        "put ImageNet's train and val folders, a sub-folder for each class, into the"
        " folder imagenet in ICCKD_DATA_DIR"
    )

    kind: Literal["imagenet"]
    size: int = Field(default=224, ge=32, le=1024, description="pixels of a side of a crop")
    validation: int = Field(default=10000, ge=10, le=1_000_000, description="validation images")
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation(resized_crop=ResizedCrop(), flip=True)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=3, height=self.size, width=self.size)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return 1000

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split; a folder with others is refused."""
        return _counts_without(self.validation, IMAGENET_COUNTS)

    def raw_folder(self, root: Path) -> Path | None:
        """Return the folder of the images."""
        return folder_of(self.kind, root / "imagenet")

    def inventory(self, root: Path) -> Inventory | None:
        """Return what the folder holds; another number of images than ImageNet's is a problem."""
        folder = folder_of(self.kind, root / "imagenet")
        found = take_inventory(folder, parts=tuple(IMAGENET_COUNTS), as_seen=False)
        wrong = tuple(
            f"{folder / name} holds {len(part.names)} images, not {IMAGENET_COUNTS[name]}"
            for name, part in found.parts.items()
            if len(part.names) != IMAGENET_COUNTS[name]
        )
        return replace(found, problems=(*found.problems, *wrong))


def _counts_without(validation: int, official: Mapping[str, int]) -> ImageCounts:
    """Return the splits of a set whose validation images are taken from its training images."""
    return ImageCounts(
        train=official["train"] - validation, validation=validation, test=official["val"]
    )


@data_set(TinyImagenetData, order=4)
def load_tiny_imagenet(data: TinyImagenetData, root: Path) -> Splits:
    """Return the splits of Tiny ImageNet, resident; `val` is the test set.

    Raises:
        MachineError: If files are missing, too many, or damaged.
    """
    folder = folder_of(data.kind, root / TINY_IMAGENET_FOLDER)
    classes, train, test = tiny_imagenet(folder)
    official = [
        _images(folder / name, part, size=64, shorter=64)
        for name, part in (("train", train), ("val", test))
    ]
    return _hold_out(official, data.validation, data.split_seed, len(classes), resident=True)


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


@data_set(ImagenetData, order=6)
def load_imagenet(data: ImagenetData, root: Path) -> Splits:
    """Return the splits of ImageNet, read from files as needed; `val` is the test set.

    Raises:
        DataError: If files are missing or too many.
    """
    inventory = _sound(data, root)
    shorter = round(data.size * SHORTER_SIDE)
    official = [
        _split(inventory, name, size=data.size, shorter=shorter, known=IMAGENET_STATISTICS)
        for name in inventory.parts
    ]
    n_classes = len(inventory.classes)
    return _hold_out(official, data.validation, data.split_seed, n_classes, resident=False)


@data_set(ImageFolderData, order=5)
def load_image_folder(data: ImageFolderData, root: Path) -> Splits:
    """Return the splits of a folder of images, resident unless their pixels take too much.

    Raises:
        DataError: If the folder has no such layout, or an image is damaged.
    """
    inventory = _sound(data, root)
    found = [_split(inventory, name, size=data.size, shorter=data.size) for name in inventory.parts]
    train, validation, test = _divided(data, found)
    fits = inventory.images * data.size * data.size * 3 <= data.resident_bytes
    resident = fits and data.augment.resized_crop == "off"
    statistics = pixel_statistics(_sample(train))
    parts_known = [
        replace(_in_memory(split) if resident else split, statistics=statistics)
        for split in (train, validation, test)
    ]
    train, validation, test = parts_known
    return Splits(train=train, validation=validation, test=test, n_classes=len(inventory.classes))


def _sound(data: ImagenetData | ImageFolderData, root: Path) -> Inventory:
    """Return what the folder holds, as the plan saw it.

    Raises:
        DataError: It cannot be trained on.
    """
    inventory = data.inventory(root)
    assert inventory is not None
    Survey(data=data, inventory=inventory, words={}, sizes=(), damaged={}).require_sound()
    return inventory


def _divided(data: ImageFolderData, found: list[Split]) -> tuple[Split, Split, Split]:
    """Return train, validation and test from the splits that the folder has."""
    if len(found) == 3:
        return found[0], found[1], found[2]
    whole, *given = found
    sizes = data.held_out(len(whole.labels), has_test=bool(given))
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


def _split(
    inventory: Inventory, part: str, *, size: int, shorter: int, known: Statistics | None = None
) -> Split:
    """Return the images of one split of a folder, not read yet."""
    folder, as_seen = inventory.folder / part, inventory.as_seen
    found = _images(folder, inventory.parts[part], size=size, shorter=shorter, as_seen=as_seen)
    return replace(found, statistics=known)


def _images(
    folder: Path, part: Labelled, *, size: int, shorter: int, as_seen: bool = False
) -> Split:
    return Split(
        images=FileImages(folder, part.names, size=size, shorter=shorter, as_seen=as_seen),
        labels=torch.tensor(part.labels, dtype=torch.int64),
        subclasses=None,
    )


def _sample(split: Split) -> Split:
    """Return images at even distances, as many as the statistics need."""
    n = len(split.labels)
    count = min(n, SAMPLED)
    return split.take(torch.arange(count) * n // count)


def _in_memory(split: Split) -> Split:
    images = split.images
    return split if isinstance(images, Tensor) else replace(split, images=images[:])
