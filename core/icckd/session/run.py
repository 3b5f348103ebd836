"""Run one study: hand missing stages to the executor and journal what becomes of them."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, Protocol

from icckd.errors import MachineError
from icckd.execution.protocol import Executor, Report
from icckd.journal import requests
from icckd.journal.artifact import sweep
from icckd.journal.events import Cause, RequestAnswered, SessionClosed, StageState
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.kept import sweep_checkpoints
from icckd.journal.known import next_session_ordinal
from icckd.journal.now import Now, NowFile
from icckd.journal.order import Order
from icckd.journal.patience import Patience
from icckd.journal.write import JournalWriter
from icckd.plan import Stage
from icckd.session.code_state import capture_code
from icckd.session.control import Control, Outcome
from icckd.session.policy import POLICIES
from icckd.session.record import Mission, header_of, planned
from icckd.session.schedule import Schedule, Transition

INTERRUPTED = 130
POLL_SECONDS = 0.2
ORDERS_PER_SESSION = 1_000_000
Stopping = Literal["", "finish", "kill"]


class Listener(Protocol):
    """Is told what happens, on the session's thread; must be quick and must not raise."""

    def transition(self, change: Transition, stage: Stage) -> None:
        """A stage entered a state."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""

    def tick(self) -> None:
        """A moment passed; the journals may have grown."""


class Session:
    """One `icckd run` on a state folder that the caller owns.

    Args:
        folder: The state folder; the caller holds its owner lock.
        mission: What to do.
        executor: Who attempts the stages.
        listener: Who is told.
        stopping: Asked often; "finish" stops after the running stages, "kill" at once.
    """

    def __init__(
        self,
        folder: StateFolder,
        mission: Mission,
        executor: Executor,
        listener: Listener,
        stopping: Callable[[], Stopping],
    ) -> None:
        self._folder = folder
        self._mission = mission
        self._executor = executor
        self._listener = listener
        self._stopping = stopping
        self._schedule = Schedule(mission.plan, mission.complete)
        self._control = Control(mission.study, self._schedule)
        self._finishing = False
        self._stalled: dict[str, str] = {}
        self._attempts: dict[str, str] = {}
        self._orders = 0
        self._name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"

    @property
    def more_seeds(self) -> int:
        """Seeds that viewers asked for beyond the study's."""
        return self._control.more_seeds

    def run(self) -> int:
        """Train what is missing; return the exit code."""
        self._sweep()
        self._ordinal = next_session_ordinal(self._folder)
        home = self._folder.sessions / self._name
        home.mkdir(mode=0o700)
        with contextlib.suppress(OSError):  # for the record; a full disk stalls what counts
            capture_code(home, Path.cwd())
        patience = Patience(
            stalled=lambda why: self._stall("", why), give_up=lambda: self._stopping() == "kill"
        )
        with (
            contextlib.closing(NowFile(home)) as self._now,
            JournalWriter(home / JOURNAL, patience=patience) as self._journal,
        ):
            header = header_of(self._name, self._ordinal, self._mission)
            self._journal.append(header, planned(self._mission), durable=True)
            code = 4  # unless the work itself says otherwise
            try:
                self._work()
                code = self._exit_code()
            finally:
                self._executor.kill()
                self._note(self._schedule.cancel())
                closed = SessionClosed(exit_code=code, count=self._journal.count)
                self._journal.append(closed, durable=True)
        with contextlib.suppress(MachineError):  # without room for a lock file the next one sweeps
            self._sweep()
        return code

    def _sweep(self) -> None:
        sweep_checkpoints(self._folder)
        sweep(self._folder)

    def _work(self) -> None:
        while not self._schedule.is_over():
            self._hand_out()
            for report in self._executor.wait(POLL_SECONDS):
                self._take(report)
            self._listener.tick()
            self._obey()
            if self._finishing and "running" not in self._schedule.states.values():
                return

    def _hand_out(self) -> None:
        while not self._control.paused and self._executor.idle():
            stages = self._schedule.next_list(self._executor.capacity, time.monotonic())
            if not stages:
                return
            if self._schedule.runs_alone(stages[0].digest):
                self._executor.retire()
            self._executor.submit([self._order(stage) for stage in stages])

    def _order(self, stage: Stage) -> Order:
        self._orders += 1
        attempt = f"{stage.digest[:16]}-{uuid.uuid4().hex[:8]}"
        self._attempts[stage.digest] = attempt
        return Order(
            attempt=attempt,
            session=self._name,
            state_folder=str(self._folder.root),
            data_root=str(self._mission.data_root),
            stage=stage,
            ordinal=self._ordinal * ORDERS_PER_SESSION + self._orders,
            force=self._mission.force,
        )

    def _take(self, report: Report) -> None:
        digest, attempt = report.order.stage.digest, report.order.attempt
        if report.what == "stalled":
            self._stall(attempt, report.reason)
            return
        self._stall(attempt, "")
        if report.what != "started":
            self._attempts.pop(digest, None)
        schedule = self._schedule
        if report.what == "started":
            if schedule.states[digest] == "running":
                self._note([Transition(stage=digest, state="running")], attempt)
        elif report.what == "returned":
            self._note(schedule.returned(digest))
        elif report.cause == "preempted" and self._control.paused:
            self._note(schedule.returned(digest, "paused"), attempt, report.cause)
        elif report.state == "complete":
            done_here = not report.reason
            changes = schedule.completed(digest, report.reason)
            self._note(changes, attempt if done_here else None)
        else:
            assert report.cause
            words = POLICIES[report.cause].words if POLICIES[report.cause].tries > 1 else ""
            changes = schedule.failed(
                digest, report.cause, report.reason or words, time.monotonic()
            )
            self._note(changes, attempt, report.cause)

    def _note(
        self,
        changes: Iterable[Transition],
        attempt: str | None = None,
        cause: Cause | None = None,
    ) -> None:
        """Journal what changed; attempt and cause belong to the first change."""
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
        for change in changes:
            self._listener.transition(change, self._mission.plan.stages[change.stage])

    def _stall(self, attempt: str, why: str) -> None:
        """Take note that an attempt, or the session itself (""), cannot go on just now, or can."""
        if self._stalled.get(attempt, "") == why:
            return
        if why:
            self._listener.notice(f"{why} ({attempt or 'session journal'})")
            self._stalled[attempt] = why
        else:
            self._stalled.pop(attempt)
        self._say_now()

    def _say_now(self) -> None:
        self._now.write(Now(paused=self._control.paused, stalled=self._stalled))

    def _obey(self) -> None:
        for request in requests.waiting(self._folder):
            self._answer(request)
        wish = self._stopping()
        if wish == "kill":
            self._finishing = True
            self._executor.kill()
            self._note(self._schedule.cancel())
        elif (wish == "finish" or self._control.finishing) and not self._finishing:
            self._finishing = True
            self._executor.finish()

    def _answer(self, request: requests.Request) -> None:
        """Carry out a request; the journal has the answer before the file is gone."""
        was_paused = self._control.paused
        if request.written < self._mission.asked:
            outcome = Outcome(answer="the session that it was meant for has ended")
        else:
            outcome = self._control.carry_out(request.wanted)
        self._journal.append(
            RequestAnswered(request=request.name, kind=request.wanted.kind, answer=outcome.answer),
            durable=True,
        )
        request.path.unlink(missing_ok=True)
        for change in outcome.changes:
            has_begun = change.state == "cancelled"
            self._note([change], self._attempts.get(change.stage) if has_begun else None)
        cancelled = {c.stage for c in outcome.changes if c.state == "cancelled"}
        self._executor.cancel({self._attempts[d] for d in cancelled if d in self._attempts})
        if self._control.paused and not was_paused:
            self._executor.save()
        if self._control.paused != was_paused:
            self._say_now()

    def _exit_code(self) -> int:
        states = set(self._schedule.states.values())
        if self._finishing and states & {"cancelled", "pending", "running"}:
            return INTERRUPTED
        return 1 if states & {"failed", "blocked", "cancelled"} else 0
