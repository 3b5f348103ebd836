"""`python -m icckd.worker`: attempts stages and writes journals and artifacts, nothing else.

Standard input brings lists of orders, one JSON line each, and which of them to skip. When it ends
after a word of farewell, the current stage is finished; without one the session has died, and the
stage is saved at the end of its epoch. The original standard output carries `started`, `stalled`,
`skipped` and `ended`; what a stage prints goes to its attempt's output.log.
"""

import contextlib
import faulthandler
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
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from icckd.engine.data.fingerprint import fingerprint
from icckd.engine.protocol import Place, StudentJob, TeacherJob
from icckd.engine.run import environment, train_student, train_teacher
from icckd.errors import MachineError, StagePaused
from icckd.journal.artifact import publish, verified, workspace
from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    LogLine,
)
from icckd.journal.failure import failure_of
from icckd.journal.folder import JOURNAL, OUTPUT, StateFolder
from icckd.journal.known import is_complete
from icckd.journal.order import Order, from_line
from icckd.journal.origin import boot_id
from icckd.journal.patience import Patience
from icckd.journal.recorder import JournalRecorder
from icckd.journal.stage_lock import stage_lock
from icckd.journal.write import JournalWriter
from icckd.spec.data import Data
from icckd.spec.student import Student
from icckd.spec.teacher import Teacher

_DATA: TypeAdapter[Data] = TypeAdapter(Data)
STOP = threading.Event()
"""Set by SIGTERM: save a checkpoint at the end of the epoch, then die of that signal."""


class Voice:
    """What the worker hears from its session and says to it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._lists: queue.SimpleQueue[tuple[Order, ...] | None] = queue.SimpleQueue()
        self._skipped: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._dismissed = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def orders(self) -> Iterator[Order]:
        """Yield orders until the session is gone or wants no more."""
        while (orders := self._lists.get()) is not None:
            for order in orders:
                if self.is_over():
                    return
                yield order

    def is_orphan(self) -> bool:
        """Say whether the session died."""
        return self._ended.is_set() and not self._dismissed.is_set()

    def should_stop(self) -> bool:
        """Say whether the current stage is to be saved and left at the end of its epoch."""
        return STOP.is_set() or self.is_orphan()

    def is_over(self) -> bool:
        """Say whether nothing is to be begun any more."""
        return STOP.is_set() or self._ended.is_set()

    def is_skipped(self, order: Order) -> bool:
        """Say whether the session took an order back."""
        return order.attempt in self._skipped

    def say(self, order: Order, what: str, **more: str) -> None:
        """Tell the session; without one, end this process: journals hold what was found."""
        line = json.dumps({"attempt": order.attempt, "what": what, **more}).encode() + b"\n"
        try:
            self._out.write(line)
        except BrokenPipeError:
            sys.exit(0)

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            told = from_line(line)
            self._skipped |= told.skipped
            if told.is_last:
                self._dismissed.set()
            if told.orders:
                self._lists.put(told.orders)
        self._ended.set()
        self._lists.put(None)


def main() -> None:
    """Work until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: STOP.set())
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    faulthandler.enable()
    voice = Voice(out)
    for order in voice.orders():
        work(order, voice)


def work(order: Order, voice: Voice) -> None:
    """Carry out one order, alone with its stage; what became of it is said."""
    folder = StateFolder(Path(order.state_folder))

    def is_unwanted() -> bool:
        return voice.is_over() or voice.is_skipped(order)

    def waiting() -> None:
        voice.say(order, "stalled", reason="another worker is training this stage")

    with stage_lock(folder, order.stage.digest, waiting=waiting, give_up=is_unwanted) as held:
        if not held or is_unwanted():
            voice.say(order, "skipped")
        elif not order.force and is_complete(folder, order.stage.digest):
            voice.say(order, "ended", state="complete", reason="trained by another worker")
        else:
            voice.say(order, "started")
            closed = attempt(order, folder, voice)
            if closed.state == "cancelled":
                _die_of_sigterm()
            cause = {"cause": closed.failure.cause} if closed.failure else {}
            voice.say(order, "ended", state=closed.state, **cause)


def _die_of_sigterm() -> None:
    """End this process as SIGTERM would have; the session then has the stage tried again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def attempt(order: Order, folder: StateFolder, voice: Voice) -> AttemptClosed:
    """Attempt one stage; return the last line of its journal, which tells the rest."""
    patience = Patience(
        stalled=lambda why: voice.say(order, "stalled", reason=why),
        give_up=voice.is_orphan,
    )
    home = folder.attempts / order.attempt
    patience(lambda: home.mkdir(mode=0o700))
    start = time.monotonic()
    log = patience(lambda: os.open(home / OUTPUT, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
    with JournalWriter(home / JOURNAL, patience=patience) as journal, _output_to(log):
        journal.append(_header(order), durable=True)
        failure, paused = None, False
        try:
            prepared = patience(lambda: workspace(folder, order.attempt))
            place = _place(order, folder, prepared, patience, voice)
            _train(order, folder, JournalRecorder(journal), place)
            manifest = patience(lambda: publish(folder, order.stage.digest, prepared))
            journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
        except StagePaused as stop:
            paused = True
            journal.append(LogLine(text=stop.message))
            shutil.rmtree(prepared, ignore_errors=True)
        except Exception as error:  # a failed stage is data (law 8): whatever it was, record it
            failure = failure_of(error)
            journal.append(LogLine(level="error", text=f"{failure.type}: {failure.message}"))
            shutil.rmtree(folder.artifacts / f".tmp-{order.attempt}", ignore_errors=True)
        if patience.seconds:
            text = f"stalled for {patience.seconds:.1f} s in all: the disk was full"
            journal.append(LogLine(level="warning", text=text))
        closed = AttemptClosed(
            state="failed" if failure else "cancelled" if paused else "complete",
            count=journal.count,
            seconds=time.monotonic() - start,
            failure=failure,
        )
        journal.append(closed, durable=True)
    if closed.state == "complete":  # and not before that is known for good
        shutil.rmtree(folder.checkpoints / order.stage.digest, ignore_errors=True)
    return closed


def _place(
    order: Order, folder: StateFolder, prepared: Path, patience: Patience, voice: Voice
) -> Place:
    return Place(
        device=order.stage.numerics.device,
        data_root=Path(order.data_root),
        artifact_folder=prepared,
        patience=patience,
        checkpoint_folder=folder.checkpoints / order.stage.digest,
        checkpoint_seconds=float(os.environ.get("ICCKD_CHECKPOINT_SECONDS") or 30),
        should_stop=voice.should_stop,
        stage=order.stage.digest,
        attempt=order.attempt,
    )


def _train(order: Order, folder: StateFolder, recorder: JournalRecorder, place: Place) -> None:
    stage = order.stage
    told = {name: json.dumps(value) for name, value in stage.settings.items()}
    data = _DATA.validate_json(told["data"])
    numerics = stage.numerics.settings()
    if fingerprint(data, place.data_root) != stage.fingerprint:
        raise MachineError(
            "the data set changed since the plan was made", hint="run the study again"
        )
    if stage.kind == "teacher":
        teacher = TeacherJob(
            data=data,
            teacher=Teacher.model_validate_json(told["teacher"]),
            numerics=numerics,
            seed=stage.seed,
        )
        train_teacher(teacher, recorder, place)
    else:
        student = StudentJob(
            data=data,
            student=Student.model_validate_json(told["student"]),
            numerics=numerics,
            seed=stage.seed,
            replicate=stage.replicate,
            teacher_folder=verified(folder, stage.inputs[0]) if stage.inputs else None,
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
        ordinal=order.ordinal,
    )


@contextlib.contextmanager
def _output_to(target: int) -> Iterator[None]:
    """Send file descriptors 1 and 2 to an open file for a while; it is closed."""
    kept = [os.dup(1), os.dup(2)]
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
