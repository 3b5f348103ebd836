"""Data sets by `kind` of their settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from icckd.engine.data.cifar import load_cifar10, load_cifar100
from icckd.engine.data.digits import load_digits
from icckd.engine.data.splits import Splits

DATASETS: dict[str, Callable[[Any, Path], Splits]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
}
