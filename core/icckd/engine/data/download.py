"""Download of data sets, on request only."""

from pathlib import Path

from icckd.engine.data.files import FOLDERS, digits_file, missing, tiny_imagenet
from icckd.errors import MachineError, UsageError

KINDS = ("digits", "cifar10", "cifar100", "tiny-imagenet")
NOT_OFFERED = ("imagenet", "image-folder", "synthetic")
TINY_IMAGENET_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def fetch(kind: str, root: Path) -> None:
    """Download a data set below `root` with torchvision, unless it is there already.

    torchvision compares checksums and shows progress.

    Raises:
        UsageError: If there is no such data set, or none to download.
        MachineError: If the download fails.
    """
    if kind == "synthetic":
        raise UsageError("synthetic data are drawn, not downloaded", hint="run the study")
    if kind in NOT_OFFERED:
        raise UsageError(
            f"data set {kind!r} is not downloaded by icckd", hint=missing(kind, "").hint
        )
    if kind not in KINDS:
        raise UsageError(f"there is no data set {kind!r}", hint=f"data sets: {', '.join(KINDS)}")
    if kind == "digits":
        digits_file()
        return
    try:
        _download(kind, root)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"data set {kind!r} could not be downloaded: {error}",
            hint="check the connection and the free space of the disk",
        ) from error


def _download(kind: str, root: Path) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100
    from torchvision.datasets.utils import download_and_extract_archive

    if kind == "tiny-imagenet":
        folder = root / FOLDERS[kind]
        try:
            tiny_imagenet(folder)
        except MachineError:
            download_and_extract_archive(TINY_IMAGENET_URL, str(root), md5=TINY_IMAGENET_MD5)
            tiny_imagenet(folder)
    else:
        {"cifar10": CIFAR10, "cifar100": CIFAR100}[kind](str(root), download=True)
