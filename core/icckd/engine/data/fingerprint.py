"""Fingerprint of a data set: which bytes a stage reads. Torch-free."""

from hashlib import file_digest, sha256
from pathlib import Path

from icckd.engine.data.files import raw_files
from icckd.spec.data import Data


def fingerprint(data: Data, root: Path) -> str:
    """Return the SHA-256 over names and contents of the raw files, in hexadecimal.

    Args:
        data: The data set; its other settings do not count.
        root: Folder that holds downloaded data sets.

    Raises:
        MachineError: If a file is missing.
    """
    total = sha256()
    for file in raw_files(data, root):
        with file.open("rb") as stream:
            content = file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()
