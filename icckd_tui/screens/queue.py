"""The queue screen: what runs, what waits, and what the session was asked."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from icckd_tui.desk import Desk
from icckd_tui.screens.base import screen_bindings
from icckd_tui.screens.control import Controls
from icckd_tui.view_model.queue import (
    first_open,
    queue_rows,
    queue_table,
    queue_title,
    request_table,
)
from icckd_tui.widgets.grid_table import GridTable


class QueueScreen(Controls):
    """Stages in the plan's order; requests below."""

    NAME = "queue"
    PANES = ("stages", "requests")
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("queue")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._placed = False

    def panes(self) -> ComposeResult:
        """Lay out stages above requests."""
        with Vertical(id="queue-body", classes="box"):
            yield GridTable(glyphs=self.glyphs, id="stages", classes="pane")
            yield GridTable(glyphs=self.glyphs, id="requests", classes="pane")

    def wish(self) -> None:
        """Ask for the queue."""
        self.desk.want(metrics=(), trial=None, queue=True)

    def arrange_panes(self) -> None:
        """Give requests a few lines."""
        requests = len(self.frame.requests) + len(self.desk.asked) if self.frame else 0
        height = "1fr" if self.is_single else max(4, min(requests + 2, self.size.height // 4))
        self.query_one("#requests").styles.height = height

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        table = self.query_one(f"#{pane}", GridTable)
        if pane == "requests":
            read_only = self.desk.submit is None
            asked = self.desk.asked
            table.show(request_table(self.frame, asked, self.glyphs, read_only=read_only))
            locked = "UNLOCKED" if self.desk.choices.unlocked else "locked, W unlocks"
            locked = "read-only" if read_only else locked
            table.set_titles(f"Requests {self.glyphs.separator} {locked}", table.position)
            return
        if not self.frame.queue:
            table.set_titles("Reading the queue")
            self.wish()
            return
        chosen = self.desk.choices.filter
        trials = frozenset((row.arm, row.seed) for row in chosen.rows(self.frame))
        rows = queue_rows(self.frame, trials if chosen.text else None)
        table.show(queue_table(self.frame, rows, self.glyphs))
        if not self._placed:
            self._placed = True
            ahead = first_open(rows, table.size.height * 2 // 3)
            table.put_cursor(ahead or "")  # so that what comes next is in view too
            table.put_cursor(first_open(rows) or "")
        table.set_titles(queue_title(self.frame, self.glyphs), table.position)

    def action_unlock(self) -> None:
        """Unlock requests to the session, or lock them again."""
        super().action_unlock()
        self.refill("requests")

    def _trials_under_cursor(self) -> tuple[tuple[str, int], ...]:
        key = self.query_one("#stages", GridTable).key
        rows = self.frame.queue if self.frame is not None else ()
        return next((row.trials for row in rows if row.stage == key), ())

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the first trial that needs the stage under the cursor."""
        return next(iter(self._trials_under_cursor()), None)

    @on(GridTable.Moved, "#stages")
    def _moved(self) -> None:
        self.refill("stages")

    @on(GridTable.Chosen, "#stages")
    def _chosen(self) -> None:
        trial = self.trial_in_view()
        if trial is not None:
            self.desk.choices.trial = trial
            self.action_open("trial")

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm of the stage under the cursor."""
        trial = self.trial_in_view() if table.id == "stages" else None
        return trial[0] if trial else None
