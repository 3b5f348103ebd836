"""Synthetic images, not real data: classes that consist of several known sub-classes.

Shape suffixes: N images, C classes, S sub-classes of a class, Z pixels of a side.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from icckd.errors import UsageError
from icckd.study.data import About, Augmentation, ImageCounts, ImageShape, SmallImages, data_set
from icckd.train.data.splits import Split, Splits
from icckd.train.lazy import Tensor, functional, torch
from icckd.train.seeding import Key, generator

GREY, CONTRAST = 128.0, 32.0
CELLS = 4
"""Side of the coarse grid that a pattern is interpolated from."""


class SyntheticData(SmallImages):
    """Synthetic images, not real data: each class has several known sub-classes.

    A sub-class is a pattern of its own on top of its class's pattern; docs/data.md has the
    formula. The class is the label, the sub-class is hidden.
    """

    about = About(
        images="as many as declared, grey",
        labels="`classes`",
        test_set="drawn",
        files="drawn, no files",
    )
    drawn = "synthetic images, version 2"

    kind: Literal["synthetic"]
    classes: int = Field(default=4, ge=2, le=1000, description="classes to tell apart")
    subclasses: int = Field(default=2, ge=1, le=100, description="sub-classes of each class")
    size: int = Field(default=12, ge=4, le=256, description="pixels of a side")
    noise: float = Field(default=1.0, ge=0, le=100, description="deviation; a pattern's is 1")
    train: int = Field(default=400, ge=20, le=1_000_000, description="training images")
    validation: int = Field(default=200, ge=10, le=1_000_000, description="validation images")
    test: int = Field(default=400, ge=10, le=1_000_000, description="test images")
    generator_seed: int = Field(default=0, ge=0, description="fixes all images, for all seeds")
    augment: Augmentation = Augmentation(padding=1)

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=1, height=self.size, width=self.size)

    def class_count(self) -> int | None:
        """Return the number of classes."""
        return self.classes

    def image_counts(self) -> ImageCounts | None:
        """Return the images of each split."""
        return ImageCounts(train=self.train, validation=self.validation, test=self.test)

    def has_subclasses(self) -> bool:
        """Whether each label hides known sub-classes."""
        return self.subclasses > 1

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Refuse: there is nothing to download."""
        raise UsageError("synthetic data are drawn, not downloaded", hint="run the study")


@data_set(SyntheticData, order=7)
def load_synthetic(data: SyntheticData, root: Path) -> Splits:
    """Return the splits; `root` is not used: the images are drawn.

    An image of sub-class s of class c is 128 + 32 (a_c + b_cs + noise * e) rounded and clipped to
    0..255, where a_c and b_cs are smooth patterns of deviation 1 that the class and the sub-class
    own, and e is standard normal in each pixel of each image.
    """
    key: Key = ("synthetic", data.generator_seed)
    shared = _patterns(data.classes, data.size, (*key, "class"))
    own = _patterns(data.classes * data.subclasses, data.size, (*key, "sub-class"))
    parts = [
        _synthetic_split(data, shared, own, n, (*key, name))
        for name, n in (
            ("train", data.train), ("validation", data.validation), ("test", data.test)
        )
    ]  # fmt: skip
    train, validation, test = parts
    return Splits(train=train, validation=validation, test=test, n_classes=data.classes)


def _patterns(n: int, size: int, key: Key) -> Tensor:
    """Return smooth random patterns of mean 0 and deviation 1, float32, shape (n, size, size)."""
    grid = torch.randn(n, 1, CELLS, CELLS, generator=generator(key))
    smooth = functional.interpolate(grid, (size, size), mode="bilinear")[:, 0]
    centred = smooth - smooth.mean(dim=(1, 2), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2), keepdim=True).sqrt()


def _synthetic_split(data: SyntheticData, shared: Tensor, own: Tensor, n: int, key: Key) -> Split:
    """Return `n` images, the sub-classes in equal shares and in random order."""
    order_N = torch.randperm(n, generator=generator((*key, "order")))
    subclasses_N = order_N % (data.classes * data.subclasses)
    labels_N = subclasses_N // data.subclasses
    noise_NZZ = torch.randn(n, data.size, data.size, generator=generator((*key, "noise")))
    shown_NZZ = shared[labels_N] + own[subclasses_N] + data.noise * noise_NZZ
    pixels_NZZ = (GREY + CONTRAST * shown_NZZ).round().clamp(0, 255).to(torch.uint8)
    return Split(
        images=pixels_NZZ[:, :, :, None],
        labels=labels_N,
        subclasses=subclasses_N if data.subclasses > 1 else None,
    )
