"""The study screen: comparison, curves, trials and log of one study."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import bindings
from icckd_tui.screens.help import Help
from icckd_tui.screens.metric_picker import MetricPicker
from icckd_tui.view_model.comparison import comparison_detail, comparison_table, comparison_title
from icckd_tui.view_model.frame import Brought, Frame, News, notice_of
from icckd_tui.view_model.host import Host, host_rows
from icckd_tui.view_model.layout import Layout, Present, layout_of
from icckd_tui.view_model.log import log_table
from icckd_tui.view_model.trials import trial_detail, trial_key, trial_table
from icckd_tui.widgets.curves import CurveChart
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.host import HostView
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.messages import Banner, Notice
from icckd_tui.widgets.panes import PANES, Panes
from icckd_tui.widgets.study_bar import FooterKeys, StudyBar


class StudyScreen(Screen[None]):
    """Shows frames; knows what the user chose and nothing about where frames come from."""

    BINDINGS: ClassVar[list[BindingType]] = list(bindings("study"))

    def __init__(
        self,
        *,
        glyphs: Glyphs,
        show_metric: Callable[[str], None],
        leave: Callable[[], None],
        host: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self.frame: Frame | None = None
        self.glyphs = glyphs
        self._show_metric = show_metric
        self._leave = leave
        self._clock = clock
        self._news: News | None = None
        self._sampled = host
        self._host: Host | None = None
        self._pane = "comparison"
        self._maximized = False
        self._metric: str | None = None
        self._seeds = False
        self._log = False
        self._late = False

    def compose(self) -> ComposeResult:
        """Lay out bar, banner, panes, notice and footer."""
        glyphs = self.glyphs
        yield StudyBar(glyphs=glyphs, clock=self._clock, id="bar")
        yield Banner(id="banner")
        yield Panes(glyphs=glyphs, id="panes")
        yield Notice(id="notice")
        yield HostView(glyphs=glyphs, id="host-line")
        yield FooterKeys(glyphs=glyphs, id="keys")

    def on_mount(self) -> None:
        """Start without data."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self.query(LinesWidget).refresh())
        self._arrange()

    def show(self, news: Brought) -> None:
        """Show what the feed brought; the same again costs nothing."""
        if isinstance(news, Host):
            self._show_host(news)
            return
        if news == self._news:
            return
        first, self._news = self.frame is None, news
        self.query_one(Banner).show(news)
        if isinstance(news, Frame):
            self.frame = news
            self._metric = news.metric
            if first:
                self._begin(news)
            self.query_one(StudyBar).show(news)
        if first or not isinstance(news, Frame):
            self._arrange()
        else:
            self._show_panes()

    def _begin(self, frame: Frame) -> None:
        """Put the cursor on the first arm that is compared with something."""
        self._show_comparison()
        if len(frame.study.arms) > 1:
            self._comparison.select(frame.study.arms[1].name)

    @property
    def _comparison(self) -> GridTable:
        return self.query_one("#comparison", GridTable)

    @property
    def _layout(self) -> Layout:
        present = Present(
            arms=len(self.frame.study.arms) if self.frame else 0,
            log=len(self.frame.log) if self.frame else 0,
            host=host_rows(self._host) if self._sampled else None,
        )
        return layout_of(*self.size, present, alone=self._maximized or self.frame is None)

    def _arrange(self) -> None:
        """Decide what is visible, give it room, then fill it."""
        notice = notice_of(self._news, self.frame, self.size.width, self.size.height)
        self.query_one(Notice).show(notice)
        self.query_one(Panes).display = not notice
        layout = self._layout
        self.set_class(layout.single, "-single")
        self.query_one(Panes).lay_out(layout, self._pane)
        self.query_one("#host-line").display = layout.host == "line"
        if not notice and self.focused is not self.query_one(f"#{self._pane}"):
            self.query_one(f"#{self._pane}").focus()
        self.query_one(FooterKeys).show(self._place())
        self._show_panes()

    def _place(self) -> str:
        place = f"{self._pane} {PANES.index(self._pane) + 1}/{len(PANES)}"
        return place if self._layout.single and self.frame is not None else ""

    def _show_panes(self) -> None:
        """Fill the visible panes, one for each turn of the loop, so that keys get between."""
        if self.frame is None:
            return
        fill = (self._show_comparison, self._show_curves, self._show_trials, self._show_log)
        for name, show in zip(PANES, fill, strict=True):
            if self.query_one(f"#{name}").display:
                self.call_next(show)

    def _show_comparison(self) -> None:
        if self.frame is None:
            return
        pane = self._comparison
        pane.show(comparison_table(self.frame, self.glyphs, compact=self._layout.compact))
        pane.set_titles(comparison_title(self.frame, self.glyphs), pane.position)
        arm, metric = pane.key, pane.column_key
        if arm and metric:
            pane.show_detail(comparison_detail(self.frame, arm, metric, self.glyphs))

    def _show_curves(self) -> None:
        from icckd_tui.view_model.chart import ChartChoice, chart_of, chart_title

        if self.frame is None:
            return
        focus = self._comparison.key or self.frame.study.baseline
        choice = ChartChoice(focus=focus, seeds=self._seeds, log=self._log, late=self._late)
        title = chart_title(self.frame, choice, self.glyphs)
        self.query_one(CurveChart).show(chart_of(self.frame, choice), title)

    def _show_trials(self) -> None:
        if self.frame is None:
            return
        pane = self.query_one("#trials", GridTable)
        pane.show(trial_table(self.frame, self.glyphs))
        pane.set_titles("Trials", pane.position)
        row = next((row for row in self.frame.trials if trial_key(row) == pane.key), None)
        if row is not None:
            pane.show_detail(trial_detail(row, self.glyphs))

    def _show_log(self) -> None:
        if self.frame is None:
            return
        pane = self.query_one("#log", GridTable)
        self.query_one(Panes).lay_out(self._layout, self._pane)
        pane.show(log_table(self.frame.log))
        following = "" if pane.follow else f" {self.glyphs.separator} paused, f follows"
        pane.set_titles(f"Log{following}", pane.position)

    def _show_host(self, host: Host) -> None:
        rows, self._host = host_rows(self._host), host
        if rows != host_rows(host):
            self._arrange()
        for view in self.query(HostView):
            view.show(host)

    @on(GridTable.Moved, "#comparison")
    def _cell_moved(self) -> None:
        self._show_comparison()
        if self.query_one(CurveChart).display:
            self._show_curves()

    @on(GridTable.Moved, "#trials")
    def _trial_moved(self) -> None:
        self._show_trials()

    @on(GridTable.Moved, "#log")
    def _log_moved(self) -> None:
        self._show_log()

    @on(GridTable.Chosen, "#comparison")
    def _arm_chosen(self) -> None:
        self._go_to("curves")

    def on_resize(self) -> None:
        """Arrange for the new size."""
        self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember the pane that the user is in."""
        if event.widget.id in PANES and event.widget.id != self._pane:
            self._go_to(event.widget.id)

    def _go_to(self, pane: str) -> None:
        self._pane = pane
        if self._layout.single:
            self._arrange()
        else:
            self.query_one(f"#{pane}").focus()

    def _step_pane(self, step: int) -> None:
        self._go_to(PANES[(PANES.index(self._pane) + step) % len(PANES)])

    def action_next_pane(self) -> None:
        """Go to the next pane."""
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        """Go to the previous pane."""
        self._step_pane(-1)

    def action_maximize_pane(self) -> None:
        """Show the current pane alone, or all again."""
        self._maximized = not self._maximized
        self._arrange()

    def action_focus_arm(self, step: int) -> None:
        """Focus another arm from within the curves."""
        self._comparison.action_move(step)

    def action_toggle_seeds(self) -> None:
        """Switch between each seed and the mean with its interval."""
        self._seeds = not self._seeds
        self._show_curves()

    def action_toggle_log(self) -> None:
        """Switch the y axis between linear and logarithmic."""
        self._log = not self._log
        self._show_curves()

    def action_toggle_late(self) -> None:
        """Switch the y axis between the later half of the epochs and all of them."""
        self._late = not self._late
        self._show_curves()

    def action_follow(self) -> None:
        """Stay at the newest log line."""
        log = self.query_one("#log", GridTable)
        log.follow = True
        log.action_last()
        self._show_log()

    def action_next_metric(self) -> None:
        """Show the next series."""
        self._step_metric(1)

    def action_previous_metric(self) -> None:
        """Show the previous series."""
        self._step_metric(-1)

    def _step_metric(self, step: int) -> None:
        series = self.frame.series if self.frame else ()
        if series and self._metric in series:
            self._set_metric(series[(series.index(self._metric) + step) % len(series)])

    def _set_metric(self, metric: str | None) -> None:
        if metric is not None:
            self._metric = metric
            self._show_metric(metric)

    def action_pick_metric(self) -> None:
        """Choose a series from a list."""
        if self.frame is not None and self.frame.series:
            picker = MetricPicker(self.frame.series, self._metric, glyphs=self.glyphs)
            self.app.push_screen(picker, self._set_metric)

    def action_help(self) -> None:
        """Show every key."""
        self.app.push_screen(Help(glyphs=self.glyphs))

    def action_leave(self) -> None:
        """Leave, or ask first where that is needed."""
        self._leave()
