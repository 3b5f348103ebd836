"""`python -m icckd.worker`: attempts stages and writes journals and artifacts, nothing else.

Standard input brings lists of orders, one JSON line each; its end means stop after the current
stage. The original standard output carries `started` and `ended`; what a stage prints goes to its
attempt's output.log.
"""

import contextlib
import json
import os
import platform
import queue
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from icckd.engine.data.fingerprint import fingerprint
from icckd.engine.protocol import Place, StudentJob, TeacherJob
from icckd.engine.run import environment, train_student, train_teacher
from icckd.errors import IcckdError, MachineError, NonFiniteError, StagePaused
from icckd.journal.artifact import publish, verified, workspace
from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    LogLine,
    Resumed,
    StageOutcomes,
    State,
)
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.order import Order, from_line
from icckd.journal.origin import boot_id
from icckd.journal.write import JournalWriter
from icckd.spec.method import Method
from icckd.spec.training import Numerics


class JournalRecorder:
    """Puts what the engine measures into an attempt's journal."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        """Record where the stage goes on, and its series until then; durable on return."""
        self._journal.append(
            Resumed(attempt=attempt, epoch=len(series), seconds=seconds),
            *(EpochMetrics(epoch=n, values=dict(v)) for n, v in enumerate(series, start=1)),
            durable=True,
        )

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record an epoch; it is durable when this returns."""
        self._journal.append(EpochMetrics(epoch=epoch, values=dict(values)), durable=True)

    def outcomes(self, values: Mapping[str, float]) -> None:
        """Record outcomes."""
        self._journal.append(StageOutcomes(values=dict(values)))

    def log(self, message: str) -> None:
        """Record a line for readers."""
        self._journal.append(LogLine(text=message))


STOP = threading.Event()
"""Set by SIGTERM: save a checkpoint at the end of the epoch, then die of that signal."""


def main() -> None:
    """Work until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: STOP.set())
    voice = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lists: queue.SimpleQueue[list[Order] | None] = queue.SimpleQueue()
    ended = threading.Event()
    threading.Thread(target=_listen, args=(lists, ended), daemon=True).start()
    while (orders := lists.get()) is not None:
        for order in orders:
            if ended.is_set():
                return
            _say(voice, order, "started")
            state = attempt(order)
            if state == "cancelled":
                _die_of_sigterm()
            _say(voice, order, "ended", state=state)


def _listen(lists: "queue.SimpleQueue[list[Order] | None]", ended: threading.Event) -> None:
    for line in sys.stdin.buffer:
        lists.put(from_line(line))
    ended.set()
    lists.put(None)


def _say(voice: IO[bytes], order: Order, what: str, **more: str) -> None:
    line = json.dumps({"attempt": order.attempt, "what": what, **more}).encode() + b"\n"
    try:
        voice.write(line)
    except BrokenPipeError:
        sys.exit(0)  # the session is gone; what this stage found is in its journal


def _die_of_sigterm() -> None:
    """End this process as SIGTERM would have; the session then has the stage tried again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def attempt(order: Order) -> State:
    """Attempt one stage; return `complete`, `failed`, or `cancelled` when asked to stop."""
    folder = StateFolder(Path(order.state_folder))
    home = folder.attempts / order.attempt
    home.mkdir(mode=0o700)
    start = time.monotonic()
    with JournalWriter(home / JOURNAL) as journal, _output_to(home / "output.log"):
        journal.append(_header(order), durable=True)
        prepared = workspace(folder, order.attempt)
        failure, paused = None, False
        try:
            _train(order, folder, JournalRecorder(journal), prepared)
            manifest = publish(folder, order.stage.digest, prepared)
            journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
            shutil.rmtree(folder.checkpoints / order.stage.digest, ignore_errors=True)
        except StagePaused as stop:
            paused = True
            journal.append(LogLine(text=stop.message))
            shutil.rmtree(prepared, ignore_errors=True)
        except Exception as error:  # a failed stage is data (law 8): whatever it was, record it
            failure = _failure(error)
            journal.append(LogLine(level="error", text=f"{failure.type}: {failure.message}"))
            shutil.rmtree(prepared, ignore_errors=True)
        closed = AttemptClosed(
            state="failed" if failure else "cancelled" if paused else "complete",
            count=journal.count,
            seconds=time.monotonic() - start,
            failure=failure,
        )
        journal.append(closed, durable=True)
    return closed.state


def _train(order: Order, folder: StateFolder, recorder: JournalRecorder, prepared: Path) -> None:
    stage = order.stage
    method = Method.model_validate_json(json.dumps(stage.settings))
    numerics = Numerics(threads=stage.numerics.threads)
    root = Path(order.data_root)
    if fingerprint(method.data, root) != stage.fingerprint:
        raise MachineError(
            "the data set changed since the plan was made", hint="run the study again"
        )
    place = Place(
        device=stage.numerics.device,
        data_root=root,
        artifact_folder=prepared,
        checkpoint_folder=folder.checkpoints / stage.digest,
        checkpoint_seconds=float(os.environ.get("ICCKD_CHECKPOINT_SECONDS") or 30),
        should_stop=STOP.is_set,
        stage=stage.digest,
        attempt=order.attempt,
    )
    if stage.kind == "teacher":
        teacher = TeacherJob(
            data=method.data, teacher=method.teacher, numerics=numerics, seed=stage.seed
        )
        train_teacher(teacher, recorder, place)
    else:
        student = StudentJob(
            data=method.data,
            student=method.student,
            numerics=numerics,
            seed=stage.seed,
            replicate=stage.replicate,
            teacher_folder=verified(folder, stage.inputs[0]),
        )
        train_student(student, recorder, place)


def _header(order: Order) -> AttemptHeader:
    stage = order.stage
    return AttemptHeader(
        attempt=order.attempt,
        session=order.session,
        stage=stage.digest,
        kind=stage.kind,
        shape=stage.shape,
        seed=stage.seed,
        replicate=stage.replicate,
        epochs=stage.epochs,
        settings=stage.settings,
        inputs=stage.inputs_by_kind(),
        fingerprint=stage.fingerprint,
        numerics=asdict(stage.numerics),
        code_epoch=stage.code_epoch,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        environment={"python": platform.python_version(), **environment()},
    )


def _failure(error: Exception) -> Failure:
    return Failure(
        type=type(error).__name__,
        message=str(error),
        hint=error.hint if isinstance(error, IcckdError) else "",
        step=error.step if isinstance(error, NonFiniteError) else None,
        term=error.term if isinstance(error, NonFiniteError) else None,
        traceback="".join(traceback.format_exception(error)),
    )


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send file descriptors 1 and 2 to a file for a while."""
    kept = [os.dup(1), os.dup(2)]
    target = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


if __name__ == "__main__":
    main()
