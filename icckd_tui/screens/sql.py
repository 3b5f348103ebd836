"""The SQL screen: a statement, its answer, and the views that can be queried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from icckd_tui.data import SqlAnswer
from icckd_tui.keys import Key
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.state import AppState
from icckd_tui.tables import Column, LazyRows, Row, Table
from icckd_tui.text import Span, Spans, display
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.results.types import Table as Answer

_WIDEST = 48
_MEASURED = 200  # rows whose cells decide the widths


def answer_table(answer: Answer) -> Table:
    """Return an answer; its rows are made when they are drawn."""
    first = answer.rows[:_MEASURED]
    columns = []
    for place, name in enumerate(answer.columns):
        cells = [_text(row[place]) for row in first]
        width = min(_WIDEST, max([len(display(name, _WIDEST)), 1, *map(len, cells)]))
        numbers = any(isinstance(row[place], int | float) for row in first)
        columns.append(
            Column(key=f"{place}", titles=(display(name, _WIDEST),), width=width, right=numbers)
        )
    numbered = list(enumerate(answer.rows))
    rows = LazyRows(numbered, lambda item: str(item[0]), lambda item: _cells(item[1]), None)
    return Table(columns=tuple(columns), rows=rows)


def _cells(row: tuple[Any, ...]) -> tuple[Spans, ...]:
    return tuple((Span(_text(value), "muted" if value is None else ""),) for value in row)


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "null" if value is None else display(str(value), _WIDEST)


def views_table(views: Sequence[tuple[str, str]]) -> Table:
    """Return every view and what it holds."""
    rows = tuple(
        Row(key=name, cells=((Span(name, "strong"),), (Span(display(about), "muted"),)))
        for name, about in views
    )
    columns = (
        Column(
            key="view", titles=("view",), width=max((len(name) for name, _ in views), default=4)
        ),
        Column(key="about", titles=("holds",), width=200),
    )
    return Table(columns=columns, rows=rows, frozen=1)


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
    ABOUT = (
        "A console over the documented views. Statements run in a process of their own that can"
        " read nothing else and change nothing; `x` stops one. A filter that is set stands in the"
        " history as SQL."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("s", "edit", "edit the statement; enter runs it", label="Statement", rank=2),
        Key("v", "views", "the views and what they hold", label="Views", rank=3),
        Key("p", "history(-1)", "previous statement"),
        Key("n", "history(1)", "next statement"),
        Key("x", "interrupt", "stop the running statement"),
    ]

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._history: list[str] = []
        self._at = 0
        self._number = 0
        self._asking = False
        self._answer: SqlAnswer | None = None

    def panes(self) -> ComposeResult:
        """Return the panes of the screen, as `MonitorScreen` lays them out."""
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

    def request_data(self) -> None:
        """Ask for nothing beside the study, and put the filter into the history as SQL."""
        super().request_data()
        chosen = self.state.choices.filter
        if chosen.text and self.frame is not None:
            self._remember(" ".join(chosen.over_views(self.frame).split()))

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

    def show_answer(self, answer: SqlAnswer) -> None:
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
        count = f"{'the first ' if answer.is_cut else ''}{len(answer.table.rows)} rows"
        table.set_titles(f"{count} in {answer.seconds:.2f} s", table.position)

    def _run(self, sql: str) -> None:
        statement = sql.strip().rstrip(";")
        if not statement:
            return
        self._remember(statement)
        self._number += 1
        self._asking = True
        self.state.feed.run_sql(self._number, statement)
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
        self.go_to("statement")

    def action_to_answer(self) -> None:
        """Go from the statement to the answer."""
        self._pane = "answer"
        self.set_focus(self.query_one("#answer"))

    def action_views(self) -> None:
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
        if self._asking:
            self.state.feed.interrupt_sql()
