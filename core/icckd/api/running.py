"""Run a study: own the state folder, plan, hold sessions until it has all the seeds asked for.

`icckd run` and `icckd.run(study)` do the same; they differ in their `Host`: where notices go, how
progress is shown, what a signal leads to.
"""

import contextlib
import importlib.util
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from icckd.api.alerts import alerting
from icckd.api.forecast import forecast
from icckd.api.source import (
    accepted_files,
    printed_by_plugins,
    source_notices,
    task_file_notices,
)
from icckd.configuration import Alerts, Mix, Precedence, StorageSettings, configuration
from icckd.errors import MachineError, UsageError
from icckd.journal.folder import StateFolder
from icckd.journal.owner import owner_lock
from icckd.report.text import display
from icckd.resources import choose_device, hardware_here
from icckd.results.bits import stages_to_retrain
from icckd.results.query import Results
from icckd.results.store import Store
from icckd.results.studies import refuse_imported
from icckd.run.executors import DEFAULT, ExecutorContext, find_executor, make_executor
from icckd.run.leaving import GRACE_SECONDS
from icckd.run.placement import hardware_of_seeds, refuse_elsewhere, stages_elsewhere
from icckd.run.prepare import (
    Device,
    asks_of_a_process,
    complete_stages,
    data_root,
    default_jobs,
    make_plan,
    with_more_seeds,
)
from icckd.run.session import INTERRUPTED, Listener, RunRequest, Session, Stopping
from icckd.study.model import Study
from icckd.study.plan import Plan
from icckd.study.requested import refuse_open
from icckd.train.data.files import Survey

if TYPE_CHECKING:
    from icckd.storage.sessions import SharedStudy

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a study is run, as asked for at `requested_at` in Unix seconds.

    Attributes:
        device: Where to train.
        jobs: Workers at once; None leaves it to the executor.
        force: Whether finished stages are trained again.
        retrain_mixed: Whether those are that another torch or device model made.
        accept_code: Whether changed source is taken to give the same numbers as before.
        executor: Name of what trains; "" takes the configured one.
        address: Of the cluster that it uses; "" takes the configured one.
        bound_only: Whether ablations that plans ask for and nobody has bound are left out.
        take_over: Whether another machine that owns the study has ended for sure.
        first: What is finished first, a seed or an arm; "" takes the configured one.
        mix: Whether arms of one seed may be computed on several models of device; "" takes the
            configured one.
        grace: Seconds that a session which is to leave waits for stages to be saved.
        requested_at: See above.
    """

    device: Device
    jobs: int | None
    force: bool = False
    retrain_mixed: bool = False
    accept_code: bool = False
    executor: str = ""
    address: str = ""
    bound_only: bool = False
    take_over: bool = False
    first: Precedence | Literal[""] = ""
    mix: Mix | Literal[""] = ""
    grace: float = GRACE_SECONDS
    requested_at: float = field(default_factory=time.time)


Options = TypeVar("Options", bound=TrainOptions)


class Host(Protocol):
    """Who has a study run: hears notices, shows progress, says when to stop."""

    def say(self, text: str) -> None:
        """Tell the user something."""

    def begin(self) -> None:
        """The state folder is owned: from here on signals are for the session."""

    def stopping(self) -> Stopping:
        """Return how the session is to stop, if it is."""

    def listener(
        self, results: Results, request: RunRequest
    ) -> contextlib.AbstractContextManager[Listener]:
        """Return what shows the progress of a session."""


def train(
    options: TrainOptions,
    study: Study,
    host: Host,
    *,
    folder: StateFolder,
    arguments: Sequence[str],
    stopped: Mapping[str, int] | None = None,
) -> int:
    """Run sessions until the study has all the seeds that viewers asked for.

    Args:
        options: How to run it; the device is settled.
        study: What to run; a file is not read again, it may change meanwhile.
        host: Who has it run.
        folder: The state folder.
        arguments: Of the command, for the record.
        stopped: Arms that are given only so many of the first seeds.

    Returns:
        The exit code.
    """
    settings = configuration(folder.root)
    plan = plan_to_run(options, study, folder, host.say, stopped)
    executor = find_executor(options.executor)
    with (
        own_results(folder, host.say, take_over=options.take_over) as results,
        _shared(settings.storage, folder, study, options, host.say) as shared,
    ):
        host.begin()
        results.refresh()
        refuse_imported(results.studies(), study.study.name)
        retrain = _to_retrain(options, plan, results, host.say)
        complete = results.complete_stages()
        for note in (*printed_by_plugins(study), *results.code_epoch_notes(plan, complete)):
            host.say(note)
        for note in task_file_notices(plan, results.task_files(study.study.name), complete):
            host.say(note)
        while True:
            results.refresh()
            done = _complete(folder, results, plan, shared) - retrain
            for notice in source_notices(plan, done):
                host.say(notice)
            if not executor.capabilities.remote:
                _refuse_without_torch(plan, done)
            mix, hardware = options.mix or settings.mix, _began(results, plan, done)
            if mix == "refuse" and not executor.capabilities.remote:
                refuse_elsewhere(plan, done, hardware, hardware_here(plan.device))
            request = RunRequest(
                study=study,
                plan=plan,
                complete=done,
                arguments=arguments,
                data_root=data_root(),
                requested_at=options.requested_at,
                retrain=retrain,
                stopped=stopped or {},
                first=options.first or settings.first,
                mix=mix,
                hardware=hardware,
            )
            estimates, start = results.estimates(), time.monotonic()
            code, session = run_session(
                folder, results, request, options, host, alerts=settings.alerts, shared=shared
            )
            if code == 0 and (missing := [s for d, s in plan.stages.items() if d not in done]):
                results.refresh()
                cost = results.cost(session.name, time.monotonic() - start)
                remote = executor.capabilities.remote
                workers = session.workers if remote else options.jobs or default_jobs(plan)
                expected = forecast(missing, estimates, workers)
                if compared := expected.compared(cost):
                    host.say(f"took {compared}")
            if not session.more_seeds or code == INTERRUPTED:
                return code
            study, retrain = with_more_seeds(study, session.more_seeds), frozenset()
            plan = plan_to_run(options, study, folder, host.say, stopped)


def plan_to_run(
    options: TrainOptions,
    study: Study,
    folder: StateFolder,
    say: Say,
    stopped: Mapping[str, int] | None = None,
) -> Plan:
    """Return the plan of a study that is to be run; errors as `make_plan`.

    What ablation plans ask for and nobody has bound is an error, too, unless it is left out.
    """
    if not options.bound_only:
        refuse_open(study)

    def left_out(found: Survey) -> None:
        for line in found.inventory.left_out:
            say(f"not read in {display(str(found.inventory.folder))}: {display(line)}")

    return make_plan(
        study,
        device=options.device,
        root=data_root(),
        stopped=stopped,
        accept_code=options.accept_code,
        accepted_files=accepted_files(study, folder, accept_code=options.accept_code),
        surveyed=left_out,
        is_remote=find_executor(options.executor or DEFAULT).capabilities.remote,
    )


def _to_retrain(options: TrainOptions, plan: Plan, results: Results, say: Say) -> frozenset[str]:
    """Return the finished stages that the user wants trained again."""
    if options.force:
        return frozenset(plan.stages)
    if not options.retrain_mixed:
        return frozenset()
    finished = results.finished_stages()
    mixed = stages_to_retrain(plan.stages, finished)
    if not find_executor(options.executor).capabilities.remote:
        done = [each for digest, each in finished.items() if digest in plan.stages]
        mixed |= stages_elsewhere(plan, done, hardware_here(plan.device))
    if not mixed:
        say("no finished stage was made by another torch or device model: nothing to train again")
    return mixed


def _refuse_without_torch(plan: Plan, done: Collection[str]) -> None:
    """Refuse to train here what icckd trains, where torch is not installed.

    Raises:
        MachineError: It is not, and stages are missing.
    """
    missing = [s for s in plan.stages.values() if s.digest not in done and not s.is_task]
    if missing and importlib.util.find_spec("torch") is None:
        raise MachineError(
            f"{len(missing)} stages are to be trained here, and torch is not installed",
            hint=f"{WITH_TORCH}; without it icckd plans, watches and reports",
        )


WITH_TORCH = "pip install torch torchvision (docs/install.md)"
"""What to do where only the light installation is there."""


def _began(results: Results, plan: Plan, done: Collection[str]) -> dict[int, str]:
    """Return on which model of device the seeds of a plan began that are to be gone on with."""
    if not done or not plan.stages.keys() - done:
        return {}
    finished = results.finished_stages()
    return hardware_of_seeds(plan, (finished[digest] for digest in done if digest in finished))


@contextlib.contextmanager
def _shared(
    settings: StorageSettings, folder: StateFolder, study: Study, options: TrainOptions, say: Say
) -> "Iterator[SharedStudy | None]":
    """Own the study on storage that machines share; yield None where none is configured."""
    if not settings.url:
        yield None
        return
    from icckd.storage.sessions import share_study  # whoever shares nothing imports no storage

    name = study.study.name
    with share_study(settings, folder, name, say=say, take_over=options.take_over) as shared:
        yield shared


def _complete(
    folder: StateFolder, results: Results, plan: Plan, shared: "SharedStudy | None"
) -> frozenset[str]:
    """Return the stages that need no training."""
    closed = results.complete_stages()
    here = complete_stages(folder, closed)
    return here if shared is None else shared.complete(closed, here & set(plan.stages))


@contextlib.contextmanager
def own_results(folder: StateFolder, say: Say, *, take_over: bool = False) -> Iterator[Results]:
    """Own a state folder, made if need be; yield results read from its database.

    Args:
        folder: The state folder.
        say: Tells the user something.
        take_over: Whether another machine that worked here has ended for sure.
    """
    folder.create()

    def waiting() -> None:
        say("another run owns this state folder; waiting")

    with (
        owner_lock(folder, waiting=waiting, take_over=take_over),
        Store.open_file(folder, notice=say) as store,
    ):
        yield Results(store)


def run_session(
    folder: StateFolder,
    results: Results,
    request: RunRequest,
    options: TrainOptions,
    host: Host,
    *,
    alerts: Alerts | None = None,
    shared: "SharedStudy | None" = None,
) -> tuple[int, Session]:
    """Run a session to its end; return its exit code, and the session.

    Nobody is alerted without `alerts`.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(host.listener(results, request))
        if alerts is not None:
            listener = stack.enter_context(alerting(listener, results, request, alerts))
        estimates = results.estimates()

        def memory(device: Device, shape: str) -> float | None:
            known = shape in estimates and options.device == device
            return estimates[shape].memory_bytes if known else None

        context = ExecutorContext(
            folder=folder,
            plan=request.plan,
            jobs=options.jobs,
            notice=listener.notice,
            address=options.address,
            **_about_storage(shared),
            is_stopping=lambda: host.stopping() in ("save", "kill"),
            seconds_of=lambda shape: estimates[shape].seconds if shape in estimates else None,
            memory_of=lambda shape: memory("cpu", shape),
            gpu_memory_of=lambda shape: memory("cuda", shape),
            shares_gpus=not asks_of_a_process(request.study, request.plan.arms),
        )
        executor = make_executor(options.executor, context)
        session = Session(
            folder,
            request,
            executor,
            listener,
            host.stopping,
            grace_seconds=options.grace,
            shared=shared,
        )
        return session.run(), session


def _about_storage(shared: "SharedStudy | None") -> dict[str, Any]:
    """Return what an executor is told of the storage that machines share."""
    if shared is None:
        return {}
    return {"storage_identity": shared.identity, "heard_until": lambda: shared.heard_until}


def settled(options: Options, folder: StateFolder, say: Say) -> Options:
    """Return the options with executor and device settled.

    Raises:
        UsageError: There is no such executor, or an address that it has no use for.
        MachineError: As `device_for`.
    """
    executor = options.executor or configuration(folder.root).executor
    if options.address and not find_executor(executor).capabilities.remote:
        raise UsageError(
            f"--address is that of a cluster, and {executor!r} uses none",
            hint="--executor ray --address HOST:PORT",
        )
    device = device_for(options.device, say, executor=executor)
    return replace(options, executor=executor, device=device)


def device_for(wanted: Device, say: Say, *, executor: str = DEFAULT) -> Device:
    """Return the kind of device to train on; tell what the user should know about the choice.

    Where stages run on other machines, what this one has says nothing: `auto` means the CPU there.

    Raises:
        MachineError: A GPU is asked for, and none can be used.
        UsageError: There is no such executor.
    """
    if find_executor(executor).capabilities.remote:
        if wanted == "auto":
            say(f"{executor} trains on CPUs: --device cuda asks for GPUs of its machines")
        return "cuda" if wanted == "cuda" else "cpu"
    choice = choose_device(wanted)
    for notice in choice.notices:
        say(notice)
    return choice.device
