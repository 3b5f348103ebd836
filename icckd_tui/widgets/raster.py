"""Curves to dots: an exact minimum and maximum for every column, so that no spike vanishes.

A terminal cell holds 2 x 4 dots. Points are arrays `x`, `y`; a span is `lowest` to `highest`, one
value of each for every dot column. Several series over the same `x` are rows of one `y`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """Return the lowest and highest value of the polyline in each dot column, NaN where it is not.

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
