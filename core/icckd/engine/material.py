"""A data set on the device that trains on it."""

from dataclasses import dataclass

from icckd.engine.data.datasets import DATASETS
from icckd.engine.data.splits import Split
from icckd.engine.data.stream import Normaliser
from icckd.engine.protocol import Place
from icckd.spec.data import Augmentation, Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Resident splits, and the normalisation that the training images define."""

    train: Split
    validation: Split
    test: Split
    normalise: Normaliser
    augment: Augmentation
    n_classes: int
    in_channels: int
    device: str


def load_material(data: Data, place: Place) -> Material:
    """Return the data set on the place's device.

    Raises:
        MachineError: If the data set is missing.
    """
    splits = DATASETS[data.kind](data, place.data_root)
    train = splits.train.to(place.device)
    return Material(
        train=train,
        validation=splits.validation.to(place.device),
        test=splits.test.to(place.device),
        normalise=Normaliser(train),
        augment=data.augment,
        n_classes=splits.n_classes,
        in_channels=splits.in_channels,
        device=place.device,
    )
