"""Synthetic images, not real data: classes that consist of several known sub-classes.

Shape suffixes: N images, C classes, S sub-classes of a class, Z pixels of a side.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from icckd.engine.data.splits import Split, Splits
from icckd.engine.seeding import Key, generator
from icckd.spec.data import SyntheticData

GREY, CONTRAST = 128.0, 32.0
CELLS = 4
"""Side of the coarse grid that a pattern is interpolated from."""


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
        _split(data, shared, own, n, (*key, name))
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


def _split(data: SyntheticData, shared: Tensor, own: Tensor, n: int, key: Key) -> Split:
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
