"""Numbers as people read them: decimals by unit, one scale for a whole column."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_DECIMALS = {"%": 2, "epochs": 1, "steps": 0, "s": 1, "nats": 4}
_BYTES = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10))


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one metric are written: value / `divisor`, with `decimals`."""

    unit: str
    divisor: float = 1.0
    decimals: int = 2

    def value(self, value: float | None) -> str:
        """Return the value without its unit; "-" when there is none."""
        if value is None or math.isnan(value):
            return "-"
        if math.isinf(value):
            return "never"
        return f"{value / self.divisor:.{self.decimals}f}"

    def difference(self, value: float | None) -> str:
        """Return a difference, always with its sign."""
        if value is None or not math.isfinite(value):
            return "-"
        return f"{value / self.divisor:+.{self.decimals}f}"


def scale_for(unit: str, values: Iterable[float | None]) -> Scale:
    """Return one scale for all values of a metric.

    >>> scale_for("%", [91.234]).value(91.234), scale_for("bytes", [3 * 2**20]).value(3 * 2**20)
    ('91.23', '3.0')
    """
    if unit in _DECIMALS:
        return Scale(unit, 1.0, _DECIMALS[unit])
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    if unit == "bytes":
        name, divisor = next((pair for pair in _BYTES if largest >= pair[1]), ("B", 1.0))
        return Scale(name, divisor, 0 if name == "B" else 1)
    shown = "" if unit == "1" else unit
    if largest >= 1:
        return Scale(shown, 1.0, max(0, 3 - len(str(int(largest)))))
    return Scale(shown, 1.0, min(12, 2 - math.floor(math.log10(largest))) if largest else 3)


def duration(seconds: float) -> str:
    """Return a length of time in at most two units.

    >>> [duration(s) for s in (0.34, 8.04, 41, 100, 8040, 200_000)]
    ['0.3 s', '8.0 s', '41 s', '1 min 40 s', '2 h 14 min', '2 d 7 h']
    """
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def short_duration(seconds: float) -> str:
    """Return a length of time in one unit, for a narrow column.

    >>> [short_duration(s) for s in (0.34, 41.2, 100, 8040)]
    ['0.3s', '41s', '1.7m', '2.2h']
    """
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.1f}m" if seconds < 5970 else f"{seconds / 3600:.1f}h"
