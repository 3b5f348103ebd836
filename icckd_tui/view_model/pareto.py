"""Accuracy against cost: every arm a letter, the arms that nothing beats in full color."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from icckd.spec.metrics import OUTCOMES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import scale_for
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone

TIME = "time of a trial"
_COSTS = ("s", "bytes", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An arm: its place in the study, what it costs, what it reaches, whether nothing beats it."""

    index: int
    cost: float
    value: float
    best: bool


def costs_of(frame: Frame) -> tuple[str, ...]:
    """Return what an arm may cost: its trials' time, and outcomes of which less is better."""
    named = [
        name
        for name in frame.study.metrics
        if name in OUTCOMES
        and OUTCOMES[name].direction == "lower"
        and OUTCOMES[name].unit in _COSTS
    ]
    return (TIME, *named)


def points_of(frame: Frame, cost: str, only: frozenset[str]) -> tuple[Point, ...]:
    """Return the arms that have both a cost and a mean of the primary outcome."""
    found = {(row.arm, row.metric): row.mean for row in frame.comparisons}
    raw = []
    for index, arm in enumerate(frame.study.arms):
        if only and arm.name not in only:
            continue
        spent = _seconds(frame, arm.name) if cost == TIME else found.get((arm.name, cost))
        value = found.get((arm.name, frame.study.primary))
        if spent is not None and value is not None:
            raw.append((index, spent, value))
    known = OUTCOMES.get(frame.study.primary)
    sign = -1.0 if known is not None and known.direction == "lower" else 1.0
    return tuple(
        Point(index=i, cost=c, value=v, best=not any(
            oc <= c and sign * ov >= sign * v and (oc, ov) != (c, v) for _, oc, ov in raw
        ))
        for i, c, v in raw
    )  # fmt: skip


def _seconds(frame: Frame, arm: str) -> float | None:
    spent = [row.seconds for row in frame.trials if row.arm == arm and row.state == "complete"]
    return fmean(spent) if spent else None


def scatter_lines(
    frame: Frame, points: tuple[Point, ...], cost: str, width: int, height: int, glyphs: Glyphs
) -> list[Spans]:
    """Return the plane as lines: cost to the right, the primary outcome upwards."""
    rows, left = height - 2, 9
    columns = width - left - 2
    if not points or rows < 3 or columns < 12:
        return [(Span(" nothing complete yet", "muted"),)]
    costs, values = [p.cost for p in points], [p.value for p in points]
    x_low, x_high = _padded(costs)
    y_low, y_high = _padded(values)
    grid: list[list[Span]] = [[Span(" ")] * columns for _ in range(rows)]
    for point in sorted(points, key=lambda p: p.best):
        column = round((point.cost - x_low) / (x_high - x_low) * (columns - 1))
        row = round((y_high - point.value) / (y_high - y_low) * (rows - 1))
        column = _free(grid[row], column)
        tone = arm_tone(point.index) if point.best else "muted"
        grid[row][column] = Span(arm_letter(point.index), tone)
    unit = OUTCOMES[frame.study.primary].unit if frame.study.primary in OUTCOMES else ""
    y_scale, x_scale = scale_for(unit, values), scale_for(_cost_unit(cost), costs)
    labels = {0: y_scale.value(y_high), rows - 1: y_scale.value(y_low)}
    lines: list[Spans] = []
    for row in range(rows):
        label = glyphs.signed(labels.get(row, "")).rjust(left - 2)
        edge = glyphs.tick if row in labels else glyphs.vertical
        lines.append((Span(f"{label} {edge}", "muted"), *grid[row]))
    lines.append((Span(" " * (left - 1) + glyphs.corner + glyphs.horizontal * columns, "muted"),))
    low, high = (f"{x_scale.value(v)} {x_scale.unit}" for v in (x_low, x_high))
    gap = max(1, columns - len(low) - len(high))
    lines.append((Span(" " * left + low + " " * gap + high, "muted"),))
    return lines


def _cost_unit(cost: str) -> str:
    return "s" if cost == TIME else OUTCOMES[cost].unit


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = (high - low) * 0.08 or abs(low) * 0.05 or 1.0
    return low - air, high + air


def _free(row: list[Span], column: int) -> int:
    """Return the nearest free cell, so that no letter hides another."""
    for away in range(len(row)):
        for place in (column + away, column - away):
            if 0 <= place < len(row) and row[place].text == " ":
                return place
    return column


def pareto_title(frame: Frame, cost: str) -> str:
    """Return what the axes are."""
    primary = display(frame.study.primary, 30)
    return f"{primary} against {display(cost, 30)}"
