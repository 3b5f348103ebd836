"""The contract of executors: laws that hold for every one, and those of what it declares.

A law takes one *case*, an executor's name with an empty state folder, makes executors of it and has
stages trained for real. `laws_of` says which laws an executor with certain capabilities must keep.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.run.executors import (
    AdmittingExecutor,
    AdoptingExecutor,
    Capabilities,
    Executor,
    ExecutorContext,
    Report,
    find_executor,
    make_executor,
)
from icckd.run.messages import Order
from icckd.run.prepare import make_plan
from icckd.study.load import parse
from icckd.testing.laws import require
from icckd.variables import data_folder

STUDY = """
[study]
name = "contract"
baseline = "full"
seeds = { count = 1 }
[teacher.intra]
[teacher.training]
epochs = 2
[student.training]
epochs = 2
[numerics]
packing = "off"
[[arm]]
name = "full"
"""
"""A teacher and its student on the digits, a second or two each."""
LONG = "teacher.training.epochs=20000"
FINAL = ("ended", "returned", "lost")


@dataclass(slots=True)
class ExecutorCase:
    """An executor by name, and a state folder of its own.

    Attributes:
        name: Its name in the registry.
        folder: An empty state folder.
        seconds: How long anything may take to happen.
        notices: What executors told the user.
    """

    name: str
    folder: StateFolder
    seconds: float = 120.0
    notices: list[str] = field(default_factory=list)
    _made: list[Executor] = field(default_factory=list)

    def orders(self, *overrides: str, first: int = 0) -> list[Order]:
        """Return an order for the teacher and one for its student: `DIGEST-0` and so on.

        Args:
            overrides: Settings of the study.
            first: Number of the first attempt.
        """
        plan = self._context(*overrides).plan
        return [
            Order(
                attempt=f"{stage.digest[:16]}-{number}",
                session="contract",
                state_folder=str(self.folder.root),
                data_root=str(data_folder()),
                stage=stage,
                ordinal=1_000_001 + number,
            )
            for number, stage in enumerate(plan.stages.values(), start=first)
        ]

    def executor(self) -> Executor:
        """Return a new executor with room for one list at a time; it is killed in the end."""
        made = make_executor(self.name, self._context())
        self._made.append(made)
        return made

    def reports(self, executor: Executor, enough: Callable[[list[Report]], object]) -> list[Report]:
        """Return what is reported until that is enough."""
        found: list[Report] = []
        end = time.monotonic() + self.seconds
        while not enough(found):
            seen = [(report.attempt, report.what, report.reason) for report in found]
            require(time.monotonic() < end, f"nothing more within {self.seconds:g} s than {seen}")
            found += executor.wait(0.1)
        return found

    def until(self, executor: Executor, what: str) -> Report:
        """Return the next report of a kind; others are passed over."""
        return self.reports(executor, lambda found: any(r.what == what for r in found))[-1]

    def kinds(self, attempt: str) -> str:
        """Return the kind of each line of an attempt's journal; "" where there is none."""
        path = self.folder.attempts / attempt / JOURNAL
        return "".join(line.kind for line in read_chunk(path).lines) if path.exists() else ""

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what another process does."""
        end = time.monotonic() + self.seconds
        while not condition():
            require(time.monotonic() < end, f"not within {self.seconds:g} s: {what}")
            time.sleep(0.02)

    def end(self) -> None:
        """Kill every executor that was made."""
        for executor in self._made:
            executor.kill()

    def _context(self, *overrides: str) -> ExecutorContext:
        study = parse(STUDY, where="contract", overrides=overrides)
        plan = make_plan(study, device="cpu", root=data_folder())
        return ExecutorContext(folder=self.folder, plan=plan, jobs=1, notice=self.notices.append)


Law = Callable[[ExecutorCase], None]


def finals(reports: Sequence[Report]) -> list[tuple[str, str, str]]:
    """Return, of each report that ends an order, its attempt, kind and state."""
    return [(r.order.attempt, r.what, r.state) for r in reports if r.what in FINAL]


# What every executor keeps to.


def a_list_is_attempted_in_order(case: ExecutorCase) -> None:
    """A list is attempted in order, and each stage has a whole journal."""
    executor = case.executor()
    teacher, student = case.orders()
    require(executor.capacity >= 1 and executor.idle() >= 1, "a new executor has no room")
    start = time.monotonic()
    require(executor.wait(0.1) == [], "it reports before anything was submitted")
    require(time.monotonic() - start < 5, "`wait` with nothing to do takes longer than asked")
    executor.submit([teacher, student])
    found = case.reports(executor, lambda reports: len(finals(reports)) == 2)
    told = [(r.order.attempt, r.what, r.state) for r in found if r.what != "stalled"]
    wanted = [
        (teacher.attempt, "started", ""), (teacher.attempt, "ended", "complete"),
        (student.attempt, "started", ""), (student.attempt, "ended", "complete"),
    ]  # fmt: skip
    require(told == wanted, f"reported was {told}")
    for report in found:
        kinds = case.kinds(report.attempt)
        require(kinds.startswith("hmm") and kinds.endswith("az"), f"its journal holds {kinds!r}")
    case.reports(executor, lambda _: executor.idle() >= 1)
    executor.retire()
    require(executor.idle() >= 1, "it has no room after `retire`")


def what_has_not_begun_can_be_taken_back(case: ExecutorCase) -> None:
    """An order that has not begun is returned when it is cancelled, and never begins."""
    executor = case.executor()
    teacher, student = case.orders("teacher.training.epochs=30")
    executor.submit([teacher, student])
    executor.cancel({student.attempt})
    found = case.reports(executor, lambda reports: len(finals(reports)) == 2)
    told = sorted(finals(found))
    wanted = sorted([(teacher.attempt, "ended", "complete"), (student.attempt, "returned", "")])
    require(told == wanted, f"reported was {told}")
    require(not (case.folder.attempts / student.attempt).exists(), "it began all the same")


def a_complete_stage_is_not_executed_again(case: ExecutorCase) -> None:
    """A second order of a complete stage ends at once, complete, without an attempt."""
    executor = case.executor()
    executor.submit(case.orders()[:1])
    case.until(executor, "ended")
    case.reports(executor, lambda _: executor.idle() >= 1)
    again = replace(case.orders(first=7)[0], ordinal=2_000_001)
    executor.submit([again])
    told = case.until(executor, "ended")
    require(told.state == "complete" and told.reason, f"it {told.what} {told.state} {told.reason}")
    require(not (case.folder.attempts / again.attempt).exists(), "it was attempted again")


def what_has_just_ended_can_be_told_anything(case: ExecutorCase) -> None:
    """After the last stage ended, every call is allowed, and `finish` leaves no room."""
    executor = case.executor()
    [order, _] = case.orders()
    executor.submit([order])
    case.until(executor, "ended")
    executor.cancel({order.attempt})
    executor.save()
    executor.finish()
    executor.finish()
    case.reports(executor, lambda _: executor.idle() == 0)


def finishing_returns_what_has_not_begun(case: ExecutorCase) -> None:
    """`finish` lets a running stage end, returns the rest of its list, and accepts no more."""
    executor = case.executor()
    teacher, student = case.orders("teacher.training.epochs=100")  # seconds: word may take one
    executor.submit([teacher, student])
    found = case.reports(executor, lambda seen: any(r.what == "started" for r in seen))
    executor.finish()
    found += case.reports(executor, lambda more: len(finals([*found, *more])) == 2)
    told = finals(found)
    wanted = [(teacher.attempt, "ended", "complete"), (student.attempt, "returned", "")]
    require(told == wanted, f"reported was {told}")
    require(executor.idle() == 0, "it has room after `finish`")


ALWAYS: tuple[Law, ...] = (
    a_list_is_attempted_in_order,
    what_has_not_begun_can_be_taken_back,
    a_complete_stage_is_not_executed_again,
    what_has_just_ended_can_be_told_anything,
    finishing_returns_what_has_not_begun,
)


# What one keeps to that can end a running stage.


def a_cancelled_attempt_ends_now(case: ExecutorCase) -> None:
    """A cancelled attempt ends now, and every order is reported once."""
    executor = case.executor()
    teacher, student = case.orders(LONG)
    executor.submit([teacher, student])
    case.until(executor, "started")
    executor.cancel({student.attempt})
    executor.cancel({teacher.attempt})
    found = case.reports(executor, lambda reports: len(finals(reports)) == 2)
    told = sorted(finals(found))
    wanted = sorted([(teacher.attempt, "lost", ""), (student.attempt, "returned", "")])
    require(told == wanted, f"reported was {told}")
    require(not (case.folder.attempts / student.attempt).exists(), "the other one began")


def an_attempt_cancelled_while_it_begins_ends(case: ExecutorCase) -> None:
    """An attempt that began unheard of, and is cancelled, does not go on."""
    executor = case.executor()
    executor.submit([replace(case.orders()[0], attempt="before")])
    case.until(executor, "ended")  # there is a worker, or what it comes from
    case.reports(executor, lambda _: executor.idle() >= 1)
    [order, _] = case.orders(LONG)
    executor.submit([order])
    executor.wait(0.0)  # what collects lists hands them out here
    case.wait_for(lambda: "m" in case.kinds(order.attempt), "the attempt trains")
    executor.cancel({order.attempt})
    found = case.reports(executor, finals)
    require(finals(found) == [(order.attempt, "lost", "")], f"reported was {finals(found)}")


def a_killed_executor_has_no_stage_running(case: ExecutorCase) -> None:
    """After `kill` nothing is trained any more, and `kill` may be called again."""
    executor = case.executor()
    [order, _] = case.orders(LONG)
    executor.submit([order])
    started = case.until(executor, "started")
    case.wait_for(lambda: "m" in case.kinds(started.attempt), "the attempt trains")
    executor.kill()
    executor.kill()
    before = case.kinds(started.attempt)
    time.sleep(0.5)
    after = case.kinds(started.attempt)
    require(after == before and "z" not in after, f"its journal grew by {after[len(before) :]!r}")
    require(executor.idle() == 0, "it has room after `kill`")


CANCELS: tuple[Law, ...] = (
    a_cancelled_attempt_ends_now,
    an_attempt_cancelled_while_it_begins_ends,
    a_killed_executor_has_no_stage_running,
)


# What one keeps to that can save a running stage.


def a_saved_stage_is_lost_as_preempted(case: ExecutorCase) -> None:
    """A saved stage is lost, cause `preempted`, and has a checkpoint."""
    executor = case.executor()
    [order, _] = case.orders(LONG)
    executor.submit([order])
    started = case.until(executor, "started")
    case.wait_for(lambda: "m" in case.kinds(started.attempt), "the attempt trains")
    executor.save()
    lost = case.until(executor, "lost")
    require(lost.cause == "preempted", f"its cause is {lost.cause}: {lost.reason}")
    saved = list((case.folder.checkpoints / order.stage.digest).glob("epoch-*"))
    require(saved, "it has no checkpoint")


SAVES: tuple[Law, ...] = (a_saved_stage_is_lost_as_preempted,)


# What one keeps to whose work outlives its session.


def what_is_left_goes_on_and_is_adopted(case: ExecutorCase) -> None:
    """What was left goes on, a new executor adopts it, and nothing is executed twice."""
    first = cast(AdoptingExecutor, case.executor())
    teacher, student = case.orders("teacher.training.epochs=400")
    first.submit([teacher, student])
    case.until(first, "started")
    require(first.leave(has_failed=True), "it does not leave what runs to itself")
    first.kill()
    second = cast(AdoptingExecutor, case.executor())
    wanted = {teacher.stage.digest, student.stage.digest}
    adopted = second.adopt(wanted)
    names = [order.attempt for order in adopted]
    require(names == [teacher.attempt, student.attempt], f"adopted was {names}")
    require(wanted <= second.at_work(), "it does not know that these stages are at work")
    found = case.reports(second, lambda reports: len(finals(reports)) == 2)
    told = finals(found)
    done = [(teacher.attempt, "ended", "complete"), (student.attempt, "ended", "complete")]
    require(told == done, f"reported was {told}")
    begun = sorted(path.name for path in case.folder.attempts.iterdir())
    require(begun == sorted(names), f"attempts are {begun}")
    require(not (wanted & second.at_work()), "it takes what has ended for at work")


# What one keeps to that looks at what a list takes.


def what_nothing_runs_beside_is_admitted(case: ExecutorCase) -> None:
    """Where nothing runs, a list is admitted on all hardware that there is."""
    executor = cast(AdmittingExecutor, case.executor())
    teacher, _ = case.orders()
    hardware = executor.hardware()
    require(sum(hardware.values()) > 0, f"nothing could start on {dict(hardware)}")
    require("" not in hardware, "a model of device has no name")
    for name in ("", *(model for model, room in hardware.items() if room)):
        require(executor.admits([teacher.stage], name), f"refused on {name!r}")
    executor.submit([teacher])
    found = case.reports(executor, finals)
    require(finals(found)[0][1:] == ("ended", "complete"), f"reported was {finals(found)}")


ADMITS: tuple[Law, ...] = (what_nothing_runs_beside_is_admitted,)
ADOPTS: tuple[Law, ...] = (what_is_left_goes_on_and_is_adopted,)

LAWS = (*ALWAYS, *CANCELS, *SAVES, *ADMITS, *ADOPTS)


def laws_of(capabilities: Capabilities) -> tuple[Law, ...]:
    """Return the laws that an executor with these capabilities keeps to."""
    return (
        *ALWAYS,
        *(CANCELS if capabilities.cancels else ()),
        *(SAVES if capabilities.saves else ()),
        *(ADMITS if capabilities.admits else ()),
        *(ADOPTS if capabilities.adopts else ()),
    )


def laws_of_executor(name: str) -> tuple[Law, ...]:
    """Return the laws that an executor declares to keep; errors as `find_executor`."""
    return laws_of(find_executor(name).capabilities)


@contextlib.contextmanager
def case_of(name: str, folder: Path | None = None) -> Iterator[ExecutorCase]:
    """Yield a case; what its executors still run ends with it.

    Args:
        name: The executor's name.
        folder: Where its state folder is made; by default a folder that is removed in the end. One
            that runs on other machines needs a folder that they see.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="icckd-contract-"))
            )
        state = StateFolder(folder / "state")
        state.create()
        case = ExecutorCase(name, state)
        stack.callback(case.end)
        yield case
