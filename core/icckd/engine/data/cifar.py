"""CIFAR-10 and CIFAR-100 as torchvision reads them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icckd.engine.data.files import missing
from icckd.engine.data.splits import Split, Splits, divide
from icckd.spec.data import Cifar10Data, Cifar100Data


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
    return _hold_out(official, official[0].labels, data, n_classes=10)


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
    return _hold_out(official, fine[0], data, n_classes=100 if by_fine else 20)


def _read(reader: Any, kind: str, root: Path, *, train: bool) -> Any:
    try:
        return reader(str(root), train=train)
    except (OSError, RuntimeError) as error:
        raise missing(kind, str(error)) from error


def _images(part: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part.data))


def _hold_out(
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
