"""scikit-learn's handwritten digits, read from its packaged file without importing it."""

import gzip
from pathlib import Path

import numpy as np
import torch

from icckd.engine.data.files import digits_file
from icckd.engine.data.splits import Split, Splits, divide
from icckd.spec.data import DigitsData


def load_digits(data: DigitsData, root: Path) -> Splits:
    """Return the splits; pixel values are 0 to 16. `root` is not used: the data are bundled.

    Coarse labels are the digit halved, and the digit is the sub-class; with fine labels the coarse
    one is the super-class.
    """
    with gzip.open(digits_file(), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    digits_N = torch.from_numpy(table[:, 64].astype(np.int64))
    coarse = data.labels == "coarse"
    whole = Split(
        images=torch.from_numpy(table[:, :64].reshape(-1, 8, 8, 1).copy()),
        labels=digits_N // 2 if coarse else digits_N,
        subclasses=digits_N if coarse else None,
        superclasses=None if coarse else digits_N // 2,
    )
    train, validation, test = divide(digits_N, (data.train, data.validation), data.split_seed)
    return Splits(
        train=whole.take(train),
        validation=whole.take(validation),
        test=whole.take(test),
        n_classes=5 if coarse else 10,
    )
