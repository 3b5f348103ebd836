"""A table as plain values; its rows may be made only when they are looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from icckd_tui.text import Spans, plain, width_of

Item = TypeVar("Item")
Descending = bool
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: `titles` from top to bottom, `width` in cells; `drawn` where cells are pictures."""

    key: str
    titles: tuple[str, ...]
    width: int
    right: bool = False
    drawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: `key` stays the same when the row moves."""

    key: str
    cells: tuple[Spans, ...]


class Rows(Protocol):
    """Rows by place."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, place: int, /) -> Row:
        """Return one."""

    def __iter__(self) -> Iterator[Row]:
        """Go through all."""


class LazyRows(Generic[Item]):
    """Rows made from items one by one when they are drawn: ten thousand cost as much as fifty.

    Two are equal when their items are the same objects and `variant`, all else that a row is made
    from, is equal.
    """

    def __init__(
        self,
        items: Sequence[Item],
        key: Callable[[Item], str],
        cells: Callable[[Item], tuple[Spans, ...]],
        variant: object,
    ) -> None:
        self._items = items
        self._key = key
        self._cells = cells
        self._variant = variant

    def __len__(self) -> int:
        """How many there are."""
        return len(self._items)

    def __getitem__(self, place: int) -> Row:
        """Make one row."""
        item = self._items[place]
        return Row(key=self._key(item), cells=self._cells(item))

    def __iter__(self) -> Iterator[Row]:
        """Make every row."""
        return (self[place] for place in range(len(self)))

    def place_of(self, key: str) -> int | None:
        """Return where the row with this key stands, without making any row."""
        return next((p for p, item in enumerate(self._items) if self._key(item) == key), None)

    def __eq__(self, other: object) -> bool:
        """Compare what the rows are made from."""
        return (
            isinstance(other, LazyRows)
            and self._variant == other._variant
            and len(self._items) == len(other._items)
            and all(a is b for a, b in zip(self._items, other._items, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # compared by what it shows, which may be long


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows; the first `frozen` columns stay when the others scroll."""

    columns: tuple[Column, ...]
    rows: Rows
    frozen: int = 0


EMPTY = Table(columns=(), rows=())
HEAD = "\0"
"""The keys of rows that head a group begin with it; rows are sorted within their groups."""


def place_of(table: Table, key: str | None) -> int | None:
    """Return where the row with this key stands."""
    if key is None:
        return None
    if isinstance(table.rows, LazyRows):
        return table.rows.place_of(key)
    return next((place for place, row in enumerate(table.rows) if row.key == key), None)


def sorted_by(table: Table, column: str, descending: Descending) -> Table:
    """Return the table sorted by what a column shows, numbers as numbers, empty cells last."""
    place = next((p for p, c in enumerate(table.columns) if c.key == column), None)
    if place is None:
        return table
    sections: list[tuple[list[Row], list[Row]]] = [([], [])]
    for row in table.rows:
        if row.key.startswith(HEAD):
            sections.append(([row], []))
        else:
            sections[-1][1].append(row)
    rows = [row for heads, rest in sections for row in (*heads, *_sorted(rest, place, descending))]
    return Table(columns=table.columns, rows=tuple(rows), frozen=table.frozen)


def _sorted(rows: list[Row], place: int, descending: Descending) -> list[Row]:
    filled: list[tuple[tuple[bool, float, str], Row]] = []
    empty: list[Row] = []
    for row in rows:
        text = plain(row.cells[place]).strip()
        if text.strip("-"):
            filled.append((_sort_key(text), row))
        else:
            empty.append(row)
    filled.sort(key=lambda pair: pair[0], reverse=descending)
    return [*(row for _, row in filled), *empty]


def _sort_key(text: str) -> tuple[bool, float, str]:
    found = _NUMBER.match(text.replace("−", "-"))
    return (found is None, float(found.group()) if found else 0.0, text)


def fitted(rows: Sequence[Row], titles: Sequence[str], *, right: Sequence[int] = (),
           most: int = 60) -> tuple[Column, ...]:  # fmt: skip
    """Return columns as wide as their titles and cells need, at most `most` cells."""
    return tuple(
        Column(
            key=title or str(place),
            titles=(title,),
            width=min(most, max([len(title), *(width_of(row.cells[place]) for row in rows)])),
            right=place in right,
        )
        for place, title in enumerate(titles)
    )
