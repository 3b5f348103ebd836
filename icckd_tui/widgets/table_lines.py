"""The lines of a table: which columns fit, and how their cells stand in them."""

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from icckd_tui.display import fit
from icckd_tui.view_model.spans import Span, Spans, on_ground, padded, plain, width_of
from icckd_tui.view_model.table import Column, Row, Table

_GAP = 2
_LEAST = 8  # cells of a text column that is shown in part
Placed = tuple[int, Column, bool]  # place in the row, column, whether under the cursor


def columns_in_view(table: Table, left: int, width: int) -> list[int]:
    """Return the scrolling columns that fit, from `left` on, counted without the frozen ones.

    A column of text that fits in part is shown in part; a number never is.
    """
    frozen, columns = table.frozen, table.columns
    room = width - 1 - sum(column.width + _GAP for column in columns[:frozen])
    found: list[int] = []
    for place in range(left, len(columns) - frozen):
        column = columns[frozen + place]
        if column.width > room and (column.right or room < _LEAST) and found:
            break
        found.append(place)
        room -= column.width + _GAP
        if room <= 0:
            break
    return found


def placed(table: Table, in_view: Sequence[int], under: int | None) -> list[Placed]:
    """Return the columns in view; `under` is the scrolling one below the cursor."""
    places = [*range(table.frozen), *(table.frozen + place for place in in_view)]
    lit = -1 if under is None else table.frozen + under
    return [(place, table.columns[place], place == lit) for place in places]


def header_line(columns: Sequence[Placed], level: int, ellipsis: str) -> Spans:
    """Return the titles of one level; those of the last column are not padded."""
    last = columns[-1][1]
    spans: list[Span] = [Span(" ")]
    for _, column, under in columns:
        title = column.titles[level] if level < len(column.titles) else ""
        text = fit(title, column.width, ellipsis)
        if column is last:
            text = text.rstrip()
        if column.right and cell_len(title) < column.width:
            text = title.rjust(column.width)
        lit = under and level == 0
        spans += [Span(text, "key" if lit else "", "" if lit else "header"), Span(" " * _GAP)]
    return tuple(spans[:-1])


class RowLines:
    """Makes the lines of rows, and those that say the same as the last time only once."""

    def __init__(self) -> None:
        self._columns: Sequence[Placed] = ()
        self._made: dict[str, tuple[object, Spans]] = {}  # a row's line, and what it is made of

    def lines(
        self,
        rows: Sequence[Row],
        columns: Sequence[Placed],
        width: int,
        ellipsis: str,
        grounds: Mapping[int, str],
    ) -> list[Spans]:
        """Return the lines of these rows; `grounds` tells which have a cursor's ground."""
        before, self._made = self._made if columns == self._columns else {}, {}
        self._columns = columns
        lines = []
        for place, row in enumerate(rows):
            ground = grounds.get(place)
            source = (row.cells, ground, width)
            known, line = before.get(row.key, (None, ()))
            if known != source:
                line = row_line(row, columns, ellipsis, lit=ground == "cursor")
                line = line if ground is None else on_ground(padded(line, width), ground)
            self._made[row.key] = (source, line)
            lines.append(line)
        return lines


def row_line(row: Row, columns: Sequence[Placed], ellipsis: str, *, lit: bool) -> Spans:
    """Return the cells of a row; `lit` grounds the one under the cursor."""
    last = columns[-1][1]
    spans: list[Span] = [Span(" ")]
    for index, column, under in columns:
        cell = _cut(row.cells[index], column.width, ellipsis)
        if column.right or column is not last:
            cell = padded(cell, column.width, right=column.right)
        if under and lit:
            cell = tuple(span._replace(ground="cell") for span in cell)
        spans += [*cell, Span(" " * _GAP)]
    return tuple(spans[:-1])


def _cut(cell: Spans, width: int, ellipsis: str) -> Spans:
    if width_of(cell) <= width:
        return cell
    return (Span(fit(plain(cell), width, ellipsis), cell[-1].tone),)
