"""Answers in SQL as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from icckd_tui.display import display
from icckd_tui.view_model.spans import Span, Spans
from icckd_tui.view_model.table import Column, LazyRows, Row, Table

if TYPE_CHECKING:
    from icckd.results.types import Table as Answer

_WIDEST = 48
_MEASURED = 200  # rows whose cells decide the widths


def answer_table(answer: Answer) -> Table:
    """Return an answer; its rows are made when they are drawn."""
    first = answer.rows[:_MEASURED]
    columns = []
    for place, name in enumerate(answer.columns):
        cells = [_text(row[place]) for row in first]
        width = min(_WIDEST, max([len(display(name, _WIDEST)), 1, *map(len, cells)]))
        numbers = any(isinstance(row[place], int | float) for row in first)
        columns.append(
            Column(key=f"{place}", titles=(display(name, _WIDEST),), width=width, right=numbers)
        )
    numbered = list(enumerate(answer.rows))
    rows = LazyRows(numbered, lambda item: str(item[0]), lambda item: _cells(item[1]), None)
    return Table(columns=tuple(columns), rows=rows)


def _cells(row: tuple[Any, ...]) -> tuple[Spans, ...]:
    return tuple((Span(_text(value), "muted" if value is None else ""),) for value in row)


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "null" if value is None else display(str(value), _WIDEST)


def views_table(views: Sequence[tuple[str, str]]) -> Table:
    """Return every view and what it holds."""
    rows = tuple(
        Row(key=name, cells=((Span(name, "strong"),), (Span(display(about), "muted"),)))
        for name, about in views
    )
    columns = (
        Column(
            key="view", titles=("view",), width=max((len(name) for name, _ in views), default=4)
        ),
        Column(key="about", titles=("holds",), width=200),
    )
    return Table(columns=columns, rows=rows, frozen=1)
