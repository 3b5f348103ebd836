"""Items of a run: one row a test case, reported by `run.item` or read from a file at the end.

What cannot be trusted is refused by name: an item that comes twice, a score that is no finite
number, an item without a group where others have one.
"""

import csv
import json
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icckd.errors import StageError
from icckd.journal.artifacts import RUN_MARK
from icckd.run.task_entry import ITEMS, LONGEST_ID, MOST_ITEMS
from icckd.study.items import TaskItems
from icckd.study.tasks import Task, TaskMetric

MOST_BYTES = 1 << 28
"""Of a file of items."""
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The items of a run, in the order of their ids.

    Attributes:
        ids: What names each.
        groups: The group of each; empty where they have none.
        scores: By metric, the score of each, finite.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]

    def means(self) -> dict[str, float]:
        """Return the outcome of each metric."""
        return {name: math.fsum(each) / len(each) for name, each in self.scores.items()}


@dataclass(slots=True)
class _Rows:
    """Rows as they are read. `where` names the source; errors add the row to it."""

    task: Task
    where: str
    metrics: tuple[str, ...] = ()
    rows: dict[str, tuple[str, tuple[float, ...]]] = field(default_factory=dict)
    earlier: set[str] = field(default_factory=set)
    """Ids of an attempt before this one, which may report them anew."""

    def add(self, place: str, given: Any, group: Any, scores: Mapping[str, Any]) -> None:
        """Take in a row.

        Raises:
            StageError: It cannot be used.
        """
        name = _text(given, f"{self.where}{place}: id")
        if name in self.rows and name not in self.earlier:
            raise StageError(
                f"{self.where}{place}: item {name!r} came twice",
                hint="an item has one row in a run: give every test case an id of its own",
            )
        self.earlier.discard(name)
        self.metrics = self.metrics or self._known(scores, name)
        if scores.keys() != set(self.metrics):
            lacks = next((m for m in self.metrics if m not in scores), "")
            told = (
                f"no {lacks}"
                if lacks
                else f"the further score {min(scores.keys() - set(self.metrics))}"
            )
            raise StageError(
                f"{self.where}{place}: item {name!r} has {told}",
                hint="every item of a run has the same scores",
            )
        known = self.task.metrics
        values = tuple(_score(scores[m], known[m], f"{self.where}{place}: item {name!r}, {m}")
                       for m in self.metrics)  # fmt: skip
        label = "" if group is None else _text(group, f"{self.where}{place}: group of {name!r}")
        self.rows[name] = label, values
        if len(self.rows) > MOST_ITEMS:
            raise StageError(
                f"{self.where}: more than {MOST_ITEMS:,} items",
                hint="report the items that the question is about, or means over parts of them",
            )

    def _known(self, scores: Mapping[str, Any], item: str) -> tuple[str, ...]:
        known = self.task.item_metrics
        for name in scores:
            if name not in known:
                raise StageError(
                    f"{self.where}: item {item!r} has the undeclared score {str(name)[:64]!r}",
                    hint=f"declare it as [task.metrics.NAME]; declared are {', '.join(known)}",
                )
        if not scores:
            raise StageError(
                f"{self.where}: item {item!r} has no score", hint="run.item(id, score=...)"
            )
        return tuple(name for name in known if name in scores)

    def items(self) -> Items | None:
        """Return them all; None where there are none.

        Raises:
            StageError: Some have a group and some have none.
        """
        ids = sorted(self.rows)
        groups = tuple(self.rows[name][0] for name in ids)
        without = [name for name, group in zip(ids, groups, strict=True) if not group]
        if without and len(without) < len(ids):
            raise StageError(
                f"{self.where}: item {without[0]!r} has no group, and others have one",
                hint="give every item its group, or none of them",
            )
        return None if not ids else Items(
            ids=tuple(ids),
            groups=() if without else groups,
            scores={
                f"{metric}": tuple(self.rows[name][1][place] for name in ids)
                for place, metric in enumerate(self.metrics)
            },
        )  # fmt: skip


def _text(given: Any, what: str) -> str:
    """Return an id or a group as text.

    Raises:
        StageError: It is none, too long, or holds what is no text.
    """
    if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
        raise StageError(f"{what} is {str(given)[:40]!r}", hint="wanted a text or a whole number")
    text = str(given)
    if len(text) > LONGEST_ID:
        raise StageError(f"{what} is {len(text)} characters long", hint=f"{LONGEST_ID} at most")
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")), "")
    if bad:
        raise StageError(
            f"{what} {text[:40]!r} holds the control character U+{ord(bad):04X}",
            hint="take a short name for the item, such as its number",
        )
    return text


def _score(given: Any, metric: TaskMetric, what: str) -> float:
    """Return a score; true counts 1, and 100 in a metric in percent.

    Raises:
        StageError: It is no finite number.
    """
    value = _WORDS.get(given.strip().lower(), given) if isinstance(given, str) else given
    if isinstance(value, bool):
        return (100.0 if metric.unit == "%" else 1.0) if value else 0.0
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise StageError(
            f"{what} is {str(given)[:40]!r}", hint="a score is a finite number, true or false"
        )
    return number


def read_items(task: Task, folder: Path) -> Items | None:
    """Return the items that a run reported or wrote; None where it has none.

    Args:
        task: The task.
        folder: Its run folder.

    Raises:
        StageError: They cannot be used, or are declared and did not come.
    """
    rows = _Rows(task, "run.item")
    _read_reported(folder / RUN_MARK / ITEMS, rows)
    declared = task.items
    if declared is not None and declared.file is not None:
        kind, name = declared.file
        if rows.rows:
            raise StageError(
                f"items come from run.item and from {name}", hint="keep one of them in the task"
            )
        rows = _Rows(task, name)
        path = folder / name
        _refuse_file(path, name)
        (_read_csv if kind == "csv" else _read_jsonl)(path, declared, rows)
    found = rows.items()
    if declared is not None and found is None:
        raise StageError(
            f"{rows.where}: no items", hint="[task.items] declares them: report one row an item"
        )
    return found


def _refuse_file(path: Path, name: str) -> None:
    """Refuse a file that is not there, or too large to be one of items."""
    if not path.is_file():
        raise StageError(
            f"{name}: no such file of items in the run folder", hint="see [task.items]"
        )
    if path.stat().st_size > MOST_BYTES:
        raise StageError(
            f"{name}: a file of items of {path.stat().st_size:,} bytes",
            hint=f"{MOST_BYTES:,} at most",
        )


def _read_reported(path: Path, rows: _Rows) -> None:
    """Read what `run.item` wrote; an attempt that goes on may report items of the one before."""
    if not path.is_file():
        return
    if path.stat().st_size > MOST_BYTES:
        raise StageError("run.item: too much was reported", hint=f"{MOST_BYTES:,} bytes at most")
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:  # an attempt was killed amid it
                continue
            if isinstance(record, dict) and record.get("begins"):
                rows.earlier = set(rows.rows)
            elif isinstance(record, dict) and isinstance(record.get("scores"), dict):
                rows.add("", record.get("id"), record.get("group"), record["scores"])


def _columns(declared: TaskItems, rows: _Rows, head: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics that have a column, once those that are needed are there."""
    named = rows.task.item_metrics if not declared.metrics else declared.metrics
    wanted = [declared.id, *([declared.group] if declared.group is not None else [])]
    wanted += [rows.task.metrics[name].key or name for name in named]
    for column in wanted:
        if column not in head:
            raise StageError(
                f"{rows.where}: no column or key {column!r}",
                hint=f"there are {', '.join(map(str, head))[:200]}",
            )
    return tuple(named)


def _read_csv(path: Path, declared: TaskItems, rows: _Rows) -> None:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline(1 << 16)
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
        try:
            head = [each.strip() for each in next(reader, [])]
            named = _columns(declared, rows, head)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(head):
                    raise StageError(
                        f"{path.name}, line {reader.line_num}: {len(cells)} values and the head"
                        f" {len(head)} names",
                        hint="a text with a comma stands between quotation marks",
                    )
                _add(rows, declared, named, dict(zip(head, cells, strict=True)), reader.line_num)
        except csv.Error as error:
            raise StageError(
                f"{path.name}, line {reader.line_num}: {error}", hint="wanted a table with a head"
            ) from error


def _read_jsonl(path: Path, declared: TaskItems, rows: _Rows) -> None:
    named: tuple[str, ...] = ()
    for number, record in _objects(path):
        named = named or _columns(declared, rows, list(record))
        _add(rows, declared, named, record, number)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise StageError(
                    f"{path.name}, line {number} is no JSON object", hint="wanted one object a line"
                )
            yield number, record


def _add(
    rows: _Rows, declared: TaskItems, named: tuple[str, ...], record: Mapping[str, Any], line: int
) -> None:
    group = None if declared.group is None else record.get(declared.group)
    scores = {name: record.get(rows.task.metrics[name].key or name) for name in named}
    rows.add(f", line {line}", record.get(declared.id), group, scores)
