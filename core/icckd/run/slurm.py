"""The executor `slurm`: arrays of tasks, submitted by sbatch and watched by squeue.

A task carries out lists of orders, one after the other, on a node (`icckd.run.task_bundle`), and
says what becomes of them into files of the state folder, which both see. Lists share a task until
it is predicted to last a minimum; tasks that are ready together are one array. Only stages whose
inputs are complete are submitted, so that no job depends on another.

What is submitted is written first (`icckd.run.submissions`), under a token that names the job: a
session that dies at any moment leaves nothing that the next one would not find, and adopt. A task
that Slurm runs again, or runs after nobody waits any more, notices that by its folder.
"""

import contextlib
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from icckd.configuration import Slurm, configuration
from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.resources.processes import python
from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.messages import Order
from icckd.run.share import Share
from icckd.run.slurm_client import (
    FORGOTTEN,
    Limits,
    SlurmAwayError,
    SlurmClient,
    SlurmFullError,
    TaskState,
)
from icckd.run.submissions import (
    BEGIN,
    END,
    Ending,
    Submission,
    Task,
    TaskHeard,
    Wish,
    new_folder,
    open_submissions,
    write_submission,
)
from icckd.run.task_bundle import NO_INPUT, POLL_SECONDS, WISH_SECONDS

MOST_TASKS = 1000
LOOKS_APART = 5
"""Slurm is asked once while what tasks say is read so often."""
FULL_SECONDS = 30.0
"""After Slurm took no more tasks, so long passes until the next try."""
FORGOTTEN_SECONDS = 10.0
"""A job that Slurm does not know so long after its submission is over."""
HOLD_SECONDS = 60.0
"""A task below its minimum waits so long for more, while anything else runs."""
KILL_SECONDS = 15.0
FINAL = ("ended", "returned", "lost")
MAX_STARTS_WITHOUT_WORK = 3
MAX_RETURNS_WITHOUT_INPUT = 3


@dataclass(slots=True)
class _Bundle:
    """Lists for one task, until they are submitted.

    Attributes:
        lists: The lists.
        seconds: How long they are predicted to take; infinite where nobody knows.
        since: When the first came.
        constraint: What leads to the hardware that they are to be computed on.
    """

    constraint: str
    lists: list[tuple[Order, ...]] = field(default_factory=list)
    seconds: float = 0.0
    since: float = 0.0


@dataclass(slots=True)
class _Task:
    """A task that was submitted, and has not been heard of to its end.

    Attributes:
        number: Its place in the array.
        heard: What it says.
        open: Orders without an end, by attempt.
        begun: As which attempt an order was begun by the present execution.
        held: What was said while it was told to leave: it counts once the task is over.
        state: As Slurm said last.
        over_since: When it was seen to be over, on this machine's clock.
        has_begun: Whether any execution of it said so.
    """

    number: int
    heard: TaskHeard
    open: dict[str, Order]
    begun: dict[str, str] = field(default_factory=dict)
    held: dict[str, Report] = field(default_factory=dict)
    state: TaskState | None = None
    over_since: float | None = None
    has_begun: bool = False


@dataclass(slots=True)
class _Submitted:
    """A submission that is waited for.

    Attributes:
        submission: The submission.
        tasks: Those of its tasks that have open orders.
        asked: When sbatch was called last, on this machine's clock.
        unknown: Looks in a row at which Slurm answered, and knew nothing of it.
        is_refused: Whether sbatch said that it was not submitted.
    """

    submission: Submission
    tasks: list[_Task]
    asked: float = 0.0
    unknown: int = 0
    is_refused: bool = False

    def orders(self) -> list[Order]:
        """Return its open orders."""
        return [order for task in self.tasks for order in task.open.values()]


class SlurmExecutor:
    """Submits lists of orders to Slurm.

    Args:
        client: Slurm's commands.
        limits: What Slurm allows.
        settings: What the site configures.
        folder: The state folder, which nodes see under the same path.
        jobs: Most tasks at once; None takes what is configured.
        notice: Tells the user something.
        seconds_of: What a stage of a shape takes; None where nobody knows.
        share: What machines share, if anything: nodes then need not see the state folder.
        heard_until: Until when everything is here that tasks said, as an `ExecutorContext` has it.
    """

    capabilities: ClassVar = Capabilities(adopts=True, remote=True)

    def __init__(  # noqa: PLR0913  # what it is made from, by keyword
        self,
        *,
        client: SlurmClient,
        limits: Limits,
        settings: Slurm,
        folder: StateFolder,
        jobs: int | None = None,
        notice: Callable[[str], None],
        seconds_of: Callable[[str], float | None] = lambda shape: None,
        share: Share | None = None,
        heard_until: Callable[[], float] = lambda: float("inf"),
    ) -> None:
        self._share, self._heard_until = share, heard_until
        self.capacity = min(jobs or settings.tasks or MOST_TASKS, limits.jobs)
        self._client, self._limits, self._settings = client, limits, settings
        self._folder, self._notice, self._seconds_of = folder, notice, seconds_of
        self._minimum = 60.0 * settings.minimum_minutes
        self._bundles: list[_Bundle] = []
        self._submitted: list[_Submitted] = []
        self._others: list[_Submitted] = []
        self._reports: list[Report] = []
        self._finishing = self._is_left = False
        self._heard_at = self._looked_at = self._full_until = float("-inf")
        self._is_away = False
        self._starts_without_work = 0
        self._returns_without_input: dict[str, int] = {}

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "SlurmExecutor":
        """Return the executor of a session, after a look whether Slurm takes what is configured.

        Raises:
            MachineError: Its controller does not answer, or has no such partition.
            UsageError: The configuration is not right.
        """
        configured = configuration(context.folder.root)
        settings, storage = configured.slurm, configured.storage
        client = SlurmClient(settings.client_seconds)
        limits, known = client.limits(), client.partitions()
        wanted = [name for name in settings.partition.split(",") if name]
        if absent := [name for name in wanted if name not in known]:
            raise MachineError(
                f"Slurm has no partition {absent[0]!r}",
                hint=f"it has {', '.join(known)}: slurm.partition in config.toml",
            )
        return cls(
            client=client,
            limits=limits,
            settings=settings,
            folder=context.folder,
            jobs=context.jobs,
            notice=context.notice,
            seconds_of=context.seconds_of,
            share=Share(storage, context.storage_identity) if storage.url else None,
            heard_until=context.heard_until,
        )

    def idle(self) -> int:
        """Return how many lists could start now, or share a task with others."""
        if self._finishing or self._is_left:
            return 0
        tasks = sum(len(each.tasks) for each in self._submitted)
        free = self.capacity - tasks - len(self._bundles)
        return max(free, 1 if self._has_room() else 0)

    def submit(self, orders: Sequence[Order]) -> None:
        """Add a list to the last task while that is short, or begin another one."""
        constraint = self._constraint_of(orders[0])
        if not self._has_room() or self._bundles[-1].constraint != constraint:
            self._bundles.append(_Bundle(constraint=constraint, since=time.monotonic()))
        bundle = self._bundles[-1]
        bundle.lists.append(tuple(orders))
        for order in orders:
            bundle.seconds += self._seconds_of(order.stage.shape) or float("inf")

    def wait(self, timeout: float) -> list[Report]:
        """Submit what is due; return what tasks said, and what became of those that ended.

        Raises:
            MachineError: Slurm refuses a task, or tasks end before they begin.
        """
        end = time.monotonic() + timeout
        while True:
            self._submit_due()
            self._hear()
            if self._reports or time.monotonic() >= end:
                reports, self._reports = self._reports, []
                return reports
            time.sleep(max(0.0, min(self._settings.poll_seconds, 0.2, end - time.monotonic())))

    def cancel(self, attempts: Collection[str]) -> None:
        """End these attempts; a waiting task of which nothing is left is cancelled."""
        for bundle in self._bundles:
            dropped = [o for each in bundle.lists for o in each if o.attempt in attempts]
            self._reports += [Report(order=order, what="returned") for order in dropped]
            kept = (tuple(o for o in each if o.attempt not in attempts) for each in bundle.lists)
            bundle.lists = [each for each in kept if each]
        self._bundles = [bundle for bundle in self._bundles if bundle.lists]
        for each in self._submitted:
            mine = {name for task in each.tasks for name in task.open if name in attempts}
            if not mine:
                continue
            wish = each.submission.wish()
            each.submission.want(replace(wish, skipped=wish.skipped | mine))
            useless = [task for task in each.tasks if task.open.keys() <= wish.skipped | mine]
            self._cancel_waiting(each, useless)

    def retire(self) -> None:
        """Nothing idles here: a task ends with its lists."""

    def save(self) -> None:
        """Have running stages saved, and what has not begun returned."""
        self._give_back_bundles()
        self._end_all("save")

    def finish(self) -> None:
        """Have running stages finished, and what has not begun returned; accept no more."""
        if not self._finishing:
            self._finishing = True
            self._give_back_bundles()
            self._end_all("finish")

    def kill(self) -> None:
        """End every task now, unless they were left to go on."""
        self._finishing = True
        self._bundles = []
        if self._is_left or not self._submitted:
            return
        submitted, self._submitted = self._submitted, []
        for each in submitted:
            each.submission.want(Wish(ending="kill"))
            each.submission.close()
        jobs = {each.submission.token: each.submission.job for each in submitted}
        with contextlib.suppress(MachineError):  # tasks read the wish all the same
            for name, job in jobs.items():
                self._client.cancel(name, {job} - {""}, only_waiting=True)
            self._wait_until_over(list(jobs), WISH_SECONDS + 2 * POLL_SECONDS)
            for name, job in jobs.items():
                self._client.cancel(name, {job} - {""})
            self._wait_until_over(list(jobs), KILL_SECONDS)

    def _wait_until_over(self, names: Sequence[str], seconds: float) -> None:
        end = time.monotonic() + seconds
        while any(not state.is_over for state in self._client.tasks(names).values()):
            if time.monotonic() >= end:
                return
            time.sleep(0.2)

    # What outlives a session.

    def adopt(self, wanted: Collection[str]) -> list[Order]:
        """Take over what earlier sessions submitted and Slurm still knows; have the rest ended.

        Raises:
            MachineError: Slurm does not answer.
        """
        found = [_waited_for(submission) for submission in open_submissions(self._folder)]
        names = [each.submission.token for each in found]
        states = self._client.tasks(names) if names else {}
        for each in found:
            known = _of(states, each)
            if not known or not each.tasks:
                each.submission.close()
                continue
            each.submission.answered(next(iter(known.values())).job)
            is_mine = any(order.stage.digest in wanted for order in each.orders())
            (self._submitted if is_mine else self._others).append(each)
        mine = [o for each in self._submitted for o in each.orders() if o.stage.digest in wanted]
        mine.sort(key=lambda order: order.ordinal)
        newest = {order.stage.digest: order for order in mine}
        taken = [order for order in mine if newest[order.stage.digest] is order]
        if older := {order.attempt for order in mine if order not in taken}:
            self.cancel(older)
        if taken:
            self._notice(f"{len(taken)} stages that an earlier session submitted are taken over")
        return taken

    def at_work(self) -> frozenset[str]:
        """Return the stages of all tasks that are not over."""
        return frozenset(
            order.stage.digest
            for each in (*self._submitted, *self._others)
            for order in each.orders()
        )

    def leave(self, *, has_failed: bool) -> bool:
        """Leave tasks to Slurm, as it is configured, or because the session failed."""
        if not has_failed and self._settings.when_stopped == "cancel":
            return False
        self._is_left = True
        return True

    # Submitting.

    def preview(self, lists: Sequence[Sequence[Order]]) -> list[str]:
        """Return the scripts by which lists would be submitted."""
        for orders in lists:
            self.submit(orders)
        bundles, self._bundles = self._bundles, []
        folder = new_folder(self._folder)
        return [
            self._script(folder, [tuple(bundle.lists) for bundle in some])
            for some in _arrays(bundles, self._limits.array)
        ]

    def _has_room(self) -> bool:
        """Whether the last task takes a further list."""
        return bool(self._bundles) and self._bundles[-1].seconds < self._minimum

    def _submit_due(self) -> None:
        now = time.monotonic()
        if now < self._full_until or self._is_left:
            return
        for each in self._submitted:
            if each.is_refused:
                self._send(each)
        runs = any(each.tasks for each in self._submitted)
        hold = min(HOLD_SECONDS, self._minimum)
        due = [
            bundle
            for bundle in self._bundles
            if bundle.seconds >= self._minimum or not runs or now - bundle.since >= hold
        ]
        for some in _arrays(due, self._limits.array):
            tasks = [tuple(bundle.lists) for bundle in some]
            folder = new_folder(self._folder)
            submission = write_submission(folder, tasks, self._script(folder, tasks))
            each = _waited_for(submission)
            self._bundles = [bundle for bundle in self._bundles if bundle not in some]
            self._submitted.append(each)
            self._send(each)

    def _send(self, each: _Submitted) -> None:
        """Submit; where nobody answers, the next look at the queue tells what came of it."""
        each.asked, each.unknown, each.is_refused = time.monotonic(), 0, False
        try:
            each.submission.answered(self._client.submit(each.submission.script))
        except SlurmAwayError as error:
            self._tell_away(error)
        except SlurmFullError as error:
            each.is_refused = True
            self._full_until = time.monotonic() + FULL_SECONDS
            self._notice(f"{error.message}; trying again in {FULL_SECONDS:g} s")
        except MachineError:
            each.submission.close()  # nothing of it was submitted
            self._submitted.remove(each)
            raise

    def _script(self, folder: Path, tasks: Sequence[Task]) -> str:
        order = tasks[0][0][0]
        settings = replace(self._settings, constraint=self._constraint_of(order))
        threads = order.stage.numerics.threads
        return script_text(folder, len(tasks), threads, settings, self._share)

    def _constraint_of(self, order: Order) -> str:
        """Return what leads to the hardware that a list is to be computed on."""
        return self._settings.classes.get(order.hardware, self._settings.constraint)

    # Hearing.

    def _hear(self) -> None:
        """Read what tasks said, and now and then ask Slurm how they stand."""
        now = time.monotonic()
        if now - self._heard_at < self._settings.poll_seconds:
            return
        self._heard_at = now
        for each in self._submitted:
            for task in each.tasks:
                self._take_news(each, task)
        if now - self._looked_at >= LOOKS_APART * self._settings.poll_seconds:
            self._look()
        late = 2 * self._settings.poll_seconds
        for each in self._submitted:
            for task in each.tasks:
                over = task.over_since
                if over is not None and min(now, self._heard_until()) - over >= late:
                    self._conclude(task)
            each.tasks = [task for task in each.tasks if task.open]
            if not each.tasks:
                each.submission.close()
        self._submitted = [each for each in self._submitted if each.tasks]

    def _take_news(self, each: _Submitted, task: _Task) -> None:
        for said in task.heard.news():
            if said.kind == BEGIN:
                task.begun.clear()
                task.held.clear()
                task.has_begun = True
            elif said.kind == END and said.error:
                self._count_start_without_work(each, task, said.error)
            elif said.report is not None:
                self._take_word(task, said.report, is_held=said.is_leaving)

    def _take_word(self, task: _Task, report: Report, *, is_held: bool) -> None:
        name = report.order.attempt
        if name not in task.open:
            return
        if is_held:
            task.held[name] = report
        elif report.what in ("started", "stalled"):
            self._starts_without_work = 0
            task.begun[name] = report.attempt
            self._reports.append(report)
        else:
            self._settle(task, report)

    def _settle(self, task: _Task, report: Report) -> None:
        del task.open[report.order.attempt]
        if report.reason == NO_INPUT:
            digest = report.order.stage.digest
            count = self._returns_without_input.get(digest, 0) + 1
            self._returns_without_input[digest] = count
            if count >= MAX_RETURNS_WITHOUT_INPUT:
                report = replace(report, what="lost", cause="machine")
        self._reports.append(report)

    def _conclude(self, task: _Task) -> None:
        """Settle what a task that is over has said nothing final of."""
        state = task.state or TaskState(job="", state=FORGOTTEN)
        if not task.has_begun and state.state != "CANCELLED":
            self._count_start_without_work(None, task, state.words)
        lost = [name for name in task.open if name in task.begun and name not in task.held]
        for name, order in list(task.open.items()):
            if name in task.held:
                self._settle(task, task.held[name])
            elif name in lost:
                self._settle(
                    task,
                    Report(
                        order=order,
                        what="lost",
                        cause=state.cause,
                        reason=state.words,
                        mates=len(lost) - 1 if order.pack else 0,
                        executed_as=task.begun[name],
                    ),
                )
            else:
                self._settle(task, Report(order=order, what="returned", reason=state.words))

    def _look(self) -> None:
        """Ask Slurm how tasks stand; without an answer all goes on as it was known."""
        waited = [each for each in (*self._submitted, *self._others) if not each.is_refused]
        if not waited:
            return
        try:
            states = self._client.tasks([each.submission.token for each in waited])
        except SlurmAwayError as error:
            self._tell_away(error)
            return
        finally:
            self._looked_at = now = time.monotonic()
        if self._is_away:
            self._is_away = False
            self._notice("Slurm's controller answers again")
        for each in waited:
            known = {
                place: s for (name, place), s in states.items() if name == each.submission.token
            }
            if known:
                each.unknown = 0
                if not each.submission.job:
                    each.submission.answered(next(iter(known.values())).job)
            else:
                each.unknown += 1
            for task in each.tasks:
                self._take_state(each, task, known.get(task.number), now)
            if not known and not each.submission.job and each.unknown > 1:
                self._send(each)  # sbatch was not answered, and Slurm knows of nothing
        self._others = [
            each for each in self._others if any(t.over_since is None for t in each.tasks)
        ]

    def _take_state(
        self, each: _Submitted, task: _Task, state: TaskState | None, now: float
    ) -> None:
        is_forgotten = (
            state is None
            and bool(each.submission.job)
            and each.unknown > 1
            and now - each.asked >= FORGOTTEN_SECONDS
        )
        if state is not None and state.is_stuck:
            self._cancel_waiting(each, [task])
        is_over = is_forgotten or (state is not None and state.is_over)
        if is_forgotten:
            state = TaskState(job=each.submission.job, state=FORGOTTEN)
        task.state = state or task.state
        if not is_over:
            task.over_since = None
        elif task.over_since is None:
            task.over_since = now

    def _tell_away(self, error: MachineError) -> None:
        if not self._is_away:
            self._is_away = True
            self._notice(f"{error.message}; what runs goes on, and it is asked again")

    def _count_start_without_work(self, each: _Submitted | None, task: _Task, why: str) -> None:
        self._starts_without_work += 1
        if self._starts_without_work >= MAX_STARTS_WITHOUT_WORK:
            home = task.heard.home
            log, own = home.with_suffix(".log"), f"{home.parent.name}-{task.number}.log"
            elsewhere = "" if self._share is None else f", or {own} in its node's temporary folder"
            raise MachineError(
                f"tasks of Slurm end before they train anything: {why}; {_last_line(log)}",
                hint=f"see {log}{elsewhere}",
            )

    # Ending.

    def _give_back_bundles(self) -> None:
        for bundle in self._bundles:
            for orders in bundle.lists:
                self._reports += [Report(order=order, what="returned") for order in orders]
        self._bundles = []

    def _end_all(self, ending: Ending) -> None:
        for each in self._submitted:
            wish = each.submission.wish()
            each.submission.want(replace(wish, ending=ending))
            self._cancel_waiting(each, each.tasks)

    def _cancel_waiting(self, each: _Submitted, tasks: Sequence[_Task]) -> None:
        """Cancel tasks that wait; running ones read what is wanted of them."""
        if job := each.submission.job:
            with contextlib.suppress(MachineError):  # one that begins later reads it, too
                places = {f"{job}_{task.number}" for task in tasks}
                self._client.cancel(each.submission.token, places, only_waiting=True)
                self._looked_at = float("-inf")


def script_text(
    folder: Path, count: int, threads: int, settings: Slurm, share: Share | None = None
) -> str:
    """Return what is submitted for a submission.

    bash runs a trap only between commands: the task is started beside it and waited for, so that a
    signal reaches it at once.

    Args:
        folder: Folder of the submission.
        count: How many tasks it has.
        threads: Of a stage.
        settings: What the site configures.
        share: What machines share. Slurm ends a task whose output it cannot open, so that a script
            which may run where the folder is not seen opens it by itself.
    """
    path = str(folder).replace("%", "%%")
    options = {
        "job-name": folder.name,
        "array": f"0-{count - 1}",
        "output": f"{path}/task-%a.log" if share is None else "/dev/null",
        "open-mode": "append",
        "requeue": None,
        "signal": f"B:TERM@{settings.signal_seconds}",
        "ntasks": 1,
        "cpus-per-task": settings.cpus or threads,
        **({"time": settings.time_minutes} if settings.time_minutes else {}),
        **({"mem": settings.memory} if settings.memory else {}),
        **{
            name: value
            for name in ("partition", "account", "qos", "constraint", "gres")
            if (value := getattr(settings, name))
        },
    }
    told = [
        f"--{name}" if value is None else f"--{name}={shlex.quote(str(value))}"
        for name, value in options.items()
    ]
    command = shlex.join([*python("icckd.run.task_bundle"), str(folder)])
    shared = "" if share is None else f" {shlex.quote(share.text())}"
    log = [] if share is None else _own_log(folder)
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in (*told, *settings.options)),
            "child=",
            'trap \'[ -z "$child" ] || kill -TERM "$child"\' TERM',
            *log,
            *settings.prologue,
            f'{command} "$SLURM_ARRAY_TASK_ID"{shared} &',
            "child=$!",
            "while true; do",
            '    wait "$child"',
            "    code=$?",
            '    kill -0 "$child" 2> /dev/null || exit "$code"',
            "done",
            "",
        ]
    )


def _own_log(folder: Path) -> list[str]:
    """Return lines of bash that send what follows to the log of a task."""
    return [
        f"log={shlex.quote(str(folder))}/task-$SLURM_ARRAY_TASK_ID.log",
        f"[ -e {shlex.quote(str(folder / 'orders.json'))} ]"
        f' || log="${{TMPDIR:-/tmp}}/{folder.name}-$SLURM_ARRAY_TASK_ID.log"',
        'exec >> "$log" 2>&1',
    ]


def _waited_for(submission: Submission) -> _Submitted:
    """Return a submission with the tasks of which something is still to be heard."""
    tasks = []
    for number, lists in enumerate(submission.tasks):
        orders = {order.attempt: order for each in lists for order in each}
        for said in TaskHeard(submission.home(number), orders).news():
            report = said.report
            if report is not None and report.what in FINAL and not said.is_leaving:
                orders.pop(report.order.attempt, None)
        if orders:
            heard = TaskHeard(submission.home(number), dict(orders))
            tasks.append(_Task(number=number, heard=heard, open=orders))
    return _Submitted(submission=submission, tasks=tasks)


def _of(states: Mapping[tuple[str, int], TaskState], each: _Submitted) -> dict[int, TaskState]:
    """Return how the tasks of a submission stand, by their places."""
    return {place: s for (name, place), s in states.items() if name == each.submission.token}


def _arrays(bundles: Sequence[_Bundle], size: int) -> Iterator[Sequence[_Bundle]]:
    """Yield what is submitted together: tasks for the same hardware, at most so many."""
    for constraint in dict.fromkeys(bundle.constraint for bundle in bundles):
        alike = [bundle for bundle in bundles if bundle.constraint == constraint]
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "no output"
