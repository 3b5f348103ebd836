"""An executor that draws what a stage shows of its test images instead of training it.

`installed` makes it known to `icckd run --executor drawn` as an installed package would be. A
session with it plans, orders, journals and publishes as any other; only the numbers come from a
`Truth`.
"""

import base64
import os
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import invalidate_caches
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from icckd import __version__
from icckd.journal.artifacts import publish, workspace
from icckd.journal.events import ArtifactPublished, AttemptClosed, AttemptHeader, StageOutcomes
from icckd.journal.fencing import Claim
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import boot_id
from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.messages import Order

NAME = "drawn"
Hits = NDArray[np.bool_]
Truth = Callable[[str, int], Hits]
"""Gives which test images the student of an arm and a seed is right about, shape (images,)."""


class Truths:
    """Where the executor, which icckd makes, finds what is true just now."""

    now: Truth


@contextmanager
def installed() -> Iterator[None]:
    """Let icckd find the executor as an entry point."""
    with tempfile.TemporaryDirectory() as folder:
        about = Path(folder) / "drawn-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: drawn\nVersion: 1.0\n")
        entry = f"[icckd.executors]\n{NAME} = {__name__}:DrawnExecutor\n"
        (about / "entry_points.txt").write_text(entry)
        sys.path.append(folder)
        invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)


class DrawnExecutor:
    """Ends every stage of a list at once, with what the truth of the moment shows."""

    capabilities: ClassVar = Capabilities(cancels=False, saves=False)
    capacity = 1024

    def __init__(self, context: ExecutorContext) -> None:
        self._folder = context.folder
        self._reports: deque[Report] = deque()
        self._trials = {
            stage: (trial.arm, trial.seed)
            for trial in context.plan.trials
            for stage in trial.stages
        }

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "DrawnExecutor":
        """Return an executor for one session."""
        return cls(context)

    def idle(self) -> int:
        """Return how many lists could start now."""
        return self.capacity - len(self._reports)

    def submit(self, orders: Sequence[Order]) -> None:
        """Write the journals of a list, and its artifacts."""
        for order in orders:
            self._reports.append(Report(order=order, what="started"))
            draw_stage(self._folder, order, *self._trials[order.stage.digest])
            self._reports.append(Report(order=order, what="ended", state="complete"))

    def wait(self, timeout: float) -> list[Report]:
        """Return what happened."""
        told = list(self._reports)
        self._reports.clear()
        return told

    def cancel(self, attempts: Collection[str]) -> None:
        """Do nothing: no attempt outlives `submit`."""

    def retire(self) -> None:
        """Do nothing: nothing is held."""

    def save(self) -> None:
        """Do nothing: no attempt outlives `submit`."""

    def finish(self) -> None:
        """Do nothing: no attempt outlives `submit`."""

    def kill(self) -> None:
        """Do nothing: nothing is held."""


def draw_stage(folder: StateFolder, order: Order, arm: str, seed: int) -> None:
    """Write an attempt as a worker does: header, outcomes, artifact, end."""
    stage = order.stage
    home = folder.attempts / order.attempt
    home.mkdir()
    with JournalWriter(home / JOURNAL) as journal:
        journal.append(
            AttemptHeader(
                attempt=order.attempt, session=order.session, stage=stage.digest, kind=stage.kind,
                shape=stage.shape, seed=stage.seed, replicate=stage.replicate,
                epochs=stage.epochs, settings=stage.settings, inputs=dict(stage.inputs),
                fingerprint=stage.fingerprint, numerics=asdict(stage.numerics),
                code_epoch=stage.code_epoch, host=socket.gethostname(), boot=boot_id(),
                pid=os.getpid(), environment={"icckd": __version__}, ordinal=order.ordinal,
            )
        )  # fmt: skip
        if stage.kind == "student":
            hits = Truths.now(arm, seed)
            journal.append(
                StageOutcomes(
                    values={"student.top1": 100.0 * float(hits.mean())},
                    images=len(hits),
                    right=base64.b64encode(np.packbits(hits).tobytes()).decode(),
                )
            )
        prepared = workspace(folder, order.attempt)
        (prepared / "model.safetensors").write_bytes(b"drawn, not trained")
        claim = Claim(attempt=order.attempt, ordinal=order.ordinal)
        manifest = publish(folder, stage.digest, prepared, claim)
        journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
        journal.append(
            AttemptClosed(state="complete", count=journal.count, seconds=0.01), durable=True
        )
