"""A data set on the device that trains on it."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from icckd.study.data import DATASETS, Augmentation, Data
from icckd.study.training import Precision
from icckd.train.contract import JobContext
from icckd.train.data.files import fingerprint
from icckd.train.data.splits import Normaliser, Split, Splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Resident splits, and the normalisation that the training images define.

    Images are shown in the memory layout that belongs to the device and the precision.
    `host_labels` are those of the training images, on the host.
    """

    train: Split
    validation: Split
    test: Split
    normalise: Normaliser
    augment: Augmentation
    n_classes: int
    in_channels: int
    host_labels: Tensor
    device: str
    precision: Precision = "fp32"


LARGEST_KEPT = 1 << 24
"""Bytes of the largest data set that a process keeps for its next stage. Reading more than that is
little beside a stage that trains on it, and would be missing in the memory that later stages take.
"""


@dataclass(slots=True)
class _Kept:
    """The splits that the last stage of this process was trained on, if they are few bytes.

    Whatever decides them is compared: settings, and the content of the files. Nobody writes to
    splits; each stage has its own place in the stream of its images.
    """

    made_of: tuple[Data, Path, str] | None = None
    found: Splits | None = None

    def splits(self, data: Data, root: Path) -> Splits:
        """Return the splits of a data set, read anew unless the last stage had the same.

        Raises:
            MachineError: If the data set is missing.
        """
        is_listed = data.raw_folder(root) is not None  # a file each: reading what is asked for
        made_of = None if is_listed else (data, root, fingerprint(data, root))
        if self.found is not None and made_of is not None and made_of == self.made_of:
            return self.found
        self.made_of = self.found = None
        splits: Splits = DATASETS[data.kind](data, root)
        if made_of is not None and _bytes_of(splits) <= LARGEST_KEPT:
            self.made_of, self.found = made_of, splits
        return splits


_KEPT = _Kept()


def _bytes_of(splits: Splits) -> float:
    images = [each.images for each in (splits.train, splits.validation, splits.test)]
    return sum(each.nbytes if isinstance(each, Tensor) else math.inf for each in images)


def load_dataset(data: Data, context: JobContext, precision: Precision = "fp32") -> Dataset:
    """Return the data set on the context's device, shown in the layout of a precision.

    Raises:
        MachineError: If the data set is missing.
    """
    splits = _KEPT.splits(data, context.data_root)
    train = splits.train.to(context.device)
    return Dataset(
        train=train,
        validation=splits.validation.to(context.device),
        test=splits.test.to(context.device),
        normalise=Normaliser(train, precision),
        augment=data.augment,
        n_classes=splits.n_classes,
        in_channels=splits.in_channels,
        host_labels=splits.train.labels,
        device=context.device,
        precision=precision,
    )
