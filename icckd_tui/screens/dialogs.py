"""Dialogs: confirm, leave, pick a format, help, events, filter, metric, search."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import Matcher
from textual.screen import ModalScreen, Screen
from textual.widgets import Input

from icckd.errors import UsageError
from icckd.study.metrics import Metric
from icckd_tui.events import TONES, StudyEvent
from icckd_tui.export import NAMES, Format
from icckd_tui.filter import Filter, parse
from icckd_tui.keys import EVERYWHERE, Key, KeyGroup, key_groups
from icckd_tui.metric_names import MetricFilter
from icckd_tui.screens.registry import heading_of, keys_in
from icckd_tui.tables import HEAD, Column, Row, Table
from icckd_tui.text import Span, Spans, display, plain
from icckd_tui.theme import Glyphs
from icckd_tui.views import LONGEST
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.table import GridTable

T = TypeVar("T")


class Confirm(ModalScreen[bool]):
    """Asks before work is given up; returns whether the answer was yes. The cursor is on no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", show=False, priority=True),
        Binding("n,escape,q,ctrl+c", "dismiss(False)", show=False, priority=True),
    ]

    def __init__(self, question: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._question = question
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        table = GridTable(glyphs=self._glyphs, classes="dialog")
        table.border_title = Content(self._question)
        yield table

    def on_mount(self) -> None:
        rows = tuple(
            Row(key=key, cells=((Span(key[0], "key"),), (Span(text),)))
            for key, text in (("no", "No, go on"), ("yes", "Yes, ask the session for it"))
        )
        columns = (
            Column(key="key", titles=(), width=4),
            Column(key="answer", titles=(), width=40),
        )
        table = self.query_one(GridTable)
        table.show(Table(columns=columns, rows=rows, frozen=2))
        table.focus()

    @on(GridTable.Chosen)
    def _chosen(self, event: GridTable.Chosen) -> None:
        self.dismiss(event.table.key == "yes")


Answer = Literal["go-on", "stop", "stay"]

_CHOICES: tuple[tuple[Answer, str, str, str], ...] = (
    ("go-on", "g", "Keep it going", "training continues without this view"),
    ("stop", "s", "Stop it", "running stages end; what is complete stays"),
    ("stay", "esc", "Stay", "back to the study"),
)


class Leaving(ModalScreen[Answer]):
    """Asks what becomes of the session that this terminal started; each answer has a key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "dismiss('go-on')", show=False, priority=True),
        Binding("s", "dismiss('stop')", show=False, priority=True),
        Binding("escape,q,ctrl+c", "dismiss('stay')", show=False, priority=True),
    ]

    def __init__(self, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        choices = GridTable(glyphs=self._glyphs, classes="dialog")
        choices.border_title = Content("The session is still running")
        yield choices

    def on_mount(self) -> None:
        rows = tuple(
            Row(key=answer, cells=((Span(key, "key"),), (Span(name),), (Span(about, "muted"),)))
            for answer, key, name, about in _CHOICES
        )
        columns = tuple(
            Column(key=key, titles=(), width=width)
            for key, width in (("key", 4), ("answer", 14), ("about", 44))
        )
        choices = self.query_one(GridTable)
        choices.show(Table(columns=columns, rows=rows, frozen=3))
        choices.focus()

    @on(GridTable.Chosen)
    def _chosen(self, event: GridTable.Chosen) -> None:
        self.dismiss(next(answer for answer, *_ in _CHOICES if answer == event.table.key))


_ABOUT: dict[Format, tuple[str, str]] = {
    "csv": ("c", "for spreadsheets and pandas"),
    "md": ("m", "for an issue or a README"),
    "tex": ("t", "for a paper, with booktabs"),
    "svg": ("s", "a figure whose text stays text"),
    "png": ("p", "a figure as a picture"),
}


class FormatMenu(ModalScreen[Format]):
    """Asks for a format and returns it; each has a key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"pick('{kind}')", show=False, priority=True)
            for kind, (key, _) in _ABOUT.items()
        ),
        Binding("escape,q,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, title: str, formats: Iterable[Format], *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._title = title
        self._formats = tuple(formats)
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        table = GridTable(glyphs=self._glyphs, classes="dialog")
        table.border_title = Content(self._title)
        yield table

    def on_mount(self) -> None:
        rows = tuple(
            Row(
                key=kind,
                cells=(
                    (Span(_ABOUT[kind][0], "key"),),
                    (Span(NAMES[kind]),),
                    (Span(_ABOUT[kind][1], "muted"),),
                ),
            )
            for kind in self._formats
        )
        columns = tuple(
            Column(key=key, titles=(), width=width)
            for key, width in (("key", 2), ("format", 10), ("about", 40))
        )
        table = self.query_one(GridTable)
        table.show(Table(columns=columns, rows=rows, frozen=3))
        table.focus()

    def action_pick(self, kind: Format) -> None:
        """Pick a format that is offered."""
        if kind in self._formats:
            self.dismiss(kind)

    @on(GridTable.Chosen)
    def _chosen(self, event: GridTable.Chosen) -> None:
        self.dismiss(next(kind for kind in self._formats if kind == event.table.key))


_NOTES = (
    ("*", "that interval excludes 0"),
    ("full color", "a verdict fell; half: an interval excludes 0, nothing is judged; none: open"),
    ("helps, hurts", "the verdict on the part that an arm takes away, not on the arm"),
    ("equivalent", "any difference is smaller than what matters"),
    ("undecided", "neither; more seeds may tell"),
    ("~14.0", "median; shown where some seeds never reached the target"),
    ("never 3/8", "three of eight seeds never reached the target"),
    ("2/8", "seeds with a value so far, of those planned"),
    ("provisional", "looking often while seeds run finds differences that are not there"),
)


def _groups_of(screen: Screen[None]) -> tuple[list[KeyGroup], tuple[Key, ...]]:
    """Return the groups of keys that can do something now, and the keys that cannot."""
    own = list(key_groups(type(screen)))
    focused = type(screen.focused) if screen.focused is not None else type(screen)
    widgets = {focused: None, **{type(widget): None for widget in screen.query("*")}}
    inner = [group for widget in widgets for group in key_groups(widget)]
    here = [group for group in own if group.heading != EVERYWHERE]
    rest = [group for group in own if group.heading == EVERYWHERE]
    found = {(group.owner, group.heading): group for group in (*here[:1], *inner, *here[1:], *rest)}
    applies = getattr(screen, "applies", lambda action: True)
    late = tuple(key for group in found.values() for key in group.keys if not applies(key.action))
    kept = (
        replace(group, keys=tuple(key for key in group.keys if key not in late))
        for group in found.values()
    )
    return [group for group in kept if group.keys], late


def help_rows(
    groups: Iterable[KeyGroup], glyphs: Glyphs, late: tuple[Key, ...] = ()
) -> Iterator[tuple[Spans, Spans]]:
    """Yield what to press or see on a screen, and what it means; what cannot do anything now last.

    Headings have no sign to press.
    """
    for group in groups:
        heading = heading_of(group)
        yield (), (Span(heading[:1].upper() + heading[1:], "strong"),)
        for key in keys_in(group):
            yield (Span(f"  {' '.join(key.names)}", "key"),), (Span(key.description),)
    yield (), (Span("Signs", "strong"),)
    for state, glyph in glyphs.states.items():
        yield (Span(f"  {glyph} {state}", state),), (Span(f"a trial that is {state}"),)
    difference = f"  {glyphs.delta} {glyphs.plus_minus}"
    meaning = "paired difference and interval; the report's notes say how much it covers"
    yield (Span(difference),), (Span(meaning),)
    for sign, about in _NOTES:
        yield (Span(f"  {sign}"),), (Span(about),)
    if late:
        yield (), (Span("Not now", "strong"),)
    for key in late:
        yield (Span(f"  {' '.join(key.names)}", "muted"),), (Span(key.description, "muted"),)


class Help(ModalScreen[None]):
    """Shows everything that can be pressed here, what applies first; `/` searches it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,ctrl+c", "dismiss(None)", show=False, priority=True),
        Binding("q,question_mark", "dismiss(None)", show=False),
        Binding("slash", "search", show=False),
        Binding("down", "step(1)", show=False),
        Binding("up", "step(-1)", show=False),
    ]

    def __init__(self, screen: Screen[None], *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        groups, late = _groups_of(screen)
        self._rows = tuple(help_rows(groups, glyphs, late))
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("Help")
            dialog.border_subtitle = Content("/ searches, esc closes")
            yield Input(placeholder="/ searches keys and words", compact=True)
            yield GridTable(glyphs=self._glyphs, id="help-rows")

    def on_mount(self) -> None:
        self._show("")
        self.query_one(GridTable).focus()

    def _show(self, query: str) -> None:
        words = query.lower().split()
        rows = tuple(
            Row(key=str(place), cells=cells)
            for place, cells in enumerate(self._rows)
            if not words or (cells[0] and _has_words(cells, words))
        )
        columns = (
            Column(key="sign", titles=(), width=22),
            Column(key="about", titles=(), width=62),
        )
        table = self.query_one(GridTable)
        table.show(Table(columns=columns, rows=rows, frozen=2))
        table.action_first()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.query_one(GridTable).focus()

    def action_search(self) -> None:
        """Type what to search for."""
        self.query_one(Input).focus()

    def action_step(self, rows: int) -> None:
        """Move in what was found while typing."""
        self.query_one(GridTable).action_move(rows)


def _has_words(cells: tuple[Spans, ...], words: list[str]) -> bool:
    text = " ".join(plain(cell) for cell in cells).lower()
    return all(word in text for word in words)


class EventFeed(ModalScreen[tuple[str, int | None] | None]):
    """Lists what happened, newest first; returns arm and seed of the chosen event."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,i,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, events: tuple[StudyEvent, ...], *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._events = events[::-1]
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        yield GridTable(glyphs=self._glyphs, classes="dialog")

    def on_mount(self) -> None:
        table = self.query_one(GridTable)
        table.set_titles("Events since this view was opened")
        table.border_subtitle = Content("enter goes there, esc closes")
        rows = tuple(
            Row(
                key=str(place),
                cells=(
                    (Span(time.strftime("%H:%M:%S", time.localtime(event.time)), "muted"),),
                    (Span(event.what, TONES[event.what]),),
                    (Span(_where(event)),),
                    (Span(event.text),),
                ),
            )
            for place, event in enumerate(self._events)
        )
        if not rows:
            nothing = (Span("nothing yet", "muted"),)
            rows = (Row(key="", cells=((), (), (), nothing)),)
        columns = tuple(
            Column(key=key, titles=(), width=width)
            for key, width in (("time", 8), ("what", 8), ("where", 24), ("text", 60))
        )
        table.show(Table(columns=columns, rows=rows, frozen=4))
        table.focus()

    @on(GridTable.Chosen)
    def _chosen(self, event: GridTable.Chosen) -> None:
        if not event.table.key:
            return
        chosen = self._events[int(event.table.key)]
        self.dismiss((chosen.arm, chosen.seed) if chosen.arm else None)


def _where(event: StudyEvent) -> str:
    if not event.arm:
        return "session"
    seed = "" if event.seed is None else f" s{event.seed}"
    return f"{display(event.arm, 20)}{seed}"


_HINTS = (
    "no-cache   seed<3   state:failed   delta<0   has:reason   ci:excludes0",
    'blank: and   |: or   -: not   ~regular expression   ( )   "with blanks"',
)


class ReadPrompt(ModalScreen[T | None]):
    """Asks for a text that is read, saying what is wrong while it is typed; None for no change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]
    HEADING: ClassVar[str]
    PLACEHOLDER: ClassVar[str]

    def __init__(self, text: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._text = text
        self._glyphs = glyphs

    @abstractmethod
    def read(self, text: str) -> T:
        """Return what a text says; raise UsageError where it says nothing."""

    @abstractmethod
    def lines(self, complaint: str) -> list[Spans]:
        """Return the lines below the text; the complaint is "" where it can be read."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self.HEADING)
            dialog.border_subtitle = Content("enter filters, empty shows all, esc closes")
            yield Input(self._text, placeholder=self.PLACEHOLDER, compact=True)
            yield LinesWidget(glyphs=self._glyphs, id="hints")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._explain("")

    def _explain(self, complaint: str) -> None:
        self.query_one("#hints", LinesWidget).set_lines(self.lines(complaint))

    def _complaint(self, text: str) -> str:
        try:
            self.read(text)
        except UsageError as error:
            return display(f"{error.message}; {error.hint}" if error.hint else error.message)
        return ""

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._explain(self._complaint(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if not self._complaint(event.value):
            self.dismiss(self.read(event.value))


class FilterPrompt(ReadPrompt[Filter]):
    """Asks which trials and arms are shown."""

    HEADING = "Filter trials and arms"
    PLACEHOLDER = "state:running seed<3"

    def read(self, text: str) -> Filter:
        return parse(text)

    def lines(self, complaint: str) -> list[Spans]:
        first = (Span(complaint, "error"),) if complaint else ()
        return [first, *((Span(hint, "muted"),) for hint in _HINTS)]


def matching(series: tuple[str, ...], query: str) -> tuple[str, ...]:
    """Return the names that contain the query's letters in order, best first."""
    if not query.strip():
        return series
    matcher = Matcher(query.strip())
    scores = {name: matcher.match(name) for name in series}
    return tuple(
        sorted((name for name in series if scores[name] > 0), key=lambda name: -scores[name])
    )


class Picker(ModalScreen[str | None]):
    """Asks for one of some names by a part of it; returns None for no change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False),
        Binding("down,ctrl+n", "step(1)", show=False, priority=True),
        Binding("up,ctrl+p", "step(-1)", show=False, priority=True),
    ]
    HINT: ClassVar[str] = "enter chooses, esc closes"

    def __init__(
        self, title: str, items: Mapping[str, str], current: str | None, *, glyphs: Glyphs
    ) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._title = title
        self._items = dict(items)
        self._current = current
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            dialog.border_subtitle = Content(self.HINT)
            yield Input(placeholder="type to filter", compact=True)
            yield GridTable(glyphs=self._glyphs, id="names")

    def on_mount(self) -> None:
        names = self.query_one(GridTable)
        names.can_focus = False
        names.show(self._table(""))
        if self._current is not None:
            names.select(self._current)
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _filter(self, event: Input.Changed) -> None:
        names = self.query_one(GridTable)
        names.show(self._table(event.value))
        if event.value:
            names.action_first()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        key = self.query_one(GridTable).key
        if key is not None:
            self.dismiss(key)

    def action_step(self, rows: int) -> None:
        self.query_one(GridTable).action_move(rows)

    def _table(self, query: str) -> Table:
        rows = tuple(
            Row(
                key=name,
                cells=(
                    (Span(display(name, 40), "strong" if name == self._current else ""),),
                    (Span(display(self._items[name]), "muted"),),
                ),
            )
            for name in matching(tuple(self._items), query)
        )
        width = max((len(name) for name in self._items), default=0)
        about = Column(key="about", titles=(), width=60)
        name = Column(key="name", titles=(), width=min(40, width))
        return Table(columns=(name, about), rows=rows, frozen=1)


class MetricPicker(Picker):
    """Asks for a series."""

    def __init__(self, series: tuple[Metric, ...], current: str | None, *, glyphs: Glyphs) -> None:
        about = {metric.name: metric.about for metric in series}
        super().__init__("Metric of the curves", about, current, glyphs=glyphs)


SAVE = HEAD  # the key of the row that saves


class ViewPicker(Picker):
    """Asks for a saved view; a name that is typed is offered as that of the view now shown.

    Returns a view's name, or one behind `SAVE` to save, or behind `REMOVE` to remove.
    """

    HINT = "enter applies, a new name saves, ctrl-d removes, esc closes"
    REMOVE: ClassVar[str] = "\1"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+d", "remove", show=False, priority=True),
    ]

    def _table(self, query: str) -> Table:
        found = super()._table(query)
        name = query.strip()[:LONGEST]
        if not name:
            return found
        text = f"save this view as {display(name, LONGEST)}"
        save = Row(key=f"{SAVE}{name}", cells=((Span(text, "key"),), ()))
        rows = (save, *found.rows) if name not in self._items else (*found.rows, save)
        width = max(found.columns[0].width, len(text))
        columns = (replace(found.columns[0], width=width), found.columns[1])
        return Table(columns=columns, rows=rows, frozen=1)

    def action_remove(self) -> None:
        """Remove the view under the cursor."""
        key = self.query_one(GridTable).key
        if key is not None and not key.startswith(SAVE):
            self.dismiss(f"{self.REMOVE}{key}")


class MetricPrompt(ReadPrompt[MetricFilter]):
    """Asks which metrics are shown."""

    HEADING = "Show metrics"
    PLACEHOLDER = "student -loss | teacher.val*"

    def read(self, text: str) -> MetricFilter:
        return MetricFilter(text.strip())

    def lines(self, complaint: str) -> list[Spans]:
        hint = "a part of a name   blank: and   |: or   -: not   *   ~regular expression"
        return [(Span(complaint, "error") if complaint else Span(hint, "muted"),)]


class SearchPrompt(ModalScreen[str | None]):
    """Asks for a text to search the log for; returns None for no change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, text: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("Search the log")
            dialog.border_subtitle = Content("enter searches, n and N step, esc closes")
            yield Input(self._text, placeholder="a part of a line", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
