"""Glyph sets: what a terminal without Unicode gets instead."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_RICH_STATES = {
    "pending": "·",
    "running": "▶",
    "complete": "✓",
    "failed": "✗",
    "blocked": "⊘",
    "cancelled": "–",
}
_ASCII_STATES = {
    "pending": ".",
    "running": ">",
    "complete": "+",
    "failed": "x",
    "blocked": "!",
    "cancelled": "-",
}


def _ascii_cell(dots: int) -> str:
    upper, lower = dots & 0b00011011, dots & 0b11100100
    if not dots:
        return " "
    if upper and lower:
        return ":" if dots.bit_count() < 5 else "#"
    return "'" if upper else "."


def _braille_cell(dots: int) -> str:
    return chr(0x2800 + dots) if dots else " "


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """Every special character that the screens use.

    `cells` has one character for each of the 256 patterns of 2 x 4 dots, numbered as in the
    Unicode braille block; `bar` the full and the empty cell of a bar; `levels` the heights of a
    sparkline from low to high.
    """

    ascii: bool
    states: Mapping[str, str] = field(repr=False)
    cells: str = field(repr=False)
    ellipsis: str
    plus_minus: str
    minus: str
    times: str
    delta: str
    separator: str
    horizontal: str
    vertical: str
    corner: str
    tick: str
    shade: str
    bar: str
    levels: str
    ascending: str
    descending: str
    point: str
    hatch: str
    waiting: str
    mark: str
    arrow: str
    cap_left: str
    cap_right: str
    zero: str

    def signed(self, text: str) -> str:
        """Return a formatted number with this set's minus sign."""
        return text.replace("-", self.minus)


BRAILLE = Glyphs(
    ascii=False,
    states=MappingProxyType(_RICH_STATES),
    cells="".join(map(_braille_cell, range(256))),
    ellipsis="…",
    plus_minus="±",
    minus="−",
    times="×",
    delta="Δ",
    separator="·",
    horizontal="─",
    vertical="│",
    corner="└",
    tick="┤",
    shade="░",
    bar="━─",
    levels="▁▂▃▄▅▆▇█",
    ascending="▲",
    descending="▼",
    point="●",
    hatch="▨",
    waiting="◌",
    mark="◆",
    arrow="→",
    cap_left="├",
    cap_right="┤",
    zero="┊",
)
ASCII = Glyphs(
    ascii=True,
    states=MappingProxyType(_ASCII_STATES),
    cells="".join(map(_ascii_cell, range(256))),
    ellipsis="~",
    plus_minus="+-",
    minus="-",
    times="x",
    delta="diff",
    separator="-",
    horizontal="-",
    vertical="|",
    corner="+",
    tick="+",
    shade=",",
    bar="#.",
    levels="_.:-=+*#",
    ascending="^",
    descending="v",
    point="o",
    hatch="/",
    waiting="~",
    mark="#",
    arrow="->",
    cap_left="[",
    cap_right="]",
    zero=":",
)


def glyphs_for(encoding: str | None, lang: str, wanted: str = "") -> Glyphs:
    """Choose a glyph set from the output's encoding and the locale (`LC_ALL` or `LANG`).

    What is `wanted` by name, "ascii" or "braille", comes first.

    >>> glyphs_for("utf-8", "en_US.UTF-8") is BRAILLE, glyphs_for("utf-8", "C") is ASCII
    (True, True)
    """
    if wanted in ("ascii", "braille"):
        return ASCII if wanted == "ascii" else BRAILLE
    if (encoding or "").lower().replace("-", "").replace("_", "") != "utf8":
        return ASCII
    return ASCII if lang in ("C", "POSIX") else BRAILLE
