"""Write a table as CSV: what is on the screen, whole."""

import csv
import io
import re
from pathlib import Path

from icckd_tui.view_model.spans import plain
from icckd_tui.view_model.table import Table


def csv_of(table: Table) -> str:
    """Return a table as CSV; a column that stands under another title names both."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        " ".join(title.strip() for title in column.titles if title.strip()) or column.key
        for column in table.columns
    )
    for row in table.rows:
        writer.writerow(_cell(plain(cell)) for cell in row.cells)
    return out.getvalue()


def _cell(text: str) -> str:
    """Return a cell's text; one that a spreadsheet would take for a formula gets a quote."""
    text = " ".join(text.replace("−", "-").split())
    return f"'{text}" if re.match(r"[=@]|[+-](?![\d.])", text) else text


def export_table(stem: str, table: Table) -> Path:
    """Write a table into the current folder under a name that is free; return its path."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "table"
    for number in range(1, 1000):
        path = Path(f"{safe}.csv" if number == 1 else f"{safe}-{number}.csv")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(csv_of(table))
        except FileExistsError:
            continue
        return path.absolute()
    raise FileExistsError(f"{safe}.csv and its successors exist")
