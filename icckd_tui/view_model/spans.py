"""Text with tones: what a cell says, before a theme turns tones into colors.

A tone is one word: "" (normal), "muted", "faint", "strong", "good", "bad", "warning", "error", a
trial state, or "arm0", "arm1", ... for the color of an arm. A ground is "cursor", "cell", "bar" or
"heat+1" to "heat-4": better or worse than the baseline, by degrees.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len

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


def wrapped(spans: Spans, width: int, most: int) -> list[Spans]:
    """Return at most `most` lines, broken at blanks; what does not fit stays in the last one."""
    if not spans:
        return []
    lines: list[list[Span]] = [[]]
    used = 0
    for span in spans:
        for word in re.findall(r"\s*\S+|\s+$", span.text):
            size = cell_len(word)
            if used + size > width and used and len(lines) < most:
                lines.append([Span("  ")])
                word, used = word.lstrip(), 2
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
