"""A chart drawn as a picture: pure, from lines in numbers to characters and inks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.chart import Chart, Line
from icckd_tui.widgets.cells import AXIS, Picture, arm_ink
from icckd_tui.widgets.raster import Dots, Window, column_spans, filled, halves, packed
from icckd_tui.widgets.scale import labels, log_ticks, ticks, transformed, widened

_END_CELLS = 3  # room on the right for marker letters
_NEARBY = (0, 1, -1, 2, -2)
Floats = NDArray[np.floating]


class _Span(NamedTuple):
    """Lowest and highest value in each dot column."""

    lowest: Floats
    highest: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Reduced:
    """A line thinned to the columns of the chart: exact extremes, whatever its length."""

    line: Line
    traces: tuple[_Span, ...]
    band: _Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Ticks in axis units with labels, and the window between them."""

    window: Window
    left: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def picture_of(
    chart: Chart, width: int, height: int, glyphs: Glyphs, *, shaded: bool = False
) -> Picture:
    """Draw the chart; `shaded` draws bands as a pattern for terminals with few colors.

    The y axis holds what the shown part of x holds.
    """
    picture = Picture.blank(width, height)
    if not chart.lines or width < 20 or height < 4:
        return picture
    columns = width - _left_edge(chart) - _END_CELLS
    x_low, x_high = _x_range(chart)
    flat = Window(x_low, x_high, 0.0, 1.0, columns, height - 2)
    reduced = [_reduced(line, chart, flat) for line in chart.lines]
    axes = _axes(chart, reduced, flat)
    _draw_axes(picture, axes, glyphs, chart.x_unit)
    rows = axes.window.rows
    codes = picture.codes[:rows, axes.left : axes.left + columns]
    inks = picture.inks[:rows, axes.left : axes.left + columns]
    ground = _draw_bands(reduced, axes.window, codes, inks, glyphs, shaded)
    _draw_lines(reduced, axes.window, codes, inks, ground, glyphs)
    _draw_cursor(chart, axes, codes, inks, glyphs)
    _draw_letters(picture, reduced, axes)
    return picture


def x_share_of(chart: Chart, width: int, column: int) -> float | None:
    """Return where a column of the chart lies in the shown part of x, None beside it."""
    left = _left_edge(chart)
    columns = width - left - _END_CELLS
    inside = 0 <= column - left < columns and bool(chart.lines)
    return (column - left + 0.5) / columns if inside else None


def _left_edge(chart: Chart) -> int:
    """Return where the plot starts: the same for any values, so that charts line up."""
    return 8


def _x_range(chart: Chart) -> tuple[float, float]:
    low, high = chart.x_low, chart.x_high
    if chart.log_x:
        positive = [float(line.x_E[line.x_E > 0][0]) for line in chart.lines if line.x_E[-1] > 0]
        low = max(low, min(positive, default=1.0))
        high = max(high, low * 1.01)
        low, high = float(np.log10(low)), float(np.log10(high))
    return low, high if high > low else low + 1.0


def _reduced(line: Line, chart: Chart, flat: Window) -> _Reduced:
    x = transformed(line.x_E, log=True) if chart.log_x else line.x_E
    if chart.log_x and np.isnan(x).any():
        keep = np.isfinite(x)
        line = Line(
            index=line.index, name=line.name, prominence=line.prominence, x_E=line.x_E[keep],
            mean_E=_kept(line.mean_E, keep), low_E=_kept(line.low_E, keep),
            high_E=_kept(line.high_E, keep), seeds_SE=_kept(line.seeds_SE, keep),
            banded=line.banded,
        )  # fmt: skip
        x = x[keep]

    series = [] if line.seeds_SE is None else list(line.seeds_SE)
    series += [] if line.mean_E is None else [line.mean_E]
    bounds = [] if line.low_E is None or line.high_E is None else [line.low_E, line.high_E]
    if not series and not bounds:
        return _Reduced(line, (), None)
    rows = [*series, *bounds]
    values = np.stack(rows) if len(rows) > 1 else rows[0][None]
    shown = transformed(values, log=True) if chart.log_y else values
    lowest, highest = column_spans(x, shown, flat)
    spans = [_Span(*pair) for pair in zip(lowest, highest, strict=True)]
    band = _Span(lowest[-2], highest[-1]) if bounds else None
    return _Reduced(line, tuple(spans[: len(series)]), band)


def _kept(values: Floats | None, keep: NDArray[np.bool_]) -> Floats | None:
    return None if values is None else values[..., keep]


def _axes(chart: Chart, reduced: list[_Reduced], flat: Window) -> _Axes:
    spans = [s for line in reduced for s in (*line.traces, line.band) if s is not None]
    values = np.concatenate([part for span in spans for part in span])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    y_low, y_high = widened(low, high)
    most = max(2, min(8, flat.rows // 2))
    if chart.log_y:
        values_y = log_ticks(10.0**y_low, 10.0**y_high, most)
        placed = [float(v) for v in transformed(np.array(values_y), log=True)]
    else:
        values_y = ticks(y_low, y_high, most)
        placed = values_y
    return _Axes(
        window=flat._replace(y_low=y_low, y_high=y_high),
        left=_left_edge(chart),
        x_ticks=_x_ticks(chart, flat),
        y_ticks=tuple(zip(placed, labels(values_y), strict=True)),
    )


def _x_ticks(chart: Chart, flat: Window) -> tuple[tuple[float, str], ...]:
    most = max(2, flat.columns // 12)
    if chart.log_x:
        values = log_ticks(10.0**flat.x_low, 10.0**flat.x_high, most)
        return tuple(zip(np.log10(values).tolist(), labels(values), strict=True)) if values else ()
    values = ticks(flat.x_low, flat.x_high, most)
    if chart.x_unit in ("epoch", "step"):
        values = [v for v in values if v == int(v)]
        whole = flat.x_low == int(flat.x_low)
        if values and whole and values[0] - flat.x_low > 1:
            values.insert(0, flat.x_low)
        return tuple((v, f"{v:.0f}") for v in values)
    return tuple(zip(values, labels(values), strict=True))


def _draw_axes(picture: Picture, axes: _Axes, glyphs: Glyphs, x_unit: str) -> None:
    rows, edge = axes.window.rows, axes.left - 1
    for row in range(rows):
        picture.put(row, edge, glyphs.vertical, AXIS)
    for value, label in axes.y_ticks:
        row = int(axes.window.dot_row(np.array([value]))[0]) // 4
        picture.put(row, 0, label[:edge].rjust(edge), AXIS)
        picture.put(row, edge, glyphs.tick, AXIS)
    picture.put(rows, edge, glyphs.corner + glyphs.horizontal * axes.window.columns, AXIS)
    picture.put(rows + 1, 0, x_unit.rjust(edge), AXIS)
    free = axes.left - 1
    for value, label in axes.x_ticks:
        column = axes.left + axes.window.cell_column(value)
        start = max(free, min(column - len(label) // 2, picture.codes.shape[1] - len(label)))
        picture.put(rows + 1, start, label, AXIS)
        free = start + len(label) + 1


def _draw_lines(
    reduced: list[_Reduced],
    window: Window,
    codes: NDArray[np.uint32],
    inks: NDArray[np.uint16],
    ground: NDArray[np.uint16],
    glyphs: Glyphs,
) -> None:
    """Draw each line over those before it; only lines out of focus share a cell's dots."""
    cells = np.array([ord(char) for char in glyphs.cells], np.uint32)
    shared = np.zeros((window.rows, window.columns), np.uint8)
    for item in reduced:
        pattern = packed(_dots(item.traces, window))
        drawn = pattern > 0
        other = item.line.prominence == "other"
        if other:
            shared |= pattern
        codes[drawn] = cells[(shared if other else pattern)[drawn]]
        inks[drawn] = arm_ink(item.line.index, 1 if other else 0) * 4 + ground[drawn]


def _dots(traces: tuple[_Span, ...], window: Window) -> Dots:
    dots = np.zeros((window.rows * 4, window.columns * 2), np.bool_)
    for span in traces:
        dots |= filled(*span, window)
    return dots


def _draw_bands(
    reduced: list[_Reduced],
    window: Window,
    codes: NDArray[np.uint32],
    inks: NDArray[np.uint16],
    glyphs: Glyphs,
    shaded: bool,
) -> NDArray[np.uint16]:
    """Draw the baseline's and the focused arm's interval, at half a cell of height.

    Returns the background that a line gets in each cell.
    """
    covered = np.zeros((window.rows * 2, window.columns), np.uint16)
    bands: dict[int, int] = {3: 0}
    for item in reduced:
        if item.band is None or not item.line.banded:
            continue
        number = 2 if item.line.prominence == "focus" else 1
        inside = halves(filled(*item.band, window))
        covered |= np.where(inside, number, 0).astype(np.uint16)
        bands[number] = bands[3] = arm_ink(item.line.index, 2)
    foreground = np.array([0, bands.get(1, 0), bands.get(2, 0), bands[3]], np.uint16)
    upper, lower = covered[0::2], covered[1::2]
    if shaded:
        some = (upper > 0) | (lower > 0)
        codes[some] = ord(glyphs.shade)
        inks[some] = foreground[np.maximum(upper, lower)[some]] * 4
        return np.zeros_like(upper)
    split = upper != lower
    inks[~split] = upper[~split]
    top = split & (upper > 0)
    codes[top] = ord("▀")
    inks[top] = foreground[upper[top]] * 4 + lower[top]
    bottom = split & (upper == 0)
    codes[bottom] = ord("▄")
    inks[bottom] = foreground[lower[bottom]] * 4
    return np.maximum(upper, lower)


def _draw_cursor(
    chart: Chart,
    axes: _Axes,
    codes: NDArray[np.uint32],
    inks: NDArray[np.uint16],
    glyphs: Glyphs,
) -> None:
    """Draw the value cursor where nothing else stands."""
    if chart.cursor is None or (chart.log_x and chart.cursor <= 0):
        return
    x = float(np.log10(chart.cursor)) if chart.log_x else chart.cursor
    if not axes.window.x_low <= x <= axes.window.x_high:
        return
    column = axes.window.cell_column(x)
    free = codes[:, column] == 32
    codes[free, column] = ord(glyphs.vertical)
    inks[free, column] = AXIS * 4 + inks[free, column] % 4


def _draw_letters(picture: Picture, reduced: list[_Reduced], axes: _Axes) -> None:
    """Put each marker letter behind the end of its line, the focused arm's first."""
    taken: set[tuple[int, int]] = set()
    for item in reversed(reduced):
        if not item.traces:
            continue
        ends = item.traces[-1].highest
        known = np.flatnonzero(np.isfinite(ends))
        if not len(known):
            continue
        last = int(known[-1])
        row = int(axes.window.dot_row(ends[last : last + 1])[0]) // 4
        column = axes.left + last // 2 + 1
        places = [(row + dr, column + dc) for dr in _NEARBY for dc in range(_END_CELLS)]
        inside = [place for place in places if 0 <= place[0] < axes.window.rows]
        place = next((p for p in inside if p not in taken), None)
        if place is not None:
            taken.add(place)
            dim = 1 if item.line.prominence == "other" else 0
            picture.put(*place, item.line.letter, arm_ink(item.line.index, dim))
