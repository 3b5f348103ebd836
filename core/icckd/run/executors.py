"""Executors: what attempts the stages of a session, found by name.

`BUILT_IN` has those of icckd. Another package adds one with an entry point in its `pyproject.toml`:

    [project.entry-points."icckd.executors"]
    kubernetes = "my_package.jobs:JobExecutor"

and `icckd run STUDY --executor kubernetes` finds it. Its class declares `capabilities`, and has the
methods of `Executor`, of `AdoptingExecutor` if it adopts, and a class method `for_session`;
`python -m icckd.testing executor kubernetes` tries what it declares. Orders are carried out by a
process that runs `icckd.run.worker` (`icckd.resources.processes.start_helper`), or calls
`icckd.run.worker.serve`; `icckd.run.messages` has the lines that it exchanges.
"""

import functools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, Protocol, cast

from icckd.errors import MachineError, UsageError
from icckd.journal.events import Cause
from icckd.journal.folder import StateFolder
from icckd.run.messages import Order
from icckd.study.numerics import NumericsClass
from icckd.study.plan import Plan, StageJob

GROUP = "icckd.executors"
DEFAULT = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an order.

    Attributes:
        order: The order.
        what: `started`, `ended` and `stalled` come from the worker. `returned`: it never began.
            `lost`: its worker died while training it.
        state: How it `ended`.
        cause: Why it failed or was lost.
        reason: The same in words. For `stalled`, why the stage cannot continue just now, "" when
            it can again; for `returned`, why, if its worker could say; for a `complete` stage, that
            there was nothing to do.
        by_itself: Whether what was `returned` is not to be put into a pack again.
        mates: Other members of its pack that ended by the same failure, or with its worker.
        executed_as: The attempt that carries it out, where that is not the order's own: what runs a
            job again must begin an attempt of another name.
        hardware: Model of the device that it `started` on; or, of what is `returned` because its
            order wants another, the model that was found.
    """

    order: Order
    what: Literal["started", "ended", "stalled", "returned", "lost"]
    state: Literal["", "complete", "failed"] = ""
    cause: Cause | None = None
    reason: str = ""
    by_itself: bool = False
    mates: int = 0
    executed_as: str = ""
    hardware: str = ""

    @property
    def attempt(self) -> str:
        """The attempt that carries the order out."""
        return self.executed_as or self.order.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an executor can do; the contract test tries what is declared.

    Attributes:
        cancels: `cancel` ends an attempt that is running; else only what has not begun is returned.
        saves: `save` reaches a stage that is running.
        adopts: What it runs outlives its session, and a later one finds it: it is an
            `AdoptingExecutor`.
        remote: It may run on other machines: what devices the session's machine has says nothing.
        admits: It looks at each list before it takes it: it is an `AdmittingExecutor`.
    """

    cancels: bool = True
    saves: bool = True
    adopts: bool = False
    remote: bool = False
    admits: bool = False


class Executor(Protocol):
    """Attempts lists of orders, several lists at once. All calls come from one thread.

    Every order submitted leads to exactly one report `ended`, `returned` or `lost`, whatever
    happens to its worker, unless the executor is killed.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: an attribute of its class."""

    capacity: int
    """Lists at once; it may shrink during a session."""

    def idle(self) -> int:
        """Return how many lists could start now."""

    def submit(self, orders: Sequence[Order]) -> None:
        """Begin a list of orders, attempted in this order, those of one pack together.

        Called while `idle()` is above 0.
        """

    def wait(self, timeout: float) -> list[Report]:
        """Return what happened, waiting at most `timeout` seconds for something to happen.

        Raises:
            MachineError: Nothing can be attempted any more.
        """

    def cancel(self, attempts: Collection[str]) -> None:
        """End these attempts now; those not begun are `returned`. No other attempt is lost."""

    def retire(self) -> None:
        """Free what idle workers hold, such as memory."""

    def save(self) -> None:
        """Save running stages at the end of their epoch; they are `lost`, cause `preempted`."""

    def finish(self) -> None:
        """Finish running stages, return the rest of their lists, and accept no more."""

    def kill(self) -> None:
        """End everything now and free it; called last, possibly more than once."""


class AdmittingExecutor(Executor, Protocol):
    """An executor that looks at what a list takes before it begins it."""

    waits_for: str
    """Why the list that was shown last cannot start now; "" when it can."""

    def hardware(self) -> Mapping[str, int]:
        """Return how many lists could start now, by every model of device that there is."""

    def admits(self, stages: Sequence[StageJob], hardware: str) -> bool:
        """Return whether a list can start now; what can is submitted next.

        Where nothing runs, nothing is refused for what it takes.

        Args:
            stages: The list.
            hardware: The model of device that it must be computed on; "" is any.
        """


class AdoptingExecutor(Executor, Protocol):
    """An executor whose work outlives its session.

    It keeps what it is about to submit, durably, before it submits that: a session that died at any
    moment leaves nothing running that a later one could not find.
    """

    def adopt(self, wanted: Collection[str]) -> list[Order]:
        """Take over orders of earlier sessions that run, wait or have ended unheard of.

        From now on they are reported as if they had been submitted here. Called once, before
        anything is submitted. What is not taken over must not begin any more.

        Args:
            wanted: Digests of the stages that this session is to attempt.
        """

    def at_work(self) -> frozenset[str]:
        """Return the stages that something of it may be attempting, whoever ordered that."""

    def leave(self, *, has_failed: bool) -> bool:
        """Leave what runs to itself, and return whether it does; then `kill` ends none of it.

        Args:
            has_failed: Whether the session ends by an error; else the user may have settled that
                work ends with the session.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorContext:
    """What an executor is made from.

    Attributes:
        folder: State folder of the session; logs of workers go to `folder.sessions`.
        plan: What the session trains.
        jobs: Lists at once, as asked for by `--jobs`; None leaves it to the executor.
        notice: Tells the user something.
        is_stopping: Whether the session was asked to save what runs and to leave.
        seconds_of: Returns what a stage of a shape took, in seconds; None where nobody knows.
        memory_of: The same of the memory of its process, in bytes; None on a GPU, too.
        gpu_memory_of: The same of the memory of its GPU; None on a CPU, too.
        shares_gpus: Whether stages may share a GPU: not where verdicts are about time or memory.
        address: Of the cluster, as asked for by `--address`; "" leaves it to the executor.
        storage_identity: What tells the storage that machines share from all others; "" where the
            session shares nothing.
        heard_until: Returns until when everything is here that was said on other machines, on the
            clock of `time.monotonic`.
    """

    folder: StateFolder
    plan: Plan
    jobs: int | None
    notice: Callable[[str], None]
    is_stopping: Callable[[], bool] = lambda: False
    seconds_of: Callable[[str], float | None] = lambda shape: None
    memory_of: Callable[[str], float | None] = lambda shape: None
    gpu_memory_of: Callable[[str], float | None] = lambda shape: None
    shares_gpus: bool = False
    address: str = ""
    storage_identity: str = ""
    heard_until: Callable[[], float] = lambda: float("inf")

    @property
    def numerics(self) -> NumericsClass:
        """Device, precision and threads; the same for all stages of a plan."""
        return next(iter(self.plan.stages.values())).numerics


class ExecutorClass(Protocol):
    """A class of executors, as the registry names it."""

    @property
    def capabilities(self) -> Capabilities:
        """What its executors can do."""

    def for_session(self, context: ExecutorContext) -> Executor:
        """Return an executor for one session."""


BUILT_IN = (
    EntryPoint(DEFAULT, "icckd.run.local:LocalExecutor", GROUP),
    EntryPoint("inline", "icckd.run.inline:InlineExecutor", GROUP),
    EntryPoint("ray", "icckd.run.ray_executor:RayExecutor", GROUP),
    EntryPoint("slurm", "icckd.run.slurm:SlurmExecutor", GROUP),
)


def executor_names() -> list[str]:
    """Return the names that `make_executor` accepts, the built-in ones first."""
    return list(dict.fromkeys(entry.name for entry in _entries()))


def make_executor(name: str, context: ExecutorContext) -> Executor:
    """Return an executor for one session.

    Raises:
        UsageError: No executor has this name, or several have.
        MachineError: Its package cannot be imported, or was written for another icckd.
    """
    return find_executor(name).for_session(context)


def find_executor(name: str) -> ExecutorClass:
    """Return the class of an executor; errors as `make_executor`."""
    found = {entry.value: entry for entry in _entries() if entry.name == name}
    if not found:
        known = ", ".join(executor_names())
        raise UsageError(f"no executor is called {name!r}", hint=f"installed: {known}")
    if len(found) > 1:
        raise UsageError(
            f"several executors are called {name!r}: {', '.join(sorted(found))}",
            hint="uninstall all but one of their packages",
        )
    [entry] = found.values()
    try:
        loaded = entry.load()
    except Exception as error:  # whatever the other package raises while it is imported
        raise MachineError(
            f"executor {name!r} cannot be loaded from {entry.value}: {error}",
            hint="reinstall the package that provides it",
        ) from error
    if not isinstance(getattr(loaded, "capabilities", None), Capabilities):
        raise MachineError(
            f"executor {name!r} of {entry.value} does not say what it is capable of",
            hint="its package was written for another version of icckd; see docs/executors.md",
        )
    return cast(ExecutorClass, loaded)


def _entries() -> list[EntryPoint]:
    return [*BUILT_IN, *_installed(tuple(sys.path))]


@functools.cache
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return what packages bring on a path; reading what is installed takes some hundredths."""
    return tuple(entry_points(group=GROUP))
