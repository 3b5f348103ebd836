"""The SQL screen: a statement, its answer, and what can be asked."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from icckd_tui.desk import Desk
from icckd_tui.display import display
from icckd_tui.screens.base import MonitorScreen, screen_bindings
from icckd_tui.view_model.frame import Answered
from icckd_tui.view_model.spans import Span
from icckd_tui.view_model.sql import answer_table, views_table
from icckd_tui.widgets.grid_table import GridTable

_MOST_HISTORY = 200


class Statement(Input):
    """One line of SQL; up and down go through the history."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.history(-1)", show=False),
        Binding("down", "screen.history(1)", show=False),
        Binding("escape", "screen.to_answer", show=False),
    ]


class SqlScreen(MonitorScreen):
    """Asks in a thread; a late answer to an older statement is dropped."""

    NAME = "sql"
    PANES = ("answer", "statement")
    ALL_FROM = (60, 16)
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("sql")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._history: list[str] = []
        self._at = 0
        self._number = 0
        self._asking = False
        self._answer: Answered | None = None

    def panes(self) -> ComposeResult:
        """Lay out the statement above its answer."""
        with Vertical(id="sql-body", classes="box"):
            with Vertical(id="statement", classes="pane"):
                yield Statement(
                    placeholder="from comparison",
                    compact=True,
                    select_on_focus=False,
                    id="sql-input",
                )
            yield GridTable(
                glyphs=self.glyphs, cells=True, detail=True, id="answer", classes="pane"
            )

    def wish(self) -> None:
        """Ask for nothing beside the study."""
        self.desk.want(metrics=(), trial=None, queue=False)
        chosen = self.desk.choices.filter
        if chosen.text and self.frame is not None:
            self._remember(" ".join(chosen.sql(self.frame).split()))

    def arrange_panes(self) -> None:
        """Keep the statement in one line."""
        self.query_one("#statement").styles.height = 3
        self.query_one("#statement").border_title = "Statement, enter runs it"

    def entry_of(self, pane: Widget) -> Widget:
        """Return the line of the statement for its pane."""
        return self.query_one(Statement) if pane.id == "statement" else pane

    def fill(self, pane: str) -> None:
        """Fill the answer, which changes only when it comes."""
        table = self.query_one("#answer", GridTable)
        if pane != "answer" or (self._answer is not None and not self._asking):
            return
        if self._asking:
            table.set_titles("Asking, x stops it")
        else:
            table.show(views_table(self.frame.views if self.frame else ()))
            table.set_titles("Views, enter shows one", table.position)

    def show_answer(self, answer: Answered) -> None:
        """Show the answer to the newest statement."""
        if answer.number != self._number:
            return
        self._asking, self._answer = False, answer
        table = self.query_one("#answer", GridTable)
        if answer.table is None:
            table.show_detail((Span(f" {display(answer.reason)}", "error"),))
            table.set_titles("No answer")
            return
        table.show_detail(())
        table.show(answer_table(answer.table))
        table.action_first()
        count = f"{'the first ' if answer.cut else ''}{len(answer.table.rows)} rows"
        table.set_titles(f"{count} in {answer.seconds:.2f} s", table.position)

    def _run(self, sql: str) -> None:
        statement = sql.strip().rstrip(";")
        if not statement:
            return
        self._remember(statement)
        self._number += 1
        self._asking = True
        self.desk.feed.ask(self._number, statement)
        self.refill("answer")

    def _remember(self, statement: str) -> None:
        if statement not in self._history[-1:]:
            self._history.append(statement)
            del self._history[:-_MOST_HISTORY]
        self._at = len(self._history)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._run(event.value)

    @on(GridTable.Chosen, "#answer")
    def _chosen(self, event: GridTable.Chosen) -> None:
        if self._answer is None and event.table.key is not None:
            statement = f"from {event.table.key} limit 200"
            self.query_one(Statement).value = statement
            self._run(statement)

    @on(GridTable.Moved, "#answer")
    def _moved(self, event: GridTable.Moved) -> None:
        self.fill("answer")

    def action_edit(self) -> None:
        """Go to the statement."""
        self.go_to("statement")

    def action_to_answer(self) -> None:
        """Go from the statement to the answer."""
        self._pane = "answer"
        self.set_focus(self.query_one("#answer"))

    def action_views(self) -> None:
        """Show the views again."""
        self._answer, self._asking = None, False
        self._number += 1
        self.query_one("#answer", GridTable).show_detail(())
        self.refill("answer")
        self.action_to_answer()

    def action_history(self, step: int) -> None:
        """Put an earlier or a later statement into the line."""
        if not self._history:
            return
        self._at = min(len(self._history), max(0, self._at + step))
        line = self.query_one(Statement)
        line.value = self._history[self._at] if self._at < len(self._history) else ""
        line.cursor_position = len(line.value)
        self.go_to("statement")

    def action_interrupt(self) -> None:
        """Stop the statement that runs."""
        if self._asking:
            self.desk.feed.interrupt()
