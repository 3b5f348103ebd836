"""Widgets around the panes: study bar, banner, notice, the machine, and the footer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from icckd_tui.data import Failed, StudyUpdate
from icckd_tui.decision import answer_lines, bar_text
from icckd_tui.host import host_line, host_panel
from icckd_tui.keys import Key
from icckd_tui.text import Span, Spans, display, duration, fit, on_ground, padded, width_of
from icckd_tui.theme import Glyphs
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd.results.types import Progress, StudyInfo
    from icckd_tui.data import Frame
    from icckd_tui.host import Host


class HostView(LinesWidget):
    """Shows the machine's load: in one line, or as a panel where it is higher."""

    def __init__(self, *, glyphs: Glyphs, id: str, classes: str | None = None) -> None:  # noqa: A002  # as in Textual
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self._host: Host | None = None
        self.set_titles("Host")

    def show(self, host: Host) -> None:
        """Show this sample."""
        self._host = host
        self.repaint()

    def on_resize(self) -> None:
        self.repaint()

    def repaint(self) -> None:
        """Write the lines again."""
        width, height = self.size
        if height == 1:
            self.set_lines([host_line(self._host, width, self.glyphs)])
        elif height:
            self.set_lines(host_panel(self._host, width, self.glyphs))


class Banner(Static):
    """Says why the study cannot be read; the last frame stays below."""

    def show(self, update: StudyUpdate) -> None:
        """Show the reason of a failure; hide otherwise."""
        self.display = isinstance(update, Failed)
        if isinstance(update, Failed):
            self.update(Content(f" cannot read the study: {display(update.reason)}; trying again"))


class Notice(Static):
    """A text in the place of the panes."""

    def show(self, text: str) -> None:
        """Show plain text; hide without one."""
        self.display = bool(text)
        self.update(Content(text))


class AnswerView(LinesWidget):
    """Says what the study asks, what is answered, and what runs."""

    def __init__(self, *, glyphs: Glyphs, id: str, classes: str | None = None) -> None:  # noqa: A002  # as in Textual
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self.set_titles("Question and answer")

    def lines_of(self, frame: Frame, width: int, most: int) -> list[Spans]:
        """Return the lines for so many cells and rows."""
        return answer_lines(frame, width, most, self.glyphs)


STALE_AFTER = 30.0  # seconds without a journal line in a live session

_ORDER = ("complete", "running", "failed", "blocked", "cancelled", "pending")


def age_of(progress: Progress, now: float) -> Spans:
    """Return how fresh the newest record is: LIVE, STALE, ENDED, INTERRUPTED or NOT STARTED."""
    age = max(0.0, now - progress.newest) if progress.newest is not None else None
    if progress.session == "live":
        if age is None:
            return (Span("LIVE", "good"),)
        word, tone = ("LIVE", "good") if age < STALE_AFTER else ("STALE", "warning")
        if progress.paused or progress.stalled:
            word, tone = ("PAUSED" if progress.paused else "STALLED"), "warning"
        return (Span(f"{word} {duration(age)}", tone),)
    word, tone = {
        "ended": ("ENDED", "muted"),
        "interrupted": ("INTERRUPTED", "error"),
    }.get(progress.session, ("NOT STARTED", "muted"))
    return (Span(word, tone),)


def counts_of(progress: Progress, glyphs: Glyphs, *, words: bool) -> Spans:
    """Return the trials per state, each with glyph and number; empty states left out."""
    spans: list[Span] = []
    for state in _ORDER:
        count = getattr(progress.trials, state)
        if count:
            word = f" {state}" if words else ""
            spans += [Span("  "), Span(f"{glyphs.states[state]} {count}{word}", state)]
    return tuple(spans)


def _eta(progress: Progress) -> Spans:
    if progress.session != "live" or progress.eta_seconds is None:
        return ()
    return (Span("   ETA ", "muted"), Span(duration(progress.eta_seconds)))


def bar_view(
    study: StudyInfo, progress: Progress, now: float, width: int, glyphs: Glyphs,
    decided: tuple[str, str] = ("", ""),
) -> Spans:  # fmt: skip
    """Return the bar, exactly `width` cells: details go first when room is short.

    `decided` says in many words and in few what is answered.
    """
    from icckd.results.types import mark_of  # the first paint does without

    name = display(study.name)
    size = f"  {len(study.arms)} arms {glyphs.times} {len(study.seeds)} seeds"
    word = mark_of(study)
    mark: Spans = (Span(f" {word}", "warning"),) if word else ()
    age, eta = age_of(progress, now), _eta(progress)
    counts = {words: counts_of(progress, glyphs, words=words) for words in (True, False)}
    long, short = ((Span("   "), Span(text, "strong")) if text else () for text in decided)
    tries = [
        (Span(size, "muted"), Span(" "), *counts[True], *eta, *long),
        (Span(size, "muted"), Span(" "), *counts[False], *eta, *long),
        (*counts[False], *eta, *long),
        (*counts[False], *eta, *short),
        (*counts[False], *short),
        (*counts[False], *eta),
        counts[False],
    ]
    for middle in tries:
        room = width - 4 - width_of(middle) - width_of(age) - width_of(mark)
        if room >= min(width_of((Span(name),)), 24) or middle is tries[-1]:
            break
    shown = fit(name, min(width_of((Span(name),)), max(4, room)), glyphs.ellipsis)
    left = (Span(" "), Span(shown, "strong"), *mark, *middle)
    return (*padded(left, width - width_of(age) - 1), *age, Span(" "))


_TABS_FROM = 120  # columns from which on all screens are named in the footer


class StudyBar(LinesWidget):
    """Shows the study's progress and, once a second, the age of its newest record.

    `read` says how long ago shared storage was read; "" where nothing is shared.
    """

    def __init__(
        self,
        *,
        glyphs: Glyphs,
        clock: Callable[[], float],
        id: str,  # noqa: A002  # as in Textual
        read: Callable[[], str] = str,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._clock, self._read = clock, read
        self._frame: Frame | None = None
        self._notes: tuple[str, ...] = ()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.screen.is_current:
            self.repaint()

    def on_resize(self) -> None:
        self.repaint()

    def show(self, frame: Frame, notes: tuple[str, ...] = ()) -> None:
        """Show the progress of a frame, and notes in front of it."""
        self._frame, self._notes = frame, notes
        self.repaint()

    def repaint(self) -> None:
        """Write the line again; nothing is painted unless it differs."""
        spans: Spans = (Span(" icckd", "strong"),)
        width = self.size.width
        if self._frame is not None and width:
            told = (*self._notes, *filter(None, (self._read(),)))
            notes = tuple(span for note in told for span in (Span(f" {note} ", "key"), Span(" ")))
            room = max(40, width - width_of(notes))
            progress = self._frame.progress
            decided = bar_text(self._frame)
            spans = bar_view(self._frame.study, progress, self._clock(), room, self.glyphs, decided)
            if width_of(spans) + width_of(notes) <= width:
                spans = (*notes, *spans)
        self.set_lines([on_ground(padded(spans, width), "bar")])


class FooterKeys(LinesWidget):
    """Shows the screens, and as many of the most needed keys as fit."""

    def __init__(
        self,
        *,
        glyphs: Glyphs,
        screens: tuple[str, ...],
        screen: str,
        id: str,  # noqa: A002  # as in Textual
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._screens = screens
        self._screen = screen
        self._keys: tuple[Key, ...] = ()
        self._place = ""
        self._alone = False

    def on_resize(self) -> None:
        self.show(self._place, self._alone, self._keys)

    def show(self, place: str, alone: bool, keys: tuple[Key, ...]) -> None:
        """Show these keys, the most needed first, and on the right the pane shown alone."""
        self._place, self._alone, self._keys = place, alone, keys
        width = self.size.width
        tabs = self._tabs(width)
        where: Spans = (Span(f" {place} ", "muted"),) if place and not alone else ()
        room = width - width_of(where) - width_of(tabs)
        chosen: list[tuple[int, Spans]] = []
        for key in keys:
            spans = (Span(f" {key.names[0]}", "key"), Span(f" {key.label} "))
            if width_of(spans) <= room:
                chosen.append((key.rank if key.rank > 1 else 99 - key.rank, spans))
                room -= width_of(spans)
        line = tuple(span for _, spans in sorted(chosen, key=lambda c: c[0]) for span in spans)
        line = padded((*tabs, *line), width - width_of(where)) + where
        self.set_lines([on_ground(line, "bar")])

    def _tabs(self, width: int) -> Spans:
        """Return the screens' numbers, with all names where there is room, else with its own."""
        spans: list[Span] = [Span(" ")]
        for number, name in enumerate(self._screens, 1):
            here = name == self._screen
            label = f"{number} {name}" if here or width >= _TABS_FROM else str(number)
            spans += [Span(label, "key" if here else "muted"), Span(" ")]
        return (*spans, Span(self.glyphs.vertical, "faint"))
