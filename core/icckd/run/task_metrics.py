"""What a task says about itself: metrics from files that scripts write anyway, read as they grow.

A reader yields values as `(step, metric, value)`; the step is None where values are just counted.
Readers of growing files take whole lines only. `Series` puts the values in order for the journal.
"""

import contextlib
import csv
import glob
import json
import math
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from icckd.errors import StageError
from icckd.journal.artifacts import RUN_MARK
from icckd.study.tasks import Task, TaskMetric

LOG = "log.jsonl"
PATTERN_SECONDS = 1.0
"""Seconds of work that a regular expression may take for a batch of lines."""
PATTERN_LINES = 200
"""Printed lines of a batch."""
LONGEST_LINE = 1 << 16
LONGEST_REPORT = 1 << 26
"""Bytes of one call of `run.log` or `run.summary`, which may tell of millions of test cases."""
READ_BYTES = 1 << 20
SEEN_BYTES = 4096
"""How much of a file's begin and end is compared to know it for the one that was read before."""
LAST_STEP = 2**53

Value = tuple[int | None, str, float]


class Reader(Protocol):
    """Reads metrics of one source."""

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; with `last` the task has ended and nothing more will come."""


@dataclass(slots=True)
class Summary:
    """What the function of an entry said of the run as a whole.

    `right` says of each test case whether the model was right, in the order of the test set.
    """

    values: dict[str, float] = field(default_factory=dict)
    right: tuple[bool, ...] = ()
    fingerprints: dict[str, str] = field(default_factory=dict)


def readers(task: Task, folder: Path, summary: Summary) -> list[Reader]:
    """Return what reads the metrics of a task in its run folder; `Lines` reads its output.

    Args:
        task: The task.
        folder: Its run folder.
        summary: Filled with what the function of an entry says.
    """
    found: list[Reader] = [EntryLog(folder, summary)] if task.entry is not None else []
    by_place: dict[tuple[str, str], dict[str, TaskMetric]] = defaultdict(dict)
    for name, metric in task.metrics.items():
        if metric.source not in ("log", "stdout"):
            by_place[metric.source, metric.place(metric.source) or ""][name] = metric
    made: dict[str, Callable[[Path, str, Mapping[str, TaskMetric]], Reader]] = {
        "csv": CsvTable, "jsonl": JsonLines, "json": JsonFile, "tensorboard": _event_files,
        "wandb": _offline_run,
    }  # fmt: skip
    return found + [made[kind](folder, place, named) for (kind, place), named in by_place.items()]


def _event_files(folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> Reader:
    from icckd.run.tracker_files import EventFiles  # TensorBoard, which few tasks need

    return EventFiles(folder, place, metrics)


def _offline_run(folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> Reader:
    from icckd.run.tracker_files import OfflineRun

    return OfflineRun(folder, place, metrics)


# Values.


def number(value: Any) -> float | None:
    """Return a value as a number; None where it is none."""
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None


def step_of(value: Any, what: str) -> int:
    """Return a step.

    Raises:
        StageError: It is not a whole number from 0 on.
    """
    found = number(value)
    if found is None or not 0 <= found <= LAST_STEP or found != int(found):
        raise StageError(
            f"{what}: step {str(value)[:80]!r} is not a whole number from 0 to 2**53",
            hint="name the column or key of the step: [task.metrics.NAME] step = ...",
        )
    return int(found)


def at_key(record: Mapping[str, Any], key: str) -> Any:
    """Return what a key leads to: itself, else its parts between dots, table by table."""
    if key in record:
        return record[key]
    here: Any = record
    for part in key.split("."):
        if isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        elif isinstance(here, dict) and part in here:
            here = here[part]
        else:
            return None
    return here


def of_record(
    record: Mapping[str, Any], metrics: Mapping[str, TaskMetric], count: int
) -> Iterator[Value]:
    """Yield the metrics of one line; a line without a step has the number `count`."""
    for name, metric in metrics.items():
        value = number(at_key(record, metric.key or name))
        if value is not None:
            step = at_key(record, metric.step)
            yield count if step in (None, "") else step_of(step, f"metric {name}"), name, value


# Files that grow.


@dataclass(slots=True)
class _Seen:
    """How far a file was read, and the bytes by which it is known again."""

    offset: int = 0
    first: bytes = b""
    last: bytes = b""
    is_cut: bool = False
    """Whether the line at `offset` is the rest of one that is too long."""


class Tail:
    """The lines that files of a folder have got since the last look, file by file.

    A file that was written anew is read again from its beginning.

    Args:
        folder: The folder.
        pattern: Names of files in it, as a shell has them.
        longest: Bytes of the longest line; longer ones are left out.
    """

    def __init__(self, folder: Path, pattern: str, *, longest: int = LONGEST_LINE) -> None:
        self._folder = folder
        self._pattern = pattern
        self._longest = longest
        self._seen: dict[str, _Seen] = {}

    def lines(self, *, last: bool) -> Iterator[tuple[str, str | None]]:
        """Yield file names with their new lines; a line without an end comes last of all.

        A name without a line says that the file was written anew, and begins again.
        """
        names = glob.glob(self._pattern, root_dir=self._folder, recursive=True)
        for name in sorted(names):
            path = self._folder / name
            try:
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    yield from self._new_lines(name, file, last=last)
            except FileNotFoundError:  # it was moved or removed meanwhile
                continue

    def _new_lines(
        self, name: str, file: IO[bytes], *, last: bool
    ) -> Iterator[tuple[str, str | None]]:
        seen = self._seen.get(name, _Seen())
        if not _is_known(file, seen):
            yield name, None
            seen = _Seen()
        self._seen[name] = seen
        file.seek(seen.offset)
        left = b""
        while data := file.read(READ_BYTES):
            *whole, left = (left + data).split(b"\n")
            for line in whole:
                seen.offset += len(line) + 1
                yield from self._shown(name, line, seen)
            if len(left) > self._longest:
                seen.offset += len(left)
                left, seen.is_cut = b"", True
        if last and left:
            seen.offset += len(left)
            yield from self._shown(name, left, seen)
        _remember(file, seen)

    def _shown(self, name: str, line: bytes, seen: _Seen) -> Iterator[tuple[str, str]]:
        is_rest, seen.is_cut = seen.is_cut, False
        if not is_rest and len(line) <= self._longest:
            for part in line.splitlines():  # old systems end lines by carriage returns
                if part.strip():
                    yield name, part.decode("utf-8", "replace").lstrip("\ufeff")


def _is_known(file: IO[bytes], seen: _Seen) -> bool:
    """Whether a file begins, and stands where it was read to, as it did then."""
    if file.read(len(seen.first)) != seen.first:
        return False
    file.seek(seen.offset - len(seen.last))
    return file.read(len(seen.last)) == seen.last


def _remember(file: IO[bytes], seen: _Seen) -> None:
    size = min(SEEN_BYTES, seen.offset)
    file.seek(0)
    seen.first = file.read(size)
    file.seek(seen.offset - size)
    seen.last = file.read(size)


class JsonLines:
    """A file with a JSON object a line."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._tail = Tail(folder, place)
        self._metrics = metrics
        self._counts: defaultdict[str, int] = defaultdict(int)

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        for name, line in self._tail.lines(last=last):
            if line is None:
                del self._counts[name]
                continue
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    self._counts[name] += 1
                    yield from of_record(record, self._metrics, self._counts[name])


class CsvTable:
    """A table of values between commas, semicolons or tabs, with a line of names at the top."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._tail = Tail(folder, place)
        self._metrics = metrics
        self._heads: dict[str, tuple[list[str], str]] = {}
        self._wide: defaultdict[str, int] = defaultdict(int)
        self._counts: defaultdict[str, int] = defaultdict(int)

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        for name, line in self._tail.lines(last=last):
            if line is None:
                self._heads.pop(name, None)
                self._counts[name] = self._wide[name] = 0
                continue
            if name not in self._heads:
                between = max(",;\t", key=line.count)
                self._heads[name] = ([each.strip() for each in _cells(line, between)], between)
                continue
            head, between = self._heads[name]
            cells = _cells(line, between)
            if [each.strip() for each in cells] == head:
                continue  # a new attempt wrote its head again
            if any(cells[len(head) :]):
                self._refuse_wide(name, len(cells), len(head))
                continue
            self._wide[name] = 0
            self._counts[name] += 1
            record = dict(zip(head, cells, strict=False))
            yield from of_record(record, self._metrics, self._counts[name])

    def _refuse_wide(self, name: str, cells: int, head: int) -> None:
        """Refuse lines of more values than the head has names; one may be of a killed attempt.

        Raises:
            StageError: The first line is one, or two lines that follow each other.
        """
        self._wide[name] += 1
        if self._counts[name] == 0 or self._wide[name] > 1:
            raise StageError(
                f"{name}: a line has {cells} values and the head {head} names",
                hint="commas inside of numbers, or a name of rows that the head leaves out?",
            )


def _cells(line: str, between: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=between), [])
    except csv.Error:  # more in one field than the reader takes
        return []


class JsonFile:
    """A JSON file that is read once, when the task has ended."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._path = folder / place
        self._metrics = metrics

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        if not last or not self._path.is_file():
            return
        try:
            record = json.loads(self._path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise StageError(
                f"{self._path.name} is no JSON: {error}", hint="the task did not write it whole"
            ) from error
        for name, metric in self._metrics.items():
            value = number(at_key(record, metric.key or name)) if isinstance(record, dict) else None
            if value is not None:
                yield None, name, value


class EntryLog:
    """What the function of an entry reported by `run.log` and `run.summary`."""

    def __init__(self, folder: Path, summary: Summary) -> None:
        self._tail = Tail(folder / RUN_MARK, LOG, longest=LONGEST_REPORT)
        self._summary = summary

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        for _, line in self._tail.lines(last=last):
            with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
                record = json.loads(line or "")
                values = {str(k)[:64]: float(v) for k, v in record.get("values", {}).items()}
                if record.get("kind") == "summary":
                    self._summary.values |= values
                    right = record.get("right")
                    if right is not None:
                        self._summary.right = tuple(character == "1" for character in right)
                elif record.get("kind") == "fingerprint":
                    self._summary.fingerprints[record["name"]] = record["digest"]
                else:
                    step = step_of(record["step"], "run.log")
                    yield from ((step, name, value) for name, value in values.items())


# Printed lines.


class Lines:
    """Metrics that regular expressions find in what a task prints.

    Args:
        metrics: The metrics of the task; those with `stdout` count.
    """

    def __init__(self, metrics: Mapping[str, TaskMetric]) -> None:
        self._patterns = {
            name: re.compile(metric.stdout)
            for name, metric in metrics.items()
            if metric.stdout is not None
        }
        self._counts: defaultdict[str, int] = defaultdict(int)

    def read(self, lines: Iterable[str]) -> Iterator[Value]:
        """Yield the values in some lines.

        Raises:
            StageError: An expression takes too long, or its step is no number.
        """
        if not self._patterns:
            return
        for name, pattern in self._patterns.items():
            for found in _searched(name, pattern, lines):
                groups = found.groupdict()
                value = number(groups["value"] if "value" in groups else found[1])
                if value is None:
                    continue
                self._counts[name] += 1
                step = groups.get("step")
                is_told = step is not None
                yield (
                    step_of(step, f"metric {name}") if is_told else self._counts[name], name, value
                )  # fmt: skip


def _searched(
    name: str, pattern: "re.Pattern[str]", lines: Iterable[str]
) -> Iterator["re.Match[str]"]:
    """Yield where a pattern is found, interrupted when it takes too long: Python's has no limit."""
    found: list[re.Match[str]] = []

    def too_long(number: int, frame: FrameType | None) -> None:
        raise StageError(
            f"the stdout pattern of metric {name} takes more than {PATTERN_SECONDS:g} s",
            hint="write it without nested repetitions such as (a+)+",
        )

    before = signal.signal(signal.SIGVTALRM, too_long)
    try:
        for place, line in enumerate(lines):
            if place % PATTERN_LINES == 0:  # of work: a machine that others use is no fault
                signal.setitimer(signal.ITIMER_VIRTUAL, PATTERN_SECONDS)
            found += pattern.finditer(line[:LONGEST_LINE])
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
    yield from found


# Series: what goes into the journal, each step of a metric once.


class Series:
    """The values of a task by metric and step, and what of them is still to be journalled.

    A resumed task may report steps again that an earlier attempt reported; the newest value of a
    step counts. What was there before the attempt is therefore held back until the attempt has
    gone past it, or ended.
    """

    def __init__(self) -> None:
        self._values: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._told: set[tuple[str, int]] = set()
        self._before: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._waiting: dict[str, list[int]] = {}
        """By metric, the steps of `_before`, the next one last."""
        self._alone: dict[str, float] = {}
        self.repeated: dict[str, int] = {}
        """By metric, the first step with two values in this attempt; the first one counts."""

    def add_earlier(self, values: Iterable[Value]) -> None:
        """Take in what an earlier attempt left in the run folder."""
        for step, name, value in values:
            if step is None:
                self._alone[name] = value
            else:
                self._before[name][step] = value

    def add(self, values: Iterable[Value]) -> dict[int, dict[str, float]]:
        """Take in what is new; return what is to be journalled, by step."""
        new: dict[int, dict[str, float]] = {}
        for step, name, value in values:
            if step is None:
                self._alone[name] = value
                continue
            if (name, step) in self._told:
                told = self._values[name][step]
                if told != value and not (math.isnan(told) and math.isnan(value)):
                    self.repeated.setdefault(name, step)
                continue
            earlier = self._before[name]
            if earlier and name not in self._waiting:
                self._waiting[name] = sorted(earlier, reverse=True)
            waiting = self._waiting[name] if earlier else []
            while waiting and waiting[-1] < step:
                old = waiting.pop()
                if old in earlier:
                    self._tell(new, old, name, earlier.pop(old))
            earlier.pop(step, None)
            self._tell(new, step, name, value)
        return dict(sorted(new.items()))

    def rest(self) -> dict[int, dict[str, float]]:
        """Return what is left of earlier attempts once the task has ended, by step."""
        new: dict[int, dict[str, float]] = {}
        for name, earlier in self._before.items():
            for step in sorted(earlier):
                self._tell(new, step, name, earlier[step])
            earlier.clear()
        return dict(sorted(new.items()))

    def _tell(self, new: dict[int, dict[str, float]], step: int, name: str, value: float) -> None:
        self._told.add((name, step))
        self._values[name][step] = value
        new.setdefault(step, {})[name] = value

    @property
    def last_earlier_step(self) -> int:
        """The largest step that an earlier attempt reported; 0 without any."""
        return max((max(steps) for steps in self._before.values() if steps), default=0)

    @property
    def last_step(self) -> int:
        """The largest step so far; 0 without any."""
        return max((max(steps) for steps in self._values.values() if steps), default=0)

    def outcome(self, name: str, take: str) -> float | None:
        """Return which value of a metric is its outcome; None where there is no value."""
        if name in self._alone:
            return self._alone[name]
        steps = self._values.get(name)
        if not steps:
            return None
        values = [steps[step] for step in sorted(steps)]
        if take == "last" or any(math.isnan(value) for value in values):
            return values[-1] if take == "last" else math.nan
        return {"max": max(values), "min": min(values), "mean": math.fsum(values) / len(values)}[
            take
        ]
