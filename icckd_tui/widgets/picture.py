"""A chart as a grid of characters and inks: pure, so that two pictures can be compared.

An ink is a number: foreground * 4 + background. Foregrounds are 0 nothing, 1 axis, and for the arm
at place i: 2 + 3 i its color, 3 + 3 i the same dimmed, 4 + 3 i the color of its band. Backgrounds
are 0 none, 1 the baseline's band, 2 the focused arm's band, 3 both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.chart import Chart, Line
from icckd_tui.widgets.raster import Dots, Window, band_dots, halves, line_dots, packed
from icckd_tui.widgets.scale import labels, log_ticks, ticks, transformed, widened

AXIS = 1
_END_CELLS = 3  # room on the right for marker letters
_NEARBY = (0, 1, -1, 2, -2)


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
        """Yield a row's text in pieces of one ink."""
        text = self.codes[row].astype("<u4").tobytes().decode("utf-32-le")
        cuts = [0, *(np.flatnonzero(np.diff(self.inks[row])) + 1).tolist(), len(text)]
        for start, end in pairwise(cuts):
            yield text[start:end], int(self.inks[row, start])

    def changed_spans(self, other: "Picture | None") -> list[tuple[int, int, int]]:
        """Return (row, first column, one past the last) of every row that differs."""
        if other is None or self.codes.shape != other.codes.shape:
            height, width = self.codes.shape
            return [(row, 0, width) for row in range(height)]
        differs = (self.codes != other.codes) | (self.inks != other.inks)
        rows = np.flatnonzero(differs.any(axis=1))
        first = differs.argmax(axis=1)
        last = differs.shape[1] - differs[:, ::-1].argmax(axis=1)
        return [(int(row), int(first[row]), int(last[row])) for row in rows]


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
    """Draw the chart; `shaded` draws bands as a pattern for terminals with few colors."""
    picture = Picture.blank(width, height)
    if not chart.lines or width < 16 or height < 4:
        return picture
    axes = _axes(chart, width, height)
    _draw_axes(picture, axes, glyphs)
    rows, columns = axes.window.rows, axes.window.columns
    codes = picture.codes[:rows, axes.left : axes.left + columns]
    inks = picture.inks[:rows, axes.left : axes.left + columns]
    ground = np.zeros((rows, columns), np.uint16)
    if not chart.seeds:
        ground = _draw_bands(chart, axes.window, codes, inks, glyphs, shaded)
    _draw_lines(chart, axes.window, codes, inks, ground, glyphs)
    _draw_letters(picture, chart, axes)
    return picture


def _draw_lines(
    chart: Chart,
    window: Window,
    codes: NDArray[np.uint32],
    inks: NDArray[np.uint16],
    ground: NDArray[np.uint16],
    glyphs: Glyphs,
) -> None:
    """Draw each line over those before it; only lines out of focus share a cell's dots."""
    cells = np.array([ord(char) for char in glyphs.cells], np.uint32)
    shared = np.zeros((window.rows, window.columns), np.uint8)
    for line in chart.lines:
        pattern = packed(_dots(chart, line, window))
        drawn = pattern > 0
        other = line.prominence == "other"
        if other:
            shared |= pattern
        codes[drawn] = cells[(shared if other else pattern)[drawn]]
        inks[drawn] = arm_ink(line.index, 1 if other else 0) * 4 + ground[drawn]


def _axes(chart: Chart, width: int, height: int) -> _Axes:
    rows = height - 2
    y_low, y_high = widened(chart.y_low, chart.y_high, log=chart.log)
    most = max(2, min(8, rows // 2))
    y_values = log_ticks(y_low, y_high, most) if chart.log else ticks(y_low, y_high, most)
    y_labels = labels(y_values)
    left = max([5, *map(len, y_labels)]) + 1
    columns = max(1, width - left - _END_CELLS)
    low, high = transformed(np.array([y_low, y_high]), log=chart.log)
    x_high = chart.x_high if chart.x_high > chart.x_low else chart.x_low + 1
    x_values = [v for v in ticks(chart.x_low, x_high, max(2, columns // 12)) if v == int(v)]
    if chart.x_low not in x_values and x_values and x_values[0] - chart.x_low > 1:
        x_values.insert(0, chart.x_low)
    placed = transformed(np.array(y_values), log=chart.log)
    return _Axes(
        window=Window(chart.x_low, x_high, float(low), float(high), columns, rows),
        left=left,
        x_ticks=tuple(zip(x_values, (f"{v:.0f}" for v in x_values), strict=True)),
        y_ticks=tuple(zip(map(float, placed), y_labels, strict=True)),
    )


def _draw_axes(picture: Picture, axes: _Axes, glyphs: Glyphs) -> None:
    rows, edge = axes.window.rows, axes.left - 1
    for row in range(rows):
        picture.put(row, edge, glyphs.vertical, AXIS)
    for value, label in axes.y_ticks:
        row = int(axes.window.dot_row(np.array([value]))[0]) // 4
        picture.put(row, 0, label.rjust(edge), AXIS)
        picture.put(row, edge, glyphs.tick, AXIS)
    picture.put(rows, edge, glyphs.corner + glyphs.horizontal * axes.window.columns, AXIS)
    picture.put(rows + 1, 0, "epoch".rjust(edge), AXIS)
    free = axes.left - 1
    for value, label in axes.x_ticks:
        column = axes.left + axes.window.cell_column(value)
        start = max(free, min(column - len(label) // 2, picture.codes.shape[1] - len(label)))
        picture.put(rows + 1, start, label, AXIS)
        free = start + len(label) + 1


def _draw_bands(
    chart: Chart,
    window: Window,
    codes: NDArray[np.uint32],
    inks: NDArray[np.uint16],
    glyphs: Glyphs,
    shaded: bool,
) -> NDArray[np.uint16]:
    """Draw the baseline's and the focused arm's interval, at half a cell of height.

    Returns the background that a line gets in each cell.
    """
    banded = [line for line in chart.lines if line.prominence != "other"]
    covered = np.zeros((window.rows * 2, window.columns), np.uint16)
    bands: dict[int, int] = {3: 0}
    for line in banded:
        number = 2 if line.prominence == "focus" else 1
        low, high = (transformed(v, log=chart.log) for v in (line.low_E, line.high_E))
        covered |= np.where(halves(band_dots(line.x_E, low, high, window)), number, 0).astype(
            np.uint16
        )
        bands[number] = bands[3] = arm_ink(line.index, 2)
    upper, lower = covered[0::2], covered[1::2]
    if shaded:
        some = (upper > 0) | (lower > 0)
        codes[some] = ord(glyphs.shade)
        ink = np.array([0, bands.get(1, 0), bands.get(2, 0), bands[3]], np.uint16)
        inks[some] = ink[np.maximum(upper, lower)[some]] * 4
        return np.zeros_like(upper)
    split = upper != lower
    inks[~split] = upper[~split]
    foreground = np.array([0, bands.get(1, 0), bands.get(2, 0), bands[3]], np.uint16)
    top = split & (upper > 0)
    codes[top] = ord("▀")
    inks[top] = foreground[upper[top]] * 4 + lower[top]
    bottom = split & (upper == 0)
    codes[bottom] = ord("▄")
    inks[bottom] = foreground[lower[bottom]] * 4
    return np.maximum(upper, lower)


def _dots(chart: Chart, line: Line, window: Window) -> Dots:
    """Return the dots of a line: its mean, or each seed where those are wanted."""
    each = chart.seeds and line.prominence != "other"
    values = line.seeds_SE if each else line.mean_E[None, :]
    dots = np.zeros((window.rows * 4, window.columns * 2), np.bool_)
    for row in values:
        dots |= line_dots(line.x_E, transformed(row, log=chart.log), window)
    return dots


def _draw_letters(picture: Picture, chart: Chart, axes: _Axes) -> None:
    """Put each marker letter behind the end of its line, the focused arm's first."""
    taken: set[tuple[int, int]] = set()
    for line in reversed(chart.lines):
        mean = transformed(line.mean_E, log=chart.log)
        known = np.flatnonzero(np.isfinite(mean))
        if not len(known):
            continue
        last = known[-1]
        row = int(axes.window.dot_row(mean[last : last + 1])[0]) // 4
        column = axes.left + axes.window.cell_column(float(line.x_E[last])) + 1
        places = [(row + dr, column + dc) for dr in _NEARBY for dc in range(_END_CELLS)]
        inside = [place for place in places if 0 <= place[0] < axes.window.rows]
        place = next((p for p in inside if p not in taken), None)
        if place is not None:
            taken.add(place)
            dim = 1 if line.prominence == "other" else 0
            picture.put(*place, line.letter, arm_ink(line.index, dim))
