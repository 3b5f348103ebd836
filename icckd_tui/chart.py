"""Curves as charts: which lines, how prominent, on which axes, how smooth.

Series are smoothed before they are thinned out for the screen, so that the result does not depend
on its width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from icckd.study.metrics import Metric
from icckd_tui.data import Frame, arm_index, seconds_series, steps_of_epoch
from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import Span, Spans, arm_letter, arm_tone, display, duration, scale_for
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.results.types import Curve

Floats = NDArray[np.floating]
WEIGHTS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98)  # of the past; 0 leaves a series as it is
_SMALLEST = 1e-100  # weights below this end a block


def smoothed(values: Floats, weight: float) -> Floats:
    """Return the exponentially weighted mean of the values up to each place, NaN in gaps.

    Args:
        values: One series in its last axis, NaN where it has no value.
        weight: Share of the past, from 0 (no smoothing) to below 1.

    Returns:
        s_t / c_t with s_t = w s_(t-1) + (1 - w) x_t and c_t the same for a series of ones (the
        debiasing of Adam); a gap changes neither.
    """
    if weight <= 0.0 or not values.size:
        return values
    known = np.isfinite(values)
    if known.all():
        return _dense(values, weight)
    found = np.full(values.shape, np.nan)
    for place in np.ndindex(values.shape[:-1]):
        at = known[place]
        found[place][at] = _dense(values[place][at], weight)
    return found


def _dense(values: Floats, weight: float) -> Floats:
    """Smooth in blocks short enough that powers of the weight stay representable."""
    count = values.shape[-1]
    block = max(1, min(count, int(np.log(_SMALLEST) / np.log(weight))))
    powers = weight ** np.arange(1, block + 1)
    found = np.empty(values.shape)
    carried = np.zeros(values.shape[:-1])
    for start in range(0, count, block):
        part = values[..., start : start + block]
        scale = powers[: part.shape[-1]]
        inner = np.cumsum(part / scale, axis=-1) * scale * (1.0 - weight)
        found[..., start : start + block] = inner + carried[..., None] * scale
        carried = found[..., start + part.shape[-1] - 1]
    return found / (1.0 - weight ** np.arange(1, count + 1, dtype=np.float64))


Prominence = Literal["other", "baseline", "focus"]
SeedsMode = Literal["mean", "each", "both"]
XAxis = Literal["epoch", "step", "time", "relative"]
SEEDS_MODES: tuple[SeedsMode, ...] = ("mean", "each", "both")
X_AXES: tuple[XAxis, ...] = ("epoch", "step", "time", "relative")
WHOLE = (0.0, 1.0)
_PAINT_ORDER = ("other", "baseline", "focus")
_X_UNITS: dict[XAxis, str] = {"epoch": "epoch", "step": "step", "time": "s", "relative": "%"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartChoice:
    """What the user chose to see.

    Attributes:
        focus: The arm that is drawn in front.
        seeds: Whether to draw the mean with its interval, each seed, or both.
        smoothing: The place in `WEIGHTS` of the smoothing weight.
        window: The shown part of the x axis, as shares of the whole.
        cursor: The place of the value cursor, as a share of the whole.
        only: The arms to draw; empty for all.
        pinned: The arm that is drawn on top, "" for none.
    """

    focus: str
    seeds: SeedsMode = "mean"
    log_y: bool = False
    log_x: bool = False
    smoothing: int = 0
    x: XAxis = "epoch"
    window: tuple[float, float] = WHOLE
    cursor: float | None = None
    only: frozenset[str] = frozenset()
    pinned: str = ""

    @property
    def weight(self) -> float:
        """The share of the past in the smoothed value."""
        return WEIGHTS[self.smoothing]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """The curve of one arm, ready to be drawn.

    Attributes:
        index: The arm's place in the study, which gives color and letter.
        low_E: The lower end of the 95 % interval; None for a single seed.
        seeds_SE: The series of each seed, where they are drawn.
        pinned: Whether it is drawn on top of all others.
        banded: Whether the interval is drawn. The y axis has room for it in any case, so that the
            axis stays when the focus moves.
    """

    index: int
    name: str
    prominence: Prominence
    x_E: Floats  # noqa: N815
    mean_E: Floats | None  # noqa: N815
    low_E: Floats | None = None  # noqa: N815
    high_E: Floats | None = None  # noqa: N815
    seeds_SE: Floats | None = None  # noqa: N815
    banded: bool = False
    pinned: bool = False

    @property
    def is_dim(self) -> bool:
        """Whether it stays in the background."""
        return self.prominence == "other" and not self.pinned

    @property
    def letter(self) -> str:
        """The marker letter."""
        return arm_letter(self.index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chart:
    """Lines in painting order, the range of x in its unit, and which axes are logarithmic."""

    lines: tuple[Line, ...]
    x_low: float
    x_high: float
    x_unit: str = "epoch"
    log_y: bool = False
    log_x: bool = False
    cursor: float | None = None
    unit: str = ""


EMPTY = Chart(lines=(), x_low=0.0, x_high=1.0)


def chart_of(frame: Frame, metric: str | None, choice: ChartChoice) -> Chart:
    """Return the chart of a metric.

    The x axis is fixed to what is planned, so that it does not move while curves grow.
    """
    curves = [
        curve
        for curve in frame.curves.get(metric or "", ())
        if len(curve.epochs_E)
        and (not choice.only or curve.arm in choice.only or curve.arm == choice.pinned)
    ]
    axis = _x_axis(frame, metric, choice)
    lines = [_line(frame, curve, choice, axis) for curve in curves]
    lines.sort(key=lambda line: (line.pinned, _PAINT_ORDER.index(line.prominence), -line.index))
    lines = [line for line in lines if len(line.x_E)]
    if not lines:
        return EMPTY
    low, high = _whole_range(curves, lines, axis)
    span = high - low
    return Chart(
        lines=tuple(lines),
        x_low=low + choice.window[0] * span,
        x_high=low + choice.window[1] * span,
        x_unit=_X_UNITS[axis.kind],
        log_y=choice.log_y,
        log_x=choice.log_x,
        cursor=None if choice.cursor is None else low + choice.cursor * span,
        unit=frame.study.metric(metric or "").unit,
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """How epochs become x: the kind of axis, and the steps or seconds that it needs."""

    kind: XAxis
    steps: int = 0
    seconds: Mapping[str, tuple[Floats, Floats]] | None = None


def _x_axis(frame: Frame, metric: str | None, choice: ChartChoice) -> _Axis:
    """Return the axis that was chosen, or epochs where its values are not known."""
    stage = (metric or "").split(".", 1)[0]
    if choice.x == "step":
        steps = steps_of_epoch(frame.study, stage)
        return _Axis("step", steps=steps) if steps else _Axis("epoch")
    if choice.x == "time":
        curves = frame.curves.get(seconds_series(metric or ""), ())
        at = {c.arm: (c.epochs_E.astype(np.float64), c.mean_E) for c in curves if len(c.epochs_E)}
        return _Axis("time", seconds=at) if at else _Axis("epoch")
    return _Axis(choice.x)


def _x_values(curve: Curve, axis: _Axis) -> Floats:
    epochs = curve.epochs_E.astype(np.float64)
    if axis.kind == "step":
        return epochs * axis.steps
    if axis.kind == "relative":
        return 100.0 * epochs / max(1, curve.planned_epochs)
    if axis.kind == "time" and axis.seconds is not None:
        known = axis.seconds.get(curve.arm)
        return np.interp(epochs, *known) if known is not None else epochs[:0]
    return epochs


def _whole_range(curves: list[Curve], lines: list[Line], axis: _Axis) -> tuple[float, float]:
    first = min(float(line.x_E[0]) for line in lines)
    last = max(float(line.x_E[-1]) for line in lines)
    planned = float(max(curve.planned_epochs for curve in curves))
    low, high = {
        "epoch": (min(1.0, first), planned),
        "step": (0.0, planned * axis.steps),
        "time": (0.0, last),
        "relative": (0.0, 100.0),
    }[axis.kind]
    high = max(high, last)
    return low, high if high > low else low + 1.0


def _line(frame: Frame, curve: Curve, choice: ChartChoice, axis: _Axis) -> Line:
    prominence: Prominence = "other"
    if curve.arm == frame.reference:
        prominence = "baseline"
    if curve.arm == choice.focus:
        prominence = "focus"
    x = _x_values(curve, axis)
    spread = len(curve.seeds) > 1
    each = prominence != "other" and choice.seeds != "mean"
    kept = slice(0, len(x))

    def smooth(values: Floats) -> Floats:
        return smoothed(values[..., kept], choice.weight)

    return Line(
        index=arm_index(frame.study, curve.arm),
        name=display(curve.arm, 24),
        prominence=prominence,
        x_E=x,
        mean_E=None if each and choice.seeds == "each" else smooth(curve.mean_E),
        low_E=smooth(curve.low_E) if spread else None,
        high_E=smooth(curve.high_E) if spread else None,
        seeds_SE=smooth(curve.values_SE) if each else None,
        banded=spread and prominence != "other" and choice.seeds != "each",
        pinned=curve.arm == choice.pinned,
    )


def chart_title(metric: Metric | None, choice: ChartChoice, glyphs: Glyphs) -> str:
    """Return metric, unit and what the lines mean."""
    if metric is None:
        return "Curves"
    unit = "" if metric.unit == "1" else metric.unit
    meaning = {
        "mean": f"mean {glyphs.plus_minus} 95 %",
        "each": "each seed",
        "both": f"mean {glyphs.plus_minus} 95 % and each seed",
    }[choice.seeds]
    parts = [f"{display(metric.name, 40)}{f' ({unit})' if unit else ''}", meaning]
    if choice.smoothing:
        parts.append(f"smoothed {choice.weight:g}")
    logs = [axis for axis, on in (("x", choice.log_x), ("y", choice.log_y)) if on]
    if logs:
        parts.append(f"log {' '.join(logs)}")
    if choice.window != WHOLE:
        parts.append(f"{100 * (choice.window[1] - choice.window[0]):.0f} % of x")
    return f" {glyphs.separator} ".join(parts)


def legend_of(chart: Chart, glyphs: Glyphs) -> Spans:
    """Return letters and names, the focused arm and the baseline first; values at the cursor."""
    spans: list[Span] = []
    ordered = sorted(
        chart.lines,
        key=lambda line: (not line.pinned, -_PAINT_ORDER.index(line.prominence), line.index),
    )
    if chart.cursor is not None and ordered:
        at = duration(chart.cursor) if chart.x_unit == "s" else f"{chart.x_unit} {chart.cursor:.0f}"
        spans.append(Span(f" {at} ", "key"))
    for line in ordered:
        tone = "muted" if line.is_dim else "strong"
        mark = glyphs.mark if line.pinned else ""
        text = line.name
        if chart.cursor is not None:
            text = value_text(line, chart.cursor, chart.unit, glyphs)
        spans += [Span(f" {line.letter}{mark} ", arm_tone(line.index)), Span(f"{text} ", tone)]
    return tuple(spans)


def value_text(line: Line, x: float, unit: str, glyphs: Glyphs) -> str:
    """Return what a line shows at the point nearest to x: its mean, and half its interval."""
    at = nearest(line, x)
    if at is None or line.mean_E is None:
        return "-"
    value = float(line.mean_E[at])
    scale = scale_for(unit, [value])
    text = glyphs.signed(scale.value(value))
    if line.low_E is not None and line.high_E is not None and np.isfinite(line.high_E[at]):
        half = float(line.high_E[at] - line.low_E[at]) / 2
        text += f" {glyphs.plus_minus}{scale.value(half)}"
    return text


def nearest(line: Line, x: float) -> int | None:
    """Return the place of the point nearest to x, None outside the line's points."""
    if not len(line.x_E) or not line.x_E[0] <= x <= line.x_E[-1]:
        return None
    right = int(np.searchsorted(line.x_E, x))
    left = max(0, right - 1)
    return left if right >= len(line.x_E) or x - line.x_E[left] < line.x_E[right] - x else right


def value_table(frame: Frame, charts: Sequence[tuple[str, Chart]], glyphs: Glyphs) -> Table:
    """Return a row for each arm and a column for each chart: the value nearest to the cursor.

    Several charts may show the same metric.
    """
    texts: list[dict[int, str]] = [
        {
            line.index: value_text(line, chart.cursor, chart.unit, glyphs)
            for line in chart.lines
            if chart.cursor is not None
        }
        for _, chart in charts
    ]
    shown = [
        place for place, arm in enumerate(frame.study.arms)
        if any(place in column for column in texts)
    ]  # fmt: skip
    rows = []
    for place in shown:
        name = display(frame.study.arms[place].name, 20)
        head: Spans = (Span(f"{arm_letter(place)} ", arm_tone(place)), Span(name))
        cells = ((Span(column.get(place, "-")),) for column in texts)
        rows.append(Row(key=frame.study.arms[place].name, cells=(head, *cells)))
    columns = [Column(key="arm", titles=("", "arm"), width=22)]
    for place, ((metric, chart), column) in enumerate(zip(charts, texts, strict=True), start=1):
        titles = (display(metric, 22), "" if chart.unit == "1" else chart.unit)
        width = max(len(titles[0]), *(len(text) for text in column.values()), 1)
        is_shown_before = any(metric == each.key for each in columns)
        key = f"{metric} ({place})" if is_shown_before else metric
        columns.append(Column(key=key, titles=titles, width=width, right=True))
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
