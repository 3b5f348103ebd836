"""One attempt of a stage in a worker: its journal, its folder, what records it, how it ends."""

import base64
import contextlib
import functools
import os
import platform
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from icckd import __version__
from icckd.errors import MachineError, StageCancelled, StagePaused, StageSuperseded
from icckd.journal.artifacts import Manifest, publish, workspace
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
from icckd.journal.fencing import Claim
from icckd.journal.file import DiskRetry, JournalWriter
from icckd.journal.folder import JOURNAL, OUTPUT, StateFolder
from icckd.journal.owner import boot_id
from icckd.resources import VISIBLE, visible_gpus
from icckd.resources.host import cpu_model
from icckd.run.channel import Channel
from icckd.run.failures import failure_of, is_about_device
from icckd.run.messages import Order
from icckd.run.task import leave_folder, run_folder, task_of
from icckd.run.task_files import python_of
from icckd.study.records import Device
from icckd.study.registry import add_plugins
from icckd.study.source import files_text, own_modules
from icckd.train.contract import JobContext
from icckd.variables import checkpoint_seconds

if TYPE_CHECKING:
    from icckd.storage.attempts import SharedAttempt

FORKED = threading.Event()
"""Set in a worker that shares memory with the server that forked it: for the record."""
_HINT = "icckd doctor shows the GPUs; the kernel's log (dmesg) names an Xid error"


class Attempt:
    """One attempt, from the first line of its journal to the last.

    Args:
        order: What to attempt; its stage's lock is held.
        folder: The state folder.
        channel: To the session.
        members: Stages of the pack that it is trained in, with this one.
        shared: Its dealings with the storage that machines share, if anything is configured.
        shares: The attempt whose output this one's is too: that of the first of a pack.

    Attributes:
        recorder: Writes what is measured into the journal.
        prepared: Folder that the attempt fills.
        context: Where the stage runs; there is one once `prepare` was called.
    """

    context: JobContext

    def __init__(
        self,
        order: Order,
        folder: StateFolder,
        channel: Channel,
        *,
        shared: "SharedAttempt | None" = None,
        members: int = 1,
        shares: "Attempt | None" = None,
    ) -> None:
        self.order, self._folder, self._channel = order, folder, channel
        self._shared = shared
        self._disk_retry = DiskRetry(
            stalled=lambda why: channel.send(order, "stalled", reason=why),
            give_up=channel.session_died,
        )
        home = folder.attempts / order.attempt
        self._disk_retry(lambda: home.mkdir())
        self._start = time.monotonic()
        self.output = home / OUTPUT
        if shares is not None:
            with contextlib.suppress(OSError):  # not every file system has links
                self.output.hardlink_to(shares.output)
        self._disk_retry(lambda: self.output.touch())
        self._journal = JournalWriter(home / JOURNAL, disk_retry=self._disk_retry)
        self.recorder = JournalRecorder(self._journal)
        self.prepared = folder.artifacts / f".tmp-{order.attempt}"
        self._journal.append(_header(order, members), durable=True)
        if shared is not None:
            shared.start(self._journal.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()
        if self._shared is not None:
            self._shared.close()

    def prepare(self) -> None:
        """Make the folder that is filled, and what the stage is told of where it runs."""
        order, folder = self.order, self._folder
        if self._shared is not None:
            self._shared.fetch(order.stage.inputs.values())
        self.prepared = self._disk_retry(lambda: _new_folder(order, folder))
        self.context = JobContext(
            device=order.stage.numerics.device,
            data_root=Path(order.data_root),
            artifact_folder=self.prepared,
            disk_retry=self._disk_retry,
            checkpoint_folder=folder.checkpoints / order.stage.digest,
            checkpoint_seconds=checkpoint_seconds(),
            should_stop=lambda: self._channel.should_save() or self._is_overtaken(),
            is_cancelled=lambda: self._channel.is_skipped(order),
            stage=order.stage.digest,
            attempt=order.attempt,
        )

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Send what this process prints inside to the attempt's output."""
        if self._channel.shows_output:
            yield
            return
        target = self._disk_retry(lambda: os.open(self.output, os.O_WRONLY | os.O_APPEND))
        with _output_to(target):
            yield

    def end(self, error: Exception | None = None) -> AttemptClosed:
        """Publish the result, or give it up for an error; write and return the last line."""
        manifest, journal = None, self._journal
        if isinstance(error, StagePaused | StageCancelled) and self._is_overtaken():
            error = StageSuperseded("another attempt of this stage was ordered later")
        if error is None:
            try:
                manifest = self._disk_retry(self._publish)
                journal.append(ArtifactPublished(files=manifest.files, bytes=manifest.bytes))
            except Exception as unpublished:
                error = unpublished
        failure = None if error is None else self._log_end(error)
        if self._disk_retry.seconds:
            text = f"stalled for {self._disk_retry.seconds:.1f} s in all: the disk was full"
            journal.append(LogLine(level="warning", text=text))
        closed = AttemptClosed(
            state=_state_after(error),
            count=journal.count,
            seconds=time.monotonic() - self._start,
            failure=failure,
        )
        if self._shared is None or manifest is None or error is not None:
            journal.append(closed, durable=True)
        elif (why := self._publish_shared(self._shared, manifest, closed)) is not None:
            return self.end(why)
        if closed.state == "complete":  # checkpoints go only after the journal is durable
            shutil.rmtree(self._folder.checkpoints / self.order.stage.digest, ignore_errors=True)
        return closed

    def _log_end(self, error: Exception) -> Failure | None:
        """Write what ended the attempt without a result; return its failure, if it is one."""
        failure = None
        if isinstance(error, StagePaused | StageCancelled | StageSuperseded):
            self._journal.append(LogLine(text=error.message))
        else:  # whatever it was, it is data: design law 8, docs/laws.md
            failure = _failure(self.order, error)
            text = f"{failure.type}: {failure.message}"
            self._journal.append(LogLine(level="error", text=text))
        self._journal.append(*self._give_up())
        return failure

    def _publish_shared(
        self, shared: "SharedAttempt", manifest: Manifest, closed: AttemptClosed
    ) -> Exception | None:
        """Publish in storage and write the last line; return why the attempt does not count."""
        line = self._journal.line_of(closed)
        try:
            shared.publish(manifest.files, manifest.bytes, line)
        except StageSuperseded as superseded:
            return superseded
        except MachineError:  # storage was not to be waited for: the next attempt resumes
            return StagePaused(epoch=self.order.stage.epochs)
        self._journal.append_line(line)
        return None

    def _is_overtaken(self) -> bool:
        return self._shared is not None and self._shared.overtaken != ""

    def _publish(self) -> Manifest:
        order = self.order
        claim = Claim(attempt=order.attempt, ordinal=order.ordinal, is_forced=order.force)
        return publish(self._folder, order.stage.digest, self.prepared, claim)

    def _give_up(self) -> list[LogLine]:
        """Remove the folder of an attempt without a result, or set that of a task aside.

        Returns:
            What the log says of it.
        """
        if self.order.stage.is_task:
            with contextlib.suppress(OSError):
                if told := leave_folder(self.order, self._folder, self.prepared):
                    return [LogLine(text=told)]
        shutil.rmtree(self.prepared, ignore_errors=True)
        return []


def _state_after(
    error: Exception | None,
) -> Literal["complete", "failed", "cancelled", "superseded"]:
    if error is None:
        return "complete"
    if isinstance(error, StageSuperseded):
        return "superseded"
    return "cancelled" if isinstance(error, StagePaused | StageCancelled) else "failed"


def _new_folder(order: Order, folder: StateFolder) -> Path:
    """Return the folder that an attempt fills."""
    if order.stage.is_task:
        return run_folder(folder, order)
    return workspace(folder, order.attempt)


def _header(order: Order, members: int) -> AttemptHeader:
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
        numerics=stage.numerics.told(),
        code_epoch=stage.code_epoch,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        environment=_environment(order),
        ordinal=order.ordinal,
        files=dict(stage.files),
        pack=order.pack,
        members=members,
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
        trouble = "" if is_about_device(error) else gpu_trouble(order)
        if not trouble:
            return failure
        failure = failure.model_copy(
            update={"cause": "device", "message": f"{trouble}, seen after: {failure.message}"}
        )
    message = failure.message.partition("\n")[0]
    label = own_gpus() or "the device"
    return failure.model_copy(update={"message": f"{label}: {message}", "hint": _HINT})


def gpu_trouble(order: Order) -> str:
    """Return why the GPU that an order needs cannot be used just now; "" when it can."""
    if order.stage.is_task or order.stage.numerics.device != "cuda":
        return ""
    trouble: str = load_engine().gpu_trouble()
    return trouble


@functools.cache
def _hardware(device: Device) -> str:
    found: str = load_engine().hardware(device)
    return found


def own_hardware(order: Order) -> str:
    """Return the model of the device that a stage is trained on here; "" for a task."""
    return "" if order.stage.is_task else _hardware(order.stage.numerics.device)


def refuse_hardware(order: Order, channel: Channel) -> bool:
    """Give an order back that must be computed on other hardware; return whether it was."""
    found = own_hardware(order)
    if not order.is_bound or not found or found == order.hardware:
        return False
    channel.send(order, "skipped", hardware=found)
    return True


@functools.cache
def own_gpus() -> str:
    """Return model and UUID of this process's GPU as first seen: NVML may lose it later."""
    return ", ".join(str(gpu) for gpu in visible_gpus()) or os.environ.get(VISIBLE, "")


# What trains, and the GPU of this process.


@functools.cache
def _engine_environment() -> dict[str, str]:
    """Return versions and devices; they stay for a process, and are read from many files."""
    found: dict[str, str] = load_engine().environment()
    return found


def begin_engine(plugins: tuple[str, ...]) -> None:
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
