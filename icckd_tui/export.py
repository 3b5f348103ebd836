"""What a pane shows, whole, in other formats: tables as text, charts as figures or values."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import Span, display, plain

if TYPE_CHECKING:
    from icckd_tui.chart import Chart, Floats, Line
    from icckd_tui.data import Frame

Format = Literal["csv", "md", "tex", "svg", "png"]
NAMES: dict[Format, str] = {
    "csv": "CSV", "md": "Markdown", "tex": "LaTeX", "svg": "SVG", "png": "PNG",
}  # fmt: skip
_CHART_FORMATS: tuple[Format, ...] = ("svg", "png", "csv")
_X_NAMES = {"s": "time (s)", "%": "share of the planned epochs (%)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """What a pane shows: a table, or a chart of a metric."""

    name: str
    frame: Frame
    table: Table | None = None
    chart: Chart | None = None
    metric: str = ""

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats in which it can be written."""
        return tuple(TABLE_FORMATS) if self.table is not None else _CHART_FORMATS

    def in_format(self, kind: Format) -> bytes:
        """Return it in a format; too slow for the event loop.

        Raises:
            MachineError: matplotlib is not installed.
        """
        if self.table is not None:
            return TABLE_FORMATS[kind](self.table).encode()
        assert self.chart is not None
        if kind == "csv":
            return csv_of(lines_table(self.frame, self.chart)).encode()
        return figure_of(self.frame, self.chart, self.metric, kind)

    @property
    def for_clipboard(self) -> tuple[str, str]:
        """Return the text to copy and the name of its format."""
        if self.table is not None:
            return markdown_of(self.table), "Markdown"
        return self.in_format("csv").decode(), "CSV"


def csv_of(table: Table) -> str:
    """Return a table as CSV; a column that stands under another title names both."""
    import csv

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head, *body = _cells(table)
    writer.writerow(head)
    writer.writerows([_harmless(cell) for cell in row] for row in body)
    return out.getvalue()


def _cells(table: Table) -> list[list[str]]:
    """Return titles and cells as text, without the columns of pictures."""
    kept = [place for place, column in enumerate(table.columns) if not column.drawn]
    titles = [
        " ".join(title.strip() for title in column.titles if title.strip()) or column.key
        for column in table.columns
    ]
    rows = [[" ".join(plain(cell).split()) for cell in row.cells] for row in table.rows]
    return [[row[place] for place in kept] for row in (titles, *rows)]


def _harmless(text: str) -> str:
    """Return a cell's text, quoted where a spreadsheet would take it for a formula."""
    from icckd.report.text import is_formula

    text = text.replace("−", "-")
    return f"'{text}" if is_formula(text) else text


def markdown_of(table: Table) -> str:
    """Return a table as GitHub Markdown."""
    from icckd.report.text import markdown_table

    return "\n".join(markdown_table(_cells(table))) + "\n"


def latex_of(table: Table) -> str:
    r"""Return a table as LaTeX, to be read by \input; the preamble needs booktabs."""
    from icckd.report.text import latex_text

    columns = [column for column in table.columns if not column.drawn]
    head, *body = (" & ".join(latex_text(cell) for cell in row) + r" \\" for row in _cells(table))
    layout = "".join("r" if column.right else "l" for column in columns)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


TABLE_FORMATS: dict[Format, Callable[[Table], str]] = {
    "csv": csv_of,
    "md": markdown_of,
    "tex": latex_of,
}


def figure_of(frame: Frame, chart: Chart, metric: str, kind: Format) -> bytes:
    """Return a chart as a figure in the style of the report's, arms in the study's order.

    Raises:
        MachineError: matplotlib is not installed.
    """
    import tempfile

    from icckd.report.figures import Axes, DrawnLine, draw_lines
    from icckd.results.types import mark_of

    unit = "" if chart.unit == "1" else chart.unit
    axes = Axes(
        x=_X_NAMES.get(chart.x_unit, chart.x_unit),
        y=f"{display(metric, 40)}{f' ({unit})' if unit else ''}",
        low=chart.x_low,
        high=chart.x_high,
        log_x=chart.log_x,
        log_y=chart.log_y,
        note=mark_of(frame.study),
    )
    lines = tuple(
        DrawnLine(
            name=display(frame.study.arms[line.index].name, 28),
            place=line.index,
            x_E=line.x_E,
            mean_E=line.mean_E,
            low_E=line.low_E if line.banded else None,
            high_E=line.high_E if line.banded else None,
            seeds_SE=line.seeds_SE,
        )
        for line in sorted(chart.lines, key=lambda line: line.index)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"chart.{kind}"
        draw_lines(axes, lines, path)
        return path.read_bytes()


def lines_table(frame: Frame, chart: Chart) -> Table:
    """Return a row for each shown place on the x axis, and columns of what each arm has there."""
    titles, values = [chart.x_unit], []
    places = sorted(
        {float(x) for line in chart.lines for x in line.x_E if chart.x_low <= x <= chart.x_high}
    )
    for line in sorted(chart.lines, key=lambda line: line.index):
        name = display(frame.study.arms[line.index].name, 40)
        for what, numbers in _series_of(line):
            titles.append(f"{name} {what}")
            values.append(dict(zip(map(float, line.x_E), numbers, strict=True)))
    rows = tuple(
        Row(
            key=f"{x:g}",
            cells=((Span(f"{x:g}"),), *((Span(_all_digits(column.get(x))),) for column in values)),
        )
        for x in places
    )
    columns = tuple(Column(key=t, titles=(t,), width=len(t), right=True) for t in titles)
    return Table(columns=columns, rows=rows)


def _series_of(line: Line) -> list[tuple[str, Floats]]:
    named = [("mean", line.mean_E), ("95 % low", line.low_E), ("95 % high", line.high_E)]
    found = [(name, values) for name, values in named if values is not None]
    seeds = line.seeds_SE if line.seeds_SE is not None else ()
    return [*found, *((f"run {place}", values) for place, values in enumerate(seeds, 1))]


def _all_digits(value: Any) -> str:
    """Return a number with all its digits, "" for a missing one."""
    return "" if value is None or not math.isfinite(value) else str(value)


def write_new(stem: str, kind: Format, content: bytes) -> Path:
    """Write a file into the current folder under a name that is free; return its path."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "table"
    for number in range(1, 1000):
        path = Path(f"{safe}.{kind}" if number == 1 else f"{safe}-{number}.{kind}")
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return path.absolute()
    raise FileExistsError(f"{safe}.{kind} and its successors exist")
