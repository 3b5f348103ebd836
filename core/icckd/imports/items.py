"""Tables with a row an item, such as a question: the scores of every run, item by item.

A table of runs has one value a run; here an item column tells the rows of a run apart, and the mean
over its items is the run's value. Rows are read as those of any table, the item in the step's
place, and checked before anything is made of them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from icckd.errors import SpecError
from icckd.results.run_table import SHOWN, Row
from icckd.study.observed import (
    LAST_SEED,
    AskedMetric,
    ItemColumns,
    Run,
    arm_name,
    visible,
)

MOST_SCORES = 2_000_000
"""Scores of a table: items by runs by metrics."""
MOST_ITEMS = 100_000
"""Items of a run, as of one that icckd starts."""
LONGEST = 200
_WORDS = {"true": 1.0, "false": 0.0}


class ItemRow(NamedTuple):
    """A row with its item and the group of it; `group` is None where no column tells groups."""

    row: Row
    item: object
    group: object


def with_groups(
    rows: Iterable[Row], groups: Iterable[Row] | None, *, has_seeds: bool = True
) -> Iterator[ItemRow]:
    """Yield rows whose step is an item, each with its group.

    Args:
        rows: The rows.
        groups: The same rows once more, in the same order, with the group in the step's place.
        has_seeds: Whether a column tells seeds; else all rows are of seed 0.
    """
    others = rows if groups is None else groups
    pairs = ((row, None) for row in rows) if groups is None else zip(rows, others, strict=True)
    for row, other in pairs:
        kept = row if has_seeds else row._replace(seed=0)
        yield ItemRow(kept, row.step, None if other is None else other.step)


@dataclass(slots=True)
class _Scores:
    """The items of one run on one metric: group and score of each, and where the first stood."""

    first: int
    by_item: dict[str, tuple[str, float]] = field(default_factory=dict)


class ItemTable:
    """Collects rows; `runs` makes runs of them.

    Args:
        metrics: What is asked.
        has_groups: Whether a column tells groups.
        place: Puts the place of a row into words.
    """

    def __init__(
        self, metrics: Sequence[AskedMetric], *, has_groups: bool, place: Callable[[int], str]
    ) -> None:
        self._units = {metric.name: metric.unit for metric in metrics}
        self._has_groups = has_groups
        self._place = place
        self._runs: dict[tuple[str, int], dict[str, _Scores]] = {}
        self._names: dict[str, str] = {}
        self._arms: dict[str, str] = {}
        self._bad: list[str] = []
        self._count = 0

    def add(self, rows: Iterable[ItemRow]) -> None:
        """Take in rows.

        Raises:
            SpecError: There are too many scores.
        """
        for each in rows:
            if each.row.value is None or str(each.row.value).strip() == "":
                continue  # an item without this score, which is then compared over the others
            why = self._add(each)
            if why and len(self._bad) <= SHOWN:
                self._bad.append(f"{self._place(each.row.place)}: {visible(why, 200)}")
            self._count += 1
            if self._count > MOST_SCORES:
                raise SpecError(
                    f"there are more than {MOST_SCORES:,} scores of items",
                    hint="import the metrics that the question is about, or fewer runs",
                )

    def _add(self, each: ItemRow) -> str:
        """Take in a row; return what is wrong with it, or ""."""
        row = each.row
        arm = self._arms.setdefault(str(row.arm or ""), arm_name(str(row.arm or "")))
        seed, score = _seed(row.seed), _score(row.value, self._units[row.metric])
        item, group = self._name(each.item), self._name(each.group)
        if not arm:
            return "it names no arm"
        if seed is None:
            return f"seed {str(row.seed)[:40]!r} is no whole number from 0 to {LAST_SEED}"
        if not item:
            return "it names no item"
        if self._has_groups and not group:
            return f"item {item!r} has no group"
        if score is None:
            return f"{row.metric} is {str(row.value)[:40]!r}, which is no finite number"
        scores = self._runs.setdefault((arm, seed), {}).setdefault(row.metric, _Scores(row.place))
        if item in scores.by_item:
            return f"item {item!r} comes twice under arm {arm!r} and seed {seed}"
        if len(scores.by_item) >= MOST_ITEMS:
            return f"arm {arm!r} has more than {MOST_ITEMS:,} items under seed {seed}"
        scores.by_item[item] = group, score
        return ""

    def _name(self, given: object) -> str:
        """Return an item or a group by a harmless name; equal texts share one."""
        text = "" if given is None else str(given)[: 4 * LONGEST]
        return self._names.setdefault(text, visible(text, LONGEST))

    def runs(self) -> tuple[Run, ...]:
        """Return the runs, in the order in which they come first.

        Raises:
            SpecError: A row is no score of an item; the message names rows.
        """
        self._refuse_bad()
        absent = [name for name in self._units if not any(name in r for r in self._runs.values())]
        if absent:
            raise SpecError(f"no row has a value of {visible(absent[0])!r}", hint="see --metric")
        return tuple(self._run(arm, seed, metrics) for (arm, seed), metrics in self._runs.items())

    def _refuse_bad(self) -> None:
        twins: dict[str, str] = {}
        for text, name in self._names.items():
            if name and twins.setdefault(name, text) != text:
                self._bad.append(f"two items or groups would both be called {name!r}")
        if self._bad:
            more = "; and more" if len(self._bad) > SHOWN else ""
            raise SpecError(
                f"{'; '.join(self._bad[:SHOWN])}{more}: nothing was imported",
                hint="correct these rows, or leave them out",
            )

    def _run(self, arm: str, seed: int, metrics: Mapping[str, _Scores]) -> Run:
        columns = {name: self._columns(scores) for name, scores in metrics.items()}
        return Run(
            arm=arm,
            seed=seed,
            values={n: math.fsum(c.scores) / len(c.scores) for n, c in columns.items()},
            places={
                name: f"{self._place(scores.first)} and {len(scores.by_item) - 1} more"
                for name, scores in metrics.items()
            },
            items=columns,
        )

    def _columns(self, scores: _Scores) -> ItemColumns:
        ids = tuple(sorted(scores.by_item))
        return ItemColumns(
            ids=ids,
            groups=tuple(scores.by_item[i][0] for i in ids) if self._has_groups else (),
            scores=tuple(scores.by_item[i][1] for i in ids),
        )


def _seed(given: object) -> int | None:
    try:
        number = float(str(given).strip())
    except ValueError:
        return None
    return int(number) if 0 <= number <= LAST_SEED and number == int(number) else None


def _score(given: object, unit: str) -> float | None:
    """Return a score; true counts 1, and 100 in a metric in percent; None where it is none."""
    text = str(given).strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()] * (100.0 if unit == "%" else 1.0)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
