"""`python -m icckd.run.task_bundle FOLDER NUMBER [SHARE]`: carries out one task of a submission.

It feeds workers of its own machine, and says durably what becomes of each order; whoever waits for
that reads it from the folder. Executed again, as schedulers do after a preemption or because they
lost their state, it leaves out what has ended and goes on with the rest, from checkpoints, under
new names of attempts. SIGTERM saves running stages at the end of their epochs.

SHARE tells of storage that machines share: a node that does not see the folder works in one of its
own (`icckd.run.scratch`), and the same files are carried through storage (`icckd.run.courier`).
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from icckd.errors import MachineError
from icckd.journal.artifacts import is_published
from icckd.journal.folder import StateFolder
from icckd.resources import usable_gpus
from icckd.run.executors import Report
from icckd.run.local import LocalExecutor
from icckd.run.messages import Order
from icckd.run.submissions import (
    ORDERS,
    Ending,
    Submission,
    TaskHeard,
    TaskSays,
    Wish,
    read_submission,
)

if TYPE_CHECKING:
    from icckd.run.courier import Courier

POLL_SECONDS = 0.5
WISH_SECONDS = 1.0
INPUT_SECONDS = 60.0
"""A network file system may show a new folder this late."""
NO_INPUT = "an input is not there"


class TaskBundle:
    """One execution of a task.

    Args:
        submission: The submission.
        number: The task.
        input_seconds: How long it waits for inputs that are not there.
        courier: Carries what it says and is told, where its files are a copy.
    """

    def __init__(
        self,
        submission: Submission,
        number: int,
        *,
        input_seconds: float = INPUT_SECONDS,
        courier: "Courier | None" = None,
    ) -> None:
        self._submission, self._number = submission, number
        self._courier = courier
        self._input_seconds = input_seconds
        self._told_to_leave = False
        self._ending: Ending = ""
        self._wish = Wish()
        self._wish_read = float("-inf")
        self._names: dict[str, str] = {}
        self._open: set[str] = set()

    def leave(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Have running stages saved, and the rest returned: what SIGTERM does."""
        self._told_to_leave = True
        self._wish_read = float("-inf")  # whoever sent it may have said more

    def run(self) -> int:
        """Carry out what has not ended yet; return the exit code."""
        if self._submission.is_closed:
            return 0
        home = self._submission.home(self._number)
        lists = self._remaining(home)
        number = self._courier.claim() if self._courier is not None else 0
        self._says = TaskSays(home, lambda: self._told_to_leave, number)
        self._says.begins(
            host=socket.gethostname(),
            pid=os.getpid(),
            restart=os.environ.get("SLURM_RESTART_COUNT"),
        )
        error = ""
        if lists:
            self._executor = self._executor_for(lists[0][0], home)
            try:
                self._carry_out(lists)
            except MachineError as refused:
                error = refused.message
                self._return(self._unsettled(lists), error)
            finally:
                self._executor.kill()
        self._says.ends(error)
        if self._courier is not None:
            self._courier.flush(lambda: False)
        return MachineError.exit_code if error else 0

    def _remaining(self, home: Path) -> list[list[Order]]:
        """Return the lists without what has ended in an earlier execution."""
        lists = self._submission.tasks[self._number]
        orders = {order.attempt: order for each in lists for order in each}
        ended = {
            said.report.order.attempt
            for said in TaskHeard(home, orders).news()
            if said.report is not None and said.report.what == "ended"
        }
        kept = ([order for order in each if order.attempt not in ended] for each in lists)
        return [each for each in kept if each]

    def _executor_for(self, order: Order, home: Path) -> LocalExecutor:
        numerics = order.stage.numerics
        return LocalExecutor(
            capacity=1,
            device=numerics.device,
            gpus=usable_gpus() if numerics.device == "cuda" else (),
            threads=numerics.threads,
            logs=home,
        )

    def _carry_out(self, lists: list[list[Order]]) -> None:
        while lists or self._open:
            self._heed()
            if self._ending == "kill":
                return
            if self._ending:
                for orders in lists:
                    self._return(orders, "")
                lists.clear()
            while lists and self._executor.idle():
                self._begin(lists.pop(0))
            if self._open or lists:
                for report in self._executor.wait(POLL_SECONDS):
                    self._tell(report)

    def _begin(self, orders: Sequence[Order]) -> None:
        """Hand a list to a worker, under the names of this execution."""
        skipped = [order for order in orders if order.attempt in self._wish.skipped]
        self._return(skipped, "")
        wanted = [order for order in orders if order not in skipped]
        absent = [order for order in wanted if not self._has_inputs(order)]
        self._return(absent, NO_INPUT)
        suffix = f".{self._says.number + 1}" if self._says.number else ""
        begun = []
        for order in (each for each in wanted if each not in absent):
            executed = replace(order, attempt=f"{order.attempt}{suffix}")
            self._names[executed.attempt] = order.attempt
            begun.append(executed)
        if begun:
            self._open |= {order.attempt for order in begun}
            self._executor.submit(begun)

    def _has_inputs(self, order: Order) -> bool:
        """Wait for the inputs that this task does not make; return whether they are there.

        With storage that machines share the worker fetches them.
        """
        if order.storage is not None:
            return True
        folder, end = StateFolder(Path(order.state_folder)), time.monotonic() + self._input_seconds
        lists = self._submission.tasks[self._number]
        own = {each.stage.digest for orders in lists for each in orders}
        needed = set(order.stage.inputs.values()) - own
        while not all(is_published(folder, digest) for digest in needed):
            if self._told_to_leave or time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _heed(self) -> None:
        """Do what the scheduler, or the session, wants."""
        if self._courier is not None:
            self._courier.pump()
        now = time.monotonic()
        if now - self._wish_read >= WISH_SECONDS:
            self._wish_read = now
            new = self._submission.wish()
            if fresh := new.skipped - self._wish.skipped:
                self._executor.cancel(
                    {name for name, ordered in self._names.items() if ordered in fresh}
                )
            self._wish = new
        ending: Ending = "save" if self._told_to_leave else ""
        ending = self._wish.ending or ending
        if ending == self._ending:
            return
        self._ending = ending
        if ending == "finish":
            self._executor.finish()
        elif ending == "save":
            self._executor.finish()
            self._executor.save()
        elif ending == "kill":
            self._executor.kill()

    @property
    def _is_leaving(self) -> bool:
        return self._told_to_leave and not self._wish.ending

    def _tell(self, report: Report) -> None:
        name = report.order.attempt
        if report.what in ("ended", "returned", "lost"):
            self._open.discard(name)
        if report.what == "lost" and self._courier is not None:
            self._courier.lost(name)
        is_leaving = self._is_leaving and report.what in ("returned", "lost")
        self._says.word(self._names[name], report, is_leaving=is_leaving)

    def _return(self, orders: Sequence[Order], reason: str) -> None:
        for order in orders:
            report = Report(order=order, what="returned", reason=reason)
            self._says.word(order.attempt, report, is_leaving=self._is_leaving)

    def _unsettled(self, lists: Sequence[Sequence[Order]]) -> list[Order]:
        """Return what was begun here and not settled, and what was not begun."""
        open_ = {self._names[name] for name in self._open}
        tasks = self._submission.tasks[self._number]
        waiting = {order.attempt for orders in lists for order in orders}
        every = (order for orders in tasks for order in orders)
        return [order for order in every if order.attempt in open_ | waiting]


def main() -> None:
    """Carry out the task that the arguments name."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    courier, submission = None, None
    try:
        if (share := sys.argv[3:]) and not _sees(folder):
            from icckd.run.courier import Courier  # whoever shares nothing imports no storage
            from icckd.run.share import Share

            courier = Courier(Share.read(share[0]), folder.name, number)
            submission = courier.fetch()
        else:
            submission = read_submission(folder)
    except MachineError as error:
        sys.exit(f"{error}\n{error.hint}")
    if submission is None:
        sys.exit(f"there is no submission in {folder}")
    bundle = TaskBundle(submission, number, courier=courier)
    signal.signal(signal.SIGTERM, bundle.leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(bundle.run())


def _sees(folder: Path) -> bool:
    """Whether this node sees the folder of the session."""
    from icckd.run.scratch import is_seen

    return is_seen(folder / ORDERS)


if __name__ == "__main__":
    main()
