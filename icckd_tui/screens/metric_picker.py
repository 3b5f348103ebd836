"""The metric picker: type a part of a name, choose from what is left."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import Matcher
from textual.screen import ModalScreen
from textual.widgets import Input

from icckd.spec.metrics import SERIES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.table import Column, Row, Table
from icckd_tui.widgets.grid_table import GridTable


def matching(series: tuple[str, ...], query: str) -> tuple[str, ...]:
    """Return the names that contain the query's letters in order, best first."""
    if not query.strip():
        return series
    matcher = Matcher(query.strip())
    scores = {name: matcher.match(name) for name in series}
    return tuple(
        sorted((name for name in series if scores[name] > 0), key=lambda name: -scores[name])
    )


class MetricPicker(ModalScreen[str | None]):
    """Gives the chosen series, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False),
        Binding("down,ctrl+n", "step(1)", show=False, priority=True),
        Binding("up,ctrl+p", "step(-1)", show=False, priority=True),
    ]

    def __init__(self, series: tuple[str, ...], current: str | None, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._series = series
        self._current = current
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out the filter and the list."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("Metric of the curves")
            dialog.border_subtitle = Content("enter chooses, esc closes")
            yield Input(placeholder="type to filter", compact=True)
            yield GridTable(glyphs=self._glyphs, id="names")

    def on_mount(self) -> None:
        """Start with every name, at the current one."""
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
        """Move through the list while typing."""
        self.query_one(GridTable).action_move(rows)

    def _table(self, query: str) -> Table:
        rows = tuple(
            Row(
                key=name,
                cells=(
                    (Span(display(name, 40), "strong" if name == self._current else ""),),
                    (Span(SERIES[name].about if name in SERIES else "", "muted"),),
                ),
            )
            for name in matching(self._series, query)
        )
        width = max((len(name) for name in self._series), default=0)
        about = Column(key="about", titles=(), width=60)
        name = Column(key="name", titles=(), width=min(40, width))
        return Table(columns=(name, about), rows=rows, frozen=1)
