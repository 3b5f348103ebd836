"""`python -m icckd.run.worker N`: attempts stages; writes journals and artifacts, and nothing else.

Standard input brings lists of orders, orders taken back, and the word that no more follow. When it
ends after that word, the current stage is finished; when it ends without, the session has died, and
the stage is saved at the end of its epoch. Descriptor N carries the answers (see
`icckd.run.messages`); what a stage prints goes to its attempt's output.log.

An error of the GPU stays with the process: every later call fails too. A worker whose GPU failed
closes the attempt's journal and ends, so that the rest of its list runs in a fresh process. One
that cannot use its GPU says `unusable` before it begins anything, and ends.
"""

import base64
import contextlib
import faulthandler
import functools
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
from types import ModuleType
from typing import IO, Any, Literal

import numpy as np

from icckd import __version__
from icckd.errors import StagePaused
from icckd.journal.artifacts import is_complete, publish, workspace
from icckd.journal.events import (
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    LogLine,
    Resumed,
    StageOutcomes,
    item_lines,
)
from icckd.journal.file import DiskRetry, JournalWriter
from icckd.journal.folder import JOURNAL, OUTPUT, StateFolder
from icckd.journal.locks import lock_path, stage_lock
from icckd.journal.owner import boot_id
from icckd.resources import VISIBLE, visible_gpus
from icckd.resources.host import cpu_model
from icckd.resources.processes import answers, holders_text
from icckd.run.failures import failure_of, is_about_device
from icckd.run.messages import (
    DEVICE_FAILED,
    Order,
    WorkerMessage,
    read_session_line,
    worker_line,
)
from icckd.run.task import leave_folder, run_folder, run_task, task_of
from icckd.run.task_files import python_of
from icckd.study.registry import add_plugins
from icckd.study.source import files_text, own_modules
from icckd.train.contract import JobContext
from icckd.variables import checkpoint_seconds

_HINT = "icckd doctor shows the GPUs; the kernel's log (dmesg) names an Xid error"
STOP = threading.Event()
"""Set by SIGTERM: save a checkpoint at the end of the epoch, then die of that signal."""
FORKED = threading.Event()
"""Set in a worker that shares memory with the server that forked it: for the record."""


def main() -> None:
    """Work until standard input ends."""
    serve(sys.stdin.buffer, answers())


def serve(lines: IO[bytes], out: IO[bytes]) -> None:
    """Work until the session's messages end; this process and its signals belong to it.

    Args:
        lines: Brings the messages of the session.
        out: Takes those of the worker, unbuffered.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: STOP.set())
    faulthandler.enable()
    channel = WorkerChannel(lines, out)
    for order in channel.orders():
        if not order.stage.is_task:
            _load_engine(tuple(order.plugins))
        _own_gpus()
        if trouble := _gpu_trouble(order):
            channel.send(order, "unusable", reason=trouble)
            _exit_device_failed()
        work(order, channel)


class WorkerChannel:
    """The worker's end of its two pipes with the session.

    Args:
        lines: Brings the session's messages; a thread reads them until they end.
        out: Takes the worker's messages, unbuffered.
    """

    def __init__(self, lines: IO[bytes], out: IO[bytes]) -> None:
        self._lines = lines
        self._out = out
        self._lists: queue.SimpleQueue[tuple[Order, ...] | None] = queue.SimpleQueue()
        self._skipped: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._had_last = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def orders(self) -> Iterator[Order]:
        """Yield orders until the session died or sends no more."""
        while (orders := self._lists.get()) is not None:
            for order in orders:
                if self.is_closing():
                    return
                yield order

    def session_died(self) -> bool:
        """Whether the messages ended without a last one."""
        return self._ended.is_set() and not self._had_last.is_set()

    def should_save(self) -> bool:
        """Whether the current stage is to be saved at the end of its epoch, and left."""
        return STOP.is_set() or self.session_died()

    def is_closing(self) -> bool:
        """Whether no further stage is to be begun."""
        return STOP.is_set() or self._ended.is_set()

    def is_skipped(self, order: Order) -> bool:
        """Whether the session took an order back."""
        return order.attempt in self._skipped

    def send(
        self,
        order: Order,
        what: Literal["started", "ended", "stalled", "skipped", "unusable"],
        **fields: Any,
    ) -> None:
        """Tell the session; without one, end this process: the journals hold what happened."""
        line = worker_line(WorkerMessage(attempt=order.attempt, what=what, **fields))
        try:
            self._out.write(line)
        except BrokenPipeError:
            sys.exit(0)

    def _read(self) -> None:
        for line in self._lines:
            message = read_session_line(line)
            self._skipped |= message.skipped
            if message.is_last:
                self._had_last.set()
            if message.orders:
                self._lists.put(message.orders)
        self._ended.set()
        self._lists.put(None)


def work(order: Order, channel: WorkerChannel) -> None:
    """Carry out one order while no other process works on its stage; tell what became of it."""
    folder = StateFolder(Path(order.state_folder))

    def is_unwanted() -> bool:
        return channel.is_closing() or channel.is_skipped(order)

    def waiting() -> None:
        channel.send(order, "stalled", reason=_who_holds(order, folder))

    with stage_lock(folder, order.stage.digest, waiting=waiting, give_up=is_unwanted) as held:
        if held is None or is_unwanted():
            channel.send(order, "skipped")
        elif not order.force and is_complete(folder, order.stage.digest):
            channel.send(order, "ended", state="complete", reason="trained by another worker")
        else:
            channel.send(order, "started")
            closed = attempt(order, folder, channel, held)
            if closed.state == "cancelled":
                _die_of_sigterm()
            _send_end(order, closed, channel)


def _send_end(order: Order, closed: AttemptClosed, channel: WorkerChannel) -> None:
    if closed.failure is None:
        channel.send(order, "ended", state=closed.state)
        return
    cause = closed.failure.cause
    is_leaving = cause == "device" or bool(_gpu_trouble(order))
    reason = closed.failure.message if cause == "device" else ""
    channel.send(
        order, "ended", state=closed.state, cause=cause, reason=reason, is_leaving=is_leaving
    )
    if is_leaving:
        _exit_device_failed()


def _who_holds(order: Order, folder: StateFolder) -> str:
    """Return whom a stage waits for: a worker, or what a task of an earlier attempt left behind."""
    if order.stage.is_task and (who := holders_text(lock_path(folder, order.stage.digest))):
        return f"waits for processes of an earlier attempt to end: {who}"
    return "another worker is training this stage"


def attempt(order: Order, folder: StateFolder, channel: WorkerChannel, lock: int) -> AttemptClosed:
    """Attempt one stage; return the last line of its journal, which says how it ended.

    Args:
        order: What to attempt.
        folder: The state folder.
        channel: To the session.
        lock: Descriptor of the stage's lock, which is held.
    """
    disk_retry = DiskRetry(
        stalled=lambda why: channel.send(order, "stalled", reason=why),
        give_up=channel.session_died,
    )
    home = folder.attempts / order.attempt
    disk_retry(lambda: home.mkdir())
    start = time.monotonic()
    log = disk_retry(lambda: os.open(home / OUTPUT, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666))
    with JournalWriter(home / JOURNAL, disk_retry=disk_retry) as journal, _output_to(log):
        journal.append(_header(order), durable=True)
        failure, is_paused, prepared = None, False, folder.artifacts / f".tmp-{order.attempt}"
        try:
            prepared = disk_retry(lambda: _new_folder(order, folder))
            context = _context(order, folder, prepared, disk_retry, channel)
            _carry_out(order, folder, JournalRecorder(journal), context, lock)
            manifest = disk_retry(lambda: publish(folder, order.stage.digest, prepared))
            journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
        except StagePaused as pause:
            is_paused = True
            journal.append(LogLine(text=pause.message))
            journal.append(*_give_up(order, folder, prepared))
        except Exception as error:  # whatever it was, it is data: design law 8, docs/laws.md
            failure = _failure(order, error)
            journal.append(LogLine(level="error", text=f"{failure.type}: {failure.message}"))
            journal.append(*_give_up(order, folder, prepared))
        if disk_retry.seconds:
            text = f"stalled for {disk_retry.seconds:.1f} s in all: the disk was full"
            journal.append(LogLine(level="warning", text=text))
        closed = AttemptClosed(
            state="failed" if failure else "cancelled" if is_paused else "complete",
            count=journal.count,
            seconds=time.monotonic() - start,
            failure=failure,
        )
        journal.append(closed, durable=True)
    if closed.state == "complete":  # checkpoints go only after the journal is durable
        shutil.rmtree(folder.checkpoints / order.stage.digest, ignore_errors=True)
    return closed


def _new_folder(order: Order, folder: StateFolder) -> Path:
    """Return the folder that an attempt fills."""
    if order.stage.is_task:
        return run_folder(folder, order)
    return workspace(folder, order.attempt)


def _carry_out(
    order: Order,
    folder: StateFolder,
    recorder: "JournalRecorder",
    context: JobContext,
    lock: int,
) -> None:
    """Train, or run the task; errors as `train_stage` and `run_task`."""
    if order.stage.is_task:
        run_task(order, folder, recorder, context, lock)
        return
    load_engine().train_stage(order, folder, recorder, context)


def _load_engine(plugins: tuple[str, ...]) -> None:
    """Import what trains; what cannot be imported ends this process before it begins anything."""
    try:
        add_plugins(plugins)
        load_engine()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # an orderly end would wait for the thread that reads messages


@functools.cache
def load_engine() -> ModuleType:
    """Return what trains teachers and students; it loads torch, which a task may not need."""
    from icckd.run import training

    own_modules()  # reads their files now: they are what this process has imported
    return training


def _give_up(order: Order, folder: StateFolder, prepared: Path) -> list[LogLine]:
    """Remove the folder of an attempt without a result, or set that of a task aside.

    Returns:
        What the log says of it.
    """
    if order.stage.is_task:
        with contextlib.suppress(OSError):
            if told := leave_folder(order, folder, prepared):
                return [LogLine(text=told)]
    shutil.rmtree(prepared, ignore_errors=True)
    return []


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
        inputs=dict(stage.inputs),
        fingerprint=stage.fingerprint,
        numerics=asdict(stage.numerics),
        code_epoch=stage.code_epoch,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        environment=_environment(order),
        ordinal=order.ordinal,
        files=dict(stage.files),
    )


def _environment(order: Order) -> dict[str, str]:
    """Return versions and devices, for the record: of a task those that icckd can know."""
    gpus = {"gpu_uuids": ", ".join(gpu.uuid for gpu in visible_gpus())}
    if order.stage.is_task:
        version = python_of(task_of(order), Path(order.study_folder))
        changed = files_text(order.stage.changed_files)
        accepted = {"accepted_source": changed} if changed else {}
        return {"python": version, "icckd": __version__, "cpu": cpu_model(), **accepted, **gpus}
    return {
        "python": platform.python_version(),
        **_engine_environment(),
        **({"worker": "forked"} if FORKED.is_set() else {}),
        **order.stage.source.environment(),
        **gpus,
    }


@functools.cache
def _engine_environment() -> dict[str, str]:
    """Return versions and devices; they stay for a process, and are read from many files."""
    found: dict[str, str] = load_engine().environment()
    return found


def _context(
    order: Order, folder: StateFolder, prepared: Path, disk_retry: DiskRetry, channel: WorkerChannel
) -> JobContext:
    return JobContext(
        device=order.stage.numerics.device,
        data_root=Path(order.data_root),
        artifact_folder=prepared,
        disk_retry=disk_retry,
        checkpoint_folder=folder.checkpoints / order.stage.digest,
        checkpoint_seconds=checkpoint_seconds(),
        should_stop=channel.should_save,
        stage=order.stage.digest,
        attempt=order.attempt,
    )


class JournalRecorder:
    """Writes what the training measures into an attempt's journal."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        """Record where the stage resumes, and its series until then; durable on return."""
        self._journal.append(
            Resumed(attempt=attempt, epoch=len(series), seconds=seconds),
            *(EpochMetrics(epoch=n, values=dict(v)) for n, v in enumerate(series, start=1)),
            durable=True,
        )

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record an epoch; durable on return."""
        self._journal.append(EpochMetrics(epoch=epoch, values=dict(values)), durable=True)

    def steps(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Record the series values of several steps; durable on return."""
        lines = [EpochMetrics(epoch=step, values=dict(named)) for step, named in values.items()]
        self._journal.append(*lines, durable=True)

    def resumed_at(self, step: int, *, attempt: str, seconds: float) -> None:
        """Record that a task goes on where another attempt left it; durable on return."""
        self._journal.append(Resumed(attempt=attempt, epoch=step, seconds=seconds), durable=True)

    def fingerprint(self, name: str, digest: str) -> None:
        self._journal.append(LogLine(text=f"fingerprint of {name}: {digest}"))

    def items(
        self, ids: Sequence[str], groups: Sequence[str], scores: Mapping[str, Sequence[float]]
    ) -> None:
        """Record items in columns, some thousands a line."""
        self._journal.append(*item_lines(ids, groups, scores))

    def outcomes(self, values: Mapping[str, float], right: Sequence[bool] = ()) -> None:
        bits = np.packbits(np.asarray(right, dtype=bool)).tobytes()
        self._journal.append(
            StageOutcomes(
                values=dict(values), images=len(right), right=base64.b64encode(bits).decode()
            )
        )

    def log(self, message: str) -> None:
        self._journal.append(LogLine(text=message))


@contextlib.contextmanager
def _output_to(target: int) -> Iterator[None]:
    """Send file descriptors 1 and 2 to an open file, which is closed, until the block ends."""
    saved = [os.dup(1), os.dup(2)]
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _failure(order: Order, error: Exception) -> Failure:
    """Return what ended an attempt; a GPU that no longer works is the cause of any exception."""
    failure = failure_of(error)
    if failure.cause != "device":
        trouble = "" if is_about_device(error) else _gpu_trouble(order)
        if not trouble:
            return failure
        failure = failure.model_copy(
            update={"cause": "device", "message": f"{trouble}, seen after: {failure.message}"}
        )
    message = failure.message.partition("\n")[0]
    label = _own_gpus() or "the device"
    return failure.model_copy(update={"message": f"{label}: {message}", "hint": _HINT})


def _gpu_trouble(order: Order) -> str:
    """Return why the GPU that an order needs cannot be used just now; "" when it can."""
    if order.stage.is_task or order.stage.numerics.device != "cuda":
        return ""
    trouble: str = load_engine().gpu_trouble()
    return trouble


@functools.cache
def _own_gpus() -> str:
    """Return model and UUID of this process's GPU as first seen: NVML may lose it later."""
    return ", ".join(str(gpu) for gpu in visible_gpus()) or os.environ.get(VISIBLE, "")


def _exit_device_failed() -> None:
    """End this process at once: CUDA's own clean-up may hang or abort at an orderly exit."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(DEVICE_FAILED)


def _die_of_sigterm() -> None:
    """End this process as SIGTERM would have; the session then has the stage tried again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
