"""An attempt on shared storage: whether it may begin, what it pushes, whether it may publish.

Attempts of one stage, wherever they run, are ordered by the ordinal of their orders. One that
begins says so in storage; the one with the highest ordinal may publish, and what is published
first counts. So a stage may be worked on twice, where a machine was taken for dead, and counts
once.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from icckd.configuration import StorageSettings
from icckd.errors import StageSuperseded
from icckd.journal.artifacts import is_published
from icckd.journal.folder import StateFolder
from icckd.journal.owner import ORDERS_PER_SESSION
from icckd.storage.artifacts import (
    LOST_HINT,
    Published,
    fetch_artifact,
    fetch_checkpoint,
    find_published,
    publish_in,
    push_checkpoint,
    remove_checkpoints,
    replace_artifact,
    upload_files,
)
from icckd.storage.base import LostError, StorageError, number_in, numbered
from icckd.storage.opening import open_storage
from icckd.storage.ownership import Counter, beat_key
from icckd.storage.retry import StorageRetry
from icckd.storage.segments import SegmentWriter, attempt_key

_LOOK_SECONDS = 1.0
_END = ".end"
Standing = Literal["begin", "published", "overtaken", "given up"]
OVERTAKEN = "another attempt of this stage was ordered later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What names an attempt in storage.

    Attributes:
        stage: Digest of its stage.
        attempt: Its name.
        ordinal: Of its order.
        study: The study that it is for.
        force: Whether the stage is trained again on purpose.
    """

    stage: str
    attempt: str
    ordinal: int
    study: str
    force: bool

    @property
    def generation(self) -> int:
        """The generation of what it publishes."""
        return self.ordinal // ORDERS_PER_SESSION if self.force else 0


class SharedAttempt:
    """One attempt's dealings with storage.

    Args:
        settings: Of the storage.
        ticket: What names the attempt.
        folder: The state folder of this machine.
        stalled: Told why storage is waited for, and "" when it no longer is.
        give_up: Whether waiting for storage is to end.

    Attributes:
        overtaken: Why it is not to go on; "" while it is.
    """

    def __init__(
        self,
        settings: StorageSettings,
        ticket: Ticket,
        folder: StateFolder,
        *,
        stalled: Callable[[str], None],
        give_up: Callable[[], bool],
    ) -> None:
        self._settings, self._ticket, self._folder = settings, ticket, folder
        self._storage = open_storage(settings)
        self._stalled, self._give_up = stalled, give_up
        self._retry = StorageRetry(stalled=stalled, give_up=give_up)
        self._epoch = 0
        self._dead: set[str] = set()
        self._writer: SegmentWriter | None = None
        self.overtaken = ""

    def begin(self, gives_up: Callable[[], bool]) -> Standing:
        """Say that the attempt begins, unless its stage is published or ordered again.

        An attempt for another study whose session is alive is waited for, until `gives_up`.
        """
        rivals: dict[int, Counter] = {}
        is_told = False
        while True:
            standing = self._retry(lambda: self._stand(rivals))
            if standing is not None:
                break
            if gives_up():
                standing = "given up"
                break
            if not is_told:
                self._stalled("another machine is training this stage, for another study")
                is_told = True
            time.sleep(_LOOK_SECONDS)
        if is_told:
            self._stalled("")
        return standing

    def fetch(self, inputs: Iterable[str]) -> None:
        """Have the artifacts that the stage reads here, and where it resumes.

        Raises:
            MachineError: An artifact is damaged in storage, or was lost there.
        """
        for digest in inputs:
            self._retry(partial(self._fetch, digest))
        self._epoch = self._retry(
            lambda: fetch_checkpoint(self._storage, self._folder, self._ticket.stage)
        )

    def _fetch(self, digest: str) -> None:
        """Have an artifact here; its stage was complete before this one was ordered."""
        storage, folder = self._storage, self._folder
        is_there = fetch_artifact(storage, folder, digest, give_up=self._give_up)
        if not is_there and not is_published(folder, digest):
            raise LostError(f"storage {storage.url} lost artifacts/{digest}", hint=LOST_HINT)

    def start(self, journal: Path) -> None:
        """Push a journal from now on."""
        key = attempt_key(self._ticket.ordinal, self._ticket.attempt)
        self._writer = SegmentWriter(self._storage, key, journal, entries=())
        _PUSHER.add(self)

    def push(self) -> None:
        """Push what is new, and look whether the stage was ordered again; for the pusher."""
        if self.overtaken:
            return
        if self._is_overtaken():
            self.overtaken = OVERTAKEN
            return
        if self._writer is not None:
            self._writer.push()
        checkpoints = self._folder.checkpoints / self._ticket.stage
        self._epoch = push_checkpoint(self._storage, checkpoints, self._ticket.attempt, self._epoch)

    def publish(self, files: dict[str, str], size: int, close: bytes) -> None:
        """Publish the artifact that lies under its digest here.

        Args:
            files: SHA-256 by name.
            size: Of all files, in bytes.
            close: The last line of the journal, which is not written yet.

        Raises:
            StageSuperseded: Another attempt counts; its artifact took the place of this one's.
            StorageError: It refuses, and was not to be waited for.
        """
        _PUSHER.remove(self)
        assert self._writer is not None
        ticket, writer = self._ticket, self._writer
        manifest = Published(
            stage=ticket.stage,
            files=files,
            size=size,
            attempt=ticket.attempt,
            ordinal=ticket.ordinal,
            journal=attempt_key(ticket.ordinal, ticket.attempt),
            close=close.decode(),
        )
        artifact = self._folder.artifacts / ticket.stage
        self._retry(writer.push)
        self._retry(lambda: upload_files(self._storage, artifact, files))
        if self._retry(self._is_overtaken):
            self.overtaken = OVERTAKEN
            found = self._retry(lambda: find_published(self._storage, ticket.stage))
        else:
            found = self._retry(lambda: publish_in(self._storage, manifest, ticket.generation))
        if found is not None and found.attempt != ticket.attempt:
            self.overtaken = self.overtaken or "another attempt of this stage was published first"
            counts = found
            self._retry(lambda: replace_artifact(self._storage, self._folder, counts))
        if self.overtaken:
            raise StageSuperseded(self.overtaken)

    def close(self) -> None:
        """Push the end of the journal, and of a stage that was left where it resumes.

        Where storage refuses, the session does so later; the stage then resumes earlier.
        """
        _PUSHER.remove(self)
        ticket = self._ticket
        with contextlib.suppress(StorageError):
            if self._writer is not None:
                self._writer.push()
            self._push_checkpoint()
            self._storage.put(f"{self._claim_key()}{_END}", b"ended")
            if self._storage.list(f"artifacts/{ticket.stage}"):
                remove_checkpoints(self._storage, ticket.stage)

    def _push_checkpoint(self) -> None:
        folder = self._folder.checkpoints / self._ticket.stage
        self._epoch = push_checkpoint(self._storage, folder, self._ticket.attempt, self._epoch)

    def tell(self, error: StorageError | None) -> None:
        """Say that pushing does not succeed, or does again; for the pusher."""
        self._stalled(f"stalled: {error.message}" if error is not None else "")

    @property
    def seconds(self) -> float:
        """Time between two pushes."""
        return self._settings.seconds

    def _claim_key(self) -> str:
        ticket = self._ticket
        return f"stages/{ticket.stage}/{numbered(ticket.ordinal)}-{ticket.attempt}"

    def _stand(self, rivals: dict[int, Counter]) -> Standing | None:
        """Return how the attempt stands; None while another study's is to be waited for."""
        ticket, storage = self._ticket, self._storage
        key = f"artifacts/{ticket.stage}"
        if ticket.force:
            is_published = storage.get(f"{key}/{numbered(ticket.generation)}") is not None
        else:
            is_published = bool(storage.list(key))
        if is_published:
            return "published"
        if self._has_rival(rivals):
            return None
        if self._is_overtaken():
            return "overtaken"
        said = {"study": ticket.study, "session": ticket.ordinal // ORDERS_PER_SESSION}
        storage.create(self._claim_key(), json.dumps(said).encode())
        return "overtaken" if self._is_overtaken() else "begin"

    def _is_overtaken(self) -> bool:
        """Whether an attempt with a higher ordinal began, and goes on as far as is known."""
        folder = f"stages/{self._ticket.stage}"
        return any(
            number_in(key, 2) > self._ticket.ordinal and key not in self._dead
            for key in self._begun(f"{folder}/{numbered(self._ticket.ordinal)}.")
        )

    def _begun(self, after: str = "") -> list[str]:
        """Return the keys of the attempts of the stage that began and have not ended."""
        keys = [entry.key for entry in self._storage.list(f"stages/{self._ticket.stage}", after)]
        ended = {key.removesuffix(_END) for key in keys if key.endswith(_END)}
        return [key for key in keys if not key.endswith(_END) and key not in ended]

    def _has_rival(self, rivals: dict[int, Counter]) -> bool:
        """Whether an attempt for another study is under way, of a session that is alive.

        Where a session's counter stood still for long enough its attempts are taken for dead.
        """
        is_alive = False
        for key in self._begun():
            if _study_in(self._storage.get(key)) in ("", self._ticket.study):
                continue
            session = number_in(key, 2) // ORDERS_PER_SESSION
            counter = rivals.setdefault(session, Counter())
            still = counter.look(self._storage.get(beat_key(session)))
            if still >= self._settings.takeover_seconds:
                self._dead.add(key)
            else:
                is_alive = True
        return is_alive


def _study_in(claim: bytes | None) -> str:
    try:
        return str(json.loads(claim or b"{}").get("study", ""))
    except (ValueError, AttributeError):
        return ""


class _Pusher:
    """One thread of this process that pushes what its attempts have, those of a pack together."""

    def __init__(self) -> None:
        self._attempts: list[SharedAttempt] = []
        self._changing = threading.Lock()
        self._pushing = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, attempt: SharedAttempt) -> None:
        with self._changing:
            self._attempts.append(attempt)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, attempt: SharedAttempt) -> None:
        """Push nothing more of an attempt; on return nothing of it is being pushed."""
        with self._changing, contextlib.suppress(ValueError):
            self._attempts.remove(attempt)
        with self._pushing:
            return

    def _run(self) -> None:
        stalled: set[SharedAttempt] = set()
        while True:
            with self._changing:
                attempts = list(self._attempts)
            self._wake.wait(min((each.seconds for each in attempts), default=None))
            self._wake.clear()
            for attempt in attempts:
                with self._pushing:
                    if attempt in self._attempts:
                        self._push(attempt, stalled)

    def _push(self, attempt: SharedAttempt, stalled: set[SharedAttempt]) -> None:
        with contextlib.suppress(SystemExit):  # the session has died; its attempts are saved
            try:
                attempt.push()
            except StorageError as error:
                if attempt not in stalled:
                    attempt.tell(error)
                stalled.add(attempt)
            else:
                if attempt in stalled:
                    attempt.tell(None)
                stalled.discard(attempt)


_PUSHER = _Pusher()
