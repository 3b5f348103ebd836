"""What every screen has: bar, panes, host line, footer, and the keys that work everywhere."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Input

from icckd_tui.desk import Desk
from icckd_tui.display import display
from icckd_tui.keymap import SCREENS, ScreenName, bindings
from icckd_tui.player import replay_text
from icckd_tui.screens.taking import Taking
from icckd_tui.view_model.filter import EVERYTHING
from icckd_tui.view_model.frame import Answered, Brought, Frame, notice_of
from icckd_tui.view_model.host import Host
from icckd_tui.widgets.exact import ExactCompositor
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.host import HostView
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.messages import Banner, Notice
from icckd_tui.widgets.study_bar import FooterKeys, StudyBar

ALL_PANES = (110, 30)  # from this size of the terminal on, all panes are shown at once


class MonitorScreen(Taking):
    """Shows what is on the desk; knows nothing about where it comes from.

    A subclass names itself and its panes, lays them out, and fills one at a time.
    """

    NAME: ClassVar[ScreenName]
    PANES: ClassVar[tuple[str, ...]]
    ALL_FROM: ClassVar[tuple[int, int]] = ALL_PANES
    HOST_LINE_FROM: ClassVar[int] = 24
    AUTO_FOCUS = ""  # a pane is focused once it is known which

    def __init__(self, desk: Desk) -> None:
        super().__init__(id=self.NAME, classes="-ascii" if desk.glyphs.ascii else None)
        self._compositor = ExactCompositor()
        self.desk = desk
        self.glyphs = desk.glyphs
        self._pane = self.PANES[0]
        self._maximized = False
        self._was_filled = False

    @abstractmethod
    def panes(self) -> ComposeResult:
        """Compose the panes: widgets of class `pane`, each with its name as id."""

    @abstractmethod
    def fill(self, pane: str) -> None:
        """Fill a visible pane from the desk; there is a frame."""

    def arrange_panes(self) -> None:
        """Give the visible panes room; called when size or content may have changed it."""

    def compose(self) -> ComposeResult:
        """Lay out bar, banner, panes, notice, host line and footer."""
        yield StudyBar(glyphs=self.glyphs, clock=self.desk.clock, id="bar")
        yield Banner(id="banner")
        with Container(id="panes"):
            yield from self.panes()
        yield Notice(id="notice")
        yield HostView(glyphs=self.glyphs, id="host-line")
        yield FooterKeys(glyphs=self.glyphs, screen=self.NAME, id="keys")

    def on_mount(self) -> None:
        """Paint again when the theme changes."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    def _repaint(self) -> None:
        for widget in self.query(LinesWidget):
            widget.notify_style_update()
            widget.refresh()

    def on_screen_resume(self) -> None:
        """Show what came while another screen was in front."""
        self.wish()
        self.lay_out()
        self.show_host()

    def wish(self) -> None:
        """Ask the feed for what this screen needs beside the study."""

    @property
    def is_single(self) -> bool:
        """Whether one pane is shown alone."""
        width, height = self.size
        least = self.ALL_FROM
        small = width < least[0] or height < least[1]
        return small or self._maximized or self.frame is None

    def show(self, news: Brought) -> None:
        """Show what is new on the desk; before there are panes, opening shows it."""
        if not self.is_mounted:
            return
        if isinstance(news, Host):
            self.show_host()
        elif isinstance(news, Answered):
            self.show_answer(news)
        elif isinstance(news, Frame) and self._was_filled:
            self.query_one(Banner).show(news)
            self.show_bar()
            self.fill_panes()
        else:
            self.lay_out()

    def show_host(self) -> None:
        """Show the newest sample of the machine."""
        if self.desk.host is not None:
            for view in self.query(HostView):
                view.show(self.desk.host)

    def show_answer(self, answer: Answered) -> None:
        """Show the answer to a statement; only the console asks any."""

    def lay_out(self) -> None:
        """Decide what is visible, give it room, then fill it."""
        desk = self.desk
        notice = notice_of(desk.news, desk.frame, *self.size)
        self.query_one(Notice).show(notice)
        self.query_one("#panes").display = not notice
        if desk.news is not None:
            self.query_one(Banner).show(desk.news)
        self.set_class(self.is_single, "-single")
        self._show_panes_or_one()
        has_line = desk.has_host and self.size.height >= self.HOST_LINE_FROM
        self.query_one("#host-line").display = has_line and self.wants_host_line()
        if not notice:
            self.arrange_panes()
            self._focus_pane()
        self.query_one(FooterKeys).show(self._place(), bool(notice))
        self.show_bar()
        self._was_filled = not notice
        if self._was_filled:
            self.fill_panes()

    def wants_host_line(self) -> bool:
        """Say whether the machine is not shown elsewhere on this screen."""
        return True

    def _show_panes_or_one(self) -> None:
        single = self.is_single
        for name in self.PANES:
            self.query_one(f"#{name}").display = self.is_wanted(name) and (
                not single or name == self._pane
            )
        for box in reversed(list(self.query(".box"))):
            box.display = any(child.display for child in box.children)

    def is_wanted(self, pane: str) -> bool:
        """Say whether a pane is in use now."""
        return True

    def _shown_panes(self) -> list[str]:
        return [name for name in self.PANES if self.is_wanted(name)]

    def _focus_pane(self, *, asked: bool = False) -> None:
        """Put the focus into the current pane; who types is left alone unless it was asked for."""
        if not self.is_wanted(self._pane):
            self._pane = self._shown_panes()[0]
        pane = self.query_one(f"#{self._pane}")
        inside = self.focused is not None and pane in self.focused.ancestors_with_self
        if not inside and (asked or not isinstance(self.focused, Input)):
            self.set_focus(self.entry_of(pane), scroll_visible=False)

    def entry_of(self, pane: Widget) -> Widget:
        """Return the widget that takes the keys of a pane."""
        return pane

    def show_bar(self) -> None:
        """Write the bar again, with what must not be forgotten."""
        if self.frame is not None:
            self.query_one(StudyBar).show(self.frame, self.notes())

    def notes(self) -> tuple[str, ...]:
        """Return what the bar must remind of: a filter, unlocked requests, what waits."""
        choices, found = self.desk.choices, []
        if self.desk.player is not None:
            found.append(replay_text(self.desk.player, self.glyphs))
        if choices.filter.text:
            found.append(f"filter {display(choices.filter.text, 30)}")
        if self.desk.asked:
            found.append(f"asked: {', '.join(dict.fromkeys(self.desk.asked.values()))}")
        if choices.against:
            found.append(f"against {display(choices.against, 24)}, not the declared baseline")
        if choices.unlocked:
            found.append("UNLOCKED")
        return tuple(found)

    def _place(self) -> str:
        names = self._shown_panes()
        if not self.is_single or self.frame is None or len(names) < 2:
            return ""
        return f"{self._pane} {names.index(self._pane) + 1}/{len(names)}"

    def fill_panes(self) -> None:
        """Fill the visible panes, one for each turn of the loop, so that keys get between."""
        if self.frame is None:
            return
        for name in self.PANES:
            if self.query_one(f"#{name}").display:
                self.call_next(self._fill, name)

    def _fill(self, pane: str) -> None:
        if self.frame is not None and self.is_running and self.is_current:
            self.fill(pane)

    def refill(self, *panes: str) -> None:
        """Fill some panes now."""
        for pane in panes if self.is_mounted else ():
            if self.query_one(f"#{pane}").display:
                self._fill(pane)

    def on_resize(self) -> None:
        """Arrange for the new size."""
        if self.is_current:
            self.lay_out()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember the pane that the user is in."""
        for widget in event.widget.ancestors_with_self:
            if widget.id in self.PANES and widget.id != self._pane:
                self.go_to(str(widget.id))

    def go_to(self, pane: str) -> None:
        """Put the user into a pane."""
        self._pane = pane
        if self.is_single:
            self.set_focus(None)
            self.lay_out()
        else:
            self._focus_pane(asked=True)

    def _step_pane(self, step: int) -> None:
        names = self._shown_panes()
        self.go_to(names[(names.index(self._pane) + step) % len(names)])

    def action_next_pane(self) -> None:
        """Go to the next pane."""
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        """Go to the previous pane."""
        self._step_pane(-1)

    def action_maximize_pane(self) -> None:
        """Show the current pane alone, or all again."""
        self._maximized = not self._maximized
        self.lay_out()

    def action_follow(self) -> None:
        """Stay at the newest line in every pane that has lines."""
        for table in self.query(GridTable):
            if table.follows:
                table.follow = True
                table.action_last()
        self.fill_panes()

    def action_back(self) -> None:
        """Go back to the study, or end what is maximized or filtered there."""
        if self._maximized:
            self.action_maximize_pane()
        elif self.NAME != "study":
            self.action_open("study")
        elif self.desk.choices.filter.text:
            self.set_filter(EVERYTHING)

    def action_leave(self) -> None:
        """Leave, or ask first where that is needed."""
        self.desk.leave()

    @on(GridTable.Marked)
    def _marked(self, event: GridTable.Marked) -> None:
        arm = self.arm_of(event.table)
        if arm is not None:
            self.desk.choices.marked ^= {arm}
            self.fill_panes()

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        return None


def screen_bindings(name: ScreenName) -> list[BindingType]:
    """Return the bindings of a screen."""
    return list(bindings(*SCREENS[name]))
