"""Tables of runs: CSV with commas, semicolons or tabs, JSON and JSON lines, Parquet.

In the wide form metrics are columns; in the long form one column names the metric of a row and
another has its value. A row is a run, or a step of one where a column tells the step.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.results.run_table import MOST_COLUMNS, Columns, Row, fitting
from icckd.study.observed import visible

LONGEST_CELL = 1 << 17
LONGEST_LINE = 1 << 24
MOST_JSON = 1 << 28
"""Bytes of a JSON file, which is read as a whole."""
MOST_DEPTH = 20


def csv_rows(path: Path, columns: Columns, metrics: Sequence[str]) -> Iterator[Row]:
    """Yield the cells of a CSV file; the place of a row is its line, counted from 1.

    Raises:
        SpecError: It is no table, or has not these columns.
    """
    csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(LONGEST_LINE)
            between = separator(head)
            file.seek(0)
            reader = csv.reader(bounded_lines(file), delimiter=between, strict=True)
            names = [name.strip() for name in next(reader, [])]
            if len(names) > MOST_COLUMNS:
                raise SpecError(
                    f"{visible(path.name)} has {len(names)} columns, more than {MOST_COLUMNS}",
                    hint="write arm, seed, step and metrics alone",
                )
            places = _places(names, fitting(columns, metrics, names), metrics)
            last = reader.line_num
            for cells in reader:
                line, last = last + 1, reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(names):
                    raise SpecError(
                        f"line {line} of {visible(path.name)} has {len(cells)} cells and its head"
                        f" {len(names)}: nothing was imported",
                        hint="commas inside of numbers, or a name that the head leaves out?",
                    )
                yield from _cells(line, cells, places, metrics)
    except UnicodeDecodeError as error:
        raise SpecError(f"{visible(path.name)} is not UTF-8", hint="save it as UTF-8") from error
    except csv.Error as error:
        raise SpecError(
            f"{visible(path.name)} is no table of commas: {visible(str(error))}",
            hint="the message of Python's reader; is a quotation mark left open?",
        ) from error


def separator(head: str) -> str:
    """Return what separates the cells of a table: comma, semicolon or tab.

    >>> separator("arm;seed;acc")
    ';'
    """
    return max(",;\t", key=head.count)


def bounded_lines(file: io.TextIOBase) -> Iterator[str]:
    """Yield lines; one that is too long ends the reading."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error(f"a line is longer than {LONGEST_LINE} letters")
        if "\0" in line:
            raise csv.Error("it holds NUL characters")
        yield line


class _Places(tuple[int, int, int | None, int | None, tuple[tuple[str, int], ...]]):
    """Where arm, seed, step and metric's name stand in a row, and which cells are values."""


def _places(names: list[str], columns: Columns, metrics: Sequence[str]) -> _Places:
    asked = [columns.arm, columns.seed, columns.step, columns.metric, columns.value, *metrics]
    for name in filter(None, asked):
        if names.count(name) > 1:
            raise SpecError(f"two columns are called {visible(name)!r}", hint="rename one of them")
    step = None if columns.step is None else names.index(columns.step)
    if columns.metric is not None and columns.value is not None:
        value = (("", names.index(columns.value)),)
        return _Places((names.index(columns.arm), names.index(columns.seed), step,
                        names.index(columns.metric), value))  # fmt: skip
    values = tuple((metric, names.index(metric)) for metric in metrics)
    return _Places((names.index(columns.arm), names.index(columns.seed), step, None, values))


def _cells(
    line: int, cells: Sequence[Any], places: _Places, metrics: Sequence[str]
) -> Iterator[Row]:
    arm, seed, step, metric, values = places
    for name, place in values:
        named = name if metric is None else str(cells[metric]).strip()
        if metric is None or named in metrics:
            at = None if step is None else cells[step]
            yield Row(line, cells[arm], cells[seed], named, at, cells[place])


# JSON: a list of objects, or an object a line. Keys of tables inside are joined by dots.


def json_rows(path: Path, columns: Columns, metrics: Sequence[str]) -> Iterator[Row]:
    """Yield the cells of a JSON file; the place of a row is its number, counted from 1.

    Raises:
        SpecError: It is no list of objects and not one object a line, or has not these keys.
    """
    records = list(_records(path))
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) > MOST_COLUMNS:
        raise SpecError(
            f"{visible(path.name)} has {len(names)} keys, more than {MOST_COLUMNS}",
            hint="write arm, seed, step and metrics alone",
        )
    places = _places(names, fitting(columns, metrics, names), metrics)
    for number, record in enumerate(records, start=1):
        yield from _cells(number, [record.get(name) for name in names], places, metrics)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        try:
            found = json.loads(text)
            rows = found if isinstance(found, list) else [found]
        except ValueError:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SpecError(
            f"{visible(path.name)} is no list of objects in JSON: {visible(str(error))}",
            hint="a list of objects, or one object a line",
        ) from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise SpecError(
                f"{visible(path.name)} is no list of objects in JSON: entry {number} is none",
                hint="a list of objects, or one object a line",
            )
        yield dict(flat(row))


def flat(table: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested tables by dotted names; lists and what nests deeper are left out.

    >>> dict(flat({"config": {"seed": 1}, "acc": 0.5, "tags": ["a"]}))
    {'config.seed': 1, 'acc': 0.5}
    """
    for name, value in table.items():
        if isinstance(value, Mapping):
            if depth < MOST_DEPTH:
                yield from flat(value, f"{above}{name}.", depth + 1)
        elif value is None or isinstance(value, (bool, int, float, str)):
            yield f"{above}{name}", float(value) if isinstance(value, bool) else value
