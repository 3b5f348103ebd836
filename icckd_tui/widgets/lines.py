"""The base of widgets that show lines of spans and repaint only the cells that changed."""

from collections.abc import Iterable
from itertools import zip_longest

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from icckd_tui.text import Span, Spans, display, joined, width_of
from icckd_tui.theme import BRAILLE, Glyphs, Palette, palette_of

_NEAR = 12  # cells
_NOTHING = Span("")


def strip_of(spans: Iterable[Span], width: int, palette: Palette, base: Style) -> Strip:
    """Return exactly `width` cells; every segment has a style, as monochrome filters require."""
    segments = [
        Segment(span.text, palette.on(base, span.tone, span.ground)) for span in joined(spans)
    ]
    return Strip(segments).adjust_cell_length(width, base)


def changed_cells(before: Spans, after: Spans, width: int) -> list[tuple[int, int]]:
    """Return the parts of a line that may differ: first cells, and one past the last ones.

    Where both lines are divided alike, as rows of a table are, only characters that changed count.
    A line that is cut has an ellipsis at its end, so that all of it counts as changed.
    """
    if width_of(before) > width or width_of(after) > width:
        return [(0, width)]
    parts: list[tuple[int, int]] = []
    at = 0
    for old, new in zip_longest(before, after, fillvalue=_NOTHING):
        size = width_of((new,))
        if size != width_of((old,)):
            return [*parts, (at, width)]
        if old != new:
            start, end = _changed_characters(old, new, size)
            _add(parts, at + start, at + end)
        at += size
    return parts


def _changed_characters(old: Span, new: Span, size: int) -> tuple[int, int]:
    """Return where two spans of one width differ."""
    alike = old.tone == new.tone and old.ground == new.ground
    if not alike or len(old.text) != size or len(new.text) != size:
        return 0, size
    places = [n for n, (a, b) in enumerate(zip(old.text, new.text, strict=True)) if a != b]
    return places[0], places[-1] + 1


def _add(parts: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a part; moving the terminal's cursor costs more than a few cells in between."""
    if parts and start - parts[-1][1] <= _NEAR:
        start = parts.pop()[0]
    parts.append((start, end))


class LinesWidget(Widget):
    """Shows lines of spans."""

    ALLOW_SELECT = False

    def __init__(
        self,
        *,
        glyphs: Glyphs = BRAILLE,
        id: str | None = None,  # noqa: A002  # as in Textual
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self._lines: list[Spans] = []
        self._title = ""
        self._subtitle = ""
        self._base: Style | None = None
        self._palette: Palette | None = None

    def notify_style_update(self) -> None:
        """Drop cached styles."""
        super().notify_style_update()
        self._base = self._palette = None

    @property
    def base(self) -> Style:
        """The widget's own style, cached: Textual computes it anew at each access."""
        if self._base is None:
            self._base = self.rich_style
        return self._base

    @property
    def palette(self) -> Palette:
        """The palette of the app's theme."""
        if self._palette is None:
            self._palette = palette_of(self.app)
        return self._palette

    def set_lines(self, lines: list[Spans]) -> None:
        """Show these lines; what did not change stays as it is on the screen."""
        old, self._lines = self._lines, lines
        width, height = self.size
        changed: list[Region] = []
        for y, (before, after) in enumerate(zip_longest(old, lines, fillvalue=())):
            if y < height and before != after:
                parts = changed_cells(before, after, width)
                changed += [Region(start, y, end - start, 1) for start, end in parts]
        if changed and width:
            self.refresh(*changed)

    def set_titles(self, title: str, subtitle: str = "") -> None:
        """Put plain text, never markup, into the border."""
        if title != self._title:
            self._title = title
            self.border_title = Content(display(title))
        if subtitle != self._subtitle:
            self._subtitle = subtitle
            self.border_subtitle = Content(display(subtitle)) if subtitle else None

    def render_line(self, y: int) -> Strip:
        spans = self._lines[y] if y < len(self._lines) else ()
        palette, base = self.palette, self.base
        width = self.size.width
        if width_of(spans) <= width:
            return strip_of(spans, width, palette, base)
        cut = strip_of(spans, width - 1, palette, base)
        end = Segment(self.glyphs.ellipsis, base + palette.style("muted"))
        return Strip([*cut, end])
