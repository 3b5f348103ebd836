"""What a pane shows, whole, in other formats: tables as text, charts as figures or values."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from icckd_tui.view_model.spans import plain
from icckd_tui.view_model.table import Table

if TYPE_CHECKING:
    from icckd_tui.view_model.drawn import Drawn

Format = Literal["csv", "md", "tex", "svg", "png"]
NAMES: dict[Format, str] = {
    "csv": "CSV", "md": "Markdown", "tex": "LaTeX", "svg": "SVG", "png": "PNG",
}  # fmt: skip


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
    """Return titles and cells as text; columns of pictures are left out."""
    kept = [place for place, column in enumerate(table.columns) if not column.drawn]
    titles = [
        " ".join(title.strip() for title in column.titles if title.strip()) or column.key
        for column in table.columns
    ]
    rows = [[" ".join(plain(cell).split()) for cell in row.cells] for row in table.rows]
    return [[row[place] for place in kept] for row in (titles, *rows)]


def _harmless(text: str) -> str:
    """Return a cell's text; one that a spreadsheet would take for a formula gets a quote."""
    text = text.replace("−", "-")
    return f"'{text}" if re.match(r"[=@]|[+-](?![\d.])", text) else text


def markdown_of(table: Table) -> str:
    """Return a table as GitHub Markdown."""
    from icckd.report import markdown

    head, *body = ([markdown.plain(cell) for cell in row] for row in _cells(table))
    return "\n".join(markdown.table(head, body)) + "\n"


def latex_of(table: Table) -> str:
    r"""Return a table as LaTeX, to be read by \input; the preamble needs booktabs."""
    from icckd.report import latex

    columns = [column for column in table.columns if not column.drawn]
    head, *body = (" & ".join(latex.plain(cell) for cell in row) + r" \\" for row in _cells(table))
    layout = "".join("r" if column.right else "l" for column in columns)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


TABLE_FORMATS: dict[Format, Callable[[Table], str]] = {
    "csv": csv_of,
    "md": markdown_of,
    "tex": latex_of,
}


def figure_of(drawn: Drawn, kind: Format) -> bytes:
    """Return a chart as a figure in the style of the report's.

    Raises:
        MachineError: matplotlib is not installed.
    """
    import tempfile

    from icckd.report.figures import draw_lines

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"chart.{kind}"
        draw_lines(drawn.axes, drawn.lines, path)
        return path.read_bytes()


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
