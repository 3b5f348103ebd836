"""The host screen: the machine's history, and the processes that train."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from icckd_tui.screens.base import MonitorScreen, screen_bindings
from icckd_tui.view_model.host_history import history_lines, memory_risk, process_table
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.lines import LinesWidget


class HistoryView(LinesWidget, can_focus=True):
    """Draws lines as high as it is."""


class HostScreen(MonitorScreen):
    """History above, processes below."""

    NAME = "host"
    PANES = ("processes", "history")
    ALL_FROM = (80, 20)
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("host")

    def panes(self) -> ComposeResult:
        """Lay out history above processes."""
        with Vertical(id="host-body", classes="box"):
            yield HistoryView(glyphs=self.glyphs, id="history", classes="pane")
            yield GridTable(glyphs=self.glyphs, detail=True, id="processes", classes="pane")

    def wants_host_line(self) -> bool:
        """Say that the whole screen is about the machine."""
        return False

    def wish(self) -> None:
        """Ask for who trains."""
        self.desk.want(metrics=(), trial=None, queue=True)

    def arrange_panes(self) -> None:
        """Give processes their lines."""
        lines = self.frame.progress.workers if self.frame is not None else 1
        height = "1fr" if self.is_single else min(max(1, lines) + 4, self.size.height // 2)
        self.query_one("#processes").styles.height = height

    def on_resize(self) -> None:
        """Draw for the new size once it is known."""
        super().on_resize()
        self.call_after_refresh(self.show_host)

    def show_host(self) -> None:
        """Show the newest sample."""
        self.refill("history", "processes")

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        if pane == "history":
            view = self.query_one("#history", HistoryView)
            view.set_lines(history_lines(self.desk.host, *view.size, self.glyphs))
            seconds = len(self.desk.host.past) if self.desk.host is not None else 0
            view.set_titles(f"This machine, the last {seconds} s" if seconds else "This machine")
            return
        table = self.query_one("#processes", GridTable)
        table.show(process_table(self.frame, self.desk.host, self.glyphs))
        count = len(table.table.rows)
        table.set_titles(f"Training {count}" if count else "Nothing trains now", table.position)
        table.show_detail(memory_risk(self.frame, self.desk.host, self.glyphs))

    @on(GridTable.Chosen, "#processes")
    def _chosen(self, event: GridTable.Chosen) -> None:
        rows = self.frame.queue if self.frame is not None else ()
        found = next((row.trials for row in rows if row.stage == event.table.key), ())
        if found:
            self.desk.choices.trial = found[0]
            self.action_open("trial")
