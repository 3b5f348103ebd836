"""What a session says of this very moment: paused, stalled. No fact, so it has no journal line.

The file is as large as it will ever be from the start, so that a full disk can be told of while it
is full. Readers look at it while the session is alive only.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAME = "now.json"
BYTES = 4096
_MOST = 16
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The moment.

    Attributes:
        paused: Whether the session waits for a request to go on.
        stalled: Why an attempt, or "" for the session itself, cannot go on just now.
    """

    paused: bool = False
    stalled: Mapping[str, str] = field(default_factory=dict)


class NowFile:
    """The file, kept open by its session.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, home: Path) -> None:
        self._file = os.open(home / NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.write(Now())

    def write(self, now: Now) -> None:
        """Replace what the file says; where that is impossible it stays as it is."""
        stalled = {name: why[:_LONGEST] for name, why in list(now.stalled.items())[:_MOST]}
        text = json.dumps({"paused": now.paused, "stalled": stalled})
        with contextlib.suppress(OSError):
            os.pwrite(self._file, text.encode().ljust(BYTES), 0)

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def read_now(home: Path) -> Now:
    """Return what a session says of this moment; nothing when it says nothing sensible."""
    try:
        with (home / NAME).open("rb") as file:
            said = json.loads(file.read(BYTES))
        paused, stalled = said["paused"], said["stalled"]
        return Now(
            paused=paused is True, stalled={str(k): str(v)[:_LONGEST] for k, v in stalled.items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Now()
