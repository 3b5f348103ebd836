"""Runs of one user on one machine know of each other: a file for each, locked while it lives.

<folder>/turn          locked by whoever decides just now; for microseconds
<folder>/run-PID-...   what a run claims of the machine (`icckd.run.admission.Party`), as JSON

A run that was killed leaves a file without a lock, which the next one removes. One that was stopped
(Ctrl-Z) claims nothing until it goes on: it would keep its claims for ever. Nothing here is needed
for a run to go on: where the folder cannot be used, or is somebody else's, runs do not know
of each other.
"""

import contextlib
import json
import os
import stat
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from icckd.journal.locks import try_lock
from icckd.run.admission import Claim, Party
from icckd.variables import machine_folder

TURN = "turn"
PREFIX = "run-"
TURN_SECONDS = 1.0
"""Whoever decides for longer was stopped, and is not waited for."""
PAUSE_SECONDS = 0.005


class MachineShare:
    """This run's file among those of others.

    Args:
        folder: A folder of this machine and user, made if it is not there.

    Raises:
        OSError: It cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            raise PermissionError(f"{folder} is somebody else's")
        self._folder = folder
        self._path = folder / f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with self._turn():
            lock = try_lock(self._path)
            assert lock is not None
            self._lock: int | None = lock
            self.say(Party())

    @classmethod
    def join(cls) -> "MachineShare | None":
        """Join the runs of this machine; None where that is not possible."""
        try:
            return cls(machine_folder())
        except OSError:
            return None

    @contextlib.contextmanager
    def deciding(self) -> Iterator[list[Party]]:
        """Decide alone; yield the other runs. What is said inside is seen by whoever is next."""
        with self._turn():
            yield list(self._others())

    def say(self, party: Party) -> None:
        """Say what this run claims."""
        if self._lock is not None:
            text = json.dumps(asdict(party)).encode()
            with contextlib.suppress(OSError):  # a full disk: others see what was said before
                os.pwrite(self._lock, text.ljust(os.fstat(self._lock).st_size), 0)

    def close(self) -> None:
        """Leave; nothing is claimed any more."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            self._path.unlink(missing_ok=True)
            os.close(lock)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        end, handle = time.monotonic() + TURN_SECONDS, None
        with contextlib.suppress(OSError):  # somebody cleaned up: then nobody is seen
            while (handle := try_lock(self._folder / TURN)) is None and time.monotonic() < end:
                time.sleep(PAUSE_SECONDS)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def _others(self) -> Iterator[Party]:
        for path in self._folder.glob(f"{PREFIX}*"):
            if path == self._path:
                continue
            try:
                if (lock := try_lock(path)) is not None:  # its run has ended
                    path.unlink(missing_ok=True)
                    os.close(lock)
                    continue
                if _is_stopped(path.name.split("-")[1]):
                    continue
                said = json.loads(path.read_bytes())
                claims = tuple(Claim(**claim) for claim in said.pop("claims"))
                yield Party(claims=claims, **said)
            except (OSError, ValueError, LookupError, TypeError):
                continue


def _is_stopped(pid: str) -> bool:
    """Whether a process was stopped by a signal."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return about.rpartition(")")[2].split()[:1] == ["T"]
