"""The event feed: what happened while the app ran, the newest first."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.events import TONES, Happening
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable


class EventFeed(ModalScreen[tuple[str, int | None] | None]):
    """Gives the arm and seed of the event that was chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,i,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, happenings: tuple[Happening, ...], *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._happenings = happenings[::-1]
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out one table."""
        yield GridTable(glyphs=self._glyphs, classes="dialog")

    def on_mount(self) -> None:
        """Fill the table."""
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
            for place, event in enumerate(self._happenings)
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
        chosen = self._happenings[int(event.table.key)]
        self.dismiss((chosen.arm, chosen.seed) if chosen.arm else None)


def _where(event: Happening) -> str:
    if not event.arm:
        return "session"
    seed = "" if event.seed is None else f" s{event.seed}"
    return f"{display(event.arm, 20)}{seed}"
