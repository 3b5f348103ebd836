"""Who owns a study on shared storage: one session at a time, by a token that grows.

An owner is an object with a token, made once; the highest token owns the study. While it lives its
holder overwrites a counter. Whoever wants to take over watches that counter on its own clock: no
two machines' clocks are ever compared. Nothing rests on that wait but courtesy: an owner that was
taken over by mistake finds the higher token before it acknowledges anything further, and stops.
"""

import json
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from icckd.journal.live_status import LiveStatus
from icckd.storage.base import Storage, TakenError, highest, numbered

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who owned or owns a study.

    Attributes:
        token: Its place in the order of owners; also the ordinal of its session.
        host: Its machine, for people.
        folder: What tells its state folder from all others.
    """

    token: int
    host: str
    folder: str


def owners_key(study: str) -> str:
    """Return the folder of a study's owners."""
    return f"owners/{quote(study, safe='')}"


def beat_key(token: int) -> str:
    """Return the key of an owner's counter."""
    return f"beats/{numbered(token)}"


def newest_owner(storage: Storage, study: str, after: int = -1) -> Owner | None:
    """Return the owner with the highest token above `after`, or None."""
    folder = owners_key(study)
    token, key = highest(storage, folder, f"{folder}/{numbered(after)}" if after >= 0 else "")
    if token < 0:
        return None
    try:
        said = json.loads(storage.get(key) or b"{}")
        host, state_folder = str(said["host"]), str(said["folder"])
    except (ValueError, LookupError, TypeError):
        host, state_folder = "another machine", ""
    return Owner(token=token, host=host, folder=state_folder)


def has_left(storage: Storage, study: str, token: int) -> bool:
    """Whether an owner gave the study up by itself."""
    return storage.get(f"ends/{quote(study, safe='')}/{numbered(token)}") is not None


class Counter:
    """Tells from an owner's counter how long it has stood still, on this machine's clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: bytes | None = None
        self._moved = clock()

    def look(self, value: bytes | None) -> float:
        """Return for how many seconds the counter has been what it is now, as far as seen."""
        if value != self._seen:
            self._seen, self._moved = value, self._clock()
        return self._clock() - self._moved


def folder_identity(root: Path) -> str:
    """Return what tells a state folder from all others, made at the first time."""
    path = root / "identity"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        aside = root / f".identity-{uuid.uuid4().hex}"
        aside.write_text(uuid.uuid4().hex)
        aside.rename(path)
        return path.read_text().strip()


class Ownership:
    """A study owned by this process, from `acquire` until it is taken away or left.

    Args:
        storage: Where.
        study: Name of the study.
        root: The state folder; its owner lock is held.
    """

    def __init__(self, storage: Storage, study: str, root: Path) -> None:
        self._storage, self._study = storage, study
        self._folder = folder_identity(root)
        self._beats = 0
        self.token = -1

    def acquire(
        self,
        *,
        above: int,
        takeover_seconds: float,
        waiting: Callable[[Owner], None],
        take_over: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Owner | None:
        """Own the study, waiting until nobody does; return whom it was taken from, if anybody.

        Args:
            above: The token is higher than this, the highest ordinal of sessions here.
            takeover_seconds: An owner whose counter stands still for so long is taken over.
            waiting: Told once whom it waits for.
            take_over: Somebody says that the owner has ended.
            clock: Seconds that never go back.
            sleep: Waits.
        """
        counter, told, looked_at = Counter(clock), -1, -1
        while True:
            owner = newest_owner(self._storage, self._study)
            is_free = owner is None or (take_over or self._is_over(owner))
            if owner is not None and not is_free:
                if looked_at != owner.token:
                    counter, looked_at = Counter(clock), owner.token
                still = counter.look(self._storage.get(beat_key(owner.token)))
                is_free = still >= takeover_seconds
                if told != owner.token and not is_free:
                    told = owner.token
                    waiting(owner)
            if is_free and self._claim(max(above, owner.token if owner is not None else 0)):
                return owner
            sleep(_LOOK_SECONDS)

    def renew(self) -> bool:
        """Take a higher token for the next session; return whether the study was still owned."""
        return self.taken_by() is None and self._claim(self.token)

    def beat(self, status: LiveStatus) -> None:
        """Advance the counter; say with it what the session says of itself."""
        self._beats += 1
        said = {"count": self._beats, **asdict(status)}
        self._storage.put(beat_key(self.token), json.dumps(said).encode())

    def taken_by(self) -> Owner | None:
        """Return who took the study away, or None where it is owned still."""
        return newest_owner(self._storage, self._study, self.token)

    def was_left(self, owner: Owner) -> bool:
        """Whether an owner gave the study up by itself."""
        return has_left(self._storage, self._study, owner.token)

    def leave(self) -> None:
        """Give the study up, so that nobody waits for it."""
        key = f"ends/{quote(self._study, safe='')}/{numbered(self.token)}"
        self._storage.create(key, b"left")

    def _is_over(self, owner: Owner) -> bool:
        """Whether an owner has surely ended: the lock of its state folder is ours, or it left."""
        is_ours = owner.folder == self._folder
        return is_ours or has_left(self._storage, self._study, owner.token)

    def _claim(self, above: int) -> bool:
        """Take a token of our own; return whether it is the highest that the study has."""
        token = self._new_token(above)
        said = {"host": socket.gethostname(), "folder": self._folder}
        self._storage.create(
            f"{owners_key(self._study)}/{numbered(token)}", json.dumps(said).encode()
        )
        self.token = token
        self.beat(LiveStatus())
        return self.taken_by() is None

    def _new_token(self, above: int) -> int:
        """Return a token that nobody had or will have, above all that were handed out."""
        last, _ = highest(self._storage, "tokens", f"tokens/{numbered(above)}")
        token = max(last, above) + 1
        while True:
            try:
                self._storage.create(f"tokens/{numbered(token)}", uuid.uuid4().hex.encode())
            except TakenError:
                token += 1
            else:
                return token
