"""A state folder as a mirror of shared storage: what reports, screens and sessions here read.

`pull` brings journals in byte for byte, and tells of sessions elsewhere whether they are alive. It
lists what may have grown: of attempts those from the oldest open one of a session under way on, and
those of the last thousand orders. Everything is listed at the first pull, when a session began, and
once a minute.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from icckd.configuration import StorageSettings
from icckd.errors import MachineError
from icckd.journal.events import AttemptClosed, SessionClosed
from icckd.journal.file import first_line, last_line, ordinal_of
from icckd.journal.folder import JOURNAL, StateFolder, is_journal_name
from icckd.journal.live_status import status_of, write_elsewhere
from icckd.journal.locks import wait_for_lock
from icckd.journal.owner import MOST_SESSIONS, ORDERS_PER_SESSION, boot_id, owner_is_alive
from icckd.journal.requests import waiting
from icckd.storage.base import Entry, Storage, StorageError, number_in, numbered
from icckd.storage.opening import open_storage
from icckd.storage.ownership import Counter, beat_key, folder_identity, newest_owner
from icckd.storage.requests import send_request
from icckd.storage.segments import ATTEMPTS, SESSIONS, SegmentWriter, key_of, pull_journal

FULL_SECONDS = 60.0
LATE_ORDERS = 1_000
"""Orders are given to workers in lists; one that begins so many orders late is found at once."""
LOCK = "mirror.lock"
_LOCK_SECONDS = 30.0
_CLOSING = (AttemptClosed.model_fields["k"].default, SessionClosed.model_fields["k"].default)


@dataclass(slots=True)
class _Session:
    """A session whose journal has no last line: its study, and what its counter says."""

    study: str
    token: int
    counter: Counter


class Mirror:
    """Brings a state folder up to what storage has; belongs to one thread.

    Args:
        storage: Where from.
        folder: The state folder; it is made if need be.
        settings: Of the storage.
    """

    def __init__(self, storage: Storage, folder: StateFolder, settings: StorageSettings) -> None:
        self._storage, self._folder, self._settings = storage, folder, settings
        self._closed: set[str] = set()
        self._known: dict[str, int] = {}
        self._sessions: dict[str, _Session] = {}
        self._attempts_after = ""
        self._full_at = -float("inf")
        folder.create()

    def pull(self) -> bool:
        """Bring in what is new; return whether anything was.

        Raises:
            StorageError: Storage refuses, or another process here has pulled for long.
        """
        with self._lock():
            is_full = time.monotonic() >= self._full_at
            has_more, began = self._pull(SESSIONS, "")
            is_full = is_full or began
            after = "" if is_full else self._attempts_after
            if is_full:
                self._full_at = time.monotonic() + FULL_SECONDS
            more, _ = self._pull(ATTEMPTS, after)
            self._tell_alive()
            return has_more or more

    def pull_all(self) -> bool:
        """Bring in what is new, looking at every journal."""
        self._full_at = -float("inf")
        return self.pull()

    def push_rest(self) -> int:
        """Push what journals here hold beyond what storage has; return how many these were.

        That is what a killed process left, and all of a state folder that was not shared before.
        The caller owns the state folder; what another process works on it pushes itself.
        """
        found = {
            key: list(entries)
            for group in (SESSIONS, ATTEMPTS)
            for key, entries in _by_journal(self._storage.list(group))
        }
        pushed = 0
        for path in self._folder.journals():
            header = first_line(path)
            key = key_of(header) if header is not None else ""
            if key and path.stat().st_size > sum(e.size for e in found.get(key, ())):
                pushed += SegmentWriter(self._storage, key, path, found.get(key, ())).push()
        return pushed

    def send_requests(self) -> None:
        """Hand the requests made here to whoever owns their study, if that is nobody here."""
        if owner_is_alive(self._folder):
            return
        for request in waiting(self._folder):
            send_request(self._storage, request.name, request.wanted)
            request.path.unlink(missing_ok=True)

    def open_attempts(self) -> list[Path]:
        """Return the journals of attempts that have no last line."""
        group = self._folder.attempts
        names = sorted(os.listdir(group)) if group.is_dir() else []
        return [
            group / name / JOURNAL
            for name in names
            if name not in self._closed and not _is_closed(group / name / JOURNAL)
        ]

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock by which one process here pulls at a time."""
        end = time.monotonic() + _LOCK_SECONDS
        handle = wait_for_lock(self._folder.root / LOCK, give_up=lambda: time.monotonic() >= end)
        if handle is None:
            raise StorageError(f"another process reads storage {self._storage.url} for long")
        try:
            yield
        finally:
            os.close(handle)

    def _pull(self, group: str, after: str) -> tuple[bool, bool]:
        """Pull a group of journals; return whether there was more, and whether one is new."""
        target = self._folder.sessions if group == SESSIONS else self._folder.attempts
        has_more = is_new = False
        open_keys: list[str] = []
        newest = -1
        for key, found in _by_journal(self._storage.list(group, after)):
            name, entries = key.split("/")[3], list(found)
            newest = max(newest, number_in(key, 2))
            if name in self._closed or not is_journal_name(name):
                continue
            path, size = target / name / JOURNAL, sum(entry.size for entry in entries)
            is_new |= name not in self._known
            if size > self._known.get(name, -1):
                has_more |= pull_journal(self._storage, entries, path)
                self._known[name] = size
            if _is_closed(path):
                self._closed.add(name)
                self._sessions.pop(name, None)
            elif group == SESSIONS:
                self._note_session(name, path)
            elif number_in(key, 2) // ORDERS_PER_SESSION in self._tokens():
                open_keys.append(key)
        if group == ATTEMPTS and newest >= 0:
            late = f"{ATTEMPTS}/{numbered(max(0, newest - LATE_ORDERS))}"
            self._attempts_after = min([late, *open_keys])
        return has_more, is_new

    def _note_session(self, name: str, path: Path) -> None:
        header = first_line(path)
        if header is not None and name not in self._sessions:
            self._sessions[name] = _Session(
                study=str(header.body.get("study", "")),
                token=ordinal_of(header, MOST_SESSIONS),
                counter=Counter(),
            )

    def _tokens(self) -> set[int]:
        """Return the tokens of the sessions under way: the newest open one of each study."""
        newest: dict[str, int] = {}
        for session in self._sessions.values():
            newest[session.study] = max(newest.get(session.study, -1), session.token)
        return set(newest.values())

    def _tell_alive(self) -> None:
        """Tell of each session elsewhere that is under way what it says of itself."""
        tokens = self._tokens()
        for name, session in self._sessions.items():
            if session.token not in tokens:
                continue
            said = self._storage.get(beat_key(session.token))
            limit = self._settings.takeover_seconds
            if said is None or session.counter.look(said) >= limit:
                continue
            owner = newest_owner(self._storage, session.study)
            is_elsewhere = owner is not None and owner.folder != folder_identity(self._folder.root)
            if owner is not None and owner.token == session.token and is_elsewhere:
                with contextlib.suppress(ValueError, OSError):
                    status = status_of(json.loads(said))
                    until = time.monotonic() + limit
                    home = self._folder.sessions / name
                    write_elsewhere(home, status, boot=boot_id(), until=until)


def _by_journal(entries: Sequence[Entry]) -> Iterator[tuple[str, Iterator[Entry]]]:
    """Yield the folder of each journal's segments, with these in their order."""
    return groupby(entries, key=lambda entry: entry.key.rpartition("/")[0])


def _is_closed(path: Path) -> bool:
    last = last_line(path)
    return last is not None and last.kind in _CLOSING


# For those who look.


def pull_once(settings: StorageSettings, folder: StateFolder, say: Callable[[str], None]) -> None:
    """Bring a state folder up to date for a command that looks; say how old it is.

    Where storage cannot be read, what is here is shown.
    """
    if why := Puller(settings, folder).pull():
        say(STALE.format(why))
    else:
        say(f"read from {settings.url} just now{_newest_text(folder)}")


STALE = "shown is what this machine has: {}"


class Puller:
    """Brings a state folder up to date for a program that looks at it again and again.

    Args:
        settings: Of the storage.
        folder: The state folder.
    """

    def __init__(self, settings: StorageSettings, folder: StateFolder) -> None:
        self._settings, self._folder = settings, folder
        self._mirror: Mirror | None = None
        self._read = float("-inf")

    def pull(self) -> str:
        """Pull; return "", or why storage could not be read."""
        try:
            if self._mirror is None:
                storage = open_storage(self._settings)
                self._mirror = Mirror(storage, self._folder, self._settings)
            self._mirror.pull()
            self._mirror.send_requests()
        except MachineError as error:
            return error.message
        self._read = time.monotonic()
        return ""

    def pull_if_old(self) -> str:
        """Pull unless that was done within the `seconds` of the settings; returns as `pull`."""
        return self.pull() if time.monotonic() - self._read >= self._settings.seconds else ""


def _newest_text(folder: StateFolder) -> str:
    """Return when the newest line was written, by the clock of its machine."""
    lines = [line for path in folder.journals() if (line := last_line(path)) is not None]
    newest = max((line.time for line in lines), default=None)
    if newest is None:
        return ""
    return f"; its newest line is of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(newest))}"


class MirrorThread:
    """Pulls again and again while somebody watches.

    Args:
        settings: Of the storage.
        folder: The state folder.
    """

    def __init__(self, settings: StorageSettings, folder: StateFolder) -> None:
        self._settings, self._folder = settings, folder
        self._over = threading.Event()
        self._read: float | None = None
        self._why = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MirrorThread":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def age(self) -> str:
        """Return how long ago storage was read, in a few words; why not since where it refuses."""
        if self._read is None:
            return self._why or "storage not read yet"
        since = f"storage read {time.monotonic() - self._read:.0f} s ago"
        return f"{since}: {self._why}" if self._why else since

    def _run(self) -> None:
        puller = Puller(self._settings, self._folder)
        while not self._over.is_set():
            self._why = puller.pull()
            if not self._why:
                self._read = time.monotonic()
            self._over.wait(self._settings.seconds)
