"""Answers to SQL, in each format."""

import csv
import json
import math
from collections.abc import Callable
from typing import Any, TextIO

from icckd.report.text import MARKDOWN_SPECIAL, display
from icckd.results.read import about_views
from icckd.results.types import Table


def write_query(table: Table, output: str, out: TextIO) -> None:
    """Write an answer as `table`, `md`, `csv` or `json`."""
    _WRITERS[output](table, out)


def write_views(out: TextIO) -> None:
    """Write the name of each view and what it holds."""
    views = about_views()
    width = max(len(name) for name, _ in views)
    out.writelines(f"{name:<{width}}  {about}\n" for name, about in views)


def _write_json(table: Table, out: TextIO) -> None:
    rows = [
        {name: _json_value(value) for name, value in zip(table.columns, row, strict=True)}
        for row in table.rows
    ]
    out.write(json.dumps(rows, indent=2, default=str, allow_nan=False) + "\n")


def _json_value(value: Any) -> Any:
    """Return numbers that JSON lacks as the words that journals use."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _write_csv(table: Table, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow(display(value) if isinstance(value, str) else value for value in row)


def _write_table(table: Table, out: TextIO) -> None:
    cells = _cells(table)
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    rule = ["-" * width for width in widths]
    for row in [cells[0], rule, *cells[1:]]:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write("  ".join(padded).rstrip() + "\n")


def _write_md(table: Table, out: TextIO) -> None:
    cells = _cells(table)
    for row in [cells[0], ["---"] * len(table.columns), *cells[1:]]:
        out.write("| " + " | ".join(cell.translate(MARKDOWN_SPECIAL) for cell in row) + " |\n")


def _cells(table: Table) -> list[list[str]]:
    def text(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else display(str(value))

    return [list(table.columns), *([text(value) for value in row] for row in table.rows)]


_WRITERS: dict[str, Callable[[Table, TextIO], None]] = {
    "table": _write_table,
    "md": _write_md,
    "csv": _write_csv,
    "json": _write_json,
}
FORMATS = tuple(_WRITERS)
