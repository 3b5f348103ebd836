"""One attempt of a task: its run folder, its process, its metrics as they come, how it ended.

The run folder becomes the stage's artifact. Control files of icckd lie in `.icckd` inside it: the
settings, and what the function of an entry reports.
"""

import contextlib
import json
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from icckd import variables
from icckd.errors import (
    IcckdError,
    MachineError,
    SpecError,
    StageError,
    StagePaused,
    TaskFailedError,
)
from icckd.journal.artifacts import RUN_FOLDER, RUN_MARK, set_aside, verified, workspace
from icckd.journal.events import Cause
from icckd.journal.file import first_line, last_line
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.resources.host import oom_kills
from icckd.resources.processes import SAFE_PATH
from icckd.run import task_entry, task_host
from icckd.run.config_text import config_text
from icckd.run.messages import Order
from icckd.run.task_files import (
    PYTHONS,
    entry_file,
    interpreter,
    program,
    source_of_task,
    word_in,
)
from icckd.run.task_items import Items, read_items
from icckd.run.task_metrics import (
    LOG,
    LONGEST_LINE,
    Lines,
    Reader,
    Series,
    Summary,
    readers,
)
from icckd.study import config_host
from icckd.study.config_class import place_of
from icckd.study.plan import digest_of
from icckd.study.tasks import Task, fill, words
from icckd.train.contract import JobContext

POLL_SECONDS = 0.2
SAVE_SECONDS = 20.0
"""How long a task that can resume may take to save itself."""
STOP_SECONDS = 3.0
"""How long one that cannot may take to end."""
LOGGED_LINES = 2000
"""Printed lines that go into the journal; all of them are in the attempt's output.log."""
STDERR_LINES = 40
LONGEST_SHOWN = 1000
"""Characters of a printed line that go into the journal."""
LEFT_BYTES = 1 << 20
"""What is still taken from a pipe once the task has ended; who left its group may print on."""
BEFORE = "attempt.json"
"""Control file: the attempt that works in the run folder, and the seconds of those before it."""
_MEMORY = re.compile(r"out of memory|MemoryError|std::bad_alloc|Cannot allocate memory", re.I)


class TaskRecorder(Protocol):
    """Receives what a task measures."""

    def steps(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Record series values by step; durable on return."""

    def outcomes(self, values: Mapping[str, float], right: tuple[bool, ...] = ()) -> None:
        """Record values of the run as a whole."""

    def resumed_at(self, step: int, *, attempt: str, seconds: float) -> None:
        """Record that the run goes on where another attempt left it.

        Args:
            step: The last step that was reported before.
            attempt: The attempt before.
            seconds: Seconds on the clock that all attempts before took.
        """

    def items(
        self, ids: Sequence[str], groups: Sequence[str], scores: Mapping[str, Sequence[float]]
    ) -> None:
        """Record the scores of items by metric, in one order; no groups where they have none."""

    def fingerprint(self, name: str, digest: str) -> None:
        """Record what the content of an array was."""

    def log(self, message: str) -> None:
        """Record one line for the reader of the log."""


def run_folder(folder: StateFolder, order: Order) -> Path:
    """Return the run folder of an attempt: an empty one, or the one of the attempts before it."""
    if not task_of(order).resume:
        return workspace(folder, order.attempt)
    kept = folder.checkpoints / order.stage.digest / RUN_FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def leave_folder(order: Order, folder: StateFolder, run: Path) -> str:
    """Set the run folder of an attempt without a result aside, unless the next one needs it.

    Returns:
        What the log says of it.
    """
    if task_of(order).resume:
        return "the next attempt goes on in its run folder"
    if set_aside(folder, run):
        return f"its run folder is kept: attempts/{order.attempt}/{RUN_FOLDER}"
    return ""


def task_of(order: Order) -> Task:
    """Return the task that an order runs."""
    text = json.dumps(order.stage.settings[order.stage.kind])
    return Task.model_validate_json(text)


def run_task(
    order: Order,
    folder: StateFolder,
    recorder: TaskRecorder,
    context: JobContext,
    lock: int,
    *,
    output: int | None = 1,
) -> None:
    """Run a task to its end, and record what it measures.

    Args:
        order: What to run.
        folder: The state folder.
        recorder: Receives the metrics.
        context: Device, run folder (`artifact_folder`), and whether to stop.
        lock: Descriptor of the stage's lock; every process of the task holds it.
        output: Descriptor that takes what the task prints; None drops it.

    Raises:
        MachineError: Files changed since the plan was made, or it cannot be started.
        TaskFailedError: It failed, took too long, or gave no number.
        StagePaused: The context asked to stop.
    """
    attempt = _Attempt(order, folder, recorder, context, output)
    attempt.run(lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How the process of a task ended: its exit code, below 0 for a signal, and peak memory."""

    code: int
    rss_bytes: int


class _Attempt:
    def __init__(
        self,
        order: Order,
        folder: StateFolder,
        recorder: TaskRecorder,
        context: JobContext,
        output: int | None,
    ) -> None:
        self._output = output
        self._order = order
        self._folder = folder
        self._kind = order.stage.kind
        self._task = task_of(order)
        self._study_folder = Path(order.study_folder)
        self._run_folder = context.artifact_folder
        self._recorder = recorder
        self._context = context
        self._needs = {
            name: str(verified(folder, digest)) for name, digest in order.stage.inputs.items()
        }
        self._summary = Summary()
        self._series = Series()
        self._lines = Lines(self._task.metrics)
        self._printed: list[str] = []
        self._errors: deque[str] = deque(maxlen=STDERR_LINES)
        self._logged = 0

    def run(self, lock: int) -> None:
        self._refuse_changed_files()
        is_resumed = self._prepare()
        self._readers = readers(self._task, self._run_folder, self._summary)
        seconds_before = self._take_over() if is_resumed else 0.0
        self._remember(seconds_before)
        start, kills = time.monotonic(), oom_kills()
        end, why = self._watch(lock, start, is_resumed)
        seconds = seconds_before + time.monotonic() - start
        self._collect_the_rest(is_whole=end.code == 0 and not why)
        self._record(self._series.rest())
        for name, digest in self._summary.fingerprints.items():
            self._recorder.fingerprint(name, digest)
        if why == "stop":
            raise StagePaused(epoch=self._series.last_step)
        if why == "limit":
            raise self._failure(
                "time-limit", f"it took longer than its limit of {self._task.limit}",
                hint="raise limit, or look where it hangs: icckd logs",
            )  # fmt: skip
        self._refuse_failed(end, oom_kills() > kills)
        self._give_outcomes(end, seconds)

    # What it starts from.

    def _refuse_changed_files(self) -> None:
        """Refuse files that are not those of the plan: the stage's identity would lie."""
        stage = self._order.stage
        try:
            source = source_of_task(self._task, self._study_folder)
        except SpecError as error:
            raise MachineError(error.message, hint=error.hint) from error
        planned = {**stage.files, **stage.changed_files}
        changed = [n for n, d in source.files.items() if planned.get(n) != d]
        gone = [name for name in planned if name not in source.files]
        if digest_of({"inputs": dict(source.inputs)}) != stage.fingerprint:
            changed.append("an input")
        if changed or gone:
            raise MachineError(
                f"{', '.join([*changed, *gone])} changed since the plan was made",
                hint="run the study again",
            )

    def _prepare(self) -> bool:
        """Write the control files; return whether an earlier attempt worked in this folder."""
        own = self._run_folder / RUN_MARK
        is_resumed = own.is_dir()
        own.mkdir(exist_ok=True)
        text = config_text(self._task, self._order.stage.seed)
        self._config = own / f"config.{self._task.config_file}"
        self._context.disk_retry(lambda: self._config.write_text(text))
        if self._task.entry is not None:
            order = json.dumps(self._entry_order(is_resumed), indent=2)
            self._context.disk_retry(lambda: (own / "order.json").write_text(order))
        return is_resumed

    def _take_over(self) -> float:
        """Take in what earlier attempts reported here; return the seconds that they took."""
        self._series.add_earlier(self._read(last=False))
        attempt, seconds = "", 0.0
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads((self._run_folder / RUN_MARK / BEFORE).read_bytes())
            attempt, seconds = str(known["attempt"]), float(known["seconds"])
            journal = self._folder.attempts / attempt / JOURNAL
            begun, ended = first_line(journal), last_line(journal)
            if begun is not None and ended is not None:
                seconds += max(0.0, ended.time - begun.time)
        if attempt:
            step = self._series.last_earlier_step
            self._recorder.resumed_at(step, attempt=attempt, seconds=seconds)
        return seconds

    def _remember(self, seconds_before: float) -> None:
        """Write down which attempt works in the run folder now."""
        text = json.dumps({"attempt": self._order.attempt, "seconds": seconds_before})
        self._context.disk_retry(lambda: (self._run_folder / RUN_MARK / BEFORE).write_text(text))

    def _entry_order(self, is_resumed: bool) -> dict[str, Any]:
        module, _, function = (self._task.entry or "").rpartition(":")
        is_file = module.endswith(".py")
        return {
            "file": str(entry_file(self._task, self._study_folder)) if is_file else "",
            "module": "" if is_file else module,
            "function": function,
            "config": self._task.config,
            "config_class": self._config_class(),
            "seed": self._order.stage.seed,
            "folder": str(self._run_folder),
            "study_folder": str(self._study_folder),
            "device": self._context.device,
            "inputs": self._needs,
            "resume": is_resumed,
            "log": str(self._run_folder / RUN_MARK / LOG),
        }

    def _config_class(self) -> dict[str, str] | None:
        name = self._task.config_class
        if name is None:
            return None
        return {**place_of(name, self._study_folder), "host": config_host.__file__}

    def _command(self) -> list[str]:
        task, folder = self._task, self._study_folder
        if task.entry is not None:
            script = str(Path(task_entry.__file__))
            return [
                interpreter(task, folder),
                script,
                str(self._run_folder / RUN_MARK / "order.json"),
            ]
        first, *rest = words(task, self._known(), lambda word: word_in(folder, word))
        if first in PYTHONS:
            return [interpreter(task, folder), *rest]
        return [program(first, folder), *rest]

    def _known(self) -> dict[str, str]:
        return {
            "seed": str(self._order.stage.seed),
            "folder": str(self._run_folder),
            "study_folder": str(self._study_folder),
            "device": self._context.device,
            "config": str(self._config),
            **{f"needs.{name}": path for name, path in self._needs.items()},
        }

    def _environment(self, is_resumed: bool) -> dict[str, str]:
        """Return the variables of a task: those of the session, and what the study sets."""
        seed = self._order.stage.seed
        kept = {name: value for name, value in os.environ.items() if name != SAFE_PATH}
        kept |= {
            variables.SEED: str(seed),
            variables.FOLDER: str(self._run_folder),
            "PYTHONUNBUFFERED": "1",
            "PYTHONHASHSEED": str(seed % 2**32),
        }
        if is_resumed:
            kept[variables.RESUME] = "1"
        if "-m" in (self._task.command or ()):
            path = kept.get("PYTHONPATH", "")
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self._study_folder), path]))
        known = self._known()
        return kept | {n: fill(text, self._task, known) for n, text in self._task.env.items()}

    # While it runs.

    def _watch(self, lock: int, start: float, is_resumed: bool) -> tuple[_End, str]:
        """Run the process to its end; return that, and why it was ended before its time, or ""."""
        with _Process(
            self._command(),
            self._run_folder,
            self._environment(is_resumed),
            lock,
            saves=self._task.entry is not None,
        ) as it:
            why, kill_at = "", math.inf
            while (end := it.wait(POLL_SECONDS, self._take_output)) is None:
                self._collect(last=False)
                now = time.monotonic()
                if not why:
                    why = self._why_to_end(now - start)
                    if why:
                        it.order("term")
                        kill_at = now + (SAVE_SECONDS if self._task.resume else STOP_SECONDS)
                elif now >= kill_at:
                    it.order("kill")
            return end, why

    def _why_to_end(self, seconds: float) -> str:
        if self._context.should_stop():
            return "stop"
        limit = self._task.limit_seconds
        return "limit" if limit is not None and seconds > limit else ""

    def _take_output(self, lines: list[str], is_error: bool) -> None:
        """Keep printed lines: all in the output, some in the journal, the last of errors."""
        if (output := self._output) is not None:
            text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
            self._context.disk_retry(lambda: _write_whole(output, text))
        for line in lines:
            shown = line.rstrip().rpartition("\r")[2]  # of a progress bar, how it stood last
            shown = shown[:LONGEST_SHOWN]
            if not shown:
                continue
            if is_error:
                self._errors.append(shown)
            if self._logged < LOGGED_LINES:
                self._recorder.log(shown)
            elif self._logged == LOGGED_LINES:
                self._recorder.log(f"further lines are in output.log of {self._order.attempt} only")
            self._logged += 1
        self._printed += lines

    def _collect(self, *, last: bool) -> None:
        self._record(self._series.add(self._read(last=last)))

    def _collect_the_rest(self, *, is_whole: bool) -> None:
        """Take in what is left; what a task that failed left half written is not its failure."""
        try:
            self._collect(last=is_whole)
        except IcckdError as error:
            if is_whole:
                raise
            self._recorder.log(error.message)

    def _read(self, *, last: bool) -> Iterator[tuple[int | None, str, float]]:
        printed, self._printed = self._printed, []
        for reader in self._readers:
            yield from self._values_of(reader, last=last)
        yield from self._lines.read(printed)

    def _values_of(self, reader: Reader, *, last: bool) -> Iterator[tuple[int | None, str, float]]:
        try:
            yield from reader.poll(last=last)
        except OSError as error:
            raise MachineError(
                f"cannot read what the task wrote: {error.filename}: {error.strerror}",
                hint="the run folder must stay readable while the task runs",
            ) from error
        except ImportError as error:
            raise MachineError(
                f"metrics of this task need a package that is not here: {error.name}",
                hint="pip install 'icckd[export-tensorboard]'",
            ) from error

    def _record(self, steps: Mapping[int, Mapping[str, float]]) -> None:
        if steps:
            named = {
                step: {f"{self._kind}.{name}": value for name, value in values.items()}
                for step, values in steps.items()
            }
            self._recorder.steps(named)

    # How it ended.

    def _failure(self, cause: Cause, message: str, *, hint: str = "") -> TaskFailedError:
        return TaskFailedError(message, cause=cause, hint=hint, output="\n".join(self._errors))

    def _refuse_failed(self, end: _End, kernel_killed: bool) -> None:
        if end.code == 0:
            return
        last = f": {self._errors[-1]}" if self._errors else ""
        told = "\n".join(self._errors)
        is_killed = end.code in (-9, 137)
        if (is_killed and kernel_killed) or _MEMORY.search(told):
            raise self._failure("out-of-memory", f"out of memory{last}")
        if end.code < 0 or end.code > 128:
            number = -end.code if end.code < 0 else end.code - 128
            raise self._failure("killed", f"killed by signal {number}{last}")
        raise self._failure(
            "exit-code", f"exit code {end.code}{last}", hint="its last lines are in icckd logs"
        )

    def _right(self) -> tuple[bool, ...]:
        """Return which test cases the model was right about; none where their number is odd."""
        right = self._summary.right
        declared = sorted({m.test_images for m in self._task.metrics.values() if m.test_images})
        if right and declared and len(right) not in declared:
            self._recorder.log(
                f"right speaks of {len(right)} test cases and test_images of"
                f" {', '.join(map(str, declared))}: it is left out"
            )
            return ()
        return right

    def _give_items(self) -> Mapping[str, float]:
        """Record the items; return the mean of each of their metrics."""
        items = read_items(self._task, self._run_folder)
        if items is None:
            return {}
        means = items.means()
        for name, mean in means.items():
            told = self._summary.values.get(name, self._series.outcome(name, "last"))
            if told is not None and not math.isclose(told, mean, rel_tol=1e-6, abs_tol=1e-9):
                raise StageError(
                    f"{name} was reported as {told:g}, and the mean of its items is {mean:g}",
                    hint="leave it out of run.log and run.summary: the mean over items counts",
                )
            if self._task.metrics[name].unit == "%" and set(items.scores[name]) == {0.0, 1.0}:
                self._recorder.log(
                    f"{name} is in %, and its items are 0 and 1: give true and false, or 0 and 100"
                )
        self._recorder.items(items.ids, items.groups, self._named(items))
        return means

    def _named(self, items: Items) -> dict[str, tuple[float, ...]]:
        return {f"{self._kind}.{name}": scores for name, scores in items.scores.items()}

    def _give_outcomes(self, end: _End, seconds: float) -> None:
        means = self._give_items()
        values: dict[str, float] = dict(means)
        for name, metric in self._task.metrics.items():
            if name in means:
                continue
            value = self._summary.values.get(name)
            value = self._series.outcome(name, metric.take) if value is None else value
            if value is not None:
                values[name] = value
        values |= {n: v for n, v in self._summary.values.items() if n not in values}
        for name, step in self._series.repeated.items():
            self._recorder.log(f"{name} came twice at step {step}: the first value counts")
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        measured = {
            "seconds": seconds, "memory_rss": float(end.rss_bytes),
            "nonfinite_steps": float(len(bad)),
        }  # fmt: skip
        self._recorder.outcomes(
            {f"{self._kind}.{name}": value for name, value in {**measured, **values}.items()},
            self._right(),
        )
        missing = [name for name in self._task.metrics if name not in values]
        if bad:
            raise self._failure("non-finite", f"{bad[0]} is {values[bad[0]]:g} at the end")
        if missing:
            metric = self._task.metrics[missing[0]]
            raise self._failure(
                "no-metric", f"it gave no value of {', '.join(missing)}",
                hint=_where(missing[0], metric.source, metric.place(metric.source), metric.key),
            )  # fmt: skip


def _where(name: str, source: str, place: str | None, key: str) -> str:
    if source == "log":
        return f"run.log({name}=...) or run.summary({name}=...) reports it"
    if source == "stdout":
        return f"no printed line matches {place!r}"
    return f"{key or name!r} was looked for in {place!r} of the run folder"


def _write_whole(descriptor: int, text: bytes) -> None:
    """Write all of a text; what an earlier try wrote before the disk was full comes twice."""
    while text:
        text = text[os.write(descriptor, text) :]


class _Process:
    """The host of a task with its pipes; leaving the block ends both."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str],
        lock: int,
        *,
        saves: bool,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        answers, theirs = os.pipe()
        order = {
            "command": command, "folder": str(folder), "kept": [lock], "answers": theirs,
            "saves": saves,
        }  # fmt: skip
        host = [sys.executable, "-I", "-S", str(Path(task_host.__file__))]
        try:
            self._host = subprocess.Popen(
                host, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=dict(environment), pass_fds=(lock, theirs), start_new_session=True, bufsize=0,
            )  # fmt: skip
        except BaseException:
            os.close(answers)
            raise
        finally:
            os.close(theirs)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._unread: dict[IO[bytes], bytes] = {}
        self._said: list[dict[str, Any]] = []
        pipes = [self._host.stdin, self._host.stdout, self._host.stderr]
        self._stdin, self._stdout, self._stderr = (cast(IO[bytes], pipe) for pipe in pipes)
        for pipe in (self._stdout, self._stderr, self._answers):
            os.set_blocking(pipe.fileno(), False)
            self._unread[pipe] = b""
            self._selector.register(pipe, selectors.EVENT_READ)
        with contextlib.suppress(BrokenPipeError):  # it died at once: its answers end, too
            _write_whole(self._stdin.fileno(), json.dumps(order).encode() + b"\n")

    def order(self, what: str) -> None:
        """Ask the host to end the task: `term` or `kill`."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(f"{what}\n".encode())

    def wait(self, seconds: float, take: Callable[[list[str], bool], None]) -> _End | None:
        """Take what the task prints for a while; return how it ended, None while it runs.

        Args:
            seconds: How long at most.
            take: Called with whole lines, and whether they are of standard error.

        Raises:
            MachineError: It cannot be started, or its host died.
        """
        until = time.monotonic() + seconds
        while (wait := until - time.monotonic()) > 0:
            if self._answers not in self._unread:  # the host is gone, and with it the group
                for pipe in list(self._unread):
                    left = LEFT_BYTES
                    while left > 0 and (taken := self._take(pipe, take)):
                        left -= taken
                    self._finish_line(pipe, take)
                return self._end()
            for key, _ in self._selector.select(wait):
                self._take(key.fileobj, take)  # type: ignore[arg-type]
        return None

    def _take(self, pipe: IO[bytes], take: Callable[[list[str], bool], None]) -> int:
        """Read once from a pipe; return how many bytes there were."""
        data = pipe.read(1 << 16)
        if data is None:
            return 0
        *lines, rest = (self._unread[pipe] + data).split(b"\n")
        if len(rest) > LONGEST_LINE:  # a line without an end is cut: memory has one
            lines, rest = [*lines, rest], b""
        self._unread[pipe] = rest
        if pipe is self._answers:
            self._said += [json.loads(line) for line in lines]
        elif lines:
            text = [line.decode("utf-8", "replace") for line in lines]
            take(text, pipe is self._stderr)
        if not data:
            self._finish_line(pipe, take)
            self._selector.unregister(pipe)
            del self._unread[pipe]
        return len(data)

    def _finish_line(self, pipe: IO[bytes], take: Callable[[list[str], bool], None]) -> None:
        """Take a last line that has no end."""
        rest, self._unread[pipe] = self._unread[pipe], b""
        if rest and pipe is not self._answers:
            take([rest.decode("utf-8", "replace")], pipe is self._stderr)

    def _end(self) -> _End:
        said: dict[str, Any] = {}
        for each in self._said:
            said |= each
        if "error" in said:
            raise MachineError(
                f"cannot start {said['name']}: {said['error']}", hint="look at command and python"
            )
        if "code" not in said:
            raise MachineError("the process that keeps the task was killed", hint="run it again")
        return _End(code=said["code"], rss_bytes=said["rss"])

    def _end_orphans(self) -> None:
        """End the group of a task whose host was killed before it could."""
        said = {name: value for each in self._said for name, value in each.items()}
        if "pid" in said and "code" not in said and self._host.returncode != 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(said["pid"], signal.SIGKILL)

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()  # the host ends whatever of the task still lives
        self._host.wait()
        self._end_orphans()
        self._selector.close()
        for pipe in (self._stdout, self._stderr, self._answers):
            pipe.close()
