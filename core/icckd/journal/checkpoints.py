"""Checkpoints as files, without torch: of which stage, how far, whether whole.

checkpoints/<stage>/epoch-000012/   state.safetensors, checkpoint.json
checkpoints/<stage>/.<attempt>/     one that was being written
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from icckd.journal.artifacts import is_complete
from icckd.journal.folder import StateFolder
from icckd.journal.locks import is_worked_on, try_stage_lock

ABOUT = "checkpoint.json"
STATE = "state.safetensors"
EPOCH = "epoch-"


def stages_at_rest(folder: StateFolder) -> Iterator[Path]:
    """Yield the checkpoint folder of each stage that no process works on."""
    for path in sorted(folder.checkpoints.glob("*")):
        if path.is_dir() and not is_worked_on(folder, path.name):
            yield path


def epochs_done(stage: Path) -> int:
    """Return how far the newest checkpoint of a stage is; 0 without one."""
    numbers = [path.name.removeprefix(EPOCH) for path in stage.glob(f"{EPOCH}*")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def newest_hardware(stage: Path) -> str:
    """Return the model of the device that wrote the newest checkpoint of a stage; "" if unknown."""
    newest = max(stage.glob(f"{EPOCH}*"), default=None)
    try:
        return "" if newest is None else str(json.loads((newest / ABOUT).read_bytes())["device"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint's tensors are those that it was written with."""
    try:
        with (checkpoint / STATE).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return bool(json.loads((checkpoint / ABOUT).read_bytes())["sha256"] == found)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def sweep_checkpoints(folder: StateFolder, at_work: Collection[str] = ()) -> None:
    """Remove what no attempt will resume from: half-written ones, and all of a complete stage.

    Only the owner may call this, before and after a session's work.

    Args:
        folder: The state folder.
        at_work: Stages that another machine may work on, whose locks are not seen from here.
    """
    for stage in stages_at_rest(folder):
        if stage.name in at_work:
            continue
        with try_stage_lock(folder, stage.name) as is_free:
            if is_free and is_complete(folder, stage.name):
                shutil.rmtree(stage, ignore_errors=True)
            elif is_free:
                for aside in stage.glob(".*"):
                    shutil.rmtree(aside, ignore_errors=True)
