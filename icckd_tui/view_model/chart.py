"""The curves to draw: which arms, how prominent, on which axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from icckd.spec.metrics import SERIES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame, arm_index
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone

if TYPE_CHECKING:
    from icckd.results.types import Curve

Floats = NDArray[np.float64]
Prominence = Literal["other", "baseline", "focus"]
_PAINT_ORDER = ("other", "baseline", "focus")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartChoice:
    """What the user chose to see."""

    focus: str
    seeds: bool = False
    log: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One arm's curve. `index` is the arm's place in the study, which gives color and letter."""

    index: int
    name: str
    prominence: Prominence
    x_E: Floats  # noqa: N815
    mean_E: Floats  # noqa: N815
    low_E: Floats  # noqa: N815
    high_E: Floats  # noqa: N815
    seeds_SE: Floats  # noqa: N815

    @property
    def letter(self) -> str:
        """The marker letter."""
        return arm_letter(self.index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chart:
    """Lines in painting order, and the ranges of both axes in their own units."""

    lines: tuple[Line, ...]
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    seeds: bool
    log: bool


EMPTY = Chart(lines=(), x_low=0.0, x_high=1.0, y_low=0.0, y_high=1.0, seeds=False, log=False)


def chart_of(frame: Frame, choice: ChartChoice) -> Chart:
    """Return the chart of the frame's metric.

    The x axis is fixed to the planned epochs, and the y axis to the values of all seeds of all
    arms, so that neither moves when the focus does. With `late`, the y axis holds the values of
    the later half of the epochs alone: there arms differ by little, and early epochs hide it.
    """
    lines = sorted(
        (_line(frame, curve, choice.focus) for curve in frame.curves if len(curve.epochs_E)),
        key=lambda line: (_PAINT_ORDER.index(line.prominence), -line.index),
    )
    if not lines:
        return EMPTY
    y_low, y_high = _y_range(lines, choice)
    planned = max(curve.planned_epochs for curve in frame.curves)
    return Chart(
        lines=tuple(lines),
        x_low=min(1.0, *(float(line.x_E[0]) for line in lines)),
        x_high=max(float(planned), *(float(line.x_E[-1]) for line in lines)),
        y_low=y_low,
        y_high=y_high,
        seeds=choice.seeds,
        log=choice.log,
    )


def _y_range(lines: list[Line], choice: ChartChoice) -> tuple[float, float]:
    first = max(line.x_E[-1] for line in lines) / 2 if choice.late else -np.inf
    values = np.concatenate([line.seeds_SE[:, line.x_E >= first].ravel() for line in lines])
    usable = values[np.isfinite(values) & ((values > 0) | (not choice.log))]
    return (float(usable.min()), float(usable.max())) if usable.size else (0.0, 1.0)


def _line(frame: Frame, curve: Curve, focus: str) -> Line:
    prominence: Prominence = "other"
    if curve.arm == frame.study.baseline:
        prominence = "baseline"
    if curve.arm == focus:
        prominence = "focus"
    return Line(
        index=arm_index(frame.study, curve.arm),
        name=display(curve.arm, 24),
        prominence=prominence,
        x_E=curve.epochs_E.astype(np.float64),
        mean_E=curve.mean_E,
        low_E=curve.low_E,
        high_E=curve.high_E,
        seeds_SE=curve.values_SE,
    )


def chart_title(frame: Frame, choice: ChartChoice, glyphs: Glyphs) -> str:
    """Return metric, unit and what the lines mean."""
    if frame.metric is None:
        return "Curves"
    unit = SERIES[frame.metric].unit if frame.metric in SERIES else "1"
    shown = f" ({unit})" if unit != "1" else ""
    meaning = "each seed" if choice.seeds else f"mean {glyphs.plus_minus} 95 % over seeds"
    log = f" {glyphs.separator} log" if choice.log else ""
    late = f" {glyphs.separator} y of the later half" if choice.late else ""
    return f"{display(frame.metric, 40)}{shown} {glyphs.separator} {meaning}{log}{late}"


def legend_of(chart: Chart) -> Spans:
    """Return letters and names, the focused arm and the baseline first."""
    spans: list[Span] = []
    for line in sorted(
        chart.lines, key=lambda line: (-_PAINT_ORDER.index(line.prominence), line.index)
    ):
        tone = "muted" if line.prominence == "other" else "strong"
        spans += [Span(f" {line.letter} ", arm_tone(line.index)), Span(f"{line.name} ", tone)]
    return tuple(spans)
