"""Submissions to a scheduler in storage, for nodes that do not see the state folder.

A submission is a folder of files (`icckd.run.submissions`): what its tasks attempt, what is wanted
of them, what they say. Storage carries the first two to the node and the third back, and both sides
read and write the files that they would have in common.

submissions/<token>/orders.json                made once
submissions/<token>/wish.json                  overwritten by the session
submissions/<token>/closed                     nobody waits any more
submissions/<token>/<task>/<execution>/claim   made once: executions of a task are numbered
submissions/<token>/<task>/<execution>/<n>     segments of what that execution says
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from icckd.journal.folder import StateFolder
from icckd.storage.base import Entry, Storage, TakenError
from icckd.storage.segments import SegmentWriter, pull_journal

ORDERS, WISH, CLOSED, CLAIM = "orders.json", "wish.json", "closed", "claim"
SAID = "said-{:03}.jsonl"


class SubmissionMirror:
    """The session's side: submissions of its state folder in storage, what tasks say here.

    Args:
        storage: Where.
        folder: The state folder.
    """

    def __init__(self, storage: Storage, folder: StateFolder) -> None:
        self._storage, self._folder = storage, folder
        self._sent: dict[Path, bytes] = {}
        self._over = {each.name for each in self._all() if (each / CLOSED).exists()}

    def sync(self) -> None:
        """Put what is new of each open submission into storage, and have here what tasks said."""
        for each in self._all():
            if each.name in self._over:
                continue
            is_closed = (each / CLOSED).exists()
            self._send(each)
            for number, execution, entries in _executions(self._storage, each.name):
                home = each / f"task-{number}"
                pull_journal(self._storage, entries, home / SAID.format(execution))
            if is_closed:
                self._over.add(each.name)

    def _all(self) -> list[Path]:
        return sorted(self._folder.tasks.glob("icckd-*")) if self._folder.tasks.is_dir() else []

    def _send(self, submission: Path) -> None:
        for name in (ORDERS, WISH, CLOSED):
            path = submission / name
            with contextlib.suppress(FileNotFoundError):
                text = path.read_bytes()
                if self._sent.get(path) != text:
                    self._storage.put(f"submissions/{submission.name}/{name}", text)
                    self._sent[path] = text


def _executions(storage: Storage, token: str) -> Iterator[tuple[int, int, list[Entry]]]:
    """Yield task and number of each execution that said something, and its segments."""
    parts = ((entry.key.split("/")[2:], entry) for entry in storage.list(f"submissions/{token}"))
    said = [(p, e) for p, e in parts if len(p) == 3 and all(each.isdecimal() for each in p)]
    for (number, execution), group in groupby(said, key=lambda each: each[0][:2]):
        yield int(number), int(execution), [entry for _, entry in group]


class SubmissionCopy:
    """A node's side: a copy of a submission, and one task of it.

    Args:
        storage: Where.
        folder: Of the copy, named by its token.
        number: The task.
    """

    def __init__(self, storage: Storage, folder: Path, number: int) -> None:
        self._storage, self._folder, self._number = storage, folder, number
        self._key = f"submissions/{folder.name}"
        self._writer: SegmentWriter | None = None

    def fetch(self) -> bool:
        """Have here what there is of the submission; return whether storage has it."""
        if not self._fetch(ORDERS):
            return False
        self.fetch_wish()
        self._fetch(CLOSED)
        for number, execution, entries in _executions(self._storage, self._folder.name):
            if number == self._number:
                pull_journal(self._storage, entries, self._home / SAID.format(execution))
        return True

    def fetch_wish(self) -> None:
        """Have here what the session wants."""
        self._fetch(WISH)

    def claim(self) -> int:
        """Return the number of this execution, which no other has."""
        number = 0
        while True:
            claim = f"{self._key}/{self._number}/{number:03}/{CLAIM}"
            if not (self._home / SAID.format(number)).exists():
                with contextlib.suppress(TakenError):
                    self._storage.create(claim, uuid.uuid4().hex.encode())
                    break
            number += 1
        key = f"{self._key}/{self._number}/{number:03}"
        path = self._home / SAID.format(number)
        self._writer = SegmentWriter(self._storage, key, path, entries=())
        return number

    def push(self) -> None:
        """Push what this execution has said since."""
        if self._writer is not None:
            self._writer.push()

    @property
    def has_news(self) -> bool:
        """Whether something was said that is not in storage."""
        writer = self._writer
        return (
            writer is not None
            and writer.path.exists()
            and writer.path.stat().st_size > writer.acknowledged
        )

    @property
    def _home(self) -> Path:
        return self._folder / f"task-{self._number}"

    def _fetch(self, name: str) -> bool:
        """Have a file here as it is in storage; return whether there is one."""
        text = self._storage.get(f"{self._key}/{name}")
        if text is None:
            return False
        self._home.mkdir(parents=True, exist_ok=True)
        aside = self._folder / f".{name}-{os.getpid()}"
        aside.write_bytes(text)
        aside.replace(self._folder / name)
        return True
