"""The one gate for text from outside: names, reasons and log lines.

A terminal obeys what it is sent, so control characters and direction overrides never get through;
what comes out is plain text, never markup.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from icckd.report.numbers import Scale as Scale
from icckd.report.numbers import duration as duration
from icckd.report.numbers import screen_scale
from icckd.report.numbers import short_duration as short_duration

scale_for = screen_scale
LONGEST = 400
_LONGEST_SETTING = 16  # cells of a setting that is a table

_SEQUENCES = re.compile(
    r"""
    (?:\x1b\]|\x9d) [^\x07\x1b\x9c]{0,4096} (?:\x07|\x1b\\|\x9c)?     # OSC: title, clipboard, links
    | (?:\x1b[PX^_]|[\x90\x98\x9e\x9f]) [^\x1b\x9c]{0,4096} (?:\x1b\\|\x9c)?   # other strings
    | (?:\x1b\[|\x9b) [0-?]{0,64} [ -/]{0,8} [@-~]?                    # CSI: colors, cursor, clear
    | \x1b [ -/]{0,8} [0-~]?                                           # short escapes
    """,
    re.VERBOSE,
)
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@lru_cache(maxsize=8192)
def display(text: str, limit: int = LONGEST) -> str:
    r"""Return text that is safe to show, in one line and at most `limit` characters.

    >>> display("\x1b[31mred\x1b]52;c;eA==\x07 [bold]x[/bold]\nnext")
    'red [bold]x[/bold] next'
    """
    head = _SEQUENCES.sub("", text[: 4 * limit])
    spaced = head.replace("\n", " ").replace("\t", " ")
    shown = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED)
    return shown if len(shown) <= limit else shown[: limit - 1] + "~"


def setting_text(value: Any) -> str:
    """Return a setting's value in a few letters.

    >>> [setting_text(value) for value in ({"threshold": 0.5}, "off", 0.02, True)]
    ['threshold 0.5', 'off', '0.02', 'on']
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        simple = [f"{key} {setting_text(v)}" for key, v in value.items()]
        text = ", ".join(simple)
        return text if len(text) <= _LONGEST_SETTING else "on"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(setting_text(v) for v in value) + "]"
    return display("none" if value is None else str(value), 40)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """Return text cut or padded to exactly `width` cells.

    >>> fit("no-margin-matched", 10), fit("full", 6)
    ('no-margin…', 'full  ')
    """
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    if width <= cell_len(ellipsis):
        return set_cell_size(text, width)
    return set_cell_size(text, width - cell_len(ellipsis)) + ellipsis


# Text with tones: what a cell says, before a theme turns tones into colors.
#
# A tone is one word: "" (normal), "muted", "faint", "strong", "good", "bad", "warning", "error", a
# trial state, or "arm0", "arm1", ... for the color of an arm. A ground is "cursor", "cell", "bar"
# or "heat+1" to "heat-4": better or worse than the baseline, by degrees.

HEAT_LEVELS = 4  # on either side of 0


class Span(NamedTuple):
    """A piece of text in one tone, on a ground such as `cursor`."""

    text: str
    tone: str = ""
    ground: str = ""


Spans = tuple[Span, ...]


def width_of(spans: Iterable[Span]) -> int:
    """Return how many terminal cells the spans take."""
    width = 0
    for text, _, _ in spans:
        width += len(text) if text.isascii() else cell_len(text)
    return width


def padded(spans: Spans, width: int, *, right: bool = False) -> Spans:
    """Return the spans filled with blanks to `width` cells, on the left where `right`."""
    blank = Span(" " * max(0, width - width_of(spans)))
    if not blank.text:
        return spans
    return (blank, *spans) if right else (*spans, blank)


def wrapped(spans: Spans, width: int, most: int, hang: int = 2) -> list[Spans]:
    """Return at most `most` lines, broken at blanks; what does not fit stays in the last one.

    Lines after the first begin with `hang` blanks.
    """
    if not spans:
        return []
    lines: list[list[Span]] = [[]]
    used = 0
    for span in spans:
        for word in re.findall(r"\s*\S+|\s+$", span.text):
            size = cell_len(word)
            if used + size > width and used and len(lines) < most:
                lines.append([Span(" " * hang)])
                word, used = word.lstrip(), hang
                size = cell_len(word)
            lines[-1].append(span._replace(text=word))
            used += size
    return [tuple(line) for line in lines]


def on_ground(spans: Iterable[Span], ground: str) -> Spans:
    """Return the spans with this ground behind all that have none."""
    return tuple(span if span.ground else span._replace(ground=ground) for span in spans)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the spans with neighbors joined that look alike; a blank has no color to show.

    A terminal gets a color for each span, which is longer than most texts.

    >>> joined((Span("7", "good"), Span("  "), Span("epoch", "muted"), Span(" 3", "muted")))
    [Span(text='7  ', tone='good', ground=''), Span(text='epoch 3', tone='muted', ground='')]
    """
    found: list[Span] = []
    for span in spans:
        text, tone, ground = span
        if found and ground == found[-1].ground:
            before, shown, _ = found[-1]
            if tone == shown or not text.strip():
                found[-1] = Span(before + text, shown, ground)
                continue
            if not before.strip():
                found[-1] = Span(before + text, tone, ground)
                continue
        found.append(span)
    return found


def plain(spans: Iterable[Span]) -> str:
    """Return the text alone."""
    return "".join(span.text for span in spans)


def arm_tone(index: int) -> str:
    """Return the tone of the arm at this place in the study."""
    return f"arm{index}"


def arm_letter(index: int) -> str:
    """Return the marker letter of the arm at this place in the study.

    >>> arm_letter(0), arm_letter(26), arm_letter(52)
    ('A', 'a', 'A')
    """
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return letters[index % len(letters)]
