"""Weights that a study names: read whole and compared with their digest, without torch."""

import hashlib
from pathlib import Path

from icckd.errors import MachineError
from icckd.spec.models import WeightsFile


def read_weights(given: WeightsFile) -> bytes:
    """Return the content of a weights file.

    Raises:
        MachineError: The file is missing, or is not the one that the study means.
    """
    try:
        content = Path(given.file).read_bytes()
    except OSError as error:
        raise MachineError(
            f"cannot read the weights {given.file}: {error.strerror}",
            hint="put the safetensors file there, or change `weights` in the study",
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != given.sha256:
        raise MachineError(
            f"the weights {given.file} are not those of the study: their SHA-256 is {digest}",
            hint="put the right file there, or write that digest into the study",
        )
    return content
