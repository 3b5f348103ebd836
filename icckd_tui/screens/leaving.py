"""Leaving while this terminal started the session: what becomes of it?"""

from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable

Answer = Literal["go-on", "stop", "stay"]

_CHOICES: tuple[tuple[Answer, str, str, str], ...] = (
    ("go-on", "g", "Let it go on", "training continues without this view"),
    ("stop", "s", "Stop it", "running stages end; what is complete stays"),
    ("stay", "esc", "Stay", "back to the study"),
)


class Leaving(ModalScreen[Answer]):
    """Asks once; every answer also has its own key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "dismiss('go-on')", show=False, priority=True),
        Binding("s", "dismiss('stop')", show=False, priority=True),
        Binding("escape,q,ctrl+c", "dismiss('stay')", show=False, priority=True),
    ]

    def __init__(self, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out the three answers."""
        choices = GridTable(glyphs=self._glyphs, classes="dialog")
        choices.border_title = Content("The session is still running")
        yield choices

    def on_mount(self) -> None:
        """Show the answers."""
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
