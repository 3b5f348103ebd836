"""What the executor `ray` runs on a node: a task of Ray that attempts one list of orders.

A task keeps no training in its own process, which is one of Ray's: it has a `LocalExecutor` of one
worker (`icckd.run.local`) attempt the list, and yields what that reports while it happens. What a
crash, a signal or the kernel does to a worker is seen there, and told with its cause. The executor
stays from one task to the next of the same process of Ray, for the sake of its server, which has
torch loaded (`icckd.run.worker_start`). On a CPU its worker stays for a second, too, if all went
well: the first steps of a new one cost as much as a tiny stage. Longer, or on a GPU, it would hold
memory that Ray takes for free.

A node that does not see the state folder works in one of its own, if storage is configured that
machines share (`icckd.run.scratch`); without storage that is an error.

What a session tells a running task (take an order back, save, finish, end) is in the mailbox of its
session, an actor beside the driver: it is gone when the driver's node is, and the tasks with it.

Everything that is told is text: orders are the lines of `icckd.run.messages`, the rest is JSON.
Nothing of icckd is pickled: Ray finds `attempt_list` by its name.
"""

import asyncio
import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from icckd import __version__
from icckd.errors import MachineError
from icckd.resources import VISIBLE, usable_gpus
from icckd.run.executors import Report
from icckd.run.local import LocalExecutor
from icckd.run.messages import Order, read_session_line
from icckd.run.ray_messages import END, FINISH, LINGER_SECONDS, SAVE, TaskJob
from icckd.run.scratch import Scratch, is_seen
from icckd.storage.base import StorageError

if TYPE_CHECKING:
    from icckd.configuration import StorageSettings

POLL_SECONDS = 0.2
END_SECONDS = 10.0
"""How long a worker that has nothing to do may take to end."""


class Mailbox:
    """What running tasks are told, each by the name of its list. An actor of Ray."""

    def __init__(self) -> None:
        self._letters: defaultdict[str, list[str]] = defaultdict(list)
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def put(self, name: str, letter: str) -> None:
        """Leave a letter for a task, which may still have to begin."""
        self._letters[name].append(letter)
        self._news.pop(name, asyncio.Event()).set()

    async def after(self, name: str, seen: int) -> list[str]:
        """Return the letters after the first `seen`; wait until there are any."""
        while len(self._letters[name]) <= seen:
            await self._news[name].wait()
        return self._letters[name][seen:]

    async def forget(self, name: str) -> None:
        """Drop the letters of a task that has ended, and let go of one that waits for more."""
        self._letters[name].append(END)
        self._news.pop(name, asyncio.Event()).set()
        await asyncio.sleep(0)
        self._letters.pop(name, None)


def attempt_list(job: str, orders: str, mailbox: Any) -> Iterator[str]:
    """Attempt a list of orders; yield what happens, as JSON.

    First comes `{"node": ..., "node_id": ...}`; then `{"attempt": ..., "what": ..., ...}` for each
    report of the local executor; `{"refused": ..., "hint": ...}` where storage refuses this node;
    or `{"trouble": ..., "hint": ...}`, after which nothing comes.

    Args:
        job: A `TaskJob`, as JSON.
        orders: A line of `icckd.run.messages.orders_line`.
        mailbox: Handle of the `Mailbox`.
    """
    given = TaskJob(**json.loads(job))
    node, node_id = socket.gethostname(), ray.get_runtime_context().get_node_id()
    yield json.dumps({"node": node, "node_id": node_id})
    try:
        check_version(given)
        wanted = read_session_line(orders.encode()).orders
        scratch = _scratch(given, wanted[0].storage)
        folder = Path(given.state_folder)
        if scratch is not None:
            folder, wanted = scratch.folder.root, tuple(scratch.orders(wanted))
            try:
                scratch.try_storage()
            except StorageError as error:  # its workers wait; a session that begins ends
                yield json.dumps({"refused": f"node {node}: {error.message}", "hint": error.hint})
        letters = _Letters(mailbox, given.name)
        executor = _executor(given, node, folder)
        lingers = given.device == "cpu"
        for report in _attempts(executor, wanted, letters, lingers=lingers):
            if report.what == "lost" and scratch is not None:
                scratch.push_rest(report.attempt)
            yield _told(report, node)
    except MachineError as error:
        yield json.dumps({"trouble": f"node {node}: {error}", "hint": error.hint})


def _attempts(
    executor: LocalExecutor, orders: Sequence[Order], letters: "_Letters", *, lingers: bool
) -> Iterator[Report]:
    """Have a list attempted; leave no worker behind, but for a moment one that did all of it.

    Args:
        executor: The executor of this process.
        orders: The list.
        letters: What the session says meanwhile.
        lingers: Whether its worker may stay for a moment.
    """
    left = {order.attempt for order in orders}
    is_over, all_well = False, True
    try:
        executor.submit(orders)
        while left:
            for letter in letters.new():
                is_over |= letter == END
                _obey(executor, letter)
            if is_over:
                return
            for report in executor.wait(POLL_SECONDS):
                if report.what not in ("started", "stalled"):
                    left.discard(report.order.attempt)
                    all_well &= report.what == "ended" and report.state == "complete"
                yield report
        if lingers and all_well and executor.idle():
            _retirement.begin(executor)
        else:
            _retire(executor)
    finally:
        if not _retirement.is_of(executor) and (executor.workers or executor.idle() == 0):
            _forget(executor)


def _retire(executor: LocalExecutor) -> None:
    """End the worker of an executor, which has nothing to do."""
    executor.retire()
    end = time.monotonic() + END_SECONDS
    while executor.workers and time.monotonic() < end:
        executor.wait(POLL_SECONDS)


class _Retirement:
    """Ends the worker that a task left, unless another task comes soon."""

    def __init__(self) -> None:
        self._executor: LocalExecutor | None = None
        self._timer: threading.Timer | None = None
        self._deciding = threading.Lock()

    def begin(self, executor: LocalExecutor) -> None:
        """Let its worker wait for the next task a moment."""
        self._executor = executor
        self._timer = threading.Timer(LINGER_SECONDS, self._retire)
        self._timer.daemon = True
        self._timer.start()

    def is_of(self, executor: LocalExecutor) -> bool:
        """Whether the worker of this executor waits."""
        return self._executor is executor

    def end(self) -> None:
        """Let nothing be retired from now on: there is another task."""
        if self._timer is not None:
            self._timer.cancel()
        with self._deciding:
            self._executor = self._timer = None

    def _retire(self) -> None:
        with self._deciding:
            if self._executor is not None:
                _retire(self._executor)


_retirement = _Retirement()


def _obey(executor: LocalExecutor, letter: str) -> None:
    if letter == SAVE:
        executor.save()
    elif letter == FINISH:
        executor.finish()
    elif letter != END:
        executor.cancel(json.loads(letter))


def _told(report: Report, node: str) -> str:
    """Return a report as it travels: its order is named by its attempt."""
    fields = {name: value for name, value in asdict(report).items() if name != "order"}
    if report.what == "lost":
        fields["reason"] = f"{report.reason} on {node}"
    return json.dumps({"attempt": report.order.attempt, **fields})


class _Letters:
    """The letters of a task, asked for one call ahead."""

    def __init__(self, mailbox: Any, name: str) -> None:
        self._mailbox = mailbox
        self._name = name
        self._seen = 0
        self._asked = self._ask()

    def new(self) -> list[str]:
        """Return the letters that came since; a mailbox that is gone wants the stage saved."""
        if self._asked is None or not self._asked.done():
            return []
        try:
            letters: list[str] = self._asked.result()
        except Exception:  # whatever Ray says of an actor that is gone
            self._asked = None
            return [SAVE]
        self._seen += len(letters)
        self._asked = self._ask()
        return letters

    def _ask(self) -> Any:
        return self._mailbox.after.remote(self._name, self._seen).future()


def check_version(job: TaskJob) -> None:
    """Check that this node has the icckd of the session.

    Raises:
        MachineError: It has another one.
    """
    if job.version != __version__:
        raise MachineError(
            f"icckd {__version__} is installed here, the session has {job.version}",
            hint="install the same version on every node",
        )


_scratches: dict[str, Scratch | None] = {}
"""Where this process of Ray works for a session, by its token; None is in its state folder."""


def _scratch(job: TaskJob, storage: "StorageSettings | None") -> Scratch | None:
    """Return where this node works for a session, or None where it sees its state folder.

    Raises:
        MachineError: It sees none, and no storage is configured; or it has no place of its own.
    """
    if job.token not in _scratches:
        if is_seen(Path(job.state_folder) / job.probe, job.token):
            _scratches[job.token] = None
        elif storage is not None:
            _scratches[job.token] = Scratch(storage, job.identity)
        else:
            raise MachineError(
                f"the state folder {job.state_folder} is not the session's here:"
                f" {job.probe} cannot be read",
                hint="mount the same folder under the same path on every node, or configure"
                " [storage] (docs/cluster.md)",
            )
    return _scratches[job.token]


_kept: dict[str, LocalExecutor] = {}
"""The executor of this process of Ray, by what it was made for; one at most."""


def _executor(job: TaskJob, node: str, folder: Path) -> LocalExecutor:
    """Return the executor of this process, made if there is none that fits.

    Raises:
        MachineError: Its logs have no place, or there is no GPU.
    """
    _retirement.end()
    gpus = os.environ.get(VISIBLE, "")
    environment = dict(job.environment)
    key = json.dumps([str(folder), job.device, job.threads, environment, gpus])
    if key not in _kept:
        for other in list(_kept.values()):
            _forget(other)
        for name in [name for name in os.environ if name.startswith("ICCKD_")]:
            del os.environ[name]
        os.environ.update(environment)
        logs = folder / Path(job.probe).parent / f"{node}-{os.getpid()}"
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"no log can be written: {error}") from error
        usable = usable_gpus() if job.device == "cuda" else ()
        if job.device == "cuda" and not usable:
            raise MachineError(
                f"the GPU that Ray gave ({VISIBLE}={gpus!r}) cannot be used",
                hint="icckd doctor on that node says why",
            )
        _kept[key] = LocalExecutor(
            capacity=1, device=job.device, gpus=usable, threads=job.threads, logs=logs
        )
    return _kept[key]


def _forget(executor: LocalExecutor) -> None:
    executor.kill()
    for key in [key for key, kept in _kept.items() if kept is executor]:
        del _kept[key]
