"""The executor `ray`: lists of orders are tasks of Ray Core, on whatever nodes a cluster has.

Ray's driver is a process beside the session (`icckd.run.ray_driver`), so that whatever happens to
Ray ends that process and becomes a report or an error here. On a node a task has a worker process
attempt its list as the executor `local` would (`icckd.run.ray_task`).

Ray never tries a task again (`max_retries=0`): each execution is an attempt of icckd's own, and the
session decides by its cause whether there is another. Workers write to the state folder where it
is one shared folder under the same path, as a file with a token in it tells; elsewhere they need
storage that machines share (`icckd.run.scratch`).
"""

import contextlib
import json
import os
import secrets
import selectors
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from icckd import __version__
from icckd.configuration import configuration
from icckd.errors import MachineError, UsageError
from icckd.journal.events import Cause
from icckd.resources.processes import Helper, start_helper
from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.messages import Order, orders_line
from icckd.run.prepare import default_jobs
from icckd.run.ray_messages import (
    CPU,
    END,
    FINISH,
    GPU,
    LINGER_SECONDS,
    MEMORY,
    SAVE,
    DriverJob,
    skip_letter,
)

DRIVER = "icckd.run.ray_driver"
FOLDER = "ray"
"""Below the folder of tasks: logs of workers and drivers, and the file that nodes must see."""
CONNECT_SECONDS = 14.0
CALL_SECONDS = 6.0
START_SECONDS = 60.0
"""How long a Ray of one's own may take to start."""
END_SECONDS = 8.0
MAX_STARTS_WITHOUT_WORK = 3
RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # of a Ray of one's own; its workers would give way to everything
}
ADDRESS = "RAY_ADDRESS"


@dataclass(slots=True, eq=False)
class _List:
    """A list that was submitted.

    Attributes:
        orders: What has not been reported as ended or returned, by attempt.
        begun: Attempts that began.
        node: Where its task runs; "" until it does.
    """

    orders: dict[str, Order]
    begun: set[str] = field(default_factory=set)
    node: str = ""


class RayExecutor:
    """Submits lists to a Ray cluster through a driver process.

    Args:
        job: What the driver is told.
        jobs: Most lists at once; None leaves it to the cluster.
        logs: Folder of the driver's log, and of the probe.
        notice: Told when a driver had to be started again.
        memory_of: Returns the bytes that a stage of a shape took; None where nobody knows.
        classes: The resource that nodes of a class of hardware have, by the model of their device.
    """

    capabilities: ClassVar = Capabilities(remote=True)

    def __init__(
        self,
        *,
        job: DriverJob,
        jobs: int | None,
        logs: Path,
        notice: Callable[[str], None],
        memory_of: Callable[[str], float | None],
        classes: Mapping[str, str] | None = None,
    ) -> None:
        self.capacity = 1
        self._job = job
        self._jobs = jobs
        self._log = logs / "driver.log"
        self._probe = logs / job.task["probe"].rpartition("/")[2]
        self._notice = notice
        self._memory_of = memory_of
        self._classes = classes or {}
        self._lists: dict[str, _List] = {}
        self._selector = selectors.DefaultSelector()
        self._driver: Helper | None = None
        self._unread = b""
        self._ready_by = 0.0
        self._is_ready = False
        self._finishing = False
        self._trouble: MachineError | None = None
        self._starts_without_work = 0
        self._last_over = float("-inf")
        self._has_begun = False

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "RayExecutor":
        """Return the executor of a session, connected.

        Raises:
            MachineError: Ray is not installed, does not answer, or has no node for a stage.
            UsageError: The address is of a kind that is not supported.
        """
        if find_spec("ray") is None:
            raise MachineError(
                "the executor 'ray' needs Ray, which is not installed",
                hint="pip install 'icckd[ray]' here and on every node",
            )
        settings = configuration(context.folder.root).ray
        address = context.address or settings.address or os.environ.get(ADDRESS, "").strip()
        if "://" in address:
            raise UsageError(
                f"the Ray address {address!r} is one of Ray's client, which is not supported",
                hint="run icckd on a node of the cluster, with --address HOST:PORT or auto",
            )
        _call(address)
        logs = context.folder.tasks / FOLDER
        logs.mkdir(parents=True, exist_ok=True)
        token = uuid.uuid4().hex
        probe = logs / f"probe-{token[:8]}"
        probe.write_text(token, encoding="utf-8")
        numerics, gpus = context.numerics, int(context.numerics.device == "cuda")
        needs = {CPU: numerics.threads, GPU: gpus, MEMORY: settings.memory_gib * 2**30}
        declared = settings.autoscale
        job = DriverJob(
            address=address,
            cpus=(context.jobs or default_jobs(context.plan)) * numerics.threads,
            needs=needs,
            node={CPU: declared.cpus, GPU: declared.gpus, MEMORY: declared.memory_gib * 2**30},
            nodes=declared.nodes,
            task={
                "version": __version__,
                "state_folder": str(context.folder.root),
                "probe": str(probe.relative_to(context.folder.root)),
                "token": token,
                "device": numerics.device,
                "threads": numerics.threads,
                "environment": {k: v for k, v in os.environ.items() if k.startswith("ICCKD_")},
                "identity": context.storage_identity,
            },
        )
        made = cls(
            job=job,
            jobs=context.jobs,
            logs=logs,
            notice=context.notice,
            memory_of=context.memory_of,
            classes=settings.classes,
        )
        made.connect()
        return made

    def connect(self) -> None:
        """Start the driver and wait until it is connected; errors as `for_session`."""
        self._start_driver()
        try:
            while not self._is_ready:
                self.wait(1.0)
        except BaseException:
            self.kill()
            raise

    def idle(self) -> int:
        """Return how many lists could start now."""
        if self._finishing or not self._is_ready:
            return 0
        return max(0, self.capacity - len(self._lists))

    def submit(self, orders: Sequence[Order]) -> None:
        """Submit a list as one task."""
        name = uuid.uuid4().hex[:12]
        self._lists[name] = _List({order.attempt: order for order in orders})
        memory = max(self._memory_of(order.stage.shape) or 0.0 for order in orders)
        resource = self._classes.get(orders[0].hardware, "")
        line = orders_line(orders).decode()
        self._tell(submit=name, orders=line, memory=memory, resource=resource)

    def wait(self, timeout: float) -> list[Report]:
        """Return what tasks said, and what became of those that ended or were lost.

        Raises:
            MachineError: The cluster does not answer, cannot run icckd, or has no node that is
                large enough; or drivers end one after the other.
        """
        if self._trouble is not None:
            raise self._trouble
        if not self._is_ready and time.monotonic() > self._ready_by:
            self._end_driver(at_once=True)
            raise MachineError(
                f"Ray {self._where()} does not answer within {self._patience():g} s",
                hint="is it running, and is this machine a node of it?"
                f" Its driver's log: {self._log}",
            )
        reports: list[Report] = []
        for key, _ in self._selector.select(timeout):
            assert self._driver is not None
            if data := os.read(key.fd, 1 << 16):
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    reports += self._heard(json.loads(line))
            else:
                reports += self._driver_ended()
        if self._trouble is not None and not reports:
            raise self._trouble
        return reports

    def cancel(self, attempts: Collection[str]) -> None:
        """End attempts now; those of a list that has not begun come back when it would begin."""
        for name, each in self._lists.items():
            if unwanted := [attempt for attempt in each.orders if attempt in attempts]:
                self._leave(
                    name, skip_letter(unwanted), is_partial=len(unwanted) < len(each.orders)
                )

    def retire(self) -> None:
        """Wait until no worker of a task that has ended is left: for a moment, if at all."""
        time.sleep(max(0.0, self._last_over + LINGER_SECONDS - time.monotonic()))

    def save(self) -> None:
        """Save running stages at the end of their epoch; lists that have not begun come back."""
        for name in self._lists:
            self._leave(name, SAVE)

    def finish(self) -> None:
        """Finish running stages; the rest comes back."""
        self._finishing = True
        for name in self._lists:
            self._leave(name, FINISH)

    def kill(self) -> None:
        """End every task now, and what of Ray was started for this session."""
        self._finishing = True
        self._is_ready = False
        self._end_driver()
        self._lists.clear()
        self._selector.close()
        self._probe.unlink(missing_ok=True)

    def _leave(self, name: str, letter: str, *, is_partial: bool = False) -> None:
        """Write to the task of a list; one that has not begun is withdrawn, if all of it goes."""
        withdraws = not self._lists[name].node and not is_partial
        self._tell(tell=name, letter=letter, withdraws=withdraws)

    def _tell(self, **told: Any) -> None:
        if self._driver is None:
            return
        with contextlib.suppress(BrokenPipeError):  # `wait` sees its end
            self._driver.questions.write(json.dumps(told).encode() + b"\n")
            self._driver.questions.flush()

    def _heard(self, said: dict[str, Any]) -> list[Report]:
        if "trouble" in said:
            self._trouble = MachineError(
                said["trouble"], hint=said.get("hint") or f"see {self._log}"
            )
            return []
        if "slots" in said:
            most = said["slots"] if self._jobs is None else min(self._jobs, said["slots"])
            self.capacity = max(1, most)
            self._is_ready = True
            return []
        each = self._lists[said.pop("list")]
        if "node" in said:
            each.node = said["node"]
            return []
        if "waits" in said:
            orders = list(each.orders.values())
            return [Report(order=order, what="stalled", reason=said["waits"]) for order in orders]
        if "refused" in said:
            if not self._has_begun:
                self._trouble = MachineError(said["refused"], hint=said["hint"])
            return []
        if "over" in said:
            return self._list_over(each, said["over"] or "preempted", said["reason"])
        order = each.orders[said.pop("attempt")]
        if said["what"] == "started":
            self._has_begun = True
            each.begun.add(order.attempt)
        elif said["what"] != "stalled":
            self._starts_without_work = 0
            del each.orders[order.attempt]
            each.begun.discard(order.attempt)
        return [Report(order=order, **said)]

    def _list_over(self, each: _List, cause: Cause, reason: str) -> list[Report]:
        """Report what a task left when it ended; forget the list."""
        self._last_over = time.monotonic()
        self._lists = {name: other for name, other in self._lists.items() if other is not each}
        lost = [order for order in each.orders.values() if order.attempt in each.begun]
        back = [order for order in each.orders.values() if order.attempt not in each.begun]
        where = f" on {each.node}" if each.node else ""
        words = f"{reason or 'its task ended'}{where}"
        return [
            *(
                Report(order=order, what="lost", cause=cause, reason=words, mates=len(lost) - 1)
                for order in lost
            ),
            *(Report(order=order, what="returned") for order in back),
        ]

    # The driver: started, lost, ended.

    def _start_driver(self) -> None:
        environment = {**os.environ, **RAY_VARIABLES}
        environment.pop(ADDRESS, None)
        if not self._job.address:  # Ray's own way is a file that every user of the machine can read
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with self._log.open("ab") as log:
            self._driver = start_helper(DRIVER, environment=environment, output=log, errors=log)
        self._selector.register(self._driver.answers, selectors.EVENT_READ)
        self._unread, self._is_ready = b"", False
        self._ready_by = time.monotonic() + self._patience()
        self._starts_without_work += 1
        with contextlib.suppress(BrokenPipeError):
            self._driver.questions.write(json.dumps(asdict(self._job)).encode() + b"\n")
            self._driver.questions.flush()

    def _driver_ended(self) -> list[Report]:
        """Report the lists of a driver that ended; start another, unless nothing can go on.

        No stage is at fault, and no pack: they go on as they were.
        """
        code = self._end_driver()
        why = (
            f"Ray's driver ended with exit {code}"
            if code >= 0
            else f"Ray's driver was killed by signal {-code}"
        )
        reason = str(self._trouble or why)
        lists = list(self._lists.values())
        reports = [r for each in lists for r in self._list_over(each, "preempted", reason)]
        if self._trouble is None and self._starts_without_work >= MAX_STARTS_WITHOUT_WORK:
            self._trouble = MachineError(
                f"{why}, {self._starts_without_work} times", hint=f"see {self._log}"
            )
        if self._trouble is None:
            self._notice(f"{why}; connecting again")
            self._start_driver()
        return reports

    def _end_driver(self, *, at_once: bool = False) -> int:
        """End the driver with everything that it runs; return its exit code.

        Args:
            at_once: Whether it is not asked to, as there is nothing that it runs.
        """
        if self._driver is None:
            return 0
        driver, self._driver = self._driver, None
        self._selector.unregister(driver.answers)
        with contextlib.suppress(BrokenPipeError):
            driver.questions.write(json.dumps({END: True}).encode() + b"\n")
            driver.questions.close()
        driver.answers.close()
        try:
            return driver.process.wait(0.0 if at_once else END_SECONDS)
        except subprocess.TimeoutExpired:
            driver.process.kill()
            return driver.process.wait()

    def _where(self) -> str:
        return f"at {self._job.address}" if self._job.address else "on this machine"

    def _patience(self) -> float:
        return CONNECT_SECONDS if self._job.address else START_SECONDS


def _call(address: str) -> None:
    """Connect to an address for once: Ray itself takes long to notice that nobody is there.

    Raises:
        MachineError: Nobody answers, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host:  # none, or `auto`
        return
    try:
        socket.create_connection((host, int(port)), CALL_SECONDS).close()
    except (OSError, ValueError) as error:
        raise MachineError(
            f"nobody answers at the Ray address {address}: {error}",
            hint="ray start --head prints the address; ray status tells whether it is up",
        ) from error
