"""What the curves say at the value cursor: arms by series."""

from __future__ import annotations

from collections.abc import Sequence

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.chart import Chart, unit_of, value_text
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import duration
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone
from icckd_tui.view_model.table import Column, Row, Table


def value_table(frame: Frame, charts: Sequence[tuple[str, Chart]], glyphs: Glyphs) -> Table:
    """Return one row an arm and one column a chart: the value nearest to the cursor."""
    texts: dict[str, dict[int, str]] = {
        metric: {
            line.index: value_text(line, chart.cursor, metric, glyphs)
            for line in chart.lines
            if chart.cursor is not None
        }
        for metric, chart in charts
    }
    shown = [
        place for place, arm in enumerate(frame.study.arms)
        if any(place in column for column in texts.values())
    ]  # fmt: skip
    rows = []
    for place in shown:
        name = display(frame.study.arms[place].name, 20)
        head: Spans = (Span(f"{arm_letter(place)} ", arm_tone(place)), Span(name))
        cells = ((Span(column.get(place, "-")),) for column in texts.values())
        rows.append(Row(key=frame.study.arms[place].name, cells=(head, *cells)))
    columns = [Column(key="arm", titles=("", "arm"), width=22)]
    for metric, column in texts.items():
        titles = (display(metric, 22), unit_of(metric))
        width = max(len(titles[0]), *(len(text) for text in column.values()), 1)
        columns.append(Column(key=metric, titles=titles, width=width, right=True))
    return Table(columns=tuple(columns), rows=tuple(rows), frozen=1)


def cursor_text(chart: Chart) -> str:
    """Return where the cursor stands."""
    if chart.cursor is None:
        return ""
    if chart.x_unit == "s":
        return f"after {duration(chart.cursor)}"
    if chart.x_unit == "%":
        return f"at {chart.cursor:.0f} %"
    return f"{chart.x_unit} {chart.cursor:.0f}"
