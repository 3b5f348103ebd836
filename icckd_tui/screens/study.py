"""The study screen: what each part does, its curves, the trials, the log and the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message

from icckd_tui.desk import Desk
from icckd_tui.screens.base import screen_bindings
from icckd_tui.screens.control import Controls
from icckd_tui.screens.curves import CurveScreen
from icckd_tui.view_model.comparison import comparison_detail, comparison_title
from icckd_tui.view_model.forest import forest_table
from icckd_tui.view_model.host import host_rows
from icckd_tui.view_model.log import log_table, places_of
from icckd_tui.view_model.matrix import grid_of, matrix_table, matrix_title
from icckd_tui.view_model.table import Table
from icckd_tui.view_model.trials import trial_detail, trial_key, trial_of, trial_table
from icckd_tui.widgets.curves import CurveChart
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.host import HostView

if TYPE_CHECKING:
    from icckd.results.types import LogRow
    from icckd_tui.view_model.spans import Spans


class StudyScreen(Controls, CurveScreen):
    """The arm under the cursor of matrix or differences is in focus everywhere."""

    NAME = "study"
    PANES = ("matrix", "differences", "curves", "second", "trials", "log")
    CHARTS = ("curves", "second")
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("study")

    class TrialChosen(Message):
        """A trial is to be looked at."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._host_rows = host_rows(None)
        self._shown_log: tuple[LogRow, ...] | None = None

    def panes(self) -> ComposeResult:
        """Lay out two columns."""
        glyphs = self.glyphs
        with Horizontal(id="study-body", classes="box"):
            with Vertical(id="study-left", classes="box"):
                yield GridTable(glyphs=glyphs, cells=True, detail=True, id="matrix", classes="pane")
                yield GridTable(glyphs=glyphs, id="differences", classes="pane")
                yield GridTable(glyphs=glyphs, cells=True, detail=True, id="trials", classes="pane")
            with Vertical(id="study-right", classes="box"):
                yield CurveChart(glyphs=glyphs, id="curves", classes="pane")
                yield CurveChart(glyphs=glyphs, id="second", classes="pane")
                with Horizontal(id="study-bottom", classes="box"):
                    yield GridTable(glyphs=glyphs, follow=True, id="log", classes="pane")
                    yield HostView(glyphs=glyphs, id="host-panel", classes="pane")

    @property
    def _has_host_panel(self) -> bool:
        return self.desk.has_host and not self.is_single and self.size.width >= 150

    def wants_host_line(self) -> bool:
        """Say whether the panel is not there."""
        return not self._has_host_panel

    def arrange_panes(self) -> None:
        """Give matrix and differences what they hold, and the rest to trials and charts."""
        self.query_one("#host-panel").display = self._has_host_panel
        single, frame = self.is_single, self.frame
        for name in ("matrix", "differences", "study-bottom"):
            self.query_one(f"#{name}").styles.height = "1fr"
        if single or frame is None:
            return
        height = self.size.height - 2
        factors = len(grid_of(frame.study, self.glyphs).factors)
        matrix = min(factors + 5, height * 3 // 10)
        differences = min(len(frame.study.arms) + 2, height * 3 // 10)
        bottom = max(self._host_rows + 2 if self._has_host_panel else 0, min(8, height // 5))
        self.query_one("#matrix").styles.height = matrix
        self.query_one("#differences").styles.height = differences
        self.query_one("#study-bottom").styles.height = bottom

    def show_host(self) -> None:
        """Give the panel another line where another device appeared."""
        rows = host_rows(self.desk.host)
        if rows != self._host_rows:
            self._host_rows = rows
            self.arrange_panes()
        super().show_host()

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        if pane in self.CHARTS:
            self.fill_chart(pane)
        else:
            {
                "matrix": self._fill_matrix,
                "differences": self._fill_differences,
                "trials": self._fill_trials,
                "log": self._fill_log,
            }[pane]()

    @property
    def outcome(self) -> str:
        """The outcome that matrix and differences show."""
        assert self.frame is not None
        return self.desk.choices.outcome or self.frame.study.primary

    def _fill_matrix(self) -> None:
        assert self.frame is not None
        pane, choices = self.query_one("#matrix", GridTable), self.desk.choices
        detail = comparison_detail(self.frame, choices.focus or "", self.outcome, self.glyphs)
        pane.show(self._matrix(pane.size.width), lambda _: detail)
        title = matrix_title(self.frame, self.outcome, self.glyphs)
        pane.set_titles(title, pane.position)
        if choices.focus is not None and self._arm_in_matrix() != choices.focus:
            cell = grid_of(self.frame.study, self.glyphs).cell_of(choices.focus)
            if cell is not None:
                pane.put_cursor(*cell)

    def _matrix(self, width: int) -> Table:
        assert self.frame is not None
        marked = self.desk.choices.marked
        return matrix_table(self.frame, self.outcome, self.glyphs, marked, width or 1000)

    def _arm_in_matrix(self) -> str | None:
        pane = self.query_one("#matrix", GridTable)
        if self.frame is None:
            return None
        return grid_of(self.frame.study, self.glyphs).arm_at(pane.key, pane.column_key)

    def _fill_differences(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#differences", GridTable)
        if not pane.size.width:
            self.call_after_refresh(self.refill, "differences")
            return
        pane.show(forest_table(self.frame, self.outcome, pane.size.width, self.glyphs))
        if self.desk.choices.focus is not None and pane.key != self.desk.choices.focus:
            pane.put_cursor(self.desk.choices.focus)
        pane.set_titles(comparison_title(self.frame, self.glyphs), pane.position)

    def _fill_trials(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#trials", GridTable)
        rows = self.desk.choices.filter.rows(self.frame)

        def detail_of(key: str | None) -> Spans:
            row = next((row for row in rows if trial_key(row) == key), None)
            return trial_detail(row, self.glyphs) if row is not None else ()

        pane.show(trial_table(self.frame, rows, self.glyphs), detail_of)
        found = "" if rows is self.frame.trials else f" {len(rows)} of {len(self.frame.trials)}"
        pane.set_titles(f"Trials{found}", pane.position)

    def _fill_log(self) -> None:
        assert self.frame is not None
        pane = self.query_one("#log", GridTable)
        if self.frame.log != self._shown_log:
            self._shown_log = self.frame.log
            pane.show(log_table(self.frame.log, places_of(self.frame.study)))
        following = "" if pane.follow else f" {self.glyphs.separator} paused, f follows"
        pane.set_titles(f"Log{following}", pane.position)

    def on_resize(self) -> None:
        """Draw the differences for the new width once it is known."""
        super().on_resize()
        self.call_after_refresh(self.refill, "matrix", "differences")

    @on(GridTable.Moved, "#matrix")
    def _matrix_moved(self) -> None:
        arm = self._arm_in_matrix()
        if arm is not None:
            self.focus_arm(arm)

    @on(GridTable.Moved, "#differences")
    def _difference_moved(self, event: GridTable.Moved) -> None:
        if event.table.key is not None:
            self.focus_arm(event.table.key)

    @on(GridTable.Moved, "#trials")
    def _trial_moved(self, event: GridTable.Moved) -> None:
        self.desk.choices.trial = trial_of(event.table.key)
        self.refill("trials")

    @on(GridTable.Moved, "#log")
    def _log_moved(self) -> None:
        self.refill("log")

    @on(GridTable.Chosen, "#matrix")
    @on(GridTable.Chosen, "#differences")
    def _arm_chosen(self) -> None:
        self.go_to("curves")

    @on(GridTable.Chosen, "#trials")
    def _trial_chosen(self, event: GridTable.Chosen) -> None:
        self.desk.choices.trial = trial_of(event.table.key)
        self.post_message(self.TrialChosen())

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        if table.id == "matrix":
            return self._arm_in_matrix()
        if table.id == "differences":
            return table.key
        trial = trial_of(table.key) if table.id == "trials" else None
        return trial[0] if trial else None

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the trial that a request would be about."""
        return trial_of(self.query_one("#trials", GridTable).key)

    def action_step_outcome(self, step: int) -> None:
        """Show the next or the previous outcome in matrix and differences."""
        if self.frame is not None:
            names = self.frame.study.metrics
            place = names.index(self.outcome)
            self.desk.choices.outcome = names[(place + step) % len(names)]
            self.refill("matrix", "differences")
