"""The chart of curves: repaints the changed part of each row and nothing else.

What needs numpy is imported when there is something to draw: the first paint does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Region
from textual.strip import Strip

from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import bindings
from icckd_tui.theme import Palette, palette_of
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd_tui.view_model.chart import Chart
    from icckd_tui.widgets.picture import Picture

_LEGEND_LINES = 1
_AXIS = 1  # the foregrounds are listed in `picture`


class CurveChart(LinesWidget, can_focus=True):
    """Draws a chart; the first line is its legend."""

    BINDINGS: ClassVar[list[BindingType]] = list(bindings("curves"))

    def __init__(self, *, glyphs: Glyphs, id: str, classes: str) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self._chart: Chart | None = None
        self._picture: Picture | None = None
        self._styles: dict[tuple[int, Palette, Style], Style] = {}

    def show(self, chart: Chart, title: str) -> None:
        """Draw this chart."""
        old, self._chart = self._chart, chart
        self.set_titles(title)
        if _banded(old) != _banded(chart):
            self._styles.clear()
            self.refresh()
        self.repaint()

    def repaint(self) -> None:
        """Draw again and paint what differs."""
        from icckd_tui.view_model.chart import legend_of
        from icckd_tui.widgets.picture import picture_of

        width, height = self.size.width, self.size.height - _LEGEND_LINES
        if self._chart is None or width < 1 or height < 1:
            return
        self.set_lines([legend_of(self._chart)])
        shaded = self.glyphs.ascii or palette_of(self.app).few
        old, new = self._picture, picture_of(self._chart, width, height, self.glyphs, shaded=shaded)
        self._picture = new
        spans = new.changed_spans(old)
        if spans:
            self.refresh(*(Region(a, row + _LEGEND_LINES, b - a, 1) for row, a, b in spans))

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.repaint()

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        row = y - _LEGEND_LINES
        if self._picture is None or not 0 <= row < self._picture.height:
            return super().render_line(y)
        palette, base = palette_of(self.app), self.rich_style
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
        places = _banded(self._chart)
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
