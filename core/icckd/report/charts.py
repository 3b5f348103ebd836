"""Charts of the HTML report as geometry: places in percent of their frame, texts beside them.

A template draws them as SVG that stretches with the page, and sets every text as HTML, so that it
is as large on a phone as on paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd.report.numbers import Scale, scale_for
from icckd.report.text import display, interval_text, mean_cell
from icckd.results.types import Comparison, Curve, StudyInfo

if TYPE_CHECKING:
    from icckd.results.query import Results

MOST_LINES = 8
MOST_CURVES = 4
MARGIN = 4.0
"""Percent of a frame left free on each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A value beside an axis: where it is, and its text."""

    place: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A learning curve: a path, and the band of its interval, or "". `number` gives its colour."""

    name: str
    number: int
    path: str
    band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveChart:
    """Learning curves of some arms on one series.

    Attributes:
        metric: The series.
        unit: Its unit, or "".
        lines: The curves, the baseline's first.
        left_out: How many arms are not shown.
        x, y: Ticks.
        has_bands: Whether an interval is known anywhere.
    """

    metric: str
    unit: str
    lines: tuple[Line, ...]
    left_out: int
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    has_bands: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """The seeds of one arm: their places with a text each, their mean, and it in words."""

    arm: str
    points: tuple[Tick, ...]
    mean: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointChart:
    """The primary outcome of every seed. `reference` is the place of the baseline's mean."""

    metric: str
    unit: str
    rows: tuple[PointRow, ...]
    reference: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """The difference of one arm: places of it and its interval, and both in words."""

    arm: str
    middle: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestChart:
    """Differences with intervals. `bound` holds the places of ± the smallest that matters."""

    rows: tuple[ForestRow, ...]
    zero: float
    bound: tuple[float, float] | None
    ticks: tuple[Tick, ...]


class Axis:
    """Where values stand between the ends of a frame, in percent."""

    def __init__(self, values: Iterable[float], margin: float = MARGIN) -> None:
        known = [value for value in values if math.isfinite(value)]
        self.low, self.high = min(known, default=0.0), max(known, default=0.0)
        self._margin = margin
        if self.low == self.high:
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def place(self, value: float) -> float:
        """Return the place of a value.

        >>> Axis([0.0, 10.0], margin=0.0).place(5.0)
        50.0
        """
        share = (value - self.low) / (self.high - self.low)
        return round(self._margin + (100 - 2 * self._margin) * share, 2)

    def ticks(self, count: int = 4) -> list[float]:
        """Return round values within the ends.

        >>> Axis([0.0, 20.0]).ticks(), Axis([61.2, 93.4]).ticks()
        ([0.0, 5.0, 10.0, 15.0, 20.0], [70.0, 80.0, 90.0])
        """
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.99)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def forest_chart(rows: Sequence[Comparison], scale: Scale, bound: float) -> ForestChart:
    """Return the differences of a forest plot; rows have intervals."""
    ends = [v for row in rows for v in (row.low, row.high, row.difference) if v is not None]
    axis = Axis([0.0, bound, -bound, *ends])
    return ForestChart(
        rows=tuple(
            ForestRow(
                arm=display(row.arm, 60),
                middle=axis.place(row.difference or 0.0),
                low=axis.place(row.low or 0.0),
                high=axis.place(row.high or 0.0),
                text=interval_text((row.difference, row.low, row.high), scale),
            )
            for row in rows
        ),
        zero=axis.place(0.0),
        bound=(axis.place(-bound), axis.place(bound)) if bound else None,
        ticks=tuple(
            Tick(place=axis.place(value), text=_short(value / scale.divisor, signed=True))
            for value in axis.ticks()
        ),
    )


def point_chart(
    results: "Results", study: StudyInfo, rows: Sequence[Comparison], scale: Scale
) -> PointChart | None:
    """Return every seed's primary outcome, arm by arm; None where no arm has one."""
    values = {
        arm: {seed: v for seed, v in by_seed.items() if math.isfinite(v)}
        for arm, by_seed in results.values(study, study.primary).items()
    }
    shown = [row for row in rows if values.get(row.arm)]
    if not shown:
        return None
    axis = Axis(v for row in shown for v in values[row.arm].values())
    means = {row.arm: sum(values[row.arm].values()) / len(values[row.arm]) for row in shown}
    return PointChart(
        metric=study.primary,
        unit=scale.unit,
        rows=tuple(
            PointRow(
                arm=display(row.arm, 60),
                points=tuple(
                    Tick(place=axis.place(v), text=f"seed {seed}: {scale.value(v)}")
                    for seed, v in sorted(values[row.arm].items())
                ),
                mean=axis.place(means[row.arm]),
                text=mean_cell(row, scale),
            )
            for row in shown
        ),
        reference=axis.place(means.get(study.baseline, means[shown[0].arm])),
        ticks=tuple(
            Tick(place=axis.place(value), text=_short(value / scale.divisor))
            for value in axis.ticks()
        ),
    )


def curve_charts(results: "Results", study: StudyInfo) -> tuple[CurveChart, ...]:
    """Return the learning curves of a study: validation accuracies, or else its first series."""
    names = results.series(study)
    chosen = [name for name in names if name.endswith(".val_top1")] or list(names)
    charts = (_curve_chart(study, results.curves(study, name), name) for name in chosen)
    return tuple(chart for chart in list(charts)[:MOST_CURVES] if chart is not None)


def _curve_chart(study: StudyInfo, curves: Sequence[Curve], metric: str) -> CurveChart | None:
    wanted = {study.baseline, *study.family} if study.family else {arm.name for arm in study.arms}
    shown = [curve for curve in curves if curve.arm in wanted and len(curve.epochs_E) > 1]
    left_out = len(curves) - len(shown[:MOST_LINES])
    shown = shown[:MOST_LINES]
    if not shown:
        return None
    middles = [float(v) for curve in shown for v in curve.mean_E]
    late = [
        float(v)
        for curve in shown
        for side in (curve.low_E, curve.high_E)
        for v in side[len(side) // 4 :]
        if math.isfinite(v)
    ]
    x = Axis((float(e) for curve in shown for e in curve.epochs_E), margin=0.0)
    y = Axis([*middles, *late])
    scale = scale_for(study.metric(metric).unit, middles)
    return CurveChart(
        metric=metric,
        unit=scale.unit,
        lines=tuple(
            Line(
                name=f"{display(curve.arm, 40)} (n = {int(curve.count_E.max())})",
                number=number,
                path=_path(x, y, curve.epochs_E, curve.mean_E),
                band=_band(x, y, curve),
            )
            for number, curve in enumerate(shown)
        ),
        left_out=left_out,
        x=tuple(Tick(place=x.place(v), text=_short(v)) for v in x.ticks()),
        y=tuple(
            Tick(place=round(100 - y.place(v), 2), text=_short(v / scale.divisor))
            for v in y.ticks()
        ),
        has_bands=any(_band(x, y, curve) for curve in shown),
    )


def _path(x: Axis, y: Axis, epochs: Iterable[float], values: Iterable[float]) -> str:
    points = [
        f"{x.place(float(e)):g} {100 - y.place(float(v)):g}"
        for e, v in zip(epochs, values, strict=True)
        if math.isfinite(v)
    ]
    return f"M{'L'.join(points)}" if points else ""


def _band(x: Axis, y: Axis, curve: Curve) -> str:
    """Return the outline of the interval, kept within the frame."""
    known = [
        (float(e), float(low), float(high))
        for e, low, high in zip(curve.epochs_E, curve.low_E, curve.high_E, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    ]
    if len(known) < 2:
        return ""
    within = [(e, max(low, y.low), min(high, y.high)) for e, low, high in known]
    there = [f"{x.place(e):g} {100 - y.place(low):g}" for e, low, _ in within]
    back = [f"{x.place(e):g} {100 - y.place(high):g}" for e, _, high in reversed(within)]
    return f"M{'L'.join([*there, *back])}Z"


def _short(value: float, *, signed: bool = False) -> str:
    """Return a tick's number without needless digits.

    >>> _short(70.0), _short(0.25, signed=True), _short(-0.0, signed=True)
    ('70', '+0.25', '0')
    """
    if value == 0:
        return "0"
    return f"{value:+.6g}" if signed else f"{value:.6g}"
