"""Numbers of one metric as text: one scale and one precision for a whole column."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from icckd.results.types import Comparison

_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1))
_DECIMALS = {"%": 2, "epochs": 1, "steps": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How a column shows its numbers: divided by `factor`, with `decimals`, in `unit`."""

    unit: str
    factor: float
    decimals: int

    def value(self, number: float) -> str:
        """Return a value."""
        return f"{number / self.factor:.{self.decimals}f}"

    def difference(self, number: float) -> str:
        """Return a difference, with its sign unless it rounds to 0."""
        text = f"{number / self.factor:+.{self.decimals}f}"
        return text if text.strip("+-0.") else text[1:]


def scale_of(rows: Iterable[Comparison]) -> Scale:
    """Return the scale that fits a metric's rows."""
    rows = list(rows)
    unit = rows[0].unit if rows else ""
    sizes = [abs(v) for row in rows for v in (row.mean, row.median) if v is not None]
    largest = max([size for size in sizes if math.isfinite(size)], default=0.0)
    if unit == "bytes":
        name, factor = next((u, f) for u, f in _SIZES if largest >= f or f == 1)
        return Scale(unit=name, factor=factor, decimals=0 if factor == 1 else 2)
    if unit in _DECIMALS:
        return Scale(unit=unit, factor=1, decimals=_DECIMALS[unit])
    magnitude = math.floor(math.log10(largest)) if largest > 0 else 0
    return Scale(unit="" if unit == "1" else unit, factor=1, decimals=min(8, max(0, 3 - magnitude)))


def mean_cell(row: Comparison, scale: Scale) -> str:
    """Return mean ± standard deviation (n), or the median where a target was never reached."""
    if row.n == 0:
        return "-"
    if row.never:
        never = f"{row.never} of {row.n} never"
        is_number = row.median is not None and math.isfinite(row.median)
        return f"median {scale.value(row.median or 0.0)}, {never}" if is_number else never
    spread = "" if row.spread is None else f" ± {scale.value(row.spread)}"
    return f"{scale.value(row.mean or 0.0)}{spread} ({row.n})"


def difference_cell(row: Comparison, scale: Scale) -> str:
    """Return the paired difference and its interval, or "" where there is none."""
    pairs = "" if row.pairs == row.n else f" {row.pairs} pairs"
    text = interval_text((row.difference, row.low, row.high), scale)
    return f"{text}{pairs}" if text else ""


def interval_text(known: tuple[float | None, float | None, float | None], scale: Scale) -> str:
    """Return an estimate and its interval, which may be missing, or "" where there is none."""
    middle, low, high = known
    if middle is None:
        return ""
    if low is None or high is None:
        return f"{scale.difference(middle)} [no interval yet]"
    return f"{scale.difference(middle)} [{scale.difference(low)}, {scale.difference(high)}]"


def p_text(p: float | None) -> str:
    """Return a p value with three decimals, the smallest as a bound."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
