"""Large state folders with synthetic results: what the benchmarks of growth read.

`python bench/made_state.py FOLDER ARMS SEEDS [EPOCHS]` makes one. The plan is a real one, of a
study with so many arms and seeds; the journals are written by the product's own writer, with the
events and metrics that a worker writes for a teacher and its student. Only the values are drawn
instead of trained. Nothing waits for the disk.
"""

import base64
import contextlib
import os
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from icckd import __version__
from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    SessionClosed,
    StageOutcomes,
    StageState,
)
from icckd.journal.file import JournalWriter, encode
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import boot_id, next_session_ordinal
from icckd.run.executors import Capabilities, Report
from icckd.run.messages import Order
from icckd.run.prepare import make_plan
from icckd.run.session import ORDERS_PER_SESSION, RunRequest, header_of, planned
from icckd.study.load import parse
from icckd.study.plan import StageJob

STUDY = """
[study]
name = "{name}"
question = "How do costs grow? (synthetic results)"
baseline = "base"
design = "one-at-a-time"
primary = "student.top1"
metrics = ["teacher.top1", "student.nll", "teacher.convergence", "student.convergence",
    "teacher.stability", "teacher.intra_ratio", "student.nonfinite_steps"]
convergence = {{ teacher = 90.0, student = 80.0 }}
smallest_effect = 0.5
seeds = {{ count = {seeds} }}
[data]
kind = "synthetic"
[teacher.intra]
[teacher.training]
epochs = {epochs}
[student.training]
epochs = {epochs}
[[factor]]
name = "weight"
path = "teacher.intra.weight"
levels = [{levels}]
"""
IMAGES = 360
SIMULATED_FROM = 20_000
"""Trials, from which on journals are simulated: such lines, not made by the product's writer."""
SERIES = {
    "teacher": ("ce", "intra", "grad_norm", "intra_ratio", "anchor_share", "negatives",
                "positive_cosine", "negative_cosine", "lr", "train_seconds", "val_top1"),
    "student": ("ce", "kd", "grad_norm", "lr", "train_seconds", "val_top1"),
}  # fmt: skip
OUTCOMES = ("stability", "grad_norm_max", "nonfinite_steps", "seconds", "images_per_second",
            "memory_rss", "top1", "nll", "ece", "entropy", "intra_ratio", "parameters",
            "macs")  # fmt: skip


def study_text(arms: int, seeds: int, epochs: int, name: str = "made") -> str:
    """Return the file of the study with so many arms and seeds."""
    levels = ", ".join(f"{(number + 1) / 10:.1f}" for number in range(arms))
    return STUDY.format(name=name, seeds=seeds, epochs=epochs, levels=levels)


def request(arms: int, seeds: int, epochs: int, name: str = "made") -> RunRequest:
    """Return what a session of the study with so many arms and seeds is to run."""
    study = parse(study_text(arms, seeds, epochs, name), where="made.toml")
    return RunRequest(
        study=study,
        plan=make_plan(study, device="cpu", root=Path("data")),
        complete=frozenset(),
        arguments=["run", "made.toml"],
        data_root=Path("data"),
        requested_at=time.time(),
    )


class MadeSession:
    """A session whose attempts end with drawn values; its own process counts as the one that runs.

    Args:
        folder: The state folder.
        request: What is run.
    """

    def __init__(self, folder: StateFolder, request: RunRequest) -> None:
        folder.create()
        self._folder = folder
        self.plan = request.plan
        self._arm_of = {
            stage: (number, trial)
            for number, trial in enumerate(request.plan.trials)
            for stage in trial.stages
        }
        self._places = {arm.name: place for place, arm in enumerate(request.plan.arms)}
        self._ordinal, self._orders = next_session_ordinal(folder), 0
        self._headers: dict[tuple[str, str], dict[str, Any]] = {}
        self.name = f"made-{self._ordinal:06d}"
        home = folder.sessions / self.name
        home.mkdir()
        self._journal = JournalWriter(home / JOURNAL)
        header = header_of(self.name, self._ordinal, request)
        self._journal.append(header, planned(request), durable=True)

    def simulate(self, stages: Iterable[StageJob]) -> None:
        """Write attempts in a fifth of the time: their lines are encoded without their events."""
        said: list[StageState] = []
        for stage in stages:
            self._orders += 1
            name = f"{stage.digest[:16]}-{self._ordinal:02x}{self._orders:06x}"
            home = self._folder.attempts / name
            home.mkdir()
            lines = [
                encode(body["k"], number, 1.79e9 + self._orders, body)
                for number, body in enumerate(self._bodies(stage, name))
            ]
            (home / JOURNAL).write_bytes(b"".join(lines))
            for state in ("running", "complete"):
                body = {"stage": stage.digest, "state": state, "attempt": name}
                said.append(StageState.model_validate(body))
        for start in range(0, len(said), 1_000):
            self._journal.append(*said[start : start + 1_000])

    def _bodies(self, stage: StageJob, name: str) -> Iterator[dict[str, Any]]:
        number, _ = self._arm_of[stage.digest]
        random = np.random.default_rng([number, stage.kind == "student"])
        alike = (stage.kind, stage.shape)
        if alike not in self._headers:
            self._headers[alike] = self._header(stage, name).model_dump(mode="json")
        own = {"attempt": name, "stage": stage.digest, "seed": stage.seed}
        yield {**self._headers[alike], **own, "ordinal": self._orders, "inputs": stage.inputs}
        for epoch in range(1, stage.epochs + 1):
            values = dict(zip(SERIES[stage.kind], random.random(11).tolist(), strict=False))
            values["val_top1"] = 80.0 + 15.0 * values["val_top1"]
            yield {"k": "m", "epoch": epoch, "values": _named(stage, values)}
        hits = random.random(IMAGES) < 0.9
        right = base64.b64encode(np.packbits(hits).tobytes()).decode()
        outcomes = _named(stage, _outcomes(random, hits))
        yield {"k": "o", "values": outcomes, "images": IMAGES, "right": right}
        yield {"k": "z", "state": "complete", "count": stage.epochs + 2, "seconds": 3.0}

    def attempt(self, stage: StageJob, *, epochs: int | None = None) -> Path:
        """Write one attempt at a stage, complete unless it stops after fewer epochs."""
        path, steps = self.begin(stage)
        for number, _ in enumerate(steps):
            if number == epochs:
                break
        return path

    def begin(self, stage: StageJob) -> tuple[Path, Iterator[None]]:
        """Begin an attempt; return its journal, and what writes an epoch of it at each step.

        The last step ends it.
        """
        self._orders += 1
        name = f"{stage.digest[:16]}-{self._ordinal:02x}{self._orders:06x}"
        home = self._folder.attempts / name
        home.mkdir()
        return home / JOURNAL, self._steps(stage, name, home / JOURNAL)

    def _steps(self, stage: StageJob, name: str, path: Path) -> Iterator[None]:
        number, trial = self._arm_of[stage.digest]
        place = self._places[trial.arm]
        random = np.random.default_rng([number, stage.replicate, stage.kind == "student"])
        reached = 90.0 - 0.3 * (place % 7) + random.normal()
        self._say(stage, "running", name)
        yield from attempt_steps(path, self._header(stage, name), stage, random, reached)
        self._say(stage, "complete", name)
        yield

    def _say(self, stage: StageJob, state: str, attempt: str) -> None:
        said = StageState.model_validate(
            {"stage": stage.digest, "state": state, "attempt": attempt}
        )
        self._journal.append(said, durable=True)

    def _header(self, stage: StageJob, name: str) -> AttemptHeader:
        ordinal = self._ordinal * ORDERS_PER_SESSION + self._orders
        return attempt_header(stage, name, session=self.name, ordinal=ordinal)

    def end(self) -> None:
        """End the session in good order."""
        self._journal.append(SessionClosed(exit_code=0, count=self._journal.count), durable=True)
        self._journal.close()


def attempt_header(stage: StageJob, name: str, *, session: str, ordinal: int) -> AttemptHeader:
    """Return the first line of an attempt's journal."""
    return AttemptHeader(
        attempt=name, session=session, stage=stage.digest, kind=stage.kind,
        shape=stage.shape, seed=stage.seed, replicate=stage.replicate, epochs=stage.epochs,
        settings=stage.settings, inputs=dict(stage.inputs), fingerprint=stage.fingerprint,
        numerics=asdict(stage.numerics), code_epoch=stage.code_epoch,
        host=socket.gethostname(), boot=boot_id(), pid=os.getpid(),
        environment={"icckd": __version__, "cpu": "none: synthetic"}, ordinal=ordinal,
    )  # fmt: skip


def attempt_steps(
    path: Path, header: AttemptHeader, stage: StageJob, random: np.random.Generator, reached: float
) -> Iterator[None]:
    """Write the journal of an attempt that is complete in the end, an epoch at each step.

    Args:
        path: The journal.
        header: Its first line.
        stage: The stage.
        random: Values are drawn from it.
        reached: About the accuracy that it comes to, in percent.
    """
    with JournalWriter(path) as journal:
        journal.append(header, durable=True)
        for epoch in range(1, stage.epochs + 1):
            values = dict(zip(SERIES[stage.kind], random.random(11).tolist(), strict=False))
            values["train_seconds"] = 0.15 * epoch
            values["val_top1"] = reached - 8.0 * (1 - epoch / stage.epochs)
            journal.append(EpochMetrics(epoch=epoch, values=_named(stage, values)))
            yield
        hits = random.random(IMAGES) < reached / 100
        journal.append(
            StageOutcomes(
                values=_named(stage, _outcomes(random, hits)),
                images=IMAGES,
                right=base64.b64encode(np.packbits(hits).tobytes()).decode(),
            )
        )
        files = {"model.json": "0" * 64, "model.safetensors": "1" * 64}
        journal.append(ArtifactPublished(files=files, bytes=98_277))
        closed = AttemptClosed(state="complete", count=journal.count, seconds=3.0)
        journal.append(closed, durable=True)


def _outcomes(random: np.random.Generator, hits: np.ndarray) -> Mapping[str, float]:
    drawn = dict(zip(OUTCOMES, random.random(len(OUTCOMES)).tolist(), strict=True))
    return {**drawn, "top1": 100.0 * float(hits.mean()), "nonfinite_steps": 0.0}


class MadeExecutor:
    """An executor for a whole session of which nothing is trained: values are drawn.

    Args:
        folder: The state folder.
    """

    capabilities: ClassVar = Capabilities()
    capacity = 12

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._orders: list[Order] = []
        self._lists = 0

    def idle(self) -> int:
        return self.capacity - self._lists

    def submit(self, orders: Sequence[Order]) -> None:
        self._orders += orders
        self._lists += 1

    def wait(self, timeout: float) -> list[Report]:
        """Write the journals of all that was submitted."""
        reports = []
        for order in self._orders:
            home = self._folder.attempts / order.attempt
            home.mkdir()
            header = attempt_header(
                order.stage, order.attempt, session=order.session, ordinal=order.ordinal
            )
            random = np.random.default_rng(order.ordinal)
            for _ in attempt_steps(home / JOURNAL, header, order.stage, random, 90.0):
                pass
            reports.append(Report(order=order, what="started"))
            reports.append(Report(order=order, what="ended", state="complete"))
        self._orders, self._lists = [], 0
        return reports

    def cancel(self, attempts: Collection[str]) -> None:
        """All has ended."""

    def retire(self) -> None:
        """It holds nothing."""

    save = finish = kill = retire


def _named(stage: StageJob, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{stage.kind}.{name}": value for name, value in values.items()}


def _nothing(file: int) -> None:
    """A mock of its own would keep every call."""


@contextlib.contextmanager
def no_disk() -> Iterator[None]:
    """Write without waiting for the disk."""
    with mock.patch("os.fsync", _nothing), mock.patch("os.fdatasync", _nothing):
        yield


def make(root: Path, *, arms: int, seeds: int, epochs: int = 3, name: str = "made") -> StateFolder:
    """Make, or add to, a state folder: a finished session with `arms` times `seeds` trials."""
    folder = StateFolder(root)
    with no_disk():
        session = MadeSession(folder, request(arms, seeds, epochs, name))
        if arms * seeds >= SIMULATED_FROM:
            session.simulate(session.plan.stages.values())
        else:
            for stage in session.plan.stages.values():
                session.attempt(stage)
        session.end()
    return folder


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    make(Path(sys.argv[1]), **dict(zip(("arms", "seeds", "epochs"), numbers, strict=False)))
