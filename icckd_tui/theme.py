"""Themes, styles for tones, and the characters to draw with.

Arms have the colors of Okabe and Ito's palette.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from rich.color import Color
from rich.style import Style
from textual.app import App
from textual.theme import Theme

from icckd_tui.text import HEAT_LEVELS

DARK = Theme(
    name="icckd-dark",
    primary="#56b4e9",
    secondary="#009e73",
    accent="#e69f00",
    warning="#e69f00",
    error="#ff7043",
    success="#2dbd92",
    foreground="#dfe3e8",
    background="#111418",
    surface="#111418",
    panel="#1c2229",
    dark=True,
    variables={"pane-border": "#38424d"},
)
LIGHT = Theme(
    name="icckd-light",
    primary="#0072b2",
    secondary="#00795a",
    accent="#a85f00",
    warning="#a85f00",
    error="#c04000",
    success="#00795a",
    foreground="#1d2329",
    background="#ffffff",
    surface="#ffffff",
    panel="#e9eef2",
    dark=False,
    variables={"pane-border": "#b4bec8"},
)

_ARMS_DARK = (
    "#f2f4f7", "#e69f00", "#56b4e9", "#2dbd92", "#f0e442", "#ff7043", "#cc79a7", "#5b8def",
)  # fmt: skip
_ARMS_LIGHT = (
    "#14181c", "#b87800", "#2487c0", "#008060", "#968a00", "#c84a00", "#a9487c", "#0050a0",
)  # fmt: skip
_TONES_DARK = {
    "faint": "#38424d",
    "muted": "#8a949f",
    "strong": "bold",
    "good": "#56b4e9",
    "bad": "#ff9350",
    "warning": "bold #e69f00",
    "error": "bold #ff7043",
    "pending": "#8a949f",
    "running": "#56b4e9",
    "complete": "#2dbd92",
    "failed": "#ff7043",
    "blocked": "#d58fb6",
    "cancelled": "#8a949f",
    "key": "bold #e69f00",
}
_TONES_LIGHT = {
    "faint": "#c3ccd4",
    "muted": "#66707a",
    "strong": "bold",
    "good": "#0068a3",
    "bad": "#b34700",
    "warning": "bold #96560a",
    "error": "bold #b83b00",
    "pending": "#66707a",
    "running": "#0068a3",
    "complete": "#00735a",
    "failed": "#b83b00",
    "blocked": "#94406e",
    "cancelled": "#66707a",
    "key": "bold #96560a",
}
_GROUNDS_DARK = {
    "cursor": "on #21384c",
    "cursor-away": "on #20262d",
    "cell": "bold #111418 on #a9cfec",
    "header": "bold #b9c2cc",
    "bar": "on #1c2229",
}
_GROUNDS_LIGHT = {
    "cursor": "on #d6e8f6",
    "cursor-away": "on #eef1f4",
    "cell": "bold #ffffff on #34597a",
    "header": "bold #3b444d",
    "bar": "on #e9eef2",
}
_HEAT_DARK = ("#0a5d96", "#7d3d06")  # better, worse
_HEAT_LIGHT = ("#7fbfe8", "#f2b183")
_FEW_GROUNDS = {
    "cursor": "reverse",
    "cursor-away": "bold",
    "cell": "bold reverse underline",
    "header": "bold",
    "bar": "",
}


def _mixed(color: str, ground: str, share: float) -> str:
    """Return `share` of the color over the ground."""
    front, back = (Color.parse(c).get_truecolor() for c in (color, ground))
    red, green, blue = (
        round(f * share + b * (1 - share)) for f, b in zip(front, back, strict=True)
    )
    return f"#{red:02x}{green:02x}{blue:02x}"


class Palette:
    """Styles for tones and grounds, for a dark or a light theme, with many colors or few."""

    def __init__(self, dark: bool, few: bool) -> None:
        self.few = few
        self.ground = "#111418" if dark else "#ffffff"
        self._arms = _ARMS_DARK if dark else _ARMS_LIGHT
        self._tones = _TONES_DARK if dark else _TONES_LIGHT
        self._grounds = _FEW_GROUNDS if few else (_GROUNDS_DARK if dark else _GROUNDS_LIGHT)
        self._heat = _HEAT_DARK if dark else _HEAT_LIGHT
        self._dim_share = 0.5 if dark else 0.55
        self._band_share = 0.2
        self._styles: dict[tuple[str, str], Style] = {}
        self._combined: dict[tuple[Style, str, str], Style] = {}

    def style(self, tone: str, ground: str = "") -> Style:
        """Return the style of a tone on a ground; unknown tones are normal text."""
        found = self._styles.get((tone, ground))
        if found is None:
            shape = self._ground_style(ground)
            found = shape if shape.reverse else self._tone(tone) + shape
            self._styles[tone, ground] = found
        return found

    def on(self, base: Style, tone: str, ground: str) -> Style:
        """Return the style of a tone on a ground, over a base."""
        found = self._combined.get((base, tone, ground))
        if found is None:
            found = self._combined[base, tone, ground] = base + self.style(tone, ground)
        return found

    def _ground_style(self, ground: str) -> Style:
        """Return the style of a ground; "heat+1" to "heat-4" are better and worse by degrees."""
        if not ground.startswith("heat"):
            return Style.parse(self._grounds.get(ground, ""))
        if self.few:
            return Style.null()
        level = int(ground[4:])
        color = self._heat[0 if level > 0 else 1]
        return Style(bgcolor=_mixed(color, self.ground, abs(level) / HEAT_LEVELS))

    def _tone(self, tone: str) -> Style:
        if tone.startswith("arm") and tone[3:].isdigit():
            return Style(color=self.arm(int(tone[3:])), bold=True)
        return Style.parse(self._tones.get(tone, ""))

    def arm(self, index: int) -> str:
        """Return the color of the arm at this place; the baseline has the ground's opposite."""
        return self._arms[index % len(self._arms)]

    def dimmed_arm(self, index: int) -> str:
        """Return the arm's color for a curve that is not in focus."""
        return _mixed(self.arm(index), self.ground, self._dim_share)

    def band(self, index: int) -> str:
        """Return the color of the arm's interval."""
        return _mixed(self.arm(index), self.ground, self._band_share)

    def both_bands(self, one: int, other: int) -> str:
        """Return the color where two intervals overlap."""
        return _mixed(self.arm(one), self.band(other), self._band_share * 0.7)


@lru_cache(maxsize=4)
def _palette(dark: bool, few: bool) -> Palette:
    return Palette(dark, few)


def palette_of(app: App[object]) -> Palette:
    """Return the palette that fits the app's theme and what its terminal can show."""
    few = app.no_color or app.console.color_system not in ("256", "truecolor")
    return _palette(app.current_theme.dark, few)


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
