"""Base of widgets made of lines of spans: only lines that changed are painted again."""

from collections.abc import Iterable

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from icckd_tui.display import display
from icckd_tui.glyphs import BRAILLE, Glyphs
from icckd_tui.theme import Palette, palette_of
from icckd_tui.view_model.spans import Span, Spans, width_of


def strip_of(spans: Iterable[Span], width: int, palette: Palette, base: Style) -> Strip:
    """Return exactly `width` cells; every segment has a style, as monochrome filters require."""
    segments = [Segment(span.text, palette.on(base, span.tone, span.ground)) for span in spans]
    return Strip(segments).adjust_cell_length(width, base)


def changed_cells(before: Spans, after: Spans, width: int) -> tuple[int, int]:
    """Return the first cell of a line that may differ, and one past the last.

    A line that is cut has an ellipsis at its end, so that all of it counts as changed.
    """
    if width_of(before) > width or width_of(after) > width:
        return 0, width
    start = place = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            break
        start += cell_len(new.text)
        place += 1
    if width_of(before) != width_of(after):
        return min(start, width - 1), width
    end = width_of(after)
    for old, new in zip(reversed(before[place:]), reversed(after[place:]), strict=False):
        if old != new:
            break
        end -= cell_len(new.text)
    return start, max(end, start + 1)


class LinesWidget(Widget):
    """Shows lines of spans."""

    ALLOW_SELECT = False

    def __init__(
        self,
        *,
        glyphs: Glyphs = BRAILLE,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self._lines: list[Spans] = []
        self._title = ""
        self._subtitle = ""
        self._base: Style | None = None

    def notify_style_update(self) -> None:
        """Forget what followed from the old style."""
        super().notify_style_update()
        self._base = None

    @property
    def base(self) -> Style:
        """The widget's own style, which Textual works out anew each time it is asked."""
        if self._base is None:
            self._base = self.rich_style
        return self._base

    def set_lines(self, lines: list[Spans]) -> None:
        """Show these lines; what did not change stays as it is on the screen."""
        old, self._lines = self._lines, lines
        width = self.size.width
        for y in range(max(len(old), len(lines))):
            before = old[y] if y < len(old) else ()
            after = lines[y] if y < len(lines) else ()
            if before != after and width and y < self.size.height:
                start, end = changed_cells(before, after, width)
                self.refresh(Region(start, y, end - start, 1))

    def set_titles(self, title: str, subtitle: str = "") -> None:
        """Put plain text, never markup, into the border."""
        if title != self._title:
            self._title = title
            self.border_title = Content(display(title))
        if subtitle != self._subtitle:
            self._subtitle = subtitle
            self.border_subtitle = Content(display(subtitle)) if subtitle else None

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        spans = self._lines[y] if y < len(self._lines) else ()
        palette, base = palette_of(self.app), self.base
        width = self.size.width
        if width_of(spans) <= width:
            return strip_of(spans, width, palette, base)
        cut = strip_of(spans, width - 1, palette, base)
        end = Segment(self.glyphs.ellipsis, base + palette.style("muted"))
        return Strip([*cut, end])
