"""The forest plot: every arm's paired difference with its interval around 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.comparison import difference_tone, excludes_zero
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import Scale, scale_for
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone
from icckd_tui.view_model.table import Column, Row, Table

if TYPE_CHECKING:
    from icckd.results.types import Comparison

_ARM_WIDTH = 20
_FEWEST = 12  # cells of the plot


def forest_table(frame: Frame, metric: str, width: int, glyphs: Glyphs) -> Table:
    """Return one row an arm, in the study's order; `width` is that of the whole table."""
    rows = {row.arm: row for row in frame.comparisons if row.metric == metric}
    arms = [arm for arm in frame.study.arms if arm.name != frame.reference]
    unit = next((row.unit for row in rows.values()), "")
    scale = scale_for(unit, [row.mean for row in rows.values()])
    names = min(_ARM_WIDTH, max((len(display(arm.name, _ARM_WIDTH)) for arm in arms), default=1))
    texts = {arm.name: _text(rows.get(arm.name), scale, metric, glyphs) for arm in arms}
    counts = {arm.name: _count(frame, rows.get(arm.name)) for arm in arms}
    change = max((len(span.text) for span in texts.values()), default=1)
    tail = max((len(text) for text in counts.values()), default=1)
    room = max(_FEWEST, width - 1 - (names + 2) - change - tail - 8)
    low, high = _range(list(rows.values()))
    table_rows = tuple(
        Row(
            key=arm.name,
            cells=(
                (
                    Span(f"{arm_letter(place)} ", arm_tone(place)),
                    Span(display(arm.name, _ARM_WIDTH)),
                ),
                _plot(rows.get(arm.name), low, high, room, metric, glyphs),
                (texts[arm.name],),
                (Span(counts[arm.name], "muted"),),
            ),
        )
        for place, arm in enumerate(frame.study.arms)
        if arm.name != frame.reference
    )
    return Table(
        columns=(
            Column(key="arm", titles=("arm",), width=names + 2),
            Column(key="plot", titles=(_axis(low, high, room, scale),), width=room, drawn=True),
            Column(key="change", titles=(f"{glyphs.delta} {glyphs.plus_minus}95%",),
                   width=max(change, 6), right=True),
            Column(key="n", titles=("n",), width=tail, right=True),
        ),
        rows=table_rows,
        frozen=4,
    )  # fmt: skip


def _range(rows: list[Comparison]) -> tuple[float, float]:
    """Return a range with 0 inside, as wide as the intervals."""
    ends = [v for row in rows if row.low is not None and row.high is not None
            for v in (row.low, row.high)]  # fmt: skip
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return (low, high) if high > low else (-1.0, 1.0)


def _at(value: float, low: float, high: float, room: int) -> int:
    return min(room - 1, max(0, round((value - low) / (high - low) * (room - 1))))


def _axis(low: float, high: float, room: int, scale: Scale) -> str:
    """Return the labels of both ends and of 0 above the plot."""
    cells = [" "] * room
    for value in (low, high, 0.0):
        text = scale.difference(value) if value else "0"
        start = min(room - len(text), max(0, _at(value, low, high, room) - len(text) // 2))
        if value == 0.0 or abs(_at(value, low, high, room) - _at(0.0, low, high, room)) > len(text):
            cells[start : start + len(text)] = text
    return "".join(cells)[:room]


def _plot(row: Comparison | None, low: float, high: float, room: int, metric: str,
          glyphs: Glyphs) -> Spans:  # fmt: skip
    cells, zero = [" "] * room, _at(0.0, low, high, room)
    cells[zero] = glyphs.zero
    if row is None or row.difference is None or row.low is None or row.high is None:
        return (Span("".join(cells), "faint"),)
    left, right = _at(row.low, low, high, room), _at(row.high, low, high, room)
    middle = _at(row.difference, low, high, room)
    for place in range(left, right + 1):
        if place != zero:
            cells[place] = glyphs.horizontal
    cells[left], cells[right], cells[middle] = glyphs.cap_left, glyphs.cap_right, glyphs.point
    tone = difference_tone(row, metric) or ("strong" if excludes_zero(row) else "muted")
    return (
        Span("".join(cells[:left]), "faint"),
        Span("".join(cells[left : right + 1]), tone),
        Span("".join(cells[right + 1 :]), "faint"),
    )


def _text(row: Comparison | None, scale: Scale, metric: str, glyphs: Glyphs) -> Span:
    if row is None or row.difference is None or row.low is None or row.high is None:
        never = row is not None and row.never
        return Span(f"never {row.never}/{row.n}" if row is not None and never else "-", "muted")
    half = scale.value((row.high - row.low) / 2)
    star = "*" if excludes_zero(row) else " "
    text = f"{glyphs.signed(scale.difference(row.difference))} {glyphs.plus_minus}{half}{star}"
    return Span(text, difference_tone(row, metric))


def _count(frame: Frame, row: Comparison | None) -> str:
    planned = len(frame.study.planned_seeds(row.arm)) if row is not None else 0
    pairs = row.pairs if row is not None else 0
    return str(pairs) if pairs >= planned else f"{pairs}/{planned}"
