"""Taking along what a pane shows: into a file, or to the clipboard.

What that needs is imported when somebody asks for it: the first paint waits for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd.errors import MachineError
from icckd_tui.screens.commands import Commands
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.table import Table
from icckd_tui.widgets.curves import CurveChart
from icckd_tui.widgets.grid_table import GridTable

if TYPE_CHECKING:
    from icckd_tui.export import Format
    from icckd_tui.view_model.chart import Chart

LONGEST_COPY = 70_000  # bytes; what many terminals take in one sequence
_CHART_FORMATS: tuple[Format, ...] = ("svg", "png", "csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a pane shows: a table, or a chart of a metric."""

    name: str
    frame: Frame
    table: Table | None = None
    chart: Chart | None = None
    metric: str = ""

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats in which it can be written."""
        from icckd_tui.export import TABLE_FORMATS

        return tuple(TABLE_FORMATS) if self.table is not None else _CHART_FORMATS

    def in_format(self, kind: Format) -> bytes:
        """Return it in a format; not for the event loop.

        Raises:
            MachineError: matplotlib is not installed.
        """
        from icckd_tui.export import TABLE_FORMATS, csv_of, figure_of

        if self.table is not None:
            return TABLE_FORMATS[kind](self.table).encode()
        from icckd_tui.view_model.drawn import drawn_of, lines_table

        assert self.chart is not None
        if kind == "csv":
            return csv_of(lines_table(self.frame, self.chart)).encode()
        return figure_of(drawn_of(self.frame, self.chart, self.metric), kind)

    @property
    def for_clipboard(self) -> tuple[str, str]:
        """Return the text to copy and the name of its format."""
        from icckd_tui.export import markdown_of

        if self.table is not None:
            return markdown_of(self.table), "Markdown"
        return self.in_format("csv").decode(), "CSV"


class Taking(Commands):
    """Screens whose panes can be exported and copied."""

    def tables(self) -> Iterator[GridTable]:
        """Yield the visible tables, the one with the focus first."""
        found = [table for table in self.query(GridTable) if table.display]
        yield from sorted(found, key=lambda table: table is not self.focused)

    def taken(self) -> Taken | None:
        """Return what the current pane shows, or else the first table."""
        frame, pane = self.frame, self.focused
        if frame is None:
            return None
        if isinstance(pane, CurveChart):
            if pane.chart is None or not pane.chart.lines or pane.metric is None:
                return None
            name = f"{frame.study.name}-{pane.metric}"
            return Taken(name=name, frame=frame, chart=pane.chart, metric=pane.metric)
        table = next(self.tables(), None)
        if table is None or not len(table.table.rows):
            return None
        name = f"{frame.study.name}-{self.NAME}-{table.id}"
        return Taken(name=name, frame=frame, table=table.table)

    def action_export(self) -> None:
        """Write what the pane shows to a file in the current folder; ask for the format."""
        from icckd_tui.screens.format_menu import FormatMenu

        taken = self.taken()
        if taken is None:
            self.say("this pane shows nothing yet")
            return
        self.app.push_screen(
            FormatMenu(f"Write {taken.name} as", taken.formats, glyphs=self.glyphs),
            lambda kind: self._later(lambda: _written(taken, kind)) if kind else None,
        )

    def action_copy(self) -> None:
        """Copy what the pane shows to the clipboard of the terminal."""
        taken = self.taken()
        if taken is None:
            self.say("this pane shows nothing yet")
            return
        self._later(lambda: self._copied(taken))

    def _copied(self, taken: Taken) -> str:
        text, name = taken.for_clipboard
        size = len(text.encode())
        if size > LONGEST_COPY:
            raise OSError(f"{size / 1000:.0f} kB are too much for a terminal; e writes a file")
        self.app.call_from_thread(self.app.copy_to_clipboard, text)
        return f"copied {taken.name} as {name}"

    def _later(self, work: Callable[[], str]) -> None:
        """Do work in a thread, and tell what came of it."""

        def told() -> None:
            try:
                text = work()
            except (OSError, MachineError) as error:
                why = f"{error.message}; {error.hint}" if isinstance(error, MachineError) else error
                self.app.call_from_thread(self.say, f"cannot do that: {why}", severe=True)
            else:
                self.app.call_from_thread(self.say, text)

        self.run_worker(told, thread=True, exit_on_error=False)


def _written(taken: Taken, kind: Format) -> str:
    from icckd_tui.export import write_new

    return f"wrote {write_new(taken.name, kind, taken.in_format(kind))}"
