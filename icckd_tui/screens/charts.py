"""The charts screen: a grid of series, with one x range for all or one for each."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid, Vertical

from icckd_tui.keys import Key
from icckd_tui.screens.curves import CurveScreen
from icckd_tui.state import AppState
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.table import GridTable

GRIDS = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))  # columns and rows
_MOST = 9


class ChartsScreen(CurveScreen):
    """Charts side by side, with a table of values at the cursor."""

    NAME = "charts"
    CHARTS = tuple(f"chart{number}" for number in range(1, _MOST + 1))
    PANES = (*CHARTS, "values")
    ALL_FROM = (100, 24)
    ABOUT = (
        "One to nine series side by side. Smoothing runs over every value of the raw series. The"
        " value cursor reads all charts at one place, and a table holds what it reads. Marked arms"
        " are drawn alone."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("w", "grid(1)", "more charts", label="Grid", rank=4),
        Key("d", "grid(-1)", "fewer charts"),
        Key("u", "free_x", "one x range for all charts, or one for each"),
    ]

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._grid = 2
        self._free = False

    def panes(self) -> ComposeResult:
        with Vertical(id="charts-body", classes="box"):
            with Grid(id="chart-grid", classes="box"):
                for name in self.CHARTS:
                    yield CurveChart(glyphs=self.glyphs, id=name, classes="pane")
            yield GridTable(glyphs=self.glyphs, cells=True, id="values", classes="pane")

    @property
    def _count(self) -> int:
        columns, rows = GRIDS[self._grid]
        return columns * rows

    def is_wanted(self, pane: str) -> bool:
        """Whether a chart is in the grid, or the table is needed for a value cursor."""
        if pane == "values":
            return self._views[self.CHARTS[0]].x.cursor is not None or self._free
        return self.CHARTS.index(pane) < self._count and super().is_wanted(pane)

    def arrange_panes(self) -> None:
        """Set the grid's size and the table's height."""
        shown = len(self._wanted_charts())
        enough = next(size for size in GRIDS if size[0] * size[1] >= shown)
        columns, rows = (1, 1) if self.is_single else enough
        grid = self.query_one("#chart-grid", Grid)
        grid.styles.grid_size_columns, grid.styles.grid_size_rows = columns, rows
        arms = len(self.frame.study.arms) if self.frame is not None else 0
        least = min(arms + 4, self.size.height // 3)
        self.query_one("#values").styles.height = "1fr" if self.is_single else least

    def arms_drawn(self) -> frozenset[str]:
        """Return the marked arms with baseline and focus, or what the filter lets through."""
        frame, choices = self.frame, self.state.choices
        if frame is None:
            return frozenset()
        kept = choices.marked or frame.matching_arms
        return kept | {frame.reference, choices.focus or ""} if kept else frozenset()

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        if pane == "values":
            self._fill_values()
        else:
            self.fill_chart(pane)

    def _fill_values(self) -> None:
        from icckd_tui.chart import cursor_text, value_table

        assert self.frame is not None
        shown = [(name, self.query_one(f"#{name}", CurveChart)) for name in self._wanted_charts()]
        charts = [(c.metric, c.chart) for _, c in shown if c.chart is not None and c.metric]
        pane = self.query_one("#values", GridTable)
        pane.show(value_table(self.frame, charts, self.glyphs))
        where = next((cursor_text(chart) for _, chart in charts), "")
        pane.set_titles(f"Values {where}".rstrip(), pane.position)

    def _wanted_charts(self) -> list[str]:
        return [name for name in self.CHARTS if self.is_wanted(name)]

    def cursor_changed(self) -> None:
        """Show or hide the table, and draw again."""
        if self.query_one("#values").display != self.is_wanted("values"):
            self.lay_out()
        else:
            self.fill_panes()

    def action_grid(self, step: int) -> None:
        self._grid = (self._grid + step) % len(GRIDS)
        self.request_data()
        self.lay_out()

    def action_free_x(self) -> None:
        """Give each chart its own x range, or all the same."""
        self._free = not self._free
        self.share_view(not self._free)
        self.say("each chart has its own x range" if self._free else "one x range for all charts")
        self.lay_out()

    @on(GridTable.Moved, "#values")
    def _value_moved(self, event: GridTable.Moved) -> None:
        if event.table.key is not None:
            self.focus_arm(event.table.key)

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under the cursor of the values."""
        return table.key
