"""The widget that draws a chart of curves.

Modules that need numpy are imported when there is something to draw, not for the first paint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from icckd_tui.keys import Key
from icckd_tui.theme import Glyphs, Palette
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd_tui.chart import Chart
    from icckd_tui.widgets.plot import Picture

_LEGEND_LINES = 1
_AXIS = 1  # the foregrounds are listed in `picture`


class CurveChart(LinesWidget, can_focus=True):
    """Draws a chart; the first line is its legend."""

    KEYS_HEADING = "in a chart"
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("l", "screen.toggle_log_y", "logarithmic y axis"),
        Key("L", "screen.toggle_log_x", "logarithmic x axis"),
        Key("down,j", "screen.focus_arm(1)", "focus the next arm"),
        Key("up,k", "screen.focus_arm(-1)", "focus the previous arm"),
        Key("right", "screen.move_cursor(1)", "value cursor to the right"),
        Key("left", "screen.move_cursor(-1)", "value cursor to the left"),
    ]

    class Pointed(Message):
        """The user clicked at this share of the shown part of x, from 0 to 1."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    class Zoomed(Message):
        """The user turned the wheel: `step` 1 zooms in, -1 out."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, glyphs: Glyphs, id: str, classes: str) -> None:  # noqa: A002  # as in Textual
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self.chart: Chart | None = None
        self.metric: str | None = None
        self._picture: Picture | None = None
        self._styles: dict[tuple[int, Palette, Style], Style] = {}

    def show(self, chart: Chart, metric: str | None, title: str) -> None:
        """Draw this chart of a metric."""
        old, self.chart = self.chart, chart
        self.metric = metric
        self.set_titles(title)
        new_bands = _banded(old) != _banded(chart)
        if new_bands:
            self._styles.clear()
        self.repaint(new_bands=new_bands)

    def repaint(self, *, new_bands: bool = False) -> None:
        """Draw again and paint what differs; `new_bands` are those of other arms."""
        from icckd_tui.chart import legend_of
        from icckd_tui.widgets.plot import picture_of

        width, height = self.size.width, self.size.height - _LEGEND_LINES
        if self.chart is None or width < 1 or height < 1:
            return
        self.set_lines([legend_of(self.chart, self.glyphs)])
        shaded = self.glyphs.ascii or self.palette.few
        old, new = self._picture, picture_of(self.chart, width, height, self.glyphs, shaded=shaded)
        self._picture = new
        spans = new.changed_spans(old, new_bands=new_bands)
        if spans:
            self.refresh(*(Region(a, row + _LEGEND_LINES, b - a, 1) for row, a, b in spans))

    def on_resize(self) -> None:
        self.repaint()

    def on_click(self, event: events.Click) -> None:
        """Put the value cursor where the mouse is."""
        from icckd_tui.widgets.plot import x_share_of

        offset = event.get_content_offset(self)
        if offset is None or self.chart is None:
            return
        share = x_share_of(self.chart, self.size.width, offset.x)
        if share is not None:
            self.post_message(self.Pointed(share))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Zoomed(-1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Zoomed(1))

    def render_line(self, y: int) -> Strip:
        row = y - _LEGEND_LINES
        if self._picture is None or not 0 <= row < self._picture.height:
            return super().render_line(y)
        palette, base = self.palette, self.base
        segments = [
            Segment(text, self._style(ink, palette, base)) for text, ink in self._picture.runs(row)
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _style(self, ink: int, palette: Palette, base: Style) -> Style:
        found = self._styles.get((ink, palette, base))
        if found is None:
            found = base + self._ink_style(ink, palette)
            self._styles[ink, palette, base] = found
        return found

    def _ink_style(self, ink: int, palette: Palette) -> Style:
        front, back = divmod(ink, 4)
        ground = self._band(back, palette) if back else None
        if front == 0:
            return Style(bgcolor=ground)
        if front == _AXIS:
            return palette.style("muted") + Style(bgcolor=ground)
        index, kind = divmod(front - 2, 3)
        color = (palette.arm, palette.dimmed_arm, palette.band)[kind](index)
        return Style(color=color, bgcolor=ground, bold=kind == 0 or None)

    def _band(self, back: int, palette: Palette) -> str:
        """Return the color of a background: the baseline's band, the focused arm's, or both."""
        places = _banded(self.chart)
        focus = places.get("focus", 0)
        baseline = places.get("baseline", focus)
        if back == 3:
            return palette.both_bands(focus, baseline)
        return palette.band(focus if back == 2 else baseline)


def _banded(chart: Chart | None) -> dict[str, int]:
    """Return which arms have a band: inks name them by role, so a change repaints everything."""
    if chart is None:
        return {}
    return {line.prominence: line.index for line in chart.lines if line.prominence != "other"}
