"""Charts drawn as pictures of characters and inks, two of which can be compared cell by cell.

An ink is a number: foreground * 4 + background. Foregrounds are 0 nothing, 1 axis, and for the arm
at place i: 2 + 3 i its color, 3 + 3 i the same dimmed, 4 + 3 i the color of its band. Backgrounds
are 0 none, 1 the baseline's band, 2 the focused arm's band, 3 both.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icckd_tui.chart import Chart, Line
from icckd_tui.theme import Glyphs

AXIS = 1


def arm_ink(index: int, kind: int = 0) -> int:
    """Return the foreground of an arm: `kind` 0 its color, 1 dimmed, 2 its band."""
    return 2 + 3 * index + kind


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Characters (code points) and inks, both (rows, columns)."""

    codes: NDArray[np.uint32]
    inks: NDArray[np.uint16]

    @classmethod
    def blank(cls, width: int, height: int) -> "Picture":
        """Return an empty picture."""
        return cls(np.full((height, width), 32, np.uint32), np.zeros((height, width), np.uint16))

    def put(self, row: int, column: int, text: str, ink: int) -> None:
        """Write text; what does not fit is left out."""
        height, width = self.codes.shape
        if not 0 <= row < height:
            return
        for place, char in enumerate(text, column):
            if 0 <= place < width:
                self.codes[row, place] = ord(char)
                self.inks[row, place] = ink * 4

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.codes)

    def runs(self, row: int) -> Iterator[tuple[str, int]]:
        """Yield a row's text in pieces of one ink; a blank needs no foreground of its own."""
        text = self.codes[row].astype("<u4").tobytes().decode("utf-32-le")
        inks = self.inks[row]
        cuts = [0, *(np.flatnonzero(np.diff(inks)) + 1).tolist(), len(text)]
        piece, ink = "", int(inks[0])
        for start, end in pairwise(cuts):
            more, new = text[start:end], int(inks[start])
            if more.isspace() and new % 4 == ink % 4:
                piece += more
            elif (not piece or piece.isspace()) and new % 4 == ink % 4:
                piece, ink = piece + more, new
            else:
                yield piece, ink
                piece, ink = more, new
        yield piece, ink

    def changed_spans(
        self, other: "Picture | None", *, new_bands: bool = False
    ) -> list[tuple[int, int, int]]:
        """Return (row, first column, one past the last) of every row that differs.

        With `new_bands` the same backgrounds are other arms' now, so that they differ too.
        """
        if other is None or self.codes.shape != other.codes.shape:
            height, width = self.codes.shape
            return [(row, 0, width) for row in range(height)]
        differs = (self.codes != other.codes) | (self.inks != other.inks)
        if new_bands:
            differs |= (self.inks % 4 > 0) | (other.inks % 4 > 0)
        rows = np.flatnonzero(differs.any(axis=1))
        first = differs.argmax(axis=1)
        last = differs.shape[1] - differs[:, ::-1].argmax(axis=1)
        return [(int(row), int(first[row]), int(last[row])) for row in rows]


# Curves to dots: an exact minimum and maximum for every column, so that no spike vanishes.
#
# A terminal cell holds 2 x 4 dots. Points are arrays `x`, `y`; a span is `lowest` to `highest`, one
# value of each for every dot column. Several series over the same `x` are rows of one `y`.

Floats = NDArray[np.floating]
Dots = NDArray[np.bool_]

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)


class Window(NamedTuple):
    """The part of the plane that is drawn, and its size in terminal cells."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    columns: int
    rows: int

    def dot_row(self, y: Floats) -> NDArray[np.int64]:
        """Return the dot row of each value, 0 at the top; values outside go to the border."""
        last = self.rows * 4 - 1
        share = (self.y_high - y) / (self.y_high - self.y_low)
        rows: NDArray[np.int64] = np.clip(np.floor(share * (last + 1)), 0, last).astype(np.int64)
        return rows

    def cell_column(self, x: float) -> int:
        """Return the cell column of a value."""
        share = (x - self.x_low) / (self.x_high - self.x_low)
        return int(np.clip(share * self.columns, 0, self.columns - 1))


def column_spans(x: Floats, y: Floats, window: Window) -> tuple[Floats, Floats]:
    """Return the lowest and highest value of the polyline in each dot column, NaN outside it.

    A NaN in `y` is a gap: its neighbors are not joined. `x` must rise. Points run along the last
    axis of `y`, and the columns along that of what is returned.
    """
    edges = np.linspace(window.x_low, window.x_high, window.columns * 2 + 1)
    at_edges = _between_points(x, y, edges)
    lowest = np.fmin(at_edges[..., :-1], at_edges[..., 1:])
    highest = np.fmax(at_edges[..., :-1], at_edges[..., 1:])
    places = np.searchsorted(x, edges)  # few edges among many points, never the other way round
    places[-1] = np.searchsorted(x, edges[-1], side="right")
    occupied = np.flatnonzero(np.diff(places) > 0)
    if occupied.size:
        starts = places[occupied]
        values = y[..., : places[-1]]
        infinite = np.isinf(values)
        if infinite.any():
            values = np.where(infinite, np.nan, values)
        least, most = (f.reduceat(values, starts, axis=-1) for f in (np.fmin, np.fmax))
        lowest[..., occupied] = np.fmin(lowest[..., occupied], least)
        highest[..., occupied] = np.fmax(highest[..., occupied], most)
    return lowest, highest


def _between_points(x: Floats, y: Floats, edges: Floats) -> Floats:
    """Return the polyline's value at each edge, NaN outside the points and beside a gap."""
    if len(x) < 2:
        return np.full((*y.shape[:-1], len(edges)), np.nan)
    left = np.clip(np.searchsorted(x, edges, side="right") - 1, 0, len(x) - 2)
    x_left, x_right = x[left], x[left + 1]
    share = (edges - x_left) / np.maximum(x_right - x_left, np.finfo(np.float64).tiny)
    value = y[..., left] * (1 - share) + y[..., left + 1] * share
    return np.where((edges >= x[0]) & (edges <= x[-1]), value, np.nan)


def filled(lowest: Floats, highest: Floats, window: Window) -> Dots:
    """Return the dots from the lowest to the highest value of each column."""
    drawn = np.isfinite(lowest) & np.isfinite(highest)
    drawn &= (highest >= window.y_low) & (lowest <= window.y_high)
    top = window.dot_row(np.where(drawn, highest, window.y_low))
    bottom = window.dot_row(np.where(drawn, lowest, window.y_low))
    rows = np.arange(window.rows * 4)[:, None]
    return (rows >= top) & (rows <= bottom) & drawn


def packed(dots: Dots) -> NDArray[np.uint8]:
    """Return one dot pattern for each cell, numbered as in the Unicode braille block."""
    patterns = np.zeros((dots.shape[0] // 4, dots.shape[1] // 2), np.uint8)
    for (row, column), bit in np.ndenumerate(_BITS):
        patterns |= dots[row::4, column::2] * bit
    return patterns


def halves(dots: Dots) -> Dots:
    """Return, for the upper and lower half of each cell, whether most of it is filled."""
    rows, columns = dots.shape[0] // 2, dots.shape[1] // 2
    blocks = dots.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
    mostly: Dots = blocks.sum(axis=(2, 3)) >= 2
    return mostly


# Axes: where ticks go and what they say.


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that needs at most `most` steps.

    >>> nice_step(30, 6), nice_step(0.7, 4)
    (5.0, 0.2)
    """
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        (factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= rough * (1 - 1e-9)),
        10.0 * power,
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` + 1 nice values within [low, high]; none for a range without width."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    step = nice_step(high - low, most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return 1-2-5 ticks of a logarithmic axis, or powers of ten alone when those are many."""
    if not (0 < low < high and math.isfinite(high)):
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) <= most + 1:
            break
    every = max(1, math.ceil(len(found) / (most + 1)))
    return found[::every] if len(found) >= 2 else ticks(low, high, most)


def widened(low: float, high: float) -> tuple[float, float]:
    """Return a range with some width and a little air around the values, in axis units."""
    if high <= low:
        air = abs(low) * 0.05 or 1.0
        return low - air, high + air
    air = (high - low) * 0.03
    return low - air, high + air


def labels(values: list[float]) -> list[str]:
    """Return short labels, all with the decimals that the finest step needs.

    >>> labels([0.0, 0.5, 1.0]), labels([0.001, 0.01, 0.1])
    (['0.0', '0.5', '1.0'], ['0.001', '0.010', '0.100'])
    """
    if not values:
        return []
    steps = [abs(b - a) for a, b in pairwise(values)]
    finest = min([s for s in steps if s > 0], default=abs(values[0]) or 1.0)
    largest = max(abs(v) for v in values)
    if largest >= 1e6 or finest < 1e-4:
        return [f"{v:.3g}" for v in values]
    decimals = max(0, -math.floor(math.log10(finest) + 1e-9))
    return [f"{v:.{decimals}f}" for v in values]


def transformed(values: Floats, *, log: bool) -> Floats:
    """Return values in axis units; on a log axis, values of 0 and below become gaps."""
    if not log:
        return np.where(np.isfinite(values), values, np.nan)
    usable = np.isfinite(values) & (values > 0)
    return np.where(usable, np.log10(np.where(usable, values, 1.0)), np.nan)


# From a chart to a picture.

_END_CELLS = 3  # room on the right for marker letters


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
            banded=line.banded, pinned=line.pinned,
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
        other = item.line.is_dim
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
    """Put each marker letter behind the end of its line, none over another.

    Lines that end near each other share a column of letters; they stand in the order of their ends.
    """
    ends: dict[int, list[tuple[int, _Reduced]]] = {}
    for item in reduced:
        if not item.traces:
            continue
        known = np.flatnonzero(np.isfinite(item.traces[-1].highest))
        if not len(known):
            continue
        last = int(known[-1])
        end = item.traces[-1].highest[last : last + 1]
        row = int(axes.window.dot_row(end)[0])
        column = last // 2
        near = next((each for each in ends if abs(each - column) < _END_CELLS), column)
        ends.setdefault(near, []).append((row, item))
    rows = axes.window.rows
    for column, found in ends.items():
        found.sort(key=lambda pair: (pair[0], not pair[1].line.pinned, pair[1].line.index))
        shares = 2 if len(found) <= 2 * rows else _END_CELLS  # with a blank between, or without
        used: dict[int, int] = {}
        placed = spread_out([row // 4 for row, _ in found[: shares * rows]], rows, shares)
        for row, (_, item) in zip(placed, found, strict=False):
            place = used.get(row, 0)
            used[row] = place + (2 if shares == 2 else 1)
            ink = arm_ink(item.line.index, 1 if item.line.is_dim else 0)
            picture.put(row, axes.left + column + 1 + place, item.line.letter, ink)


def spread_out(wanted: list[int], rows: int, shares: int) -> list[int]:
    """Return a row for each of some rising wishes, in their order and as near as can be.

    At most `shares` have the same row; wishes that would meet become a block around their mean.

    >>> spread_out([3, 3, 3, 3], 10, 2), spread_out([0, 0, 0, 9], 10, 2), spread_out([9, 9], 10, 1)
    ([2, 2, 3, 3], [0, 0, 1, 9], [8, 9])
    """
    blocks: list[list[int]] = []

    def height(block: list[int]) -> int:
        return -(-len(block) // shares)

    def start(block: list[int]) -> int:
        first = math.ceil(sum(block) / len(block) - height(block) / 2)
        return min(max(first, 0), rows - height(block))

    for wish in wanted:
        blocks.append([wish])
        while len(blocks) > 1 and start(blocks[-2]) + height(blocks[-2]) > start(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [start(block) + place // shares for block in blocks for place in range(len(block))]
