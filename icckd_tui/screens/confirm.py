"""A question before work is given up."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable


class Confirm(ModalScreen[bool]):
    """Gives whether the answer was yes; the cursor starts on no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", show=False, priority=True),
        Binding("n,escape,q,ctrl+c", "dismiss(False)", show=False, priority=True),
    ]

    def __init__(self, question: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._question = question
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out the two answers."""
        table = GridTable(glyphs=self._glyphs, classes="dialog")
        table.border_title = Content(self._question)
        yield table

    def on_mount(self) -> None:
        """Show the answers."""
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
