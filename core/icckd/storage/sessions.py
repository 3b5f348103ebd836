"""A session on shared storage: it owns its study, pushes its journal, and mirrors its attempts.

A thread does so while the session works: it advances the owner's counter, pushes what the journal
has, pulls what attempts elsewhere pushed, takes requests, and looks whether somebody has taken the
study over. From that moment on the session acknowledges nothing more, and ends.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from icckd.configuration import StorageSettings
from icckd.journal.events import AttemptHeader
from icckd.journal.file import first_line
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.live_status import LiveStatus
from icckd.journal.owner import next_session_ordinal
from icckd.storage.artifacts import bring_artifacts, find_published, published_stages
from icckd.storage.base import Storage, StorageError, TakenError, numbered
from icckd.storage.mirror import Mirror
from icckd.storage.opening import identity_of, open_storage, try_storage
from icckd.storage.ownership import Owner, Ownership
from icckd.storage.requests import drop_requests, take_requests
from icckd.storage.retry import StorageRetry
from icckd.storage.segments import SegmentWriter, key_of, session_key
from icckd.storage.submissions import SubmissionMirror

Say = Callable[[str], None]


class SharedStudy:
    """A study that this process owns on shared storage.

    Attributes:
        settings: Of the storage; orders carry them.
        study: Name of the study.
        identity: What tells the storage from all others.
        lost: Why the session is to end, "" while it owns the study.
        heard_until: When the last look began that brought everything here, on the clock of
            `time.monotonic`.
    """

    def __init__(
        self,
        settings: StorageSettings,
        storage: Storage,
        folder: StateFolder,
        study: str,
        ownership: Ownership,
        identity: str,
        say: Say,
    ) -> None:
        self.settings, self.study = settings, study
        self.identity = identity
        self.lost = ""
        self._storage, self._folder, self._say = storage, folder, say
        self._ownership = ownership
        self.heard_until = float("-inf")
        self._mirror = Mirror(storage, folder, settings)
        self._submissions = SubmissionMirror(storage, folder)
        self._status = LiveStatus()
        self._writer: SegmentWriter | None = None
        self._left_behind: set[Path] = set()
        self._wake, self._over = threading.Event(), threading.Event()
        self._working = threading.Lock()
        self._has_session = False
        self._stalled = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def take_in(self) -> None:
        """Have here what storage has, and there what this state folder has beyond it."""
        drop_requests(self._storage, self.study)
        self._mirror.pull()
        self._close_published()
        if pushed := self._mirror.push_rest():
            self._say(f"{pushed} journals were pushed to {self.settings.url}")
        self._thread.start()

    def complete(self, closed: frozenset[str], here: frozenset[str]) -> frozenset[str]:
        """Return the stages that need no training: complete, and published in storage.

        Args:
            closed: Stages whose newest attempt is complete.
            here: Those of them whose artifact this state folder has; storage gets it if need be.
        """
        published = published_stages(self._storage)
        bring_artifacts(self._storage, self._folder, sorted(here - published))
        return closed & (published | here)

    def next_token(self, give_up: Callable[[], bool]) -> int:
        """Return the ordinal of the next session, waiting for storage until `give_up`.

        Raises:
            StorageError: Somebody has taken the study over.
        """
        with self._working:
            is_ours = not self._has_session or self._retry(give_up)(self._ownership.renew)
        self._has_session = True
        if not is_ours:
            self._note_loss(self._ownership.taken_by())
        self.refuse_lost()
        return self._ownership.token

    def refuse_lost(self) -> None:
        """Refuse to go on with a study that somebody has taken over.

        Raises:
            StorageError: Somebody has.
        """
        if self.lost:
            raise StorageError(self.lost, hint=TAKEN_HINT)

    def begin(self, journal: Path, session: str, give_up: Callable[[], bool]) -> None:
        """Push a session's journal from now on; on return its first lines are acknowledged.

        A session that has begun waits for storage as it does later, until `give_up`.
        """
        key = session_key(self._ownership.token, session)
        with self._working:
            self._writer = SegmentWriter(self._storage, key, journal, entries=())
            self._retry(give_up)(self._writer.push)

    def changed(self) -> None:
        """Push the journal soon: a state changed."""
        self._wake.set()

    def say(self, status: LiveStatus) -> None:
        """Have viewers elsewhere see what the session says of itself."""
        self._status = status
        self._wake.set()

    def ended(self, attempt: str) -> None:
        """Push what a dead worker of this machine left unpushed of an attempt."""
        with self._working:
            self._left_behind.add(self._folder.attempts / attempt / JOURNAL)
        self._wake.set()

    @property
    def stalled(self) -> str:
        """Why storage acknowledges nothing just now; "" when it does."""
        return self._stalled

    def finish(self, give_up: Callable[[], bool]) -> None:
        """Push all of a session that has ended, and have its attempts here."""
        retry = self._retry(give_up)
        try:
            retry(self._work)
            retry(self._close_left_open)
        except StorageError as error:
            self._say(f"not all was pushed, the next run here does so: {error.message}")
        self._writer = None

    def leave(self) -> None:
        """Give the study up; what could not be pushed stays here."""
        self._over.set()
        self._wake.set()
        with self._working, contextlib.suppress(StorageError):
            if not self.lost:
                self._ownership.leave()

    def _retry(self, give_up: Callable[[], bool]) -> StorageRetry:
        """Return what waits for storage, and says so, until `give_up`, or the study is lost."""

        def stalled(why: str) -> None:
            self._say(why or "storage answers again")

        return StorageRetry(stalled=stalled, give_up=lambda: bool(self.lost) or give_up())

    def _run(self) -> None:
        while not self._over.is_set() and not self.lost:
            try:
                self._work()
            except StorageError as error:
                self._stalled = f"stalled: {error.message}"
            else:
                self._stalled = ""
            self._wake.wait(self.settings.seconds)
            self._wake.clear()

    def _work(self) -> None:
        start = time.monotonic()
        with self._working:
            if self._over.is_set() or self.lost:
                return
            if (owner := self._ownership.taken_by()) is not None:
                self._note_loss(owner)
                return
            self._ownership.beat(self._status)
            if self._writer is not None:
                self._writer.push()
            self._push_left_behind()
            self._mirror.pull()
            self._submissions.sync()
            take_requests(self._storage, self.study, self._folder)
            self.heard_until = start

    def _push_left_behind(self) -> None:
        for path in list(self._left_behind):
            header = first_line(path)
            if header is not None:
                SegmentWriter(self._storage, key_of(header), path).push()
            self._left_behind.discard(path)

    def _close_left_open(self) -> None:
        """Have everything here that attempts elsewhere wrote, and last lines that they could not.

        That takes a look at every journal: tasks of earlier sessions may have gone on until now.
        """
        with self._working:
            if not self.lost:
                self._close_published()

    def _note_loss(self, owner: Owner | None) -> None:
        host = owner.host if owner is not None else "another machine"
        self.lost = f"a session on {host} has taken the study {self.study} over"

    def _close_published(self) -> None:
        """Put the last line of each published attempt in storage that its worker could not put."""
        published = published_stages(self._storage)
        for path in self._mirror.open_attempts():
            header = first_line(path)
            if header is None or header.kind != AttemptHeader.model_fields["k"].default:
                continue
            stage = str(header.body.get("stage"))
            manifest = find_published(self._storage, stage) if stage in published else None
            if manifest is None or manifest.attempt != header.body.get("attempt"):
                continue
            entries = self._storage.list(manifest.journal)
            last = self._storage.get(entries[-1].key) if entries else None
            if last is not None and last.endswith(manifest.close.encode()):
                continue  # its worker did so since this folder was brought up to date
            with contextlib.suppress(TakenError):  # its own worker does so at this moment
                key = f"{manifest.journal}/{numbered(len(entries))}"
                self._storage.create(key, manifest.close.encode())
        self._mirror.pull_all()


TAKEN_HINT = "it goes on there; icckd watch shows it, icckd run --take-over takes it back"


@contextlib.contextmanager
def share_study(
    settings: StorageSettings,
    folder: StateFolder,
    study: str,
    *,
    say: Say,
    take_over: bool = False,
) -> Iterator[SharedStudy]:
    """Own a study on shared storage, waiting until nobody else does.

    Args:
        settings: Of the storage.
        folder: The state folder, whose owner lock is held.
        study: Name of the study.
        say: Tells the user something.
        take_over: Whether its present owner has ended for sure, as the user says.

    Raises:
        MachineError: Storage cannot be used.
    """
    storage = open_storage(settings)
    try_storage(storage)
    identity = identity_of(storage)
    ownership = Ownership(storage, study, folder.root)

    def waiting(owner: Owner) -> None:
        say(
            f"{owner.host} owns {study} on {settings.url}; waiting until its session ends, or its"
            f" counter stands still for {settings.takeover_seconds:g} s (if {owner.host} is off:"
            " icckd run --take-over)"
        )

    taken = ownership.acquire(
        above=next_session_ordinal(folder) - 1,
        takeover_seconds=settings.takeover_seconds,
        waiting=waiting,
        take_over=take_over,
    )
    shared = SharedStudy(settings, storage, folder, study, ownership, identity, say)
    try:
        shared.take_in()
        if taken is not None and not ownership.was_left(taken):
            say(f"took {study} over from a session on {taken.host} that did not end by itself")
        yield shared
    finally:
        shared.leave()
