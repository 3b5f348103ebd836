"""The help overlay: every key from the keymap, and what the signs mean."""

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import SCOPES, SCREENS, ScreenName, keys_in
from icckd_tui.view_model.spans import Span, Spans
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable

_NOTES = (
    ("~14.0", "median; shown where some seeds never reached the target"),
    ("never 3/8", "three of eight seeds never reached the target"),
    ("2/8", "seeds with a value so far, of those planned"),
    ("provisional", "looking often while seeds run finds differences that are not there"),
)


def help_rows(screen: ScreenName, glyphs: Glyphs) -> Iterator[tuple[Spans, Spans]]:
    """Yield what to press or see on a screen, and what it means: its own keys first."""
    scopes = (*reversed(SCREENS[screen]), "table", "chart")
    for scope in (scope for scope in scopes if scope != "chart" or "curves" in scopes):
        yield (Span("Keys", "strong"),), (Span(SCOPES[scope], "strong"),)
        for key in keys_in((scope,)):
            yield (Span(f"  {key.shown}", "key"),), (Span(key.about),)
        yield (), ()
    yield (Span("Signs", "strong"),), ()
    for state, glyph in glyphs.states.items():
        yield (Span(f"  {glyph} {state}", state),), (Span(f"a trial that is {state}"),)
    difference = f"  {glyphs.delta} {glyphs.plus_minus}95%"
    meaning = "mean paired difference from the baseline, 95 % t interval"
    yield (Span(difference),), (Span(meaning),)
    yield (Span("  *"),), (Span("that interval excludes 0"),)
    for sign, about in _NOTES:
        yield (Span(f"  {sign}"),), (Span(about),)


class Help(ModalScreen[None]):
    """Shows everything that can be pressed here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, screen: ScreenName, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._screen = screen
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out one table."""
        yield GridTable(glyphs=self._glyphs, classes="dialog")

    def on_mount(self) -> None:
        """Fill the table."""
        rows = tuple(
            Row(key=str(place), cells=cells)
            for place, cells in enumerate(help_rows(self._screen, self._glyphs))
        )
        columns = (
            Column(key="sign", titles=(), width=22),
            Column(key="about", titles=(), width=62),
        )
        table = self.query_one(GridTable)
        table.set_titles("Help")
        table.border_subtitle = Content("esc closes")
        table.show(Table(columns=columns, rows=rows, frozen=2))
        table.focus()
