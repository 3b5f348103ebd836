"""Journals made up for tests: plausible sessions and attempts of a small study, no real results."""

import base64
import hashlib
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    LogLine,
    Planned,
    SessionClosed,
    SessionHeader,
    StageOutcomes,
    StageState,
)
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import boot_id
from icckd.study.paths import Change
from icckd.study.records import Arm, Stage, Trial

NO_MARGIN = ("teacher.intra.margin", {"threshold": 0.5}, "off")
ARMS = (
    ("full", "baseline", "", None, ()),
    ("no-margin", "ablation", "REMOVE", None, (NO_MARGIN,)),
    (
        "no-margin-matched", "control", "", "no-margin",
        (NO_MARGIN, ("teacher.intra.weight", 0.02, 0.018)),
    ),
    ("no-cache", "ablation", "REMOVE", None, (("teacher.intra.cache", {"per_class": 64}, "off"),)),
)  # fmt: skip

WEIGHTS = b"no real weights"
SHA = hashlib.sha256(WEIGHTS).hexdigest()


def digest(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def planned(
    *,
    arms: Sequence[Any] = ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    students: int = 1,
    epochs: int = 4,
    teacher_target: float = 90.0,
    smallest_effect: float | None = 0.5,
    salt: str = "",
) -> Planned:
    """A plan in which every arm has its own teacher."""
    trials, stages = [], []
    for seed in seeds:
        for name, *_ in arms:
            teacher = digest(salt, name, seed)
            names = [digest(salt, name, seed, replicate) for replicate in range(students)]
            trials.append(Trial(arm=name, seed=seed, stages=(teacher, *names)))
            stages.append(
                Stage(
                    digest=teacher, kind="teacher", shape="teacher-shape", seed=seed, replicate=0,
                    epochs=epochs, inputs={},
                )
            )  # fmt: skip
            stages += [
                Stage(
                    digest=student, kind="student", shape="student-shape", seed=seed,
                    replicate=replicate, epochs=epochs, inputs={"teacher": teacher},
                )
                for replicate, student in enumerate(names)
            ]  # fmt: skip
    return Planned(
        study={
            "study": {
                "name": "icc-ablations",
                "question": "What do margin and cache contribute?",
                "baseline": arms[0][0],
                "primary": "student.top1",
                "smallest_effect": smallest_effect,
                "convergence": {"teacher": teacher_target, "student": 90.0},
            },
            "outcomes": [
                "student.top1", "teacher.top1", "teacher.convergence", "teacher.intra_ratio",
                "teacher.memory_rss", "teacher.memory_allocated",
            ],
            "family": [name for name, role, *_ in arms if role == "ablation"],
        },
        arms=[
            Arm(
                name=name, role=role, title=f"title of {name}", action=action, control_for=control,
                metrics=(),
                changes=tuple(Change(path=p, before=b, after=a) for p, b, a in changes),
            )
            for name, role, action, control, changes in arms
        ],
        trials=trials,
        stages=stages,
    )  # fmt: skip


class Lab:
    """Writes test journals into one state folder, on a clock of its own."""

    def __init__(self, root: Path) -> None:
        self.folder = StateFolder(root)
        self.folder.create()
        self.now = 1_790_000_000.0
        self.attempts = 0

    def tick(self) -> float:
        self.now += 0.25
        return self.now

    def writer(self, home: Path) -> JournalWriter:
        home.mkdir(mode=0o700)
        return JournalWriter(home / JOURNAL, clock=self.tick)

    def session(self, name: str, plan: Planned, *, revision: str = "r1", pid: int | None = None,
                study: str = "icc-ablations", ordinal: int = 0) -> "LabSession":  # fmt: skip
        journal = self.writer(self.folder.sessions / name)
        header = SessionHeader(
            session=name, study=study, revision=revision, arguments=["run", "x.toml"],
            host=socket.gethostname(), boot=boot_id(), pid=os.getpid() if pid is None else pid,
            version="0.1.0", ordinal=ordinal,
        )  # fmt: skip
        journal.append(header, plan, durable=True)
        return LabSession(self, name, plan, journal, ordinal)

    @contextmanager
    def finished(self, name: str, plan: Planned, **more: Any) -> Iterator["LabSession"]:
        session = self.session(name, plan, **more)
        yield session
        session.end()


class LabSession:
    """A session and the attempts that it hands out."""

    def __init__(
        self, lab: Lab, name: str, plan: Planned, journal: JournalWriter, ordinal: int
    ) -> None:
        self.lab, self.name, self.plan, self.journal = lab, name, plan, journal
        self.ordinal = ordinal
        self.gpu = ""  # the model that trains; none means a CPU

    def stage(self, arm: str, seed: int, position: int = 0) -> Stage:
        trial = next(t for t in self.plan.trials if (t.arm, t.seed) == (arm, seed))
        return next(s for s in self.plan.stages if s.digest == trial.stages[position])

    def say(self, stage: Stage, state: str, *, attempt: str | None = None, reason: str = ""):
        self.journal.append(
            StageState(stage=stage.digest, state=state, attempt=attempt, reason=reason)
        )

    def train(
        self,
        stage: Stage,
        *,
        accuracy: float = 90.0,
        outcomes: dict[str, float] | None = None,
        until: int | None = None,
        end: str | None = "complete",
        say: bool = True,
        images: int = 0,
        series: dict[str, float] | None = None,
        right: str = "",
        pack: tuple[str, int] = ("", 1),
    ) -> str:
        """Attempt a stage: epochs up to `until`, then `end`; None leaves the journal open.

        It may be one of several in a pack, whose name and size are given.

        A complete one was tested on `images`, where that is said, and was `right` about some. Each
        epoch tells `series`, too.
        """
        self.lab.attempts += 1
        name = f"{stage.digest[:16]}-{self.lab.attempts:08d}"
        journal = self.lab.writer(self.lab.folder.attempts / name)
        journal.append(self._header(stage, name, *pack))
        if say:
            self.say(stage, "running", attempt=name)
        epochs = stage.epochs if until is None else until
        for epoch in range(1, epochs + 1):
            values = {
                f"{stage.kind}.val_top1": accuracy - 2.0 * (stage.epochs - epoch),
                f"{stage.kind}.ce": 1.0 / epoch,
                f"{stage.kind}.train_seconds": 2.0 * epoch,
                **(series or {}),
            }
            journal.append(EpochMetrics(epoch=epoch, values=values))
        journal.append(LogLine(text=f"{stage.kind} reached {accuracy:.1f}"))
        if end is not None:
            if right:
                journal.append(StageOutcomes(values={}, images=images, right=right))
            self._end(journal, stage, accuracy, outcomes or {}, end, 0 if right else images)
            if say and end != "cancelled":
                self.say(stage, end, attempt=name)
        journal.close()
        return name

    def _header(self, stage: Stage, name: str, pack: str = "", members: int = 1) -> AttemptHeader:
        device = "cuda" if self.gpu else "cpu"
        return AttemptHeader(
            ordinal=self.ordinal * 1000 + self.lab.attempts,
            attempt=name, session=self.name, stage=stage.digest, kind=stage.kind, shape=stage.shape,
            seed=stage.seed, replicate=stage.replicate, epochs=stage.epochs, settings={"lr": 0.05},
            inputs=stage.inputs, fingerprint="f" * 16, numerics={"device": device, "threads": 1},
            code_epoch=1, host=socket.gethostname(), boot=boot_id(), pid=1,
            pack=pack, members=members,
            environment={"python": "3.11", "source": "f" * 16,
                         **({"gpus": self.gpu} if self.gpu else {})},
        )  # fmt: skip

    def _end(self, journal: JournalWriter, stage: Stage, accuracy: float,
             outcomes: dict[str, float], end: str, images: int = 0) -> None:  # fmt: skip
        if end == "complete":
            kind = stage.kind
            recorded = {
                f"{kind}.top1": accuracy,
                f"{kind}.memory_rss": 3.0e8,
                f"{kind}.nonfinite_steps": 0.0,
            }  # fmt: skip
            right = base64.b64encode(bytes(-(-images // 8))).decode()
            journal.append(
                StageOutcomes(values={**recorded, **outcomes}, images=images, right=right)
            )
            journal.append(ArtifactPublished(files={"model.safetensors": SHA}, bytes=60_000))
        failure = None
        if end == "failed":
            journal.append(StageOutcomes(values={f"{stage.kind}.nonfinite_steps": 1.0, **outcomes}))
            message = "loss term 'ce' is not finite at step 7"
            failure = Failure(type="NonFiniteError", message=message, step=7, term="ce")
            journal.append(LogLine(level="error", text=f"{failure.type}: {failure.message}"))
        journal.append(
            AttemptClosed(state=end, count=journal.count, seconds=10.0, failure=failure),
            durable=True,
        )

    def train_all(self, *, skip: Sequence[tuple[str, int]] = ()) -> None:
        """Train every trial but those to skip; accuracies depend on arm and seed alone."""
        for trial in self.plan.trials:
            if (trial.arm, trial.seed) in skip:
                continue
            index = [arm.name for arm in self.plan.arms].index(trial.arm)
            wiggle = int(digest(trial.arm, trial.seed)[:2], 16) / 256
            for position in range(len(trial.stages)):
                stage = self.stage(trial.arm, trial.seed, position)
                extra = {"teacher.intra_ratio": 0.02 + 0.001 * index} if position == 0 else {}
                self.train(
                    stage,
                    accuracy=93.0 - 1.5 * index + trial.seed * 0.5 + wiggle - position,
                    outcomes=extra,
                )

    def end(self, code: int = 0) -> None:
        self.journal.append(SessionClosed(exit_code=code, count=self.journal.count), durable=True)
        self.journal.close()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A state folder to write test journals into; nothing here waits for a disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "fdatasync", lambda file: None)
    return Lab(tmp_path / ".icckd")
