"""Download of data sets, on request only."""

from pathlib import Path

from icckd.errors import MachineError, UsageError
from icckd.study.data import DATASETS


def fetch(kind: str, root: Path) -> None:
    """Download a data set below `root` with torchvision, unless it is there already.

    torchvision compares checksums and shows progress.

    Raises:
        UsageError: If there is no such data set, or none to download.
        MachineError: If the download fails.
    """
    if kind not in DATASETS.kinds():
        names = (part.kind for part in DATASETS.parts() if part.settings.is_downloaded)
        raise UsageError(f"there is no data set {kind!r}", hint=f"data sets: {', '.join(names)}")
    try:
        DATASETS.part(kind).settings.fetch(root)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"data set {kind!r} could not be downloaded: {error}",
            hint="check the connection and the free space of the disk",
        ) from error
