"""Download of data sets, on request only."""

from pathlib import Path

from icckd.engine.data.files import digits_file
from icckd.errors import MachineError, UsageError

KINDS = ("digits", "cifar10", "cifar100")


def fetch(kind: str, root: Path) -> None:
    """Download a data set below `root` with torchvision, unless it is there already.

    Raises:
        UsageError: If there is no such data set.
        MachineError: If the download fails.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no data set {kind!r}", hint=f"data sets: {', '.join(KINDS)}")
    if kind == "digits":
        digits_file()
        return
    from torchvision.datasets import CIFAR10, CIFAR100

    try:
        {"cifar10": CIFAR10, "cifar100": CIFAR100}[kind](str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"data set {kind!r} could not be downloaded: {error}",
            hint="check the connection and the free space of the disk",
        ) from error
