"""A data set on the device that trains on it."""

from dataclasses import dataclass

from torch import Tensor

from icckd.study.data import DATASETS, Augmentation, Data
from icckd.study.training import Precision
from icckd.train.contract import JobContext
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


def load_dataset(data: Data, context: JobContext, precision: Precision = "fp32") -> Dataset:
    """Return the data set on the context's device, shown in the layout of a precision.

    Raises:
        MachineError: If the data set is missing.
    """
    splits: Splits = DATASETS[data.kind](data, context.data_root)
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
