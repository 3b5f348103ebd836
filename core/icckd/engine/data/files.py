"""Where the raw files of a data set lie. Torch-free."""

from importlib.util import find_spec
from pathlib import Path

from icckd.errors import MachineError
from icckd.spec.data import Data

CIFAR_FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
CIFAR_FILES = {
    "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    "cifar100": ("train", "test", "meta"),
}


def raw_files(data: Data, root: Path) -> tuple[Path, ...]:
    """Return the files that decide the data, in a fixed order.

    Raises:
        MachineError: If one is missing.
    """
    if data.kind == "digits":
        return (digits_file(),)
    folder = root / CIFAR_FOLDER[data.kind]
    files = tuple(folder / name for name in CIFAR_FILES[data.kind])
    for file in files:
        if not file.is_file():
            raise missing(data.kind, f"{file} does not exist")
    return files


def digits_file() -> Path:
    """Return scikit-learn's packaged digits, found without importing scikit-learn.

    Raises:
        MachineError: If scikit-learn is not installed or lacks the file.
    """
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return file
    raise MachineError(
        "scikit-learn's file digits.csv.gz is not installed", hint="install scikit-learn"
    )


def missing(kind: str, why: str) -> MachineError:
    """Return the error for a data set that is not there as it should be."""
    return MachineError(
        f"data set {kind!r} cannot be read: {why}", hint=f"run `icckd fetch {kind}`"
    )
