"""A session: one `icckd run` of one study.

`Session.run` hands missing stages to the executor, journals what becomes of them, and carries out
the requests of viewers, until every stage has ended or it is stopped.
"""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

from icckd import __version__
from icckd.configuration import Mix, Precedence
from icckd.errors import MachineError
from icckd.journal import requests
from icckd.journal.artifacts import sweep
from icckd.journal.checkpoints import newest_hardware, sweep_checkpoints
from icckd.journal.events import (
    Cause,
    Planned,
    RequestAnswered,
    SessionClosed,
    SessionHeader,
    StageState,
)
from icckd.journal.fencing import Claim, issue
from icckd.journal.file import DiskRetry, JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.live_status import LiveStatus, LiveStatusFile
from icckd.journal.owner import ORDERS_PER_SESSION, boot_id, next_session_ordinal
from icckd.journal.requests import RequestKind, Wanted
from icckd.run.code_state import capture_code
from icckd.run.executors import AdmittingExecutor, AdoptingExecutor, Executor, Report
from icckd.run.leaving import GRACE_SECONDS, Outlook, outlook
from icckd.run.messages import Order
from icckd.run.placement import ALLOW, Placement
from icckd.run.schedule import POLICIES, Schedule, Transition
from icckd.study.arms import family, hypotheses, outcome_columns, rule_of
from icckd.study.model import Study
from icckd.study.origin import study_folder
from icckd.study.plan import Plan, StageJob, accepted_source, digest_of
from icckd.study.plugins import plugins_of
from icckd.study.records import Stage

if TYPE_CHECKING:
    from icckd.storage.sessions import SharedStudy

INTERRUPTED = 130
POLL_SECONDS = 0.2
Stopping = Literal["", "finish", "save", "kill"]
INTERRUPTED_REASON = "interrupted; `icckd run` resumes where it stopped"
LEFT_REASON = "left to go on by itself; `icckd run` finds it"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a session is to run.

    Attributes:
        study: The resolved study.
        plan: Its plan.
        complete: Digests of the stages that need no training.
        arguments: Arguments of the command line, for the record.
        data_root: Folder of the data sets.
        requested_at: When the user asked for it, in Unix seconds; requests of viewers that are
            older were meant for an earlier session.
        retrain: Digests of finished stages that are trained again.
        stopped: Arms that are given only so many of the first seeds.
        first: What is finished first.
        mix: Whether arms of one seed may be computed on several models of device.
        hardware: The model of device on which seeds began before.
    """

    study: Study
    plan: Plan
    complete: frozenset[str]
    arguments: Sequence[str]
    data_root: Path
    requested_at: float
    retrain: frozenset[str] = frozenset()
    stopped: Mapping[str, int] = field(default_factory=dict)
    first: Precedence = "seeds"
    mix: Mix = "refuse"
    hardware: Mapping[int, str] = field(default_factory=dict)


class Listener(Protocol):
    """Is told what happens, on the session's thread; must be quick and must not raise."""

    def transition(self, change: Transition, stage: Stage) -> None:
        """A stage entered a state."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""

    def tick(self) -> None:
        """Some time passed; the journals may have grown."""


class Session:
    """One `icckd run` on a state folder that the caller owns.

    Args:
        folder: The state folder; the caller holds its owner lock.
        request: What to run.
        executor: Attempts the stages.
        listener: Is told what happens.
        stopping: Called often; "finish" stops after the running stages, "save" when they are saved
            at the end of their epochs, "kill" at once.
        grace_seconds: How long "save" waits for that.
        shared: The study on storage that machines share, if that is configured.

    Attributes:
        name: Its name: that of its folder in the state folder.
    """

    def __init__(
        self,
        folder: StateFolder,
        request: RunRequest,
        executor: Executor,
        listener: Listener,
        stopping: Callable[[], Stopping],
        *,
        grace_seconds: float = GRACE_SECONDS,
        shared: "SharedStudy | None" = None,
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._storage_said = ""
        self._grace_seconds = grace_seconds
        self._leave_at: float | None = None
        self._request = request
        self._executor = executor
        adopts = executor.capabilities.adopts
        self._adopting = cast(AdoptingExecutor, executor) if adopts else None
        self._is_left = False
        self._listener = listener
        self._stopping = stopping
        self._admitting = (
            cast(AdmittingExecutor, executor) if executor.capabilities.admits else None
        )
        self._schedule = Schedule(request.plan, request.complete, first=request.first)
        self._placement = Placement(request.mix, request.hardware)
        self._waits = ""
        self._control = RequestControl(request.study, self._schedule)
        self._finishing = False
        self._stalled: dict[str, str] = {}
        self._attempts: dict[str, str] = {}
        self._begun: dict[str, float] = {}
        self._members: dict[str, int] = {}
        self._executed_as: dict[str, str] = {}
        self._orders = 0
        self.name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"

    @property
    def more_seeds(self) -> int:
        """Seeds that viewers asked for beyond the study's."""
        return self._control.more_seeds

    @property
    def workers(self) -> int:
        """Workers at once."""
        return self._executor.capacity

    def run(self) -> int:
        """Train what is missing; return the exit code."""
        if self._has_several_classes():
            for seed, hardware in self._placement.bound().items():
                self._schedule.bind(seed, hardware)
        self._adopt()
        self._sweep()
        shared = self._shared
        self._ordinal = (
            shared.next_token(self._is_leaving) if shared else next_session_ordinal(self._folder)
        )
        home = self._folder.sessions / self.name
        home.mkdir()
        with contextlib.suppress(OSError):  # only for the record: a full disk must not stop a run
            capture_code(home, Path.cwd())
        disk_retry = DiskRetry(
            stalled=lambda why: self._record_stall("", why),
            give_up=lambda: self._stopping() == "kill" or self._is_overdue(),
        )
        with (
            contextlib.closing(LiveStatusFile(home)) as self._live_status,
            JournalWriter(home / JOURNAL, disk_retry=disk_retry) as self._journal,
        ):
            header = header_of(self.name, self._ordinal, self._request)
            self._journal.append(header, planned(self._request), durable=True)
            code = MachineError.exit_code  # what an exception below ends the command with
            try:
                if shared is not None:
                    shared.begin(self._journal.path, self.name, self._is_leaving)
                self._run_stages()
                code = self._exit_code()
            except BaseException:
                self._leave(has_failed=True)
                raise
            finally:
                self._executor.kill()
                self._record(self._schedule.cancel(*self._why_cancelled()))
                closed = SessionClosed(exit_code=code, count=self._journal.count)
                self._journal.append(closed, durable=True)
                if shared is not None:
                    shared.finish(lambda: self._stopping() == "kill")
        with contextlib.suppress(MachineError):  # a full disk has no room for a lock file
            self._sweep()
        if shared is not None:
            shared.refuse_lost()
        return code

    def _is_leaving(self) -> bool:
        return self._stopping() != ""

    def _adopt(self) -> None:
        """Take over what earlier sessions left running, of the stages that are missing."""
        if self._adopting is None:
            return
        states = self._schedule.states
        wanted = {digest for digest, state in states.items() if state == "pending"}
        for order in self._adopting.adopt(wanted - self._request.retrain):
            self._schedule.take(order.stage.digest)
            self._attempts[order.stage.digest] = order.attempt
            others = self._members.get(order.pack, 0) if order.pack else 0
            self._members[order.pack] = others + 1

    def _leave(self, *, has_failed: bool) -> bool:
        """Leave running stages to an executor whose work outlives this session, if it is one."""
        if self._adopting is not None and not self._is_left:
            self._is_left = self._adopting.leave(has_failed=has_failed)
        return self._is_left

    def _sweep(self) -> None:
        at_work = frozenset() if self._adopting is None else self._adopting.at_work()
        sweep_checkpoints(self._folder, at_work)
        sweep(self._folder, at_work)

    def _run_stages(self) -> None:
        while not self._schedule.is_over():
            self._submit_ready()
            for report in self._executor.wait(POLL_SECONDS):
                self._handle_report(report)
            self._listener.tick()
            self._heed_storage()
            for request in requests.waiting(self._folder):
                self._answer(request)
            self._stop_if_asked()
            if self._finishing and self._schedule.is_idle:
                return

    def _submit_ready(self) -> None:
        while not self._control.paused and self._executor.idle():
            hardware = None
            if self._admitting is not None:
                hardware = {name for name, room in self._admitting.hardware().items() if room}
            stages = self._schedule.next_list(self._executor.capacity, time.monotonic(), hardware)
            if not stages:
                self._refuse_absent_hardware()
                return
            if self._schedule.runs_alone(stages[0].digest):
                self._executor.retire()
            if self._is_refused(stages):
                self._schedule.put_back(stages)
                return
            pack = uuid.uuid4().hex[:8] if stages[0].packing.key else ""
            self._members[pack] = len(stages) if pack else 1
            self._executor.submit([self._order(stage, pack) for stage in stages])

    def _is_refused(self, stages: Sequence[StageJob]) -> bool:
        """Whether the executor does not take a list just now."""
        if self._admitting is None:
            return False
        hardware = self._placement.of(stages[0].seed)
        is_refused = not self._admitting.admits(stages, hardware)
        self._say_waits(self._admitting.waits_for)
        return is_refused

    def _say_waits(self, why: str) -> None:
        """Say what a stage waits for that is ready, or that it does not any more."""
        if why != self._waits:
            self._waits = why
            self._write_live_status()

    def _refuse_absent_hardware(self) -> None:
        """Refuse to wait for hardware that was here and is not any more.

        Raises:
            MachineError: Nothing runs, and all that is ready is bound to it.
        """
        if self._admitting is None or not self._schedule.is_idle:
            return
        if absent := sorted(self._schedule.hardware_wanted() - self._admitting.hardware().keys()):
            raise MachineError(
                f"no hardware of class {absent[0]!r} is left here, on which seeds began that are"
                " not complete",
                hint=f"what is finished is kept; {ALLOW} goes on with them on what is left",
            )

    def _has_several_classes(self) -> bool:
        """Whether stages may come to hardware of several classes."""
        return self._executor.capabilities.remote or (
            self._admitting is not None and len(self._admitting.hardware()) > 1
        )

    def _order(self, stage: StageJob, pack: str) -> Order:
        self._orders += 1
        bound = "" if stage.is_task else self._placement.of(stage.seed)
        best = bound or newest_hardware(self._folder.checkpoints / stage.digest)
        attempt = f"{stage.digest[:16]}-{uuid.uuid4().hex[:8]}"
        self._attempts[stage.digest] = attempt
        ordinal = self._ordinal * ORDERS_PER_SESSION + self._orders
        issue(self._folder, stage.digest, Claim(attempt=attempt, ordinal=ordinal))
        return Order(
            attempt=attempt,
            session=self.name,
            state_folder=str(self._folder.root),
            data_root=str(self._request.data_root),
            stage=stage,
            ordinal=ordinal,
            force=stage.digest in self._request.retrain,
            study_folder=str(study_folder(self._request.study)),
            plugins=plugins_of(self._request.study).references,
            pack=pack,
            study=self._request.study.study.name,
            storage=self._shared.settings if self._shared else None,
            hardware=best,
            is_bound=bool(bound),
        )

    def _handle_report(self, report: Report) -> None:
        digest, attempt = report.order.stage.digest, report.attempt
        if self._attempts.get(digest) != report.order.attempt:
            return  # of an attempt that was cancelled, after its stage was asked for again
        self._executed_as[report.order.attempt] = attempt
        if report.what == "stalled":
            self._record_stall(attempt, report.reason)
            return
        self._record_stall(attempt, "")
        if self._is_misplaced(report):
            self._take_back(report)
            return
        if report.what != "started":
            self._attempts.pop(digest, None)
            self._executed_as.pop(report.order.attempt, None)
            if self._shared is not None:
                self._shared.ended(attempt)
        schedule, now = self._schedule, time.monotonic()
        begun = self._begun.pop(attempt, None)
        if report.what == "started":
            self._say_waits("")
            self._begun[attempt] = now
            if schedule.states[digest] == "running":
                self._record([Transition(stage=digest, state="running")], attempt)
        elif report.what == "returned":
            self._record(schedule.returned(digest, report.reason, by_itself=report.by_itself))
        elif report.state == "complete":
            trained_here = not report.reason
            seconds = now - begun if trained_here and begun is not None else None
            members = self._members[report.order.pack]
            changes = schedule.completed(digest, report.reason, seconds=seconds, members=members)
            self._record(changes, attempt if trained_here else None)
        else:
            self._record_failure(report)

    def _is_misplaced(self, report: Report) -> bool:
        """Whether a stage came to hardware that its seed does not belong on; it may settle that."""
        if report.what != "started" or not report.hardware:
            return report.what == "returned" and report.hardware != ""
        seed, known = report.order.stage.seed, self._placement.of(report.order.stage.seed)
        is_right = self._placement.begins(seed, report.hardware)
        now_known = self._placement.of(seed)
        if now_known != known and self._has_several_classes():
            self._schedule.bind(seed, now_known)
        return not is_right

    def _take_back(self, report: Report) -> None:
        """Take a stage back that came to other hardware than its seed's; it waits, or is given up.

        One that has begun there is ended: stages of a seed may begin at the same moment in two
        places.
        """
        stage, attempt = report.order.stage, report.attempt
        if report.what == "started":
            self._executor.cancel({report.order.attempt})
        del self._attempts[stage.digest]
        if self._shared is not None:
            self._shared.ended(attempt)
        begun = attempt if report.what == "started" else None
        found = self._placement.misplaced(stage.digest, stage.seed, report.hardware)
        if found.pause is None:
            changes = self._schedule.failed(stage.digest, "machine", found.reason)
            self._record(changes, begun, "machine")
        else:
            self._say_waits(found.reason)
            again = time.monotonic() + found.pause
            changes = self._schedule.returned(stage.digest, found.reason, not_before=again)
            self._record(changes, begun)

    def _record_failure(self, report: Report) -> None:
        """Record that an attempt ended without a result, and what becomes of its stage."""
        schedule, cause = self._schedule, report.cause
        digest, attempt = report.order.stage.digest, report.attempt
        assert cause
        if cause == "preempted" and self._control.paused:
            changes = schedule.returned(digest, "paused")
        elif report.what == "lost" and self._leave_at is not None:
            changes, cause = schedule.returned(digest, "interrupted"), "preempted"
        elif report.mates and cause != "preempted":
            changes = schedule.pack_failed(digest, report.mates + 1, report.reason)
        else:
            words = POLICIES[cause].words if POLICIES[cause].tries > 1 else ""
            changes = schedule.failed(digest, cause, report.reason or words, time.monotonic())
        self._record(changes, attempt, cause)

    def _record(
        self,
        changes: Iterable[Transition],
        attempt: str | None = None,
        cause: Cause | None = None,
    ) -> None:
        """Journal transitions; attempt and cause belong to the first of them."""
        changes = list(changes)
        events = [
            StageState(
                stage=change.stage,
                state=change.state,
                attempt=attempt if number == 0 else None,
                reason=change.reason,
                cause=cause if number == 0 else None,
            )
            for number, change in enumerate(changes)
        ]
        if events:
            self._journal.append(*events, durable=True)
            if self._shared is not None:
                self._shared.changed()
        for change in changes:
            self._listener.transition(change, self._request.plan.stages[change.stage])

    def _record_stall(self, attempt: str, why: str) -> None:
        """Record that an attempt, or the session itself (""), stalls; without a reason, resumes."""
        if self._stalled.get(attempt, "") == why:
            return
        if why:
            self._listener.notice(f"{why} ({attempt or 'session journal'})")
            self._stalled[attempt] = why
        else:
            self._stalled.pop(attempt)
        self._write_live_status()

    def _write_live_status(self) -> None:
        waits = {"ready": self._waits} if self._waits else {}
        status = LiveStatus(paused=self._control.paused, stalled={**self._stalled, **waits})
        self._live_status.write(status)
        if self._shared is not None:
            self._shared.say(status)

    def _heed_storage(self) -> None:
        """Say that shared storage acknowledges nothing just now, or does again."""
        if self._shared is not None and self._shared.stalled != self._storage_said:
            self._storage_said = self._shared.stalled
            self._record_stall("", self._storage_said)

    def _answer(self, request: requests.Request) -> None:
        """Carry out a request; the answer is durable before the request's file is removed."""
        was_paused = self._control.paused
        if request.written < self._request.requested_at:
            result = RequestResult(answer="the session that it was meant for has ended")
        else:
            result = self._control.carry_out(request.wanted)
        self._journal.append(
            RequestAnswered(request=request.name, kind=request.wanted.kind, answer=result.answer),
            durable=True,
        )
        request.path.unlink(missing_ok=True)
        for change in result.changes:
            has_begun = change.state == "cancelled"
            self._record([change], self._attempt_of(change.stage) if has_begun else None)
        cancelled = {c.stage for c in result.changes if c.state == "cancelled"}
        self._executor.cancel({self._attempts[d] for d in cancelled if d in self._attempts})
        if request.wanted.kind == "retry":
            for change in result.changes:
                if attempt := self._attempt_of(change.stage):
                    self._record_stall(attempt, "")
                    del self._attempts[change.stage]
        if self._control.paused and not was_paused:
            self._executor.save()
        if self._control.paused != was_paused:
            self._write_live_status()

    def _attempt_of(self, digest: str) -> str | None:
        """Return the attempt that carries out the order of a stage, if one was given."""
        ordered = self._attempts.get(digest)
        return None if ordered is None else self._executed_as.get(ordered, ordered)

    def _stop_if_asked(self) -> None:
        stopping = self._stopping()
        if self._shared is not None and self._shared.lost:
            stopping = "kill"
        if stopping in ("save", "kill") and self._leave(has_failed=False):
            self._leave_running()
            return
        if stopping == "kill" or self._is_overdue():
            self._tell_losses(self._running())
            self._leave_at = self._leave_at or time.monotonic()
            self._finishing = True
            self._executor.kill()
            self._record(self._schedule.cancel(*self._why_cancelled()))
            return
        wants_end = stopping != "" or self._control.finishing
        if wants_end and not self._finishing:
            self._finishing = True
            self._executor.finish()
        if stopping == "save" and self._leave_at is None:
            self._save_and_leave()

    def _leave_running(self) -> None:
        """Say which stages go on without this session, and end it."""
        self._finishing = True
        self._leave_at = self._leave_at or time.monotonic()
        count = len(self._attempts)
        self._listener.notice(
            f"interrupted: {count} ordered stages go on in their jobs; `icckd run` finds them"
        )
        self._record(self._schedule.cancel(*self._why_cancelled()))

    def _save_and_leave(self) -> None:
        """Save what runs; give up at once what would not be saved in time."""
        self._leave_at = time.monotonic() + self._grace_seconds
        running = self._running()
        self._listener.notice(
            f"interrupted: saving the running stages, leaving within {self._grace_seconds:g} s"
            if running
            else "interrupted: no stage is being trained, nothing is lost"
        )
        self._executor.save()
        late = {
            digest: seen
            for digest, seen in running.items()
            if seen.is_too_late(self._grace_seconds)
        }
        self._tell_losses(late)
        self._executor.cancel({self._attempts[digest] for digest in late})

    def _is_overdue(self) -> bool:
        return self._leave_at is not None and time.monotonic() >= self._leave_at

    def _running(self) -> dict[str, Outlook]:
        """Return the outlook of each stage that is trained now."""
        found = {
            digest: outlook(self._folder, attempt, digest)
            for digest, state in self._schedule.states.items()
            if state == "running" and (attempt := self._attempt_of(digest))
        }
        return {digest: seen for digest, seen in found.items() if seen.has_begun}

    def _tell_losses(self, stages: Mapping[str, Outlook]) -> None:
        for digest, seen in stages.items():
            stage, plan = self._request.plan.stages[digest], self._request.plan
            arm = plan.users(digest)[0].arm
            takes = f", its epochs take {seen.epoch_seconds:.0f} s" if seen.epoch_seconds else ""
            self._listener.notice(
                f"{arm}/{stage.seed} {stage.kind}: left at once{takes};"
                f" {seen.at_stake:.0f} s of work since its last checkpoint are lost"
            )

    def _why_cancelled(self) -> tuple[str, ...]:
        if self._leave_at is None:
            return ()
        return (LEFT_REASON if self._is_left else INTERRUPTED_REASON,)

    def _exit_code(self) -> int:
        states = set(self._schedule.states.values())
        if self._finishing and states & {"cancelled", "pending", "running"}:
            return INTERRUPTED
        return 1 if states & {"failed", "blocked", "cancelled"} else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestResult:
    """The answer to a request, and the stages whose state it changed."""

    answer: str
    changes: tuple[Transition, ...] = ()


class RequestControl:
    """Carries out requests on a schedule, and holds what they ask for from then on.

    Attributes:
        paused: No stage starts until a request resumes.
        finishing: No further stage starts.
        more_seeds: Seeds to add to the study.
    """

    def __init__(self, study: Study, schedule: Schedule) -> None:
        self._study = study
        self._schedule = schedule
        self.paused = False
        self.finishing = False
        self.more_seeds = 0

    def carry_out(self, wanted: Wanted) -> RequestResult:
        """Do what a request asks for, as far as possible."""
        if wanted.study != self._study.study.name:
            return RequestResult(answer="that study is not running")
        return self._KINDS[wanted.kind](self, wanted)

    def _stop(self, wanted: Wanted) -> RequestResult:
        self.finishing = True
        return RequestResult(answer="finishing the running stages")

    def _pause(self, wanted: Wanted) -> RequestResult:
        self.paused = True
        return RequestResult(answer="paused: running stages are saved at the end of their epoch")

    def _resume(self, wanted: Wanted) -> RequestResult:
        self.paused = False
        return RequestResult(answer="resumed")

    def _cancel(self, wanted: Wanted) -> RequestResult:
        changes = self._schedule.cancel_trials(wanted.arm, wanted.seed)
        return self._trial_result(wanted, changes, "cancelled", "nothing left to cancel")

    def _retry(self, wanted: Wanted) -> RequestResult:
        changes = self._schedule.retry_trials(wanted.arm, wanted.seed)
        return self._trial_result(wanted, changes, "pending again", "nothing there failed")

    def _first(self, wanted: Wanted) -> RequestResult:
        changes = self._schedule.put_first(wanted.arm, wanted.seed)
        return self._trial_result(wanted, changes, "put first", "nothing there waits")

    def _more_seeds(self, wanted: Wanted) -> RequestResult:
        self.more_seeds += wanted.count
        seeds = self._study.study.seeds
        first = seeds.first + seeds.count
        end = first + self.more_seeds - 1
        return RequestResult(answer=f"seeds {first} to {end} follow when the present ones are done")

    def _trial_result(
        self, wanted: Wanted, changes: list[Transition], done: str, nothing: str
    ) -> RequestResult:
        place = wanted.arm if wanted.seed is None else f"{wanted.arm}/{wanted.seed}"
        if not self._schedule.knows(wanted.arm, wanted.seed):
            return RequestResult(answer=f"{place}: no such trial in this run")
        words = f"{len(changes)} stages {done}" if changes else nothing
        return RequestResult(answer=f"{place}: {words}", changes=tuple(changes))

    _KINDS: ClassVar[dict[RequestKind, Callable[["RequestControl", Wanted], RequestResult]]] = {
        "stop": _stop,
        "pause": _pause,
        "resume": _resume,
        "cancel": _cancel,
        "retry": _retry,
        "first": _first,
        "more-seeds": _more_seeds,
    }


def revision_of(request: RunRequest) -> str:
    """Return the digest that names this content of the study: what it says, and its stages.

    The same text can come to other stages: on another kind of device, on changed data, or by a
    later version that trains otherwise. Their results are apart. What ablation plans ask for is
    data beside it.
    """
    plan = planned(request)
    stages = sorted(stage.digest for stage in plan.stages)
    says = {key: value for key, value in plan.study.items() if key != "requested"}
    return digest_of({"study": says, "stages": stages})[:16]


def planned(request: RunRequest) -> Planned:
    """Return what a session's journal says first: the resolved study and its plan."""
    plan, study = request.plan, request.study
    return Planned(
        study={
            **study.model_dump(mode="json"),
            "outcomes": list(outcome_columns(study)),
            "family": list(family(study, plan.arms)),
            **({"stopped": dict(request.stopped)} if request.stopped else {}),
        },
        plugins=plugins_of(study).told(),
        rule=rule_of(study),
        hypotheses=hypotheses(study, plan.arms),
        arms=plan.arms,
        trials=plan.trials,
        stages=tuple(plan.stages.values()),
    )


def header_of(name: str, ordinal: int, request: RunRequest) -> SessionHeader:
    """Return the first line of a session's journal."""
    return SessionHeader(
        session=name,
        study=request.study.study.name,
        revision=revision_of(request),
        arguments=list(request.arguments),
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        version=__version__,
        ordinal=ordinal,
        accepted_source=accepted_source(request.plan),
    )
