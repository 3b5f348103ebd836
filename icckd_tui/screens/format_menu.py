"""The format in which to write what a pane shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from icckd_tui.export import NAMES, Format
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable

_ABOUT: dict[Format, tuple[str, str]] = {
    "csv": ("c", "for spreadsheets and pandas"),
    "md": ("m", "for an issue or a README"),
    "tex": ("t", "for a paper, with booktabs"),
    "svg": ("s", "a figure whose text stays text"),
    "png": ("p", "a figure as a picture"),
}


class FormatMenu(ModalScreen[Format]):
    """Gives the format that was picked; every one also has its own key."""

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
        """Lay out the formats."""
        table = GridTable(glyphs=self._glyphs, classes="dialog")
        table.border_title = Content(self._title)
        yield table

    def on_mount(self) -> None:
        """Show the formats."""
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
