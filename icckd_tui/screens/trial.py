"""The trial screen: everything about one trial, with its log."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from icckd_tui.desk import Desk
from icckd_tui.display import display
from icckd_tui.screens.base import screen_bindings
from icckd_tui.screens.control import Controls
from icckd_tui.screens.search import SearchPrompt
from icckd_tui.view_model.frame import TrialFacts
from icckd_tui.view_model.log import LEVELS, Level, log_table, log_text, matches, places_of
from icckd_tui.view_model.trial import facts_table, row_of, series_table, traceback_table
from icckd_tui.widgets.grid_table import GridTable


class TrialScreen(Controls):
    """Facts on the left, series and log on the right; brackets go to the next trial."""

    NAME = "trial"
    PANES = ("facts", "series", "lines")
    BINDINGS: ClassVar[list[BindingType]] = screen_bindings("trial")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._level: Level = "info"
        self._search = ""
        self._traceback = False

    def panes(self) -> ComposeResult:
        """Lay out two columns."""
        glyphs = self.glyphs
        with Horizontal(id="trial-body", classes="box"):
            with Vertical(id="trial-left", classes="box"):
                yield GridTable(glyphs=glyphs, id="facts", classes="pane")
            with Vertical(id="trial-right", classes="box"):
                yield GridTable(glyphs=glyphs, id="series", classes="pane")
                yield GridTable(glyphs=glyphs, follow=True, id="lines", classes="pane")

    def wish(self) -> None:
        """Ask for the chosen trial, and for who trains it."""
        self.desk.want(metrics=(), trial=self.desk.choices.trial, queue=True)

    def arrange_panes(self) -> None:
        """Give the series their lines."""
        facts = self._facts
        lines = len(facts.series) if facts is not None else 8
        height = "1fr" if self.is_single else min(lines + 3, self.size.height // 2)
        self.query_one("#series").styles.height = height

    @property
    def _facts(self) -> TrialFacts | None:
        """What was read about the chosen trial; None until it is."""
        facts = self.frame.trial if self.frame is not None else None
        chosen = self.desk.choices.trial
        return facts if facts is not None and (facts.arm, facts.seed) == chosen else None

    def show_host(self) -> None:
        """Show the process's newest sample too."""
        super().show_host()
        self.refill("facts")

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        table, facts = self.query_one(f"#{pane}", GridTable), self._facts
        if facts is None:
            table.set_titles("Reading the trial")
            self.wish()
            return
        assert self.frame is not None
        if pane == "facts":
            table.show(facts_table(self.frame, facts, self.desk.host, self.glyphs))
            row = row_of(self.frame, (facts.arm, facts.seed))
            state = f" {self.glyphs.separator} {row.state}" if row is not None else ""
            table.set_titles(f"{display(facts.arm, 40)} s{facts.seed}{state}", table.position)
        elif pane == "series":
            if len(table.table.rows) != len(facts.series):
                self.arrange_panes()
            table.show(series_table(facts, self.glyphs))
            table.set_titles("Series", table.position)
        else:
            self._fill_lines(table, facts)

    def _fill_lines(self, table: GridTable, facts: TrialFacts) -> None:
        shown = traceback_table(facts) if self._traceback else None
        if shown is not None:
            table.follow = False
            table.show(shown)
            table.set_titles("Traceback of the newest failure, b goes back", table.position)
            return
        assert self.frame is not None
        table.show(log_table(facts.log, places_of(self.frame.study), level=self._level))
        parts = ["Log"]
        if self._level != "info":
            parts.append(f"{self._level}s and worse" if self._level == "warning" else "errors")
        if self._search:
            found = matches(table.table, self._search)
            parts.append(f"{len(found)} x {display(self._search, 30)}")
        if not table.follow:
            parts.append("paused, f follows")
        table.set_titles(f" {self.glyphs.separator} ".join(parts), table.position)

    @on(GridTable.Moved, "#lines")
    @on(GridTable.Moved, "#facts")
    @on(GridTable.Moved, "#series")
    def _moved(self, event: GridTable.Moved) -> None:
        self.refill(str(event.table.id))

    def action_step_trial(self, step: int) -> None:
        """Look at the next or the previous trial that the filter lets through."""
        if self.frame is None:
            return
        trials = [(row.arm, row.seed) for row in self.desk.choices.filter.rows(self.frame)]
        if not trials:
            return
        chosen = self.desk.choices.trial
        place = trials.index(chosen) if chosen in trials else -step
        self.desk.choices.trial = trials[(place + step) % len(trials)]
        self.query_one("#lines", GridTable).follow = True
        self._traceback = False
        self.wish()
        self.fill_panes()

    def action_filter(self) -> None:
        """Search the log."""
        self.app.push_screen(SearchPrompt(self._search, glyphs=self.glyphs), self._searched)

    def _searched(self, text: str | None) -> None:
        if text is None:
            return
        self._search = text
        self.go_to("lines")
        self.refill("lines")
        if text:
            self.action_next_match(0)

    def action_next_match(self, step: int) -> None:
        """Go to the next or the previous line with the text; 0 takes the newest one."""
        table = self.query_one("#lines", GridTable)
        found = matches(table.table, self._search)
        if not found:
            self.say(f"nothing with {self._search!r}" if self._search else "/ searches first")
            return
        if step > 0:
            place = next((p for p in found if p > table.row), found[0])
        elif step < 0:
            place = next((p for p in reversed(found) if p < table.row), found[-1])
        else:
            place = found[-1]
        table.select(table.table.rows[place].key)
        self.refill("lines")

    def action_level(self) -> None:
        """Show all lines, then warnings and worse, then errors."""
        self._level = LEVELS[(LEVELS.index(self._level) + 1) % len(LEVELS)]
        self.refill("lines")

    def action_open_log(self) -> None:
        """Show the log in the user's pager or editor; the monitor waits meanwhile."""
        facts = self._facts
        if self.desk.submit is None:
            self.say("a read-only view starts no other program", severe=True)
        elif facts is None or not facts.log:
            self.say("this trial has no log yet")
        else:
            from icckd_tui.pager import PagerError, show_in_pager

            try:
                show_in_pager(self.app, log_text(facts.log))
            except PagerError as error:
                self.say(str(error), severe=True)

    def action_traceback(self) -> None:
        """Show the newest traceback instead of the log, or the log again."""
        facts = self._facts
        if facts is None or traceback_table(facts) is None:
            self.say("this trial has no traceback")
            return
        self._traceback = not self._traceback
        table = self.query_one("#lines", GridTable)
        self.go_to("lines")
        self.refill("lines")
        if self._traceback:
            table.action_last()
        else:
            self.action_follow()
