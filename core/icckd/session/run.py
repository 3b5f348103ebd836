"""Run one study: hand missing stages to the executor and journal what becomes of them."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from icckd import __version__
from icckd.design import family, outcome_columns
from icckd.execution.protocol import Executor, Report
from icckd.journal import requests
from icckd.journal.artifact import sweep
from icckd.journal.events import (
    Planned,
    PlannedArm,
    PlannedChange,
    PlannedStage,
    PlannedTrial,
    RequestAnswered,
    SessionClosed,
    SessionHeader,
    StageState,
)
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.order import Order
from icckd.journal.origin import boot_id
from icckd.journal.write import JournalWriter
from icckd.plan import Plan, Stage, digest_of
from icckd.session.code_state import capture_code
from icckd.session.schedule import Schedule, Transition
from icckd.spec.study import Study

INTERRUPTED = 130
POLL_SECONDS = 0.2
Stopping = Literal["", "finish", "kill"]


class Listener(Protocol):
    """Is told what happens, on the session's thread; must be quick and must not raise."""

    def transition(self, change: Transition, stage: Stage) -> None:
        """A stage entered a state."""

    def tick(self) -> None:
        """A moment passed; the journals may have grown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """What a session is to do."""

    study: Study
    plan: Plan
    complete: frozenset[str]
    arguments: Sequence[str]
    data_root: Path


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
        self._finishing = False
        self._name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"

    def run(self) -> int:
        """Train what is missing; return the exit code."""
        sweep(self._folder)
        home = self._folder.sessions / self._name
        home.mkdir(mode=0o700)
        capture_code(home, Path.cwd())
        with JournalWriter(home / JOURNAL) as journal:
            self._journal = journal
            journal.append(_header(self._name, self._mission), planned(self._mission), durable=True)
            code = 4  # unless the work itself says otherwise
            try:
                self._work()
                code = self._exit_code()
            finally:
                self._executor.kill()
                self._note(self._schedule.cancel())
                closed = SessionClosed(exit_code=code, count=journal.count)
                journal.append(closed, durable=True)
        return code

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
        while self._executor.idle():
            stages = self._schedule.next_list(self._executor.capacity)
            if not stages:
                return
            self._executor.submit([self._order(stage) for stage in stages])

    def _order(self, stage: Stage) -> Order:
        return Order(
            attempt=f"{stage.digest[:16]}-{uuid.uuid4().hex[:8]}",
            session=self._name,
            state_folder=str(self._folder.root),
            data_root=str(self._mission.data_root),
            stage=stage,
        )

    def _take(self, report: Report) -> None:
        digest, attempt = report.order.stage.digest, report.order.attempt
        if report.what == "started":
            self._note([Transition(stage=digest, state="running")], attempt)
        elif report.what == "ended":
            assert report.state
            self._note(self._schedule.ended(digest, report.state), attempt)
        elif report.what == "lost":
            self._note(self._schedule.lost(digest, report.reason), attempt)
        else:
            self._note([self._schedule.returned(digest)])

    def _note(self, changes: Iterable[Transition], attempt: str | None = None) -> None:
        changes = list(changes)
        events = [
            StageState(
                stage=change.stage,
                state=change.state,
                attempt=attempt if number == 0 else None,
                reason=change.reason,
            )
            for number, change in enumerate(changes)
        ]
        if events:
            self._journal.append(*events, durable=True)
        for change in changes:
            self._listener.transition(change, self._mission.plan.stages[change.stage])

    def _obey(self) -> None:
        wish = self._stopping()
        for request in requests.waiting(self._folder):
            mine = request.study == self._mission.study.study.name
            answer = "finishing the running stages" if mine else "that study is not running"
            self._journal.append(
                RequestAnswered(request=request.name, kind=request.kind, answer=answer),
                durable=True,
            )
            request.path.unlink(missing_ok=True)
            if mine:
                wish = wish or "finish"
        if wish == "kill":
            self._executor.kill()
            self._note(self._schedule.cancel())
        elif wish == "finish" and not self._finishing:
            self._finishing = True
            self._executor.finish()

    def _exit_code(self) -> int:
        states = set(self._schedule.states.values())
        if states & {"cancelled", "pending", "running"}:
            return INTERRUPTED
        return 1 if states & {"failed", "blocked"} else 0


def revision_of(mission: Mission) -> str:
    """Return the digest that names this content of the study."""
    return digest_of(planned(mission).study)[:16]


def planned(mission: Mission) -> Planned:
    """Return the plan as a journal tells it."""
    plan, study = mission.plan, mission.study
    return Planned(
        study={
            **study.model_dump(mode="json"),
            "outcomes": list(outcome_columns(study)),
            "family": list(family(study, plan.arms)),
        },
        arms=[
            PlannedArm(
                name=arm.name,
                role=arm.role,
                title=arm.title,
                action=arm.action,
                control_for=arm.control_for,
                metrics=list(arm.metrics),
                changes=[PlannedChange(**asdict(change)) for change in arm.changes],
            )
            for arm in plan.arms
        ],
        trials=[
            PlannedTrial(arm=p.trial.arm.name, seed=p.trial.seed, stages=[p.teacher, *p.students])
            for p in plan.trials
        ],
        stages=[
            PlannedStage(
                digest=stage.digest,
                kind=stage.kind,
                shape=stage.shape,
                seed=stage.seed,
                replicate=stage.replicate,
                epochs=stage.epochs,
                inputs=stage.inputs_by_kind(),
            )
            for stage in plan.stages.values()
        ],
    )


def _header(name: str, mission: Mission) -> SessionHeader:
    return SessionHeader(
        session=name,
        study=mission.study.study.name,
        revision=revision_of(mission),
        arguments=list(mission.arguments),
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        version=__version__,
    )
