"""What a running session says of itself at this moment: paused, stalled.

This is not a fact about a study, so it is not in a journal. The file has its full size from the
start, so that a full disk can be reported while it is full. Readers look at it while the session
is alive only.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "now.json"
ELSEWHERE = "elsewhere.json"
BYTES = 4096
MAX_STALLED = 16
MAX_REASON = 100  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """What a session says of itself.

    Attributes:
        paused: Whether the session waits for a request to resume.
        stalled: Why an attempt, or "" for the session itself, cannot continue just now.
    """

    paused: bool = False
    stalled: Mapping[str, str] = field(default_factory=dict)


class LiveStatusFile:
    """The file, kept open by its session.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, home: Path) -> None:
        self._file = os.open(home / NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        self.write(LiveStatus())

    def write(self, status: LiveStatus) -> None:
        """Replace what the file says; where that is impossible it stays as it is."""
        stalled = {
            name: reason[:MAX_REASON] for name, reason in list(status.stalled.items())[:MAX_STALLED]
        }
        text = json.dumps({"paused": status.paused, "stalled": stalled})
        with contextlib.suppress(OSError):
            os.pwrite(self._file, text.encode().ljust(BYTES), 0)

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def read_live_status(home: Path) -> LiveStatus:
    """Return what a session says of itself; a file that cannot be understood says nothing."""
    try:
        with (home / NAME).open("rb") as file:
            said = json.loads(file.read(BYTES))
        paused, stalled = said["paused"], said["stalled"]
        return LiveStatus(
            paused=paused is True,
            stalled={str(name): str(reason)[:MAX_REASON] for name, reason in stalled.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return LiveStatus()


# Of a session on another machine, whose journals come through shared storage.


def write_elsewhere(home: Path, status: LiveStatus, *, boot: str, until: float) -> None:
    """Say of a session elsewhere what it says of itself, and until when that holds.

    Args:
        home: The session's folder here.
        status: What it says.
        boot: This machine's boot, which the time belongs to.
        until: Seconds of this machine's clock that never goes back.
    """
    said = {
        "paused": status.paused, "stalled": dict(status.stalled), "boot": boot, "until": until
    }  # fmt: skip
    aside = home / f".{ELSEWHERE}-{os.getpid()}"
    aside.write_text(json.dumps(said))
    aside.rename(home / ELSEWHERE)


def read_elsewhere(home: Path, boot: str) -> LiveStatus | None:
    """Return what a session elsewhere says of itself; None where it is not known to be alive."""
    try:
        said = json.loads((home / ELSEWHERE).read_bytes())
        if said["boot"] != boot or not time.monotonic() < float(said["until"]):
            return None
        return status_of(said)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def status_of(said: Mapping[str, Any]) -> LiveStatus:
    """Return the status that a JSON table says; what cannot be understood says nothing."""
    try:
        stalled = {str(k): str(v)[:MAX_REASON] for k, v in dict(said["stalled"]).items()}
        return LiveStatus(paused=said["paused"] is True, stalled=stalled)
    except (KeyError, TypeError, ValueError):
        return LiveStatus()
