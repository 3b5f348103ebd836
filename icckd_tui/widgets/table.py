"""The widget that shows a table: rows with a cursor, columns that scroll."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType
from textual.message import Message

from icckd_tui.keys import Key
from icckd_tui.tables import EMPTY, Column, Row, Table, place_of, sorted_by
from icckd_tui.text import Span, Spans, fit, on_ground, padded, plain, width_of, wrapped
from icckd_tui.theme import BRAILLE, Glyphs
from icckd_tui.widgets.lines import LinesWidget

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
    """Makes the lines of rows, and keeps those of rows that did not change."""

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


DetailOf = Callable[[str | None], Spans]


class GridTable(LinesWidget, can_focus=True):
    """Rows with a cursor that stays on its row when rows move.

    Only the rows in view are made, and only those that changed are painted.

    Args:
        glyphs: The characters to draw with.
        cells: Whether the cursor also stands on one of the columns that scroll.
        follow: Whether it stays on the last row until it is moved up.
        detail: Whether a line below the rows is kept for details.
        id: The widget's id.
        classes: The widget's classes.
    """

    KEYS_HEADING = "in tables"
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("down,j", "move(1)", "next row"),
        Key("up,k", "move(-1)", "previous row"),
        Key("right,l", "sideways(1)", "next column"),
        Key("left,h", "sideways(-1)", "previous column"),
        Key("pagedown", "page(1)", "one page down"),
        Key("pageup", "page(-1)", "one page up"),
        Key("g,home", "first", "first row"),
        Key("G,end", "last", "last row"),
        Key("enter", "choose", "open what the cursor stands on"),
        Key("space", "mark", "mark the arm for the comparison"),
        Key("t", "sort", "sort by the column under the cursor: up, down, as planned"),
    ]

    class Moved(Message):
        """The cursor stands on another row or column."""

        def __init__(self, table: "GridTable") -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> "GridTable":
            """The table, for `on(..., selector)`."""
            return self.table

    class Chosen(Moved):
        """The row under the cursor was chosen."""

    class Marked(Moved):
        """The row under the cursor was marked or unmarked."""

    def __init__(
        self,
        *,
        glyphs: Glyphs = BRAILLE,
        cells: bool = False,
        follow: bool = False,
        detail: bool = False,
        id: str | None = None,  # noqa: A002  # as in Textual
        classes: str | None = None,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self.table = EMPTY
        self._planned = EMPTY  # the table before it was sorted
        self._sorting: tuple[str, bool] | None = None
        self.follows = follow
        self.follow = follow
        self._cells = cells
        self._least_detail = 1 if detail else 0
        self.most_detail = 1  # lines that details may take from the rows
        self._detail: list[Spans] = []
        self._whole_detail: Spans = ()
        self._row = 0
        self._column = 0
        self._top = 0
        self._left = 0
        self._moved = False
        self._lines_of_rows = RowLines()

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        rows = self.table.rows
        return rows[self._row].key if self._row < len(rows) else None

    @property
    def row(self) -> int:
        """The place of the row under the cursor."""
        return self._row

    @property
    def sorted_by(self) -> str:
        """The title of the column that sorts the rows, with its direction."""
        if self._sorting is None:
            return ""
        key, descending = self._sorting
        arrow = self.glyphs.descending if descending else self.glyphs.ascending
        titles = next((c.titles for c in self.table.columns if c.key == key), ())
        return f"{arrow} {next((t for t in reversed(titles) if t.strip()), key).strip()}"

    @property
    def sorting(self) -> tuple[str, bool] | None:
        """The column that sorts the rows and whether downwards, None as planned."""
        return self._sorting

    def sort_by(self, sorting: tuple[str, bool] | None) -> None:
        """Sort by a column, or as planned; a column that is not there sorts nothing."""
        self._sorting = sorting
        planned = self._planned
        self._put(planned if sorting is None else sorted_by(planned, *sorting))
        self.repaint()

    @property
    def column_key(self) -> str | None:
        """The key of the column under the cursor."""
        place = self.table.frozen + self._column
        return self.table.columns[place].key if place < len(self.table.columns) else None

    @property
    def shown_rows(self) -> int:
        """How many rows fit."""
        return max(1, self.size.height - self._header_lines - self._detail_lines)

    @property
    def _detail_lines(self) -> int:
        return max(self._least_detail, len(self._detail))

    @property
    def position(self) -> str:
        """Which rows and columns are in view, for the border; nothing when all are."""
        parts = []
        count, scrolling = len(self.table.rows), len(self.table.columns) - self.table.frozen
        if self._sorting is not None:
            parts.append(self.sorted_by)
        if count > self.shown_rows:
            parts.append(f"{self._top + 1}-{min(count, self._top + self.shown_rows)} of {count}")
        if self._cells and len(self._visible()) < scrolling:
            parts.append(f"column {self._column + 1} of {scrolling}")
        return f" {self.glyphs.separator} ".join(parts)

    def show(self, table: Table, detail_of: DetailOf | None = None) -> None:
        """Show a table; the cursor stays on its row, whose `detail_of` goes below the rows."""
        if table != self._planned:
            self._planned = table
            self._put(table if self._sorting is None else sorted_by(table, *self._sorting))
        elif detail_of is None:
            return
        if detail_of is not None:
            self._whole_detail = detail_of(self.key)
        self.repaint()

    def _put(self, table: Table) -> None:
        key, column, self.table = self.key, self.column_key, table
        if self.follow:
            self._row = max(0, len(table.rows) - 1)
        elif self._moved:
            place = place_of(table, key)
            self._row = self._row if place is None else place
        names = [c.key for c in table.columns[table.frozen :]]
        if self._cells and self._column and column in names:
            self._column = names.index(column)
        self._row = min(self._row, max(0, len(table.rows) - 1))

    def show_detail(self, detail: Spans) -> None:
        """Show this below the rows, in one line or in as many as the rows leave free."""
        if detail != self._whole_detail:
            self._whole_detail = detail
            self.repaint()

    def select(self, key: str) -> None:
        """Put the cursor on the row with this key."""
        place = place_of(self.table, key)
        if place is not None:
            self._go(place)

    def put_cursor(self, key: str, column: int | None = None) -> None:
        """Put the cursor there without a message."""
        place = place_of(self.table, key)
        if place is None:
            return
        self._row, self._moved = place, True
        if column is not None:
            self._column = column
        self.repaint()

    def repaint(self) -> None:
        """Lay the visible rows out again and paint those that differ."""
        width, height = self.size
        free = height - self._header_lines - len(self.table.rows)
        most = max(self.most_detail if height > 2 * self.most_detail else 1, min(3, free))
        self._detail = wrapped(self._whole_detail, width - 1, most)
        self._scroll_to_cursor()
        columns = placed(self.table, self._visible(), self._column if self._cells else None)
        lines = [
            header_line(columns, level, self.glyphs.ellipsis) for level in range(self._header_lines)
        ]
        lines += self._row_lines(columns, width)
        if self._detail_lines:
            lines += [()] * (height - self._detail_lines - len(lines))
            lines += self._detail
        self.set_lines(lines)
        self.set_titles(self._title, self.position)

    def _row_lines(self, columns: list[Placed], width: int) -> list[Spans]:
        last = min(len(self.table.rows), self._top + self.shown_rows)
        rows = [self.table.rows[place] for place in range(self._top, last)]
        away = "" if self.follow else "cursor-away"
        grounds = {self._row - self._top: "cursor" if self.has_focus else away}
        return self._lines_of_rows.lines(rows, columns, width, self.glyphs.ellipsis, grounds)

    @property
    def _header_lines(self) -> int:
        return max((len(column.titles) for column in self.table.columns), default=0)

    def _scroll_to_cursor(self) -> None:
        rows = self.shown_rows
        self._top = min(self._top, self._row, max(0, len(self.table.rows) - rows))
        self._top = max(self._top, self._row - rows + 1)
        scrolling = max(0, len(self.table.columns) - self.table.frozen)
        self._column = max(0, min(self._column, scrolling - 1))
        if self._cells:
            self._left = min(self._left, self._column)
            while self._left < self._column and self._column not in self._visible():
                self._left += 1
        else:
            self._left = self._column

    def _visible(self) -> list[int]:
        return columns_in_view(self.table, self._left, self.size.width)

    def _go(self, row: int, column: int | None = None) -> None:
        """Put the cursor somewhere, with a message if it moved."""
        before = (self._row, self._column)
        self._row = max(0, min(row, len(self.table.rows) - 1))
        self._column = self._column if column is None else max(0, column)
        self._moved = True
        if self.follow and self._row < len(self.table.rows) - 1:
            self.follow = False
        self.repaint()
        if (self._row, self._column) != before:
            self.post_message(self.Moved(self))

    def action_move(self, rows: int) -> None:
        self._go(self._row + rows)

    def action_sideways(self, columns: int) -> None:
        self._go(self._row, self._column + columns)

    def action_page(self, pages: int) -> None:
        self._go(self._row + pages * self.shown_rows)

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(len(self.table.rows) - 1)

    def action_mark(self) -> None:
        if self.key is not None:
            self.post_message(self.Marked(self))

    def action_sort(self) -> None:
        """Sort by the column under the cursor: up, then down, then as planned."""
        columns = self.table.columns
        place = min(
            self.table.frozen + self._column if self._cells else self._left, len(columns) - 1
        )
        if place < 0:
            return
        key = columns[place].key
        steps = {None: (key, False), (key, False): (key, True), (key, True): None}
        self.sort_by(steps.get(self._sorting, (key, False)))

    def action_choose(self) -> None:
        if self.key is not None:
            self.post_message(self.Chosen(self))

    def on_resize(self) -> None:
        self.repaint()

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._go(self._row + 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._go(self._row - 3)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the row that was clicked."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        place = offset.y - self._header_lines
        if 0 <= place < min(self.shown_rows, len(self.table.rows) - self._top):
            self._go(self._top + place)
