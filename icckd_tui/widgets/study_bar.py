"""The study bar and the footer: one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import footer_keys
from icckd_tui.view_model.bar import bar_view
from icckd_tui.view_model.spans import Span, Spans, on_ground, padded, width_of
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd_tui.view_model.frame import Frame


class StudyBar(LinesWidget):
    """Where the study stands; its age advances once a second without any news."""

    def __init__(self, *, glyphs: Glyphs, clock: Callable[[], float], id: str) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id)
        self._clock = clock
        self._frame: Frame | None = None

    def on_mount(self) -> None:
        """Start the clock."""
        self.set_interval(1.0, self.repaint)

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.repaint()

    def show(self, frame: Frame) -> None:
        """Show this frame's progress."""
        self._frame = frame
        self.repaint()

    def repaint(self) -> None:
        """Write the line again; nothing is painted unless it differs."""
        spans: Spans = (Span(" icckd", "strong"),)
        if self._frame is not None:
            progress = self._frame.progress
            width, glyphs = self.size.width, self.glyphs
            spans = bar_view(self._frame.study, progress, self._clock(), width, glyphs)
        self.set_lines([on_ground(padded(spans, self.size.width), "bar")])


class FooterKeys(LinesWidget):
    """The keys most needed, as many as fit."""

    def __init__(self, *, glyphs: Glyphs, id: str) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id)
        self._place = ""

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.show(self._place)

    def show(self, place: str) -> None:
        """Show the keys, and on the right where the user is."""
        self._place = place
        where: Spans = (Span(f"{place} ", "muted"),) if place else ()
        room = self.size.width - width_of(where)
        chosen: list[tuple[int, Spans]] = []
        for key in footer_keys():
            spans = (Span(f" {key.short}", "key"), Span(f" {key.label} "))
            if width_of(spans) <= room:
                chosen.append((key.rank if key.rank > 1 else 99 - key.rank, spans))
                room -= width_of(spans)
        line = tuple(span for _, spans in sorted(chosen, key=lambda c: c[0]) for span in spans)
        line = padded(line, self.size.width - width_of(where)) + where
        self.set_lines([on_ground(line, "bar")])
