"""Log lines as a table and as text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import Span, Spans, arm_letter, arm_tone, display, plain, width_of

if TYPE_CHECKING:
    from icckd.results.types import LogEntry, StudyInfo

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")
_WORDS = {
    "info": Span(""),
    "warning": Span("WARN", "warning"),
    "error": Span("ERROR", "error"),
}


def log_table(
    lines: tuple[LogEntry, ...], arms: Mapping[str, int], *, level: Level = "info"
) -> Table:
    """Return the lines of this level and worse; the text comes last, in the rest of the width.

    `arms` are places in the study: a line names its arm by letter.
    """
    seen: Counter[str] = Counter()
    rows = []
    for line in lines:
        if LEVELS.index(line.level) < LEVELS.index(level):
            continue
        identity = f"{line.time}\0{line.arm}\0{line.seed}\0{line.text}"
        seen[identity] += 1
        rows.append(Row(key=f"{identity}\0{seen[identity]}", cells=_cells(line, arms)))
    widths = [max([0, *(width_of(row.cells[place]) for row in rows)]) for place in range(4)]
    columns = tuple(
        Column(key=key, titles=(), width=width)
        for key, width in zip(("time", "level", "source", "text"), widths, strict=True)
    )
    return Table(columns=columns, rows=tuple(rows), frozen=0)


def log_text(lines: tuple[LogEntry, ...]) -> str:
    """Return the lines as plain text with date and level, harmless in any terminal."""
    return "".join(
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(line.time))}"
        f" {line.level:<7} {display(line.stage, 7):<7} {display(line.text)}\n"
        for line in lines
    )


def matches(table: Table, text: str) -> list[int]:
    """Return the places of the rows that contain a text, in any case."""
    if not text:
        return []
    wanted = text.lower()
    return [
        place
        for place, row in enumerate(table.rows)
        if wanted in plain(span for cell in row.cells for span in cell).lower()
    ]


def places_of(study: StudyInfo) -> dict[str, int]:
    """Return the place of each arm."""
    return {arm.name: place for place, arm in enumerate(study.arms)}


def _cells(line: LogEntry, arms: Mapping[str, int]) -> tuple[Spans, ...]:
    clock = time.strftime("%H:%M:%S", time.localtime(line.time))
    tone = {"warning": "warning", "error": "error"}.get(line.level, "")
    return (
        (Span(clock, "muted"),),
        (_WORDS[line.level],),
        _source(line, arms),
        (Span(display(line.text), tone),),
    )


def _source(line: LogEntry, arms: Mapping[str, int]) -> Spans:
    """Return letter, seed and kind of stage; the session has none."""
    place = arms.get(line.arm)
    if place is None:
        return (Span("session", "muted"),)
    seed = "" if line.seed is None else f" s{line.seed}"
    stage = f"{seed} {display(line.stage, 7)}"
    return (Span(arm_letter(place), arm_tone(place)), Span(stage, "muted"))
