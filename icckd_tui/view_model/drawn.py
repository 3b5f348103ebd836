"""A chart as values: a table of its lines, and what a figure of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icckd.report.lines import Axes, DrawnLine
from icckd.results.synthetic import on_synthetic_data
from icckd_tui.display import display
from icckd_tui.view_model.chart import Chart, Floats, Line, unit_of
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table

_NAMES = {"s": "time (s)", "%": "share of the planned epochs (%)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The lines of a chart and their axes, ready for a figure."""

    axes: Axes
    lines: tuple[DrawnLine, ...]


def drawn_of(frame: Frame, chart: Chart, metric: str) -> Drawn:
    """Return what a chart shows, in the study's order, cut to the shown part of x."""
    unit = unit_of(metric)
    return Drawn(
        axes=Axes(
            x=_NAMES.get(chart.x_unit, chart.x_unit),
            y=f"{display(metric, 40)}{f' ({unit})' if unit else ''}",
            low=chart.x_low,
            high=chart.x_high,
            log_x=chart.log_x,
            log_y=chart.log_y,
            note="synthetic data" if on_synthetic_data(frame.study) else "",
        ),
        lines=tuple(
            DrawnLine(
                name=display(frame.study.arms[line.index].name, 28),
                place=line.index,
                x_E=line.x_E,
                mean_E=line.mean_E,
                low_E=line.low_E if line.banded else None,
                high_E=line.high_E if line.banded else None,
                seeds_SE=line.seeds_SE,
            )
            for line in sorted(chart.lines, key=lambda line: line.index)
        ),
    )


def lines_table(frame: Frame, chart: Chart) -> Table:
    """Return one row a place on the x axis, and for each arm what is drawn there."""
    titles, values = [chart.x_unit], []
    places = sorted({float(x) for line in chart.lines for x in line.x_E if _shown(chart, x)})
    for line in sorted(chart.lines, key=lambda line: line.index):
        name = display(frame.study.arms[line.index].name, 40)
        for what, numbers in _columns(line):
            titles.append(f"{name} {what}")
            values.append(dict(zip(map(float, line.x_E), numbers, strict=True)))
    rows = tuple(
        Row(
            key=f"{x:g}",
            cells=((Span(f"{x:g}"),), *((Span(_text(column.get(x))),) for column in values)),
        )
        for x in places
    )
    columns = tuple(Column(key=t, titles=(t,), width=len(t), right=True) for t in titles)
    return Table(columns=columns, rows=rows)


def _shown(chart: Chart, x: float) -> bool:
    return bool(chart.x_low <= x <= chart.x_high)


def _columns(line: Line) -> list[tuple[str, Floats]]:
    named = [("mean", line.mean_E), ("95 % low", line.low_E), ("95 % high", line.high_E)]
    found = [(name, values) for name, values in named if values is not None]
    seeds = line.seeds_SE if line.seeds_SE is not None else ()
    return [*found, *((f"run {place}", values) for place, values in enumerate(seeds, 1))]


def _text(value: np.floating[Any] | None) -> str:
    """Return a number with all its digits; nothing where there is none."""
    return "" if value is None or not np.isfinite(value) else str(value)
