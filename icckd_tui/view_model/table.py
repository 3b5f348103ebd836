"""A table as plain values."""

from dataclasses import dataclass

from icckd_tui.view_model.spans import Spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: `titles` from top to bottom, `width` in cells."""

    key: str
    titles: tuple[str, ...]
    width: int
    right: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: `key` stays the same when the row moves."""

    key: str
    cells: tuple[Spans, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows; the first `frozen` columns stay when the others scroll."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    frozen: int = 0


EMPTY = Table(columns=(), rows=())
