"""Submissions: lists of orders that a scheduler carries out in tasks, as files on a shared disk.

They outlive the session that wrote them. A submission is written before it is submitted: the job is
named by its token, so that a session which finds the folder asks the scheduler for that name, and
knows what became of a submission whose answer never came.

.icckd/tasks/<token>/
  orders.json                what each task attempts; its presence is the intent to submit
  script.sh                  what is submitted; the scheduler's answer is `job`
  wish.json                  what the session wants of tasks that run, or begin later
  closed                     nobody waits any more: a task that begins now leaves at once
  task-3.log                 what task 3 printed
  task-3/said-000.jsonl      what its first execution said; a scheduler may execute it again
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from icckd.errors import MachineError
from icckd.journal.file import DiskRetry, encode, read_chunk, sync
from icckd.journal.folder import StateFolder
from icckd.run.executors import Report
from icckd.run.messages import Order, order_from

ORDERS, SCRIPT, JOB, WISH, CLOSED = "orders.json", "script.sh", "job", "wish.json", "closed"
PREFIX = "icckd-"
Task = tuple[tuple[Order, ...], ...]
"""Lists of orders, one after the other."""
Ending = Literal["", "finish", "save", "kill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a session wants of the tasks of a submission.

    Attributes:
        ending: How they are to end, if they are: after their running stage, when it is saved, now.
        skipped: Attempts that were taken back.
    """

    ending: Ending = ""
    skipped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Tasks that are submitted together, under one token.

    Attributes:
        folder: Its folder; the token is its name.
        tasks: What each task attempts.
    """

    folder: Path
    tasks: tuple[Task, ...]

    @property
    def token(self) -> str:
        """What names its job."""
        return self.folder.name

    @property
    def script(self) -> Path:
        """What is submitted."""
        return self.folder / SCRIPT

    @property
    def job(self) -> str:
        """The scheduler's name for it; "" as long as no answer is known."""
        try:
            return (self.folder / JOB).read_text().strip()
        except OSError:
            return ""

    @property
    def is_closed(self) -> bool:
        """Whether no task of it is to begin any more."""
        return (self.folder / CLOSED).exists()

    def home(self, number: int) -> Path:
        """Return the folder of a task."""
        return self.folder / f"task-{number}"

    def log(self, number: int) -> Path:
        """Return what a task printed."""
        return self.folder / f"task-{number}.log"

    def answered(self, job: str) -> None:
        """Keep the scheduler's name for it."""
        _write(self.folder / JOB, job)

    def close(self) -> None:
        """Have no task of it begin any more."""
        _write(self.folder / CLOSED, "")

    def wish(self) -> Wish:
        """Return what is wanted of its tasks."""
        try:
            told = json.loads((self.folder / WISH).read_bytes())
            return Wish(ending=told["ending"], skipped=frozenset(told["skipped"]))
        except (OSError, ValueError, LookupError, TypeError):
            return Wish()

    def want(self, wish: Wish) -> None:
        """Say what is wanted of its tasks."""
        told = {"ending": wish.ending, "skipped": sorted(wish.skipped)}
        _write(self.folder / WISH, json.dumps(told))


def new_folder(state: StateFolder) -> Path:
    """Return the folder of a new submission, which is not made yet."""
    return state.tasks / f"{PREFIX}{uuid.uuid4().hex[:16]}"


def write_submission(folder: Path, tasks: Sequence[Task], script: str) -> Submission:
    """Write a submission, durably: from now on every session finds it.

    Raises:
        MachineError: The disk refuses it.
    """
    told = [[[asdict(order) for order in orders] for orders in task] for task in tasks]
    try:
        folder.mkdir(parents=True)
        for number in range(len(tasks)):
            (folder / f"task-{number}").mkdir()
        _write(folder / SCRIPT, script)
        _write(folder / ORDERS, json.dumps(told))
        for each in (folder, folder.parent, folder.parent.parent):
            sync(each)
    except OSError as error:
        raise MachineError(
            f"cannot write the submission {folder}: {error.strerror}",
            hint="free space on that disk, then run again: finished stages are kept",
        ) from error
    return Submission(folder=folder, tasks=tuple(tasks))


def read_submission(folder: Path) -> Submission | None:
    """Return a submission; None where its folder holds none, or none that can be read."""
    try:
        told = json.loads((folder / ORDERS).read_bytes())
        tasks = tuple(tuple(tuple(map(order_from, orders)) for orders in task) for task in told)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Submission(folder=folder, tasks=tasks)


def open_submissions(state: StateFolder) -> Iterator[Submission]:
    """Yield the submissions that are not closed, in the order of their names."""
    for folder in sorted(state.tasks.glob(f"{PREFIX}*")):
        found = None if (folder / CLOSED).exists() else read_submission(folder)
        if found is not None:
            yield found


def _write(path: Path, text: str) -> None:
    """Write a file that is whole or not there, durably."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync(path.parent)


# What tasks say.

BEGIN, WORD, END = "B", "W", "E"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One thing that an execution of a task said.

    Attributes:
        kind: It began, has a word on an order, or ends.
        report: Its word, on an order of the submission.
        is_leaving: Whether it said so because it was told to leave by somebody else than the
            session: the scheduler may execute the task again.
        error: Why it ends, where it could not go on.
    """

    kind: str
    report: Report | None = None
    is_leaving: bool = False
    error: str = ""


class TaskSays:
    """What one execution of a task says, durably: each word survives the node.

    Args:
        home: Folder of the task.
        give_up: Asked while the disk is full; when true the refusal is raised.
        number: Of the execution, where it is settled; else the first that nobody has here.

    Attributes:
        number: Of the execution, from 0 on.
    """

    def __init__(self, home: Path, give_up: Any, number: int = 0) -> None:
        self.number = number
        home.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY
                self._file = os.open(home / f"said-{self.number:03}.jsonl", flags, 0o666)
                break
            except FileExistsError:
                self.number += 1
        sync(home)
        self._count = 0
        self._disk_retry = DiskRetry(give_up=give_up)

    def begins(self, **about: Any) -> None:
        """Say that it begins."""
        self._append(BEGIN, about)

    def word(self, attempt: str, report: Report, *, is_leaving: bool) -> None:
        """Pass a report on.

        Args:
            attempt: The order's own attempt.
            report: Of the order as it was executed.
            is_leaving: See `Said`.
        """
        told = {name: getattr(report, name) for name in _TOLD}
        self._append(
            WORD,
            {**told, "attempt": attempt, "as": report.order.attempt, "is_leaving": is_leaving},
        )

    def ends(self, error: str = "") -> None:
        """Say that it ends."""
        self._append(END, {"error": error})
        os.close(self._file)

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        line = encode(kind, self._count, 0.0, body)

        def put() -> None:
            size = os.fstat(self._file).st_size
            try:
                os.write(self._file, line)
                os.fdatasync(self._file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, size)
                raise

        self._disk_retry(put)
        self._count += 1


_TOLD = ("what", "state", "cause", "reason", "by_itself", "mates", "hardware")


@dataclass(slots=True)
class TaskHeard:
    """What the executions of a task said, read as it grows.

    Attributes:
        home: Folder of the task.
        orders: Its orders, by attempt.
    """

    home: Path
    orders: dict[str, Order]
    _offsets: dict[str, int] = field(default_factory=dict)

    def news(self) -> list[Said]:
        """Return what was said since the last call, one execution after the other."""
        found: list[Said] = []
        for path in sorted(self.home.glob("said-*.jsonl")):
            start = self._offsets.get(path.name, 0)
            try:
                if path.stat().st_size <= start:
                    continue
                chunk = read_chunk(path, start)
            except OSError:
                continue  # a network file system may lose sight of it for a while
            self._offsets[path.name] = chunk.end
            found += [said for line in chunk.lines if (said := self._said(line.kind, line.body))]
        return found

    def _said(self, kind: str, body: dict[str, Any]) -> Said | None:
        if kind != WORD:
            return Said(kind=kind, error=str(body.get("error", "")))
        order = self.orders.get(str(body.get("attempt")))
        if order is None:
            return None
        told = {name: body[name] for name in _TOLD if name in body}
        report = Report(order=order, executed_as=str(body["as"]), **told)
        return Said(kind=kind, report=report, is_leaving=bool(body["is_leaving"]))
