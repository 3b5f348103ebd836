"""Data sets by `kind` of their settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from icckd.engine.data.cifar import load_cifar10, load_cifar100
from icckd.engine.data.digits import load_digits
from icckd.engine.data.folders import load_image_folder, load_imagenet, load_tiny_imagenet
from icckd.engine.data.splits import Splits
from icckd.engine.data.synthetic import load_synthetic

DATASETS: dict[str, Callable[[Any, Path], Splits]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "tiny-imagenet": load_tiny_imagenet,
    "image-folder": load_image_folder,
    "imagenet": load_imagenet,
    "synthetic": load_synthetic,
}
