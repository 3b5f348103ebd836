"""What a session that must leave soon can wait for: when an epoch will end, and what is lost.

Schedulers send SIGTERM and, thirty seconds later, SIGKILL. A stage is saved at the end of its
epoch; where that comes too late, its last checkpoint is what stays, and waiting helps nobody.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from icckd.journal.file import decode, first_line
from icckd.journal.folder import JOURNAL, StateFolder

GRACE_SECONDS = 25.0
"""How long a session that is to leave waits for its stages; schedulers give thirty."""
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What becomes of a running stage.

    Attributes:
        epoch_seconds: What its last epoch took; None where none ended yet.
        saved_in: Seconds until its present epoch should have ended; None where nobody knows.
        at_stake: Seconds of work since its last checkpoint.
        has_begun: Whether a worker has begun it; till then it is only ordered.
    """

    epoch_seconds: float | None
    saved_in: float | None
    at_stake: float
    has_begun: bool

    def is_too_late(self, seconds: float) -> bool:
        """Whether the epoch will surely not end within so many seconds."""
        return self.saved_in is not None and self.saved_in > seconds


def outlook(folder: StateFolder, attempt: str, digest: str) -> Outlook:
    """Return what becomes of a stage that an attempt is training now.

    Args:
        folder: The state folder.
        attempt: The attempt.
        digest: The stage.
    """
    now = time.time()
    journal = folder.attempts / attempt / JOURNAL
    ends = _last_epochs(journal)
    took = ends[-1] - ends[-2] if len(ends) > 1 and ends[-1] > ends[-2] else None
    header = first_line(journal)
    begun = header.time if header is not None else now
    saved = max([begun, *_checkpoint_times(folder.checkpoints / digest)])
    until = None if took is None else ends[-1] + took - now
    return Outlook(
        epoch_seconds=took,
        saved_in=None if until is None or until < 0 else until,
        at_stake=max(0.0, now - saved),
        has_begun=journal.exists(),
    )


def _last_epochs(journal: Path) -> list[float]:
    """Return when the newest epochs of an attempt ended, the last two of them at least."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    return [line.time for raw in lines if (line := decode(raw)) is not None and line.kind == "m"]


def _checkpoint_times(folder: Path) -> list[float]:
    try:
        return [path.stat().st_mtime for path in folder.iterdir() if path.name[0] != "."]
    except OSError:
        return []
