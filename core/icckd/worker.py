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
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO

from icckd.engine.data.fingerprint import fingerprint
from icckd.engine.protocol import Place, StudentJob, TeacherJob
from icckd.engine.run import environment, train_student, train_teacher
from icckd.errors import IcckdError, MachineError, NonFiniteError
from icckd.journal.artifact import publish, verified, workspace
from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    LogLine,
    StageOutcomes,
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

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record an epoch; it is durable when this returns."""
        self._journal.append(EpochMetrics(epoch=epoch, values=dict(values)), durable=True)

    def outcomes(self, values: Mapping[str, float]) -> None:
        """Record outcomes."""
        self._journal.append(StageOutcomes(values=dict(values)))

    def log(self, message: str) -> None:
        """Record a line for readers."""
        self._journal.append(LogLine(text=message))


def main() -> None:
    """Work until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
            _say(voice, order, "ended", state=attempt(order))


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


def attempt(order: Order) -> str:
    """Attempt one stage; return `complete` or `failed`. Its journal tells the rest."""
    folder = StateFolder(Path(order.state_folder))
    home = folder.attempts / order.attempt
    home.mkdir(mode=0o700)
    start = time.monotonic()
    with JournalWriter(home / JOURNAL) as journal, _output_to(home / "output.log"):
        journal.append(_header(order), durable=True)
        prepared = workspace(folder, order.attempt)
        failure = None
        try:
            _train(order, folder, JournalRecorder(journal), prepared)
            manifest = publish(folder, order.stage.digest, prepared)
            journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
        except Exception as error:  # a failed stage is data (law 8): whatever it was, record it
            failure = _failure(error)
            journal.append(LogLine(level="error", text=f"{failure.type}: {failure.message}"))
            shutil.rmtree(prepared, ignore_errors=True)
        closed = AttemptClosed(
            state="failed" if failure else "complete",
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
    place = Place(device=stage.numerics.device, data_root=root, artifact_folder=prepared)
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
