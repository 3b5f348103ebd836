"""Laws of data sets.

Shape suffixes: N images, H height, W width, K channels.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from icckd.study.data import DATASETS, Data, ImageCounts
from icckd.testing.laws import Law, digest, no_shared_draws, process_streams, require
from icckd.train.data.files import fingerprint
from icckd.train.data.splits import IMAGES_AT_ONCE, Split, Splits
from icckd.train.lazy import Tensor, torch

NAMES = ("train", "validation", "test")
MOST_SHARED = 0.05
"""Share of a split's images that other splits may have, too: real sets have a few doubles."""


@dataclass(frozen=True)
class DataCase:
    """A data set with settings.

    Attributes:
        settings: Its settings.
        root: The folder of data sets.
    """

    settings: Data
    root: Path

    @cached_property
    def splits(self) -> Splits:
        """The data set, loaded once."""
        return self.load()

    def load(self) -> Splits:
        """Return the data set, loaded anew."""
        found: Splits = DATASETS[self.settings.kind](self.settings, self.root)
        return found

    def each(self) -> Iterator[tuple[str, Split]]:
        """Yield the splits by name."""
        for name in NAMES:
            yield name, getattr(self.splits, name)


def images_are_bytes_of_the_shape_that_it_tells(case: DataCase) -> None:
    """Images are uint8 [N, H, W, K] of the shape that it tells."""
    shape = case.settings.image_shape()
    expected = (shape.height, shape.width, shape.channels)
    for name, split in case.each():
        found = tuple(split.images.shape)
        require(
            found[1:] == expected,
            f"image_shape tells {expected} (height, width, channels), {name} has {found[1:]}",
        )
        kind = next(iter(split.chunks(1))).dtype
        require(kind is torch.uint8, f"images of {name} are {kind}, not uint8")


def it_has_as_many_images_as_it_tells(case: DataCase) -> None:
    """Each split has images, as many as it tells, each with a label."""
    have = ImageCounts(**{name: split.images.shape[0] for name, split in case.each()})
    told = case.settings.image_counts() or case.settings.counts_in(case.root)
    require(told in (None, have), f"it tells {told}, and there are {have}")
    for name, split in case.each():
        images = split.images.shape[0]
        require(images, f"{name} has no image")
        for what in ("labels", "subclasses", "superclasses"):
            given: Tensor | None = getattr(split, what)
            if given is not None:
                size = tuple(given.shape)
                require(size == (images,), f"{name} has {images} images and {what} of {size}")
                require(given.dtype is torch.int64, f"{what} of {name} are {given.dtype}")


def labels_are_within_its_classes(case: DataCase) -> None:
    """Labels count from 0 to the classes that it tells, and more than one is trained on."""
    told, have = case.settings.class_count(), case.splits.n_classes
    require(told in (None, have), f"class_count tells {told}, n_classes is {have}")
    for name, split in case.each():
        low, high = int(split.labels.min()), int(split.labels.max())
        require(low >= 0 and high < have, f"labels of {name} are {low} to {high} of {have} classes")
    require(
        case.splits.train.labels.min() < case.splits.train.labels.max(),
        "all training images have one label",
    )


def it_has_the_finer_labels_that_it_tells(case: DataCase) -> None:
    """It has sub-classes and super-classes where it says so, and nowhere else."""
    for what in ("subclasses", "superclasses"):
        told = getattr(case.settings, f"has_{what}")()
        for name, split in case.each():
            have = getattr(split, what) is not None
            require(
                told == have, f"has_{what} tells {told}, and {name} has {'' if have else 'no '}them"
            )


def it_loads_the_same_bytes_twice(case: DataCase) -> None:
    """Loaded twice it has the same bytes, whatever the process drew before."""
    found = []
    for seed in (1, 2):
        with process_streams(seed), no_shared_draws():
            loaded = case.load()
        found.append({name: _digests(getattr(loaded, name)) for name in NAMES})
    odd = [name for name in NAMES if found[0][name] != found[1][name]]
    require(not odd, f"{', '.join(odd)} is other the second time")


def _digests(split: Split) -> list[Any]:
    labels = (split.labels, split.subclasses, split.superclasses)
    images = [digest(chunk) for chunk in split.chunks(IMAGES_AT_ONCE)]
    return [images, *(None if each is None else digest(each) for each in labels)]


def its_splits_share_no_image(case: DataCase) -> None:
    """Its splits share no image, but for the few doubles that real sets have."""
    seen = {name: list(_images(split)) for name, split in case.each()}
    for name in NAMES[1:]:
        others = {each for other in NAMES if other != name for each in seen[other]}
        shared = sum(each in others for each in seen[name])
        require(
            shared <= MOST_SHARED * len(seen[name]),
            f"{shared} of {len(seen[name])} images of {name} are in other splits, too",
        )


def _images(split: Split) -> Iterator[bytes]:
    for chunk in split.chunks(IMAGES_AT_ONCE):
        for image_HWK in chunk.cpu().contiguous().numpy():
            yield hashlib.blake2b(image_HWK.tobytes(), digest_size=16).digest()


def a_fingerprint_tells_which_images_these_are(case: DataCase) -> None:
    """A fingerprint tells which images these are: of its files, its folder, or `drawn`."""
    first, second = (fingerprint(case.settings, case.root) for _ in range(2))
    require(first == second, "the fingerprint is another one the second time")
    require(
        first != hashlib.sha256().hexdigest(),
        "it names no raw_files, no raw_folder and no `drawn`: other images would count as these",
    )


LAWS: tuple[Law, ...] = (
    images_are_bytes_of_the_shape_that_it_tells,
    it_has_as_many_images_as_it_tells,
    labels_are_within_its_classes,
    it_has_the_finer_labels_that_it_tells,
    it_loads_the_same_bytes_twice,
    its_splits_share_no_image,
    a_fingerprint_tells_which_images_these_are,
)
