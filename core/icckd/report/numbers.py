"""Numbers as people read them, in reports and on screens: values of a metric, durations, sizes.

A column shows all its numbers with one `Scale`. Reports and the monitor differ only in their
`Precision`: a screen has narrow columns and shows fewer digits. Nothing here needs more than the
standard library, so that the monitor can import it before anything heavy.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIZES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_COLUMN_SIZES = _SIZES[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How many digits the numbers of a column have.

    Attributes:
        decimals: Decimals of the units that have a fixed number of them.
        size_decimals: Decimals of KiB, MiB and GiB; bytes have none.
        bytes_unit: What the unit of sizes below one KiB is called.
        digits: Significant digits of the largest number, where the unit fixes nothing.
        most_decimals: Never more decimals than that.
        signs_zero: Whether a difference that rounds to 0 has a sign.
    """

    decimals: Mapping[str, int]
    size_decimals: int
    bytes_unit: str
    digits: int
    most_decimals: int
    signs_zero: bool


REPORT = Precision(
    decimals={"%": 2, "epochs": 1, "steps": 1},
    size_decimals=2,
    bytes_unit="bytes",
    digits=4,
    most_decimals=8,
    signs_zero=False,
)
SCREEN = Precision(
    decimals={"%": 2, "epochs": 1, "steps": 0, "s": 1, "nats": 4},
    size_decimals=1,
    bytes_unit="B",
    digits=3,
    most_decimals=12,
    signs_zero=True,
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How a column shows its numbers: divided by `divisor`, with `decimals`, in `unit`."""

    unit: str
    divisor: float = 1.0
    decimals: int = 2
    signs_zero: bool = True

    def value(self, number: float | None) -> str:
        """Return a value without its unit; "-" for none, "never" for an infinite one.

        >>> Scale("MiB", 2.0**20, 1).value(3 * 2.0**20)
        '3.0'
        """
        if number is None or math.isnan(number):
            return "-"
        if math.isinf(number):
            return "never"
        return f"{number / self.divisor:.{self.decimals}f}"

    def difference(self, number: float | None) -> str:
        """Return a difference with its sign; "-" for none.

        >>> [Scale("%", signs_zero=signed).difference(-0.001) for signed in (True, False)]
        ['-0.00', '0.00']
        """
        if number is None or not math.isfinite(number):
            return "-"
        text = f"{number / self.divisor:+.{self.decimals}f}"
        return text if self.signs_zero or text.strip("+-0.") else text[1:]


def scale_for(unit: str, values: Iterable[float | None], precision: Precision = REPORT) -> Scale:
    """Return one scale for all values of a metric, from its unit and the largest of them.

    >>> scale_for("bytes", [3e8, 2e9]).value(3e8), scale_for("1", [0.0123]).value(0.0123)
    ('0.28', '0.01230')
    """
    if unit in precision.decimals:
        return Scale(unit, 1.0, precision.decimals[unit], precision.signs_zero)
    finite = (abs(value) for value in values if value is not None and math.isfinite(value))
    largest = max(finite, default=0.0)
    if unit == "bytes":
        for name, divisor in _COLUMN_SIZES:
            if largest >= divisor:
                return Scale(name, divisor, precision.size_decimals, precision.signs_zero)
        return Scale(precision.bytes_unit, 1.0, 0, precision.signs_zero)
    shown = "" if unit == "1" else unit
    return Scale(shown, 1.0, _decimals(largest, precision), precision.signs_zero)


def screen_scale(unit: str, values: Iterable[float | None]) -> Scale:
    """Return the scale of a column on a screen.

    >>> screen_scale("%", [91.234]).value(91.234), screen_scale("bytes", [3 * 2**20]).unit
    ('91.23', 'MiB')
    """
    return scale_for(unit, values, SCREEN)


def _decimals(largest: float, precision: Precision) -> int:
    if not largest:
        return 3
    whole = len(str(int(largest))) if largest >= 1 else math.floor(math.log10(largest)) + 1
    return min(precision.most_decimals, max(0, precision.digits - whole))


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


def bytes_text(size: float) -> str:
    """Return a number of bytes with its unit.

    >>> bytes_text(512), bytes_text(2048), bytes_text(3e8)
    ('512 B', '2.0 KiB', '286.1 MiB')
    """
    for name, divisor in _SIZES:
        if size >= divisor:
            return f"{size / divisor:.1f} {name}"
    return f"{size:.0f} B"
