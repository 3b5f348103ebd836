"""The log tail: newest lines last, level as a word."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.view_model.spans import Span, Spans, width_of
from icckd_tui.view_model.table import Column, Row, Table

if TYPE_CHECKING:
    from icckd.results.types import LogRow

_LEVELS = {
    "info": Span("info", "muted"),
    "warning": Span("WARN", "warning"),
    "error": Span("ERROR", "error"),
}
_SOURCE_WIDTH = 32


def log_table(lines: tuple[LogRow, ...]) -> Table:
    """Return the lines; the text comes last and takes the rest of the width."""
    seen: Counter[str] = Counter()
    rows = []
    for line in lines:
        identity = f"{line.time}\0{line.arm}\0{line.seed}\0{line.text}"
        seen[identity] += 1
        rows.append(Row(key=f"{identity}\0{seen[identity]}", cells=_cells(line)))
    widths = [max([0, *(width_of(row.cells[place]) for row in rows)]) for place in range(4)]
    columns = tuple(
        Column(key=key, titles=(), width=width)
        for key, width in zip(("time", "level", "source", "text"), widths, strict=True)
    )
    return Table(columns=columns, rows=tuple(rows), frozen=0)


def _cells(line: LogRow) -> tuple[Spans, ...]:
    clock = time.strftime("%H:%M:%S", time.localtime(line.time))
    seed = "" if line.seed is None else f" s{line.seed}"
    source = f"{display(line.arm or 'session', _SOURCE_WIDTH)}{seed} {display(line.stage, 12)}"
    tone = {"warning": "warning", "error": "error"}.get(line.level, "")
    return (
        (Span(clock, "muted"),),
        (_LEVELS[line.level],),
        (Span(source.rstrip(), "muted"),),
        (Span(display(line.text), tone),),
    )
