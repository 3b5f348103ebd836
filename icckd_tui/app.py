"""The app that watches a study: it reads, sends requests, and never touches training itself."""

from __future__ import annotations

import locale
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.driver import Driver
from textual.message import Message
from textual.screen import Screen

from icckd import variables
from icckd.errors import MachineError, UsageError
from icckd_tui.data import Update
from icckd_tui.events import TONES, alert_text
from icckd_tui.feed import Feed, Source, mirrored, source_in
from icckd_tui.input import TerminalBackground
from icckd_tui.keys import keys_of
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.screens.dialogs import Answer, Leaving
from icckd_tui.screens.registry import SCREENS, number_keys, register_installed
from icckd_tui.screens.study import StudyScreen
from icckd_tui.state import AppState
from icckd_tui.terminal import (
    CrashedError,
    SignalExit,
    end_with_terminal,
    has_shell,
    in_browser,
    need_screen,
    return_large_blocks,
)
from icckd_tui.text import display
from icckd_tui.theme import BRAILLE, DARK, LIGHT, Glyphs, glyphs_for

if TYPE_CHECKING:
    from pathlib import Path

    from icckd.journal.folder import StateFolder
    from icckd.journal.requests import Wanted
    from icckd_tui.replay import Player

_NOTIFIED = ("verdict", "failed", "session", "answer", "clear")  # of these, the first ones first


class FeedUpdate(Message):
    """The feed has read something new."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.update = update


class WatchApp(App[Answer]):
    """Shows one study live.

    Args:
        source: Where to read.
        study: The study's name; None for the newest.
        request_stop: Stops the session; given where this terminal started it, so that leaving asks
            what becomes of it.
        submit: Sends a request to the session and returns its name; None for a read-only view.
        glyphs: The characters to draw with.
        clock: Returns the time in Unix seconds.
        theme: The name of a theme; None for the one of the environment.
        player: Moves a replay.
        alerts: What the terminal alerts to; empty for nothing.
        storage_read: Says how long ago storage that machines share was read.
    """

    CSS_PATH = "app.tcss"
    TITLE = "icckd"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+z", "suspend", show=False, priority=True)  # on top of dialogs, too
    ]

    def __init__(  # noqa: PLR0913  # what tests and replays replace, by keyword
        self,
        source: Source,
        study: str | None,
        *,
        request_stop: Callable[[], None] | None = None,
        submit: Callable[[Wanted], str] | None = None,
        glyphs: Glyphs = BRAILLE,
        clock: Callable[[], float] = time.time,
        theme: str | None = None,
        player: Player | None = None,
        alerts: tuple[str, ...] = (),
        storage_read: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self._alerts = alerts
        for known in (DARK, LIGHT):
            self.register_theme(known)
        self._followed = "" if theme or os.environ.get("TEXTUAL_THEME") else DARK.name
        self.theme = theme or self._wanted_theme()
        self.set_class(glyphs.ascii, "-ascii")
        self._request_stop = request_stop
        self._feed = Feed(source, study, lambda update: self.post_message(FeedUpdate(update)))
        self.state = AppState(
            glyphs=glyphs,
            clock=clock,
            open=self.open,
            leave=self._leave,
            feed=self._feed,
            submit=submit,
            player=player,
            has_host=source.host is not None,
            storage_read=storage_read,
        )
        self._study_screen = StudyScreen(self.state)
        self.install_screen(self._study_screen, "study")
        self._opened: dict[str, MonitorScreen] = {"study": self._study_screen}

    def _wanted_theme(self) -> str:
        name = os.environ.get("TEXTUAL_THEME") or DARK.name
        if name not in self.available_themes:
            known = ", ".join(sorted(self.available_themes))
            raise UsageError(f"TEXTUAL_THEME={name!r} is not a theme", hint=f"themes: {known}")
        return name

    def get_driver_class(self) -> type[Driver]:
        """Return the driver of a terminal, or of a browser's tab."""
        from icckd_tui.drivers import BrowserDriver, TerminalDriver

        return BrowserDriver if in_browser() else TerminalDriver

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the variables of our style sheet for themes that lack them."""
        return {"pane-border": "#5a6570"}

    def get_default_screen(self) -> Screen[None]:
        """Start with the study."""
        return self._study_screen

    def on_mount(self) -> None:
        """Start reading once the first frame is on the terminal; draw all of it after `fg`."""
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.call_after_refresh(self._feed.start)

    def on_unmount(self) -> None:
        self._feed.stop()

    def on_feed_update(self, message: FeedUpdate) -> None:
        """Take in an update, show it, and notify the user of what happened."""
        update, known = message.update, self.state.update
        if update is known or update == known:
            return
        happened = self.state.apply(update)
        self._alert(alert_text(happened, self._alerts))
        screen = self.monitor_screen
        if screen is None:
            return
        screen.show_update(update)
        told = [event for event in happened if event.what in _NOTIFIED]
        if told:  # in one notification, which covers less of what it is about
            first = min(told, key=lambda event: _NOTIFIED.index(event.what))
            where = f"{first.arm} s{first.seed}" if first.seed is not None else first.arm
            more = f"; i shows {len(told) - 1} more" if len(told) > 1 else ""
            severe = TONES[first.what] == "failed"
            screen.say(f"{where} {first.text}".strip() + more, severe=severe)

    def _alert(self, text: str) -> None:
        """Have the terminal ring and show a text, where there is one."""
        ring = getattr(self._driver, "alert", None)  # a browser's tab has none
        if text and ring is not None and self.state.frame is not None:
            ring(f"{self.state.frame.study.name}: {text}")

    def on_terminal_background(self, message: TerminalBackground) -> None:
        """Follow the terminal's background, unless the user chose a theme."""
        if self._followed and self.theme == self._followed:
            self._followed = DARK.name if message.is_dark else LIGHT.name
            self.theme = self._followed

    @property
    def is_alone(self) -> bool:
        """Whether nothing else is to be done by this process once the user has left."""
        return self._request_stop is None

    @property
    def monitor_screen(self) -> MonitorScreen | None:
        """The screen in front, or the one behind a dialog."""
        found = (s for s in reversed(self.screen_stack) if isinstance(s, MonitorScreen))
        return next(found, None)

    def open(self, name: str) -> None:
        """Bring a screen to the front; the study stays below."""
        if name not in self._opened:
            try:
                self._opened[name] = SCREENS[name].load()(self.state)
            except MachineError as error:
                text = display(f"{error.message}; {error.hint}")
                self.notify(text, severity="error", markup=False)
                return
            self.install_screen(self._opened[name], name)
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if name != "study":
            self.push_screen(name)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer every action of the screen that can do something now, and the themes."""
        yield SystemCommand("Theme", "change the colors", self.action_change_theme)
        if not isinstance(screen, MonitorScreen):
            return
        for key in (*number_keys(), *keys_of(type(screen))):
            if not screen.applies(key.action):
                continue
            yield SystemCommand(
                key.title,
                f"{key.description} ({key.names[0]})",
                lambda action=key.action: self.call_later(screen.run_action, action),
            )

    def action_command_palette(self) -> None:
        """Open the palette with a placeholder in ASCII, unlike Textual's own."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(id="--command-palette", placeholder="Search actions"))

    def action_suspend(self) -> None:
        """Stop the process, so that the shell takes over until `fg`."""
        if self._driver is None or not self._driver.can_suspend or not has_shell():
            self.notify("there is no shell to go back to", markup=False)
            return
        self.action_suspend_process()

    async def action_quit(self) -> None:
        """Leave the way every other key leaves."""
        self._leave()

    def _leave(self) -> None:
        frame = self.state.frame
        over = frame is not None and frame.progress.session in ("ended", "interrupted")
        if self._request_stop is None or over:
            self.exit("go-on")
        elif not isinstance(self.screen, Leaving):
            self.push_screen(Leaving(glyphs=self.state.glyphs), self._answered)

    def _answered(self, answer: Answer | None) -> None:
        if answer == "stop" and self._request_stop is not None:
            self._request_stop()
        if answer in ("go-on", "stop"):
            self.exit(answer)


def run_watch(
    folder: StateFolder,
    study: str | None,
    *,
    request_stop: Callable[[], None] | None = None,
    read_only: bool = False,
    replay: float | None = None,
) -> Answer:
    """Show a study until the user leaves; return "stop" if the user chose to stop the session.

    Args:
        folder: The state folder to read; it need not exist yet.
        study: A study's name, or None for the newest.
        request_stop: Stops the session; given where this terminal started it.
        read_only: Whether requests to the session are switched off.
        replay: Replay the study this many times as fast as it ran; None shows it live.

    Raises:
        MachineError: There is no terminal for a full screen, or two screens share a name.
        UsageError: The theme that the environment asks for does not exist, or the configuration
            cannot be read.
        CrashedError: The monitor ended by an error of its own.
    """
    need_screen()
    register_installed()
    end_with_terminal()
    return_large_blocks()
    glyphs = glyphs_of_terminal()
    alerts = terminal_alerts(folder.root)
    if replay is not None:
        from icckd_tui.replay import replay_of

        source, player = replay_of(folder, replay)
        return _run(WatchApp(source, study, glyphs=glyphs, clock=lambda: player.now, player=player))

    def submit(request: Wanted) -> str:
        from icckd.journal import requests  # not needed by the first paint

        return requests.submit(folder, request)

    with mirrored(folder) as storage_read:
        app = WatchApp(
            source_in(folder),
            study,
            request_stop=request_stop,
            submit=None if read_only else submit,
            glyphs=glyphs,
            alerts=alerts,
            storage_read=storage_read,
        )
        return _run(app)


def _run(app: WatchApp) -> Answer:
    """Run the app; end by the signal that ended it.

    Where this process is for looking alone it ends here. The interpreter's own end takes longer
    than all else, a second on a busy machine, and would abort a reading in DuckDB's code.
    """
    signals = SignalExit(app)
    answer = app.run()
    signals.end()
    if app.is_alone and not app.return_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    if app.return_code:
        raise CrashedError(
            "the monitor ended by an error of its own, shown above; training continues",
            hint="`icckd watch` opens it again, `icckd status` prints how things stand",
        )
    return answer or "go-on"


def terminal_alerts(state_folder: Path | None = None) -> tuple[str, ...]:
    """Return what this terminal is to alert to, as the user and the state folder configure it.

    Raises:
        UsageError: The configuration cannot be read.
    """
    from icckd.configuration import configuration

    wanted = configuration(state_folder).alerts
    knows = os.environ.get("TERM", "").lower() != "linux"  # its console shows such sequences
    return wanted.on if wanted.terminal and knows else ()


def glyphs_of_terminal() -> Glyphs:
    """Return the glyphs that this terminal can show."""
    lang = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    encoding = sys.stdout.encoding or locale.getpreferredencoding(False)
    return glyphs_for(encoding, lang, variables.glyphs())
