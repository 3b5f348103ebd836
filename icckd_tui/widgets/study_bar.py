"""The study bar and the footer: one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import SCREENS, ScreenName, footer_keys
from icckd_tui.view_model.bar import bar_view
from icckd_tui.view_model.spans import Span, Spans, on_ground, padded, width_of
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd_tui.view_model.frame import Frame

_TABS_FROM = 120  # columns from which on all screens are named in the footer


class StudyBar(LinesWidget):
    """Where the study stands; its age advances once a second without any news."""

    def __init__(self, *, glyphs: Glyphs, clock: Callable[[], float], id: str) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id)
        self._clock = clock
        self._frame: Frame | None = None
        self._notes: tuple[str, ...] = ()

    def on_mount(self) -> None:
        """Start the clock."""
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.screen.is_current:
            self.repaint()

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.repaint()

    def show(self, frame: Frame, notes: tuple[str, ...] = ()) -> None:
        """Show this frame's progress, and what must not be forgotten."""
        self._frame, self._notes = frame, notes
        self.repaint()

    def repaint(self) -> None:
        """Write the line again; nothing is painted unless it differs."""
        spans: Spans = (Span(" icckd", "strong"),)
        width = self.size.width
        if self._frame is not None and width:
            notes = tuple(
                span for note in self._notes for span in (Span(f" {note} ", "key"), Span(" "))
            )
            room = max(40, width - width_of(notes))
            progress = self._frame.progress
            spans = bar_view(self._frame.study, progress, self._clock(), room, self.glyphs)
            if width_of(spans) + width_of(notes) <= width:
                spans = (*notes, *spans)
        self.set_lines([on_ground(padded(spans, width), "bar")])


class FooterKeys(LinesWidget):
    """Where one is among the screens, and the keys most needed, as many as fit."""

    def __init__(self, *, glyphs: Glyphs, screen: ScreenName, id: str) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id)
        self._screen = screen
        self._place = ""

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.show(self._place)

    def show(self, place: str, alone: bool = False) -> None:
        """Show the keys, and on the right where the user is."""
        self._place = place
        width = self.size.width
        tabs = self._tabs(width)
        where: Spans = (Span(f" {place} ", "muted"),) if place and not alone else ()
        room = width - width_of(where) - width_of(tabs)
        chosen: list[tuple[int, Spans]] = []
        for key in footer_keys(self._screen):
            spans = (Span(f" {key.short}", "key"), Span(f" {key.label} "))
            if width_of(spans) <= room:
                chosen.append((key.rank if key.rank > 1 else 99 - key.rank, spans))
                room -= width_of(spans)
        line = tuple(span for _, spans in sorted(chosen, key=lambda c: c[0]) for span in spans)
        line = padded((*tabs, *line), width - width_of(where)) + where
        self.set_lines([on_ground(line, "bar")])

    def _tabs(self, width: int) -> Spans:
        """Return the screens with their numbers; names only where there is room, but its own."""
        spans: list[Span] = [Span(" ")]
        for number, name in enumerate(SCREENS, 1):
            here = name == self._screen
            label = f"{number} {name}" if here or width >= _TABS_FROM else str(number)
            spans += [Span(label, "key" if here else "muted"), Span(" ")]
        return (*spans, Span(self.glyphs.vertical, "faint"))
