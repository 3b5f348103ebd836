"""The compare screen: arms side by side, by outcome, verdict, cost and setting."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from icckd_tui.desk import Desk
from icckd_tui.display import display
from icckd_tui.screens.base import MonitorScreen, screen_bindings
from icckd_tui.view_model.comparison import comparison_detail, comparison_table, comparison_title
from icckd_tui.view_model.pareto import costs_of, pareto_title, points_of, scatter_lines
from icckd_tui.view_model.settings import next_difference, settings_table
from icckd_tui.view_model.verdicts import verdict_table
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.lines import LinesWidget

_WIDE = 100  # from this width on, roles are written out


class CostView(LinesWidget, can_focus=True):
    """Draws accuracy against cost."""


class CompareScreen(MonitorScreen):
    """Shows the marked arms beside the baseline, or all where none is marked."""

    NAME = "compare"
    PANES = ("comparison", "verdicts", "cost", "settings")
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("compare")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._cost = 0

    def panes(self) -> ComposeResult:
        """Lay out the table above verdicts beside costs, and settings below."""
        glyphs = self.glyphs
        with Vertical(id="compare-body", classes="box"):
            yield GridTable(glyphs=glyphs, cells=True, detail=True, id="comparison", classes="pane")
            with Horizontal(id="compare-middle", classes="box"):
                yield GridTable(glyphs=glyphs, id="verdicts", classes="pane")
                yield CostView(glyphs=glyphs, id="cost", classes="pane")
            yield GridTable(glyphs=glyphs, cells=True, id="settings", classes="pane")

    def wish(self) -> None:
        """Ask for nothing beside the study."""
        self.desk.want(metrics=(), trial=None, queue=False)

    def arrange_panes(self) -> None:
        """Give the tables what they hold, and the rest to verdicts and costs."""
        frame = self.frame
        for name in ("comparison", "settings"):
            self.query_one(f"#{name}").styles.height = "1fr"
        if self.is_single or frame is None:
            return
        arms = len(frame.study.arms)
        height = self.size.height - 2
        paths = len({change.path for arm in frame.study.arms for change in arm.changes})
        self.query_one("#comparison").styles.height = min(arms + 6, height * 2 // 5)
        self.query_one("#settings").styles.height = min(paths + 3, height // 4)

    def on_resize(self) -> None:
        """Draw the plane for the new size once it is known."""
        super().on_resize()
        self.call_after_refresh(self.refill, "cost")

    @property
    def _only(self) -> frozenset[str]:
        """The arms to show, all when empty."""
        frame, choices = self.frame, self.desk.choices
        if frame is None:
            return frozenset()
        kept = choices.marked
        if not kept and choices.filter.text:
            kept = frozenset(row.arm for row in choices.filter.rows(frame))
        return kept | {frame.reference} if kept else frozenset()

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        frame, glyphs, only = self.frame, self.glyphs, self._only
        if pane == "cost":
            self._fill_cost()
            return
        table = self.query_one(f"#{pane}", GridTable)
        if pane == "comparison":
            compact = self.size.width < _WIDE
            marked = self.desk.choices.marked
            table.show(comparison_table(frame, glyphs, compact=compact, only=only, marked=marked))
            title = comparison_title(frame, glyphs)
            shown = f" {glyphs.separator} {len(only)} arms" if only else ""
            table.set_titles(f"{title}{shown}", table.position)
            if self.desk.choices.focus is not None and table.key != self.desk.choices.focus:
                table.put_cursor(self.desk.choices.focus)
            if table.key and table.column_key:
                table.show_detail(comparison_detail(frame, table.key, table.column_key, glyphs))
        elif pane == "verdicts":
            table.show(verdict_table(frame, only, glyphs))
            about = "Verdicts on" if frame.is_declared else "No verdicts without the baseline:"
            table.set_titles(f"{about} {display(frame.study.primary, 40)}", table.position)
        else:
            table.show(settings_table(frame, only, glyphs))
            table.set_titles("Settings that differ", table.position)

    def _fill_cost(self) -> None:
        assert self.frame is not None
        view = self.query_one("#cost", CostView)
        costs = costs_of(self.frame)
        cost = costs[self._cost % len(costs)]
        points = points_of(self.frame, cost, self._only)
        view.set_lines(scatter_lines(self.frame, points, cost, *view.size, self.glyphs))
        view.set_titles(pareto_title(self.frame, cost))

    @on(GridTable.Moved, "#comparison")
    @on(GridTable.Moved, "#verdicts")
    def _arm_moved(self, event: GridTable.Moved) -> None:
        self.desk.choices.focus = event.table.key
        self.refill(str(event.table.id))

    @on(GridTable.Moved, "#settings")
    def _setting_moved(self) -> None:
        self.refill("settings")

    @on(GridTable.Chosen, "#comparison")
    @on(GridTable.Chosen, "#verdicts")
    def _arm_chosen(self, event: GridTable.Chosen) -> None:
        self.desk.choices.focus = event.table.key
        self.action_open("charts")

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        return table.column_key if table.id == "settings" else table.key

    def action_cost(self) -> None:
        """Show the next cost."""
        self._cost += 1
        self.refill("cost")

    def action_next_difference(self) -> None:
        """Go to the next setting in which the arm in focus differs."""
        if self.frame is None:
            return
        table = self.query_one("#settings", GridTable)
        self._fill("settings")
        paths = [row.key for row in table.table.rows]
        arm = table.column_key if self._pane == "settings" else self.desk.choices.focus
        found = next_difference(self.frame, arm or "", table.key, paths)
        if found is not None:
            self.go_to("settings")
            table.select(found)
