"""Answers to SQL, in each format."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TextIO

from icckd.report.text import aligned, display, is_formula, markdown_table
from icckd.results.database import about_views
from icckd.results.types import Table
from icckd.results.values import plain, strict


def write_query(table: Table, output: str, out: TextIO) -> None:
    """Write an answer as `table`, `md`, `csv` or `json`.

    In JSON and CSV a column whose name was taken has a number behind it.
    """
    _WRITERS[output](table, out)


def formulas_in(table: Table) -> int:
    """Return how many texts a spreadsheet would take for formulas."""
    rows = (table.columns, *table.rows)
    return sum(is_formula(value) for row in rows for value in row if isinstance(value, str))


def without_formulas(table: Table) -> Table:
    """Return an answer whose texts a spreadsheet shows as they are."""

    def shown(row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(f"'{v}" if isinstance(v, str) and is_formula(v) else v for v in row)

    return replace(table, columns=shown(table.columns), rows=tuple(map(shown, table.rows)))


def write_views(out: TextIO) -> None:
    """Write the name of each view and what it holds."""
    views = about_views()
    width = max(len(name) for name, _ in views)
    out.writelines(f"{name:<{width}}  {about}\n" for name, about in views)


def _write_json(table: Table, out: TextIO) -> None:
    names = _apart(table.columns)
    rows = [dict(zip(names, strict(plain(row)), strict=True)) for row in table.rows]
    out.write(json.dumps(rows, indent=2, allow_nan=False) + "\n")


def _apart(columns: Sequence[str]) -> list[str]:
    """Return a name for each column, no two of them equal: readers keep one value under a name.

    >>> _apart(["value", "value", "value_1"])
    ['value', 'value_2', 'value_1']
    """
    found: list[str] = []
    for name in columns:
        number, unique = 0, name
        while unique in found or (number and unique in columns):
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found


def _write_csv(table: Table, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(display, _apart(table.columns)))
    for row in table.rows:
        writer.writerow(_cell(value) for value in row)


def _cell(value: Any) -> Any:
    """Return a value as a cell has it: lists and structs as JSON."""
    if isinstance(value, (list, tuple, dict)):
        value = json.dumps(strict(plain(value)), ensure_ascii=False, allow_nan=False)
    return display(value) if isinstance(value, str) else value


def _write_table(table: Table, out: TextIO) -> None:
    cells = _cells(table)
    head, *body = aligned(cells, gap=2)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("-" * width for width in widths)
    out.writelines(f"{line}\n" for line in [head, rule, *body])


def _write_md(table: Table, out: TextIO) -> None:
    lines = markdown_table(_cells(table))
    out.writelines(f"{line}\n" for line in lines)


def _cells(table: Table) -> list[list[str]]:
    def text(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else display(str(_cell(value)))

    return [
        list(map(display, table.columns)),
        *([text(value) for value in row] for row in table.rows),
    ]


_WRITERS: dict[str, Callable[[Table, TextIO], None]] = {
    "table": _write_table,
    "md": _write_md,
    "csv": _write_csv,
    "json": _write_json,
}
FORMATS = tuple(_WRITERS)
