"""What every screen has: study bar, panes, host line, footer, and the keys that work everywhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from icckd.errors import MachineError, UsageError
from icckd_tui.data import Frame, SqlAnswer, StudyUpdate, Update, Waiting
from icckd_tui.export import Exportable, Format, write_new
from icckd_tui.filter import EVERYTHING, Filter, parse
from icckd_tui.host import Host
from icckd_tui.keys import EVERYWHERE, Key, footer_keys
from icckd_tui.metric_names import MetricFilter
from icckd_tui.screens.dialogs import (
    SAVE,
    EventFeed,
    FilterPrompt,
    FormatMenu,
    Help,
    MetricPrompt,
    ViewPicker,
)
from icckd_tui.screens.registry import SCREENS
from icckd_tui.state import AppState
from icckd_tui.text import display
from icckd_tui.theme import Glyphs
from icckd_tui.views import SavedView, about_view, save_view, saved_views, text_of
from icckd_tui.widgets.bars import Banner, FooterKeys, HostView, Notice, StudyBar
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd_tui.replay import Player

SMALLEST = (60, 16)  # terminal columns and rows below which nothing useful fits
ALL_PANES = (110, 30)  # from this size of the terminal on, all panes are shown at once
_OF_REPLAY = ("play", "seek(", "faster(")
LONGEST_COPY = 70_000  # bytes; what many terminals take in one sequence


class MonitorScreen(Screen[None]):
    """A screen of panes that shows the state of the app.

    A subclass names its panes, lays them out in `panes` and fills one at a time in `fill`; its
    keys are its `BINDINGS`.

    Attributes:
        NAME: The name under which the screen is registered.
        ABOUT: What it shows, for docs/monitor.md.
        PICTURE: The file of its picture there; "" takes one by its name.
        PANES: The ids of its panes in the order of tab.
        ALL_FROM: From this size of the terminal on, all panes are shown at once.
        HOST_LINE_FROM: From this many rows on, one tells about the machine.
    """

    NAME: ClassVar[str]
    ABOUT: ClassVar[str] = ""
    PICTURE: ClassVar[str] = ""
    PANES: ClassVar[tuple[str, ...]]
    ALL_FROM: ClassVar[tuple[int, int]] = ALL_PANES
    HOST_LINE_FROM: ClassVar[int] = 24
    AUTO_FOCUS = ""  # a pane is focused once it is known which

    KEYS_HEADING: ClassVar[str] = EVERYWHERE
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"open_number({number})", show=False) for number in range(1, 10)),
        Key("q,ctrl+q,ctrl+c", "leave", "leave; training never depends on this view",
            label="Quit", rank=0),
        Key("ctrl+z", "app.suspend", "give the shell back; fg shows the monitor again"),
        Key("question_mark,f1", "help", "this help", label="Help", rank=1),
        Key("colon,ctrl+p", "app.command_palette", "every action by its name"),
        Key("escape", "back", "one layer back, to the study"),
        Key("slash", "filter", "filter trials and arms; in a log: search",
            label="Filter", rank=4),
        Key("M", "filter_metrics", "show only metrics whose names fit: student -loss | ~^teacher"),
        Key("V", "saved_views", "saved views: apply one, or save this one under a name"),
        Key("i", "events", "what happened: failures, best values, clear results",
            label="Events", rank=6),
        Key("e", "export", "write what the pane shows to a file: asks for the format",
            label="Export", rank=9),
        Key("y", "copy", "copy what the pane shows: a table as Markdown, a chart as CSV"),
        Key("W", "unlock", "unlock requests to the session, or lock them again"),
        *(Key(key, action, about, heading="in a replay") for key, action, about in (
            ("semicolon", "play", "stop the replay, or continue"),
            ("comma", "seek(-1)", "back in the replay"),
            ("full_stop", "seek(1)", "forward in the replay"),
            ("right_curly_bracket", "faster(1)", "replay faster"),
            ("left_curly_bracket", "faster(-1)", "replay slower"),
        )),
        Key("tab", "next_pane", "next pane", label="Pane", rank=2,
            heading="on screens with panes"),
        Key("shift+tab", "previous_pane", "previous pane", heading="on screens with panes"),
        Key("z", "maximize_pane", "the current pane alone, and back", label="Zoom", rank=5,
            heading="on screens with panes"),
        Key("f", "follow", "stay at the newest line or value", heading="on screens with panes"),
    ]  # fmt: skip

    def __init__(self, state: AppState) -> None:
        super().__init__(id=self.NAME, classes="-ascii" if state.glyphs.ascii else None)
        self.state = state
        self.glyphs = state.glyphs
        self._pane = self.PANES[0]
        self._maximized = False
        self._was_filled = False

    # What a subclass defines.

    @abstractmethod
    def panes(self) -> ComposeResult:
        """Compose the panes: widgets of class `pane`, each with its name as id."""

    @abstractmethod
    def fill(self, pane: str) -> None:
        """Fill a visible pane from the state; there is a frame."""

    def request_data(self) -> None:
        """Ask the feed for what this screen needs beside the study."""
        self.state.request_data()

    def arrange_panes(self) -> None:
        """Give the visible panes room; called when size or content may have changed it."""

    def is_wanted(self, pane: str) -> bool:
        """Whether a pane is in use now."""
        return True

    def applies(self, action: str) -> bool:
        """Whether an action can do something now, so that palette and footer offer it."""
        if action.startswith(_OF_REPLAY):
            return self.state.player is not None
        if action in ("next_pane", "previous_pane", "maximize_pane"):
            return self.frame is not None and len(self._shown_panes()) > 1
        if action == "unlock":
            return self.state.submit is not None
        if action == "back":
            return self._maximized or self.NAME != "study" or bool(self.state.choices.filter.text)
        if action == "follow":
            return any(table.follows and not table.follow for table in self.query(GridTable))
        if action in ("export", "copy"):
            return self.exportable() is not None and not (action == "export" and self.app.is_web)
        return True

    def companions(self, pane: str) -> tuple[str, ...]:
        """Return the panes that are shown with one where there is no room for all."""
        return (pane,)

    def entry_of(self, pane: Widget) -> Widget:
        """Return the widget that takes the keys of a pane."""
        return pane

    def wants_host_line(self) -> bool:
        """Whether the machine is shown nowhere else on this screen."""
        return True

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        return None

    def show_answer(self, answer: SqlAnswer) -> None:
        """Show the answer to an SQL statement."""

    # Layout.

    @property
    def frame(self) -> Frame | None:
        """The newest frame."""
        return self.state.frame

    @property
    def is_single(self) -> bool:
        """Whether one pane is shown alone."""
        width, height = self.size
        least = self.ALL_FROM
        small = width < least[0] or height < least[1]
        return small or self._maximized or self.frame is None

    def compose(self) -> ComposeResult:
        yield StudyBar(
            glyphs=self.glyphs, clock=self.state.clock, id="bar", read=self.state.storage_read
        )
        yield Banner(id="banner")
        with Container(id="panes"):
            yield from self.panes()
        yield Notice(id="notice")
        yield HostView(glyphs=self.glyphs, id="host-line")
        yield FooterKeys(
            glyphs=self.glyphs,
            screens=tuple(SCREENS),
            screen=self.NAME,
            id="keys",
        )

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    def _repaint(self) -> None:
        for widget in self.query(LinesWidget):
            widget.notify_style_update()
            widget.refresh()

    def on_screen_resume(self) -> None:
        """Show what came while another screen was in front."""
        self.request_data()
        self.lay_out()
        self.show_host()

    def on_resize(self) -> None:
        if self.is_current:
            self.lay_out()

    def lay_out(self) -> None:
        """Decide what is visible, give it room, then fill it."""
        state = self.state
        begins = not getattr(self.app, "is_alone", True)  # this process started its session
        notice = notice_of(state.update, state.frame, *self.size, begins=begins)
        self.query_one(Notice).show(notice)
        self.query_one("#panes").display = not notice
        if state.update is not None:
            self.query_one(Banner).show(state.update)
        self.set_class(self.is_single, "-single")
        self._show_panes_or_one()
        has_line = state.has_host and self.size.height >= self.HOST_LINE_FROM
        self.query_one("#host-line").display = has_line and self.wants_host_line()
        if not notice:
            self.arrange_panes()
            self._focus_pane()
        self._show_footer(bool(notice))
        self.show_bar()
        self._was_filled = not notice
        if self._was_filled:
            self.fill_panes()

    def _show_footer(self, alone: bool = False) -> None:
        keys = tuple(key for key in footer_keys(type(self)) if self.applies(key.action))
        self.query_one(FooterKeys).show(self._place(), alone, keys)

    def _show_panes_or_one(self) -> None:
        single = self.is_single
        for name in self.PANES:
            self.query_one(f"#{name}").display = self.is_wanted(name) and (
                not single or name in self.companions(self._pane)
            )
        for box in reversed(list(self.query(".box"))):
            box.display = any(child.display for child in box.children)

    def _shown_panes(self) -> list[str]:
        return [name for name in self.PANES if self.is_wanted(name)]

    def _place(self) -> str:
        """Return the pane shown alone and its number, for the footer."""
        names = self._shown_panes()
        if not self.is_single or self.frame is None or len(names) < 2:
            return ""
        return f"{self._pane} {names.index(self._pane) + 1}/{len(names)}"

    # Showing what is new.

    def show_update(self, update: Update) -> None:
        """Show an update that the state has taken in; before there are panes, opening shows it."""
        if not self.is_mounted:
            return
        if isinstance(update, Host):
            self.show_host()
        elif isinstance(update, SqlAnswer):
            self.show_answer(update)
        elif isinstance(update, Frame) and update.filter_error:
            self.say(f"filter: {update.filter_error}", severe=True)
            self.set_filter(EVERYTHING)
        elif isinstance(update, Frame) and self._was_filled:
            self.query_one(Banner).show(update)
            self.show_bar()
            self._show_footer()
            self.fill_panes()
        else:
            self.lay_out()

    def show_host(self) -> None:
        """Show the newest sample of the machine."""
        if self.state.host is not None:
            for view in self.query(HostView):
                view.show(self.state.host)

    def show_bar(self) -> None:
        """Write the study bar again, with its notes."""
        if self.frame is not None:
            self.query_one(StudyBar).show(self.frame, self.notes())

    def notes(self) -> tuple[str, ...]:
        """Return what the bar reminds of: a replay, a filter, requests, another reference."""
        choices, found = self.state.choices, []
        if self.state.player is not None:
            found.append(replay_text(self.state.player, self.glyphs))
        if choices.filter.text:
            found.append(f"filter {display(choices.filter.text, 30)}")
        if choices.metrics.text:
            found.append(f"metrics {display(choices.metrics.text, 30)}")
        if self.state.asked:
            found.append(f"asked: {', '.join(dict.fromkeys(self.state.asked.values()))}")
        if choices.against:
            found.append(f"against {display(choices.against, 24)}, not the declared baseline")
        if choices.unlocked:
            found.append("UNLOCKED")
        return tuple(found)

    def fill_panes(self) -> None:
        """Fill the visible panes, one in each turn of the event loop, so that keys get between."""
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

    def say(self, text: str, *, severe: bool = False) -> None:
        """Notify the user; the text is plain, never markup."""
        self.app.notify(
            display(text), severity="error" if severe else "information", markup=False, timeout=4
        )

    # Panes and the focus.

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

    def _focus_pane(self, *, asked: bool = False) -> None:
        """Focus the current pane; an input keeps the focus unless the user asked for the pane."""
        if not self.is_wanted(self._pane):
            self._pane = self._shown_panes()[0]
        pane = self.query_one(f"#{self._pane}")
        inside = self.focused is not None and pane in self.focused.ancestors_with_self
        if not inside and (asked or not isinstance(self.focused, Input)):
            self.set_focus(self.entry_of(pane), scroll_visible=False)

    def _step_pane(self, step: int) -> None:
        names = self._shown_panes()
        self.go_to(names[(names.index(self._pane) + step) % len(names)])

    def action_next_pane(self) -> None:
        self._step_pane(1)

    def action_previous_pane(self) -> None:
        self._step_pane(-1)

    def action_maximize_pane(self) -> None:
        """Show the current pane alone, or all panes again."""
        self._maximized = not self._maximized
        self.lay_out()

    def action_follow(self) -> None:
        """Stay at the newest line in every pane that follows."""
        for table in self.query(GridTable):
            if table.follows:
                table.follow = True
                table.action_last()
        self.fill_panes()

    # Going elsewhere.

    def action_open_number(self, number: int) -> None:
        """Open the screen with this number."""
        names = list(SCREENS)
        if number <= len(names):
            self.state.open(names[number - 1])

    def action_back(self) -> None:
        """End the zoom, or go back to the study, or drop the filter there."""
        if self._maximized:
            self.action_maximize_pane()
        elif self.NAME != "study":
            self.state.open("study")
        elif self.state.choices.filter.text:
            self.set_filter(EVERYTHING)

    def action_leave(self) -> None:
        self.state.leave()

    def action_help(self) -> None:
        self.app.push_screen(Help(self, glyphs=self.glyphs))

    def action_events(self) -> None:
        """Show what happened since the app was started; choosing an event goes there."""
        self.app.push_screen(
            EventFeed(tuple(self.state.events), glyphs=self.glyphs), self._event_chosen
        )

    def _event_chosen(self, trial: tuple[str, int | None] | None) -> None:
        if trial is None:
            return
        arm, seed = trial
        self.state.choices.focus = arm
        if seed is not None:
            self.state.choices.trial = (arm, seed)
            self.state.open("trial")
        else:
            self.fill_panes()

    # Choices that all screens share.

    def action_filter(self) -> None:
        """Ask for a filter."""
        self.state.feed.prepare_filter()
        prompt = FilterPrompt(self.state.choices.filter.text, glyphs=self.glyphs)
        self.app.push_screen(prompt, self.set_filter)

    def set_filter(self, chosen: Filter | None) -> None:
        """Show only the trials that a filter lets through; None changes nothing."""
        if chosen is not None:
            self.state.choices.filter = chosen
            self.state.apply_choices()
            self.show_bar()

    def action_filter_metrics(self) -> None:
        """Ask which metrics are shown."""
        prompt = MetricPrompt(self.state.choices.metrics.text, glyphs=self.glyphs)
        self.app.push_screen(prompt, self.set_metric_filter)

    def set_metric_filter(self, chosen: MetricFilter | None) -> None:
        """Show only the metrics that a filter keeps; None changes nothing."""
        if chosen is not None:
            self.state.choices.metrics = chosen
            self.request_data()
            self.lay_out()

    def view_state(self) -> dict[str, Any]:
        """Return what a saved view of this screen holds."""
        choices = self.state.choices
        return {"filter": choices.filter.text, "metrics": choices.metrics.text}

    def apply_view(self, view: SavedView) -> None:
        """Show what a saved view holds, as far as this study has it."""
        with suppress(UsageError):  # of another version
            self.state.choices.filter = parse(text_of(view, "filter") or "")
            self.state.choices.metrics = MetricFilter(text_of(view, "metrics") or "")
        self.state.apply_choices()

    def action_saved_views(self) -> None:
        """Ask for a view: one to apply, or a name for this one."""
        views = {name: about_view(view) for name, view in saved_views().items()}
        self.app.push_screen(
            ViewPicker("Views", views, None, glyphs=self.glyphs), self._view_chosen
        )

    def _view_chosen(self, chosen: str | None) -> None:
        if chosen is None:
            return
        name, is_removal = chosen.lstrip(SAVE + ViewPicker.REMOVE), chosen[0] == ViewPicker.REMOVE
        if chosen == name:
            self.apply_view(saved_views().get(name, {}))
            self.request_data()
            self.lay_out()
            self.say(f"view {name}")
        elif self.app.is_web:
            self.say("a browser's view writes no files; icckd watch in a terminal does")
        else:
            try:
                save_view(name, None if is_removal else self.view_state())
            except MachineError as error:
                self.say(f"{error.message}; {error.hint}".rstrip("; "), severe=True)
            else:
                self.say(f"view {name} {'removed' if is_removal else 'saved; V applies it'}")

    def action_unlock(self) -> None:
        """Unlock requests to the session, or lock them again."""
        choices = self.state.choices
        if self.state.submit is None:
            self.say("this view is read-only", severe=True)
            return
        choices.unlocked = not choices.unlocked
        self.show_bar()

    @on(GridTable.Marked)
    def _marked(self, event: GridTable.Marked) -> None:
        arm = self.arm_of(event.table)
        if arm is not None:
            self.state.choices.marked ^= {arm}
            self.fill_panes()

    # A replay.

    def action_play(self) -> None:
        self._move_replay(lambda player: player.toggle())

    def action_seek(self, steps: int) -> None:
        self._move_replay(lambda player: player.seek(steps))

    def action_faster(self, steps: int) -> None:
        self._move_replay(lambda player: player.faster(steps))

    def _move_replay(self, move: Callable[[Player], None]) -> None:
        if self.state.player is None:
            self.say("this is not a replay: icckd watch --replay 60")
            return
        move(self.state.player)
        self.state.feed.wake()
        self.show_bar()

    # Export of what a pane shows, to a file or to the clipboard.

    def tables(self) -> Iterator[GridTable]:
        """Yield the visible tables, the one with the focus first."""
        found = [table for table in self.query(GridTable) if table.display]
        yield from sorted(found, key=lambda table: table is not self.focused)

    def exportable(self) -> Exportable | None:
        """Return what the focused pane shows, or else the first table."""
        frame, pane = self.frame, self.focused
        if frame is None:
            return None
        if isinstance(pane, CurveChart):
            if pane.chart is None or not pane.chart.lines or pane.metric is None:
                return None
            name = f"{frame.study.name}-{pane.metric}"
            return Exportable(name=name, frame=frame, chart=pane.chart, metric=pane.metric)
        table = next(self.tables(), None)
        if table is None or not len(table.table.rows):
            return None
        name = f"{frame.study.name}-{self.NAME}-{table.id}"
        return Exportable(name=name, frame=frame, table=table.table)

    def action_export(self) -> None:
        """Write what the pane shows to a file in the current folder, in a format to pick."""
        if self.app.is_web:
            self.say("a browser's view writes no files; icckd watch in a terminal does")
            return
        shown = self.exportable()
        if shown is None:
            self.say("this pane shows nothing yet")
            return
        self.app.push_screen(
            FormatMenu(f"Write {shown.name} as", shown.formats, glyphs=self.glyphs),
            lambda kind: self._in_thread(lambda: _write(shown, kind)) if kind else None,
        )

    def action_copy(self) -> None:
        """Copy what the pane shows to the clipboard of the terminal."""
        shown = self.exportable()
        if shown is None:
            self.say("this pane shows nothing yet")
            return
        self._in_thread(lambda: self._copy(shown))

    def _copy(self, shown: Exportable) -> str:
        text, name = shown.for_clipboard
        size = len(text.encode())
        if size > LONGEST_COPY:
            raise OSError(f"{size / 1000:.0f} kB are too much for a terminal; e writes a file")
        self.app.call_from_thread(self.app.copy_to_clipboard, text)
        return f"copied {shown.name} as {name}"

    def _in_thread(self, work: Callable[[], str]) -> None:
        """Do work in a thread, and notify the user of what it returns or why it failed."""

        def run() -> None:
            try:
                text = work()
            except (OSError, MachineError) as error:
                why = f"{error.message}; {error.hint}" if isinstance(error, MachineError) else error
                self.app.call_from_thread(self.say, f"cannot do that: {why}", severe=True)
            else:
                self.app.call_from_thread(self.say, text)

        self.run_worker(run, thread=True, exit_on_error=False)


def _write(shown: Exportable, kind: Format) -> str:
    return f"wrote {write_new(shown.name, kind, shown.in_format(kind))}"


def notice_of(
    update: StudyUpdate | None,
    frame: Frame | None,
    width: int,
    height: int,
    *,
    begins: bool = False,
) -> str:
    """Return what to show instead of the panes, "" where they can be shown.

    Args:
        update: What was read last.
        frame: What is known of the study.
        width: Columns of the terminal.
        height: Its rows.
        begins: Whether a session of the study has just been started.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return f"This terminal is {width}x{height}; icckd needs {SMALLEST[0]}x{SMALLEST[1]}."
    if frame is not None:
        return ""
    if begins:
        return "The session begins: it plans the study.\n\nTrials are here in a moment."
    if isinstance(update, Waiting):
        return f"Waiting: {display(update.reason)}.\n\nStart one with  icckd run STUDY.toml"
    return "Reading the study."


def replay_text(player: Player, glyphs: Glyphs) -> str:
    """Return speed and place of a replay, with a slider."""
    cells = round(player.share * 10)
    slider = glyphs.bar[0] * cells + glyphs.bar[1] * (10 - cells)
    word = "REPLAY" if player.playing else "REPLAY stopped"
    return f"{word} x{player.speed:g} {slider} {player.share:.0%}"


class ArmScreen(MonitorScreen):
    """A screen that compares arms: another than the declared baseline can be the reference."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Key("b", "reference", "compare with the arm under the cursor; again: as declared",
            label="Against", rank=8),
    ]  # fmt: skip

    def applies(self, action: str) -> bool:
        """Whether an action can do something now: another reference is another arm."""
        if action == "reference":
            frame, choices = self.frame, self.state.choices
            is_other = frame is not None and choices.focus != frame.study.baseline
            return is_other or bool(choices.against)
        return super().applies(action)

    def action_reference(self) -> None:
        """Compare with the arm in focus, or with the declared baseline again."""
        frame, choices = self.frame, self.state.choices
        arm = choices.focus if frame is not None else None
        if frame is None or arm is None:
            return
        choices.against = "" if arm in (choices.against, frame.study.baseline) else arm
        self.state.apply_choices()
        self.show_bar()
