"""Carries a task of a scheduler through storage, where its node does not see the state folder.

The task reads and writes the files of its submission as everywhere (`icckd.run.submissions`), in a
copy below the node's scratch folder; this brings what the session wants of it into that copy, and
what it says out of it. Words that storage does not take wait on the node, and are pushed before the
task ends.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from icckd.run.scratch import Scratch
from icckd.run.share import Share
from icckd.run.submissions import Submission, read_submission
from icckd.storage.base import StorageError
from icckd.storage.opening import open_storage
from icckd.storage.retry import StorageRetry
from icckd.storage.submissions import SubmissionCopy

ORDERS_SECONDS = 60.0
"""A session may put a submission into storage this much later than it submits it."""
FLUSH_SECONDS = 600.0


class Courier:
    """What goes between one execution of a task and its session.

    Args:
        share: Storage that both reach.
        token: Names the submission.
        number: The task.

    Raises:
        MachineError: The node has no place to work, or reaches another storage.
    """

    def __init__(self, share: Share, token: str, number: int) -> None:
        self._scratch = Scratch(share.settings, share.identity)
        self._folder = self._scratch.folder.tasks / token
        self._seconds = share.settings.seconds
        storage = open_storage(share.settings)
        self._copy = SubmissionCopy(storage, self._folder, number)
        self._retry = StorageRetry(stalled=_say, give_up=lambda: False)
        self._wish_at = self._again_at = float("-inf")
        self._retry(self._scratch.try_storage)

    def fetch(self) -> Submission | None:
        """Return the submission as it is carried out here; None where storage has none."""
        end = time.monotonic() + ORDERS_SECONDS
        while not self._retry(self._copy.fetch):
            if time.monotonic() >= end:
                return None
            time.sleep(min(1.0, self._seconds))
        found = read_submission(self._folder)
        if found is None:
            return None
        tasks = tuple(tuple(tuple(self._scratch.orders(o)) for o in task) for task in found.tasks)
        return replace(found, tasks=tasks)

    def claim(self) -> int:
        """Return the number of this execution, which no other has."""
        return self._retry(self._copy.claim)

    def pump(self) -> None:
        """Push what was said, and see now and then what is wanted; later where storage refuses."""
        now = time.monotonic()
        wants_wish = now - self._wish_at >= self._seconds
        if now < self._again_at or not (wants_wish or self._copy.has_news):
            return
        try:
            self._copy.push()
            if wants_wish:
                self._wish_at = now
                self._copy.fetch_wish()
        except StorageError as error:
            _say(f"stalled: {error.message}")
            self._again_at = time.monotonic() + self._seconds

    def lost(self, attempt: str) -> None:
        """Push what a dead worker left."""
        self._scratch.push_rest(attempt)

    def flush(self, give_up: Callable[[], bool]) -> None:
        """Push all that was said; the session hears of nothing that is left."""
        end = time.monotonic() + FLUSH_SECONDS
        retry = StorageRetry(stalled=_say, give_up=lambda: give_up() or time.monotonic() >= end)
        try:
            retry(self._copy.push)
        except StorageError as error:
            _say(f"not all that this task said reached its session: {error.message}")


def _say(text: str) -> None:
    """Tell the task's log."""
    if text:
        print(text, file=sys.stderr, flush=True)
