"""The app that watches a study: it looks, asks, and never touches training itself."""

from __future__ import annotations

import locale
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual import on
from textual.app import App, SystemCommand
from textual.command import CommandPalette
from textual.message import Message
from textual.screen import Screen

from icckd_tui.desk import Desk
from icckd_tui.feed import Feed
from icckd_tui.glyphs import BRAILLE, Glyphs, glyphs_for
from icckd_tui.keymap import SCREENS, ScreenName, keys_in
from icckd_tui.memory import return_large_blocks
from icckd_tui.player import Player
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.screens.leaving import Answer, Leaving
from icckd_tui.screens.study import StudyScreen
from icckd_tui.source import Source, source_in
from icckd_tui.terminal import end_with_terminal, need_screen
from icckd_tui.theme import DARK, LIGHT
from icckd_tui.view_model.events import TONES
from icckd_tui.view_model.frame import Brought

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd_tui.view_model.requests import Asked

_TOLD = ("failed", "clear", "answer")  # happenings that are told in passing


class FeedNews(Message):
    """The feed brought something."""

    def __init__(self, news: Brought) -> None:
        super().__init__()
        self.news = news


def _screen(name: ScreenName, desk: Desk) -> MonitorScreen:
    """Make a screen when it is first opened, so that the first paint waits for none but its own."""
    if name == "charts":
        from icckd_tui.screens.charts import ChartsScreen

        return ChartsScreen(desk)
    if name == "compare":
        from icckd_tui.screens.compare import CompareScreen

        return CompareScreen(desk)
    if name == "trial":
        from icckd_tui.screens.trial import TrialScreen

        return TrialScreen(desk)
    if name == "queue":
        from icckd_tui.screens.queue import QueueScreen

        return QueueScreen(desk)
    if name == "sql":
        from icckd_tui.screens.sql import SqlScreen

        return SqlScreen(desk)
    if name == "host":
        from icckd_tui.screens.host import HostScreen

        return HostScreen(desk)
    return StudyScreen(desk)


class WatchApp(App[Answer]):
    """Shows one study live.

    Given `request_stop`, this terminal started the session, and leaving asks what becomes of it;
    the app calls it when the answer is to stop, and then leaves. Without `submit` it is read-only.
    """

    CSS_PATH = "app.tcss"
    TITLE = "icckd"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        source: Source,
        study: str | None,
        *,
        request_stop: Callable[[], None] | None = None,
        submit: Callable[[Asked], str] | None = None,
        glyphs: Glyphs = BRAILLE,
        clock: Callable[[], float] = time.time,
        theme: str | None = None,
        player: Player | None = None,
    ) -> None:
        super().__init__()
        for known in (DARK, LIGHT):
            self.register_theme(known)
        self.theme = theme or os.environ.get("TEXTUAL_THEME") or DARK.name
        self.set_class(glyphs.ascii, "-ascii")
        self._request_stop = request_stop
        self._feed = Feed(source, study, lambda news: self.post_message(FeedNews(news)))
        self.desk = Desk(
            glyphs=glyphs,
            clock=clock,
            leave=self._leave,
            feed=self._feed,
            submit=submit,
            player=player,
            has_host=source.host is not None,
        )
        self._study_screen = StudyScreen(self.desk)
        self.install_screen(self._study_screen, "study")
        self._opened: dict[ScreenName, MonitorScreen] = {"study": self._study_screen}

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give themes that are not ours what our style sheet needs."""
        return {"pane-border": "#5a6570"}

    def get_default_screen(self) -> Screen[None]:
        """Start with the study."""
        return self._study_screen

    def on_mount(self) -> None:
        """Start reading once the first frame is on the terminal."""
        self.call_after_refresh(self._feed.start)

    def on_unmount(self) -> None:
        """Stop reading."""
        self._feed.stop()

    def on_feed_news(self, message: FeedNews) -> None:
        """Put the news on the desk, and let the screen in front show it."""
        known = self.desk.news
        if message.news is known or message.news == known:
            return
        happened = self.desk.take(message.news)
        screen = self.monitor_screen
        if screen is not None:
            screen.show(message.news)
            for event in happened:
                if event.what in _TOLD:
                    where = f"{event.arm} s{event.seed}" if event.seed is not None else event.arm
                    screen.say(
                        f"{where} {event.text}".strip(), severe=TONES[event.what] == "failed"
                    )

    @property
    def monitor_screen(self) -> MonitorScreen | None:
        """The screen in front, or the one behind a dialog."""
        found = (s for s in reversed(self.screen_stack) if isinstance(s, MonitorScreen))
        return next(found, None)

    @on(StudyScreen.TrialChosen)
    def _trial_chosen(self) -> None:
        self.open("trial")

    def open(self, name: ScreenName) -> None:
        """Bring a screen to the front; the study stays below."""
        if name not in self._opened:
            self._opened[name] = _screen(name, self.desk)
            self.install_screen(self._opened[name], name)
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if name != "study":
            self.push_screen(name)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer every action of the screen by name, and the themes."""
        yield SystemCommand("Theme", "change the colors", self.action_change_theme)
        if not isinstance(screen, MonitorScreen):
            return
        for key in keys_in(SCREENS[screen.NAME]):
            title = key.about.split(":")[0].split(";")[0].capitalize()
            yield SystemCommand(
                title,
                f"{key.about} ({key.short})",
                lambda action=key.action: self.call_later(screen.run_action, action),
            )

    def action_command_palette(self) -> None:
        """Open the palette; its own hint is not in ASCII."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(id="--command-palette", placeholder="Search actions"))

    async def action_quit(self) -> None:
        """Leave the way every other key leaves."""
        self._leave()

    def _leave(self) -> None:
        frame = self.desk.frame
        over = frame is not None and frame.progress.session in ("ended", "interrupted")
        if self._request_stop is None or over:
            self.exit("go-on")
        elif not isinstance(self.screen, Leaving):
            self.push_screen(Leaving(glyphs=self.desk.glyphs), self._answered)

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
    """Show a study until the user leaves; return "stop" when that was the answer.

    Args:
        folder: The state folder to read; it need not exist yet.
        study: A study's name, or None for the newest.
        request_stop: Given when this terminal started the session: asks it to stop.
        read_only: Whether the session can be asked for nothing.
        replay: How many times as fast as it happened to show it again; None shows it as it is.

    Raises:
        MachineError: There is no terminal for a full screen.
    """
    need_screen()
    end_with_terminal()
    return_large_blocks()
    glyphs = glyphs_of_terminal()
    if replay is not None:
        from icckd_tui.replay import replay_of

        source, player = replay_of(folder, replay)
        return WatchApp(
            source, study, glyphs=glyphs, clock=lambda: player.now, player=player
        ).run() or "go-on"  # fmt: skip
    submit = None
    if not read_only:
        from icckd_tui.asking import submitter

        submit = submitter(folder)
    app = WatchApp(
        source_in(folder), study, request_stop=request_stop, submit=submit, glyphs=glyphs
    )
    return app.run() or "go-on"


def glyphs_of_terminal() -> Glyphs:
    """Return the glyphs that this terminal can show."""
    lang = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    encoding = sys.stdout.encoding or locale.getpreferredencoding(False)
    return glyphs_for(encoding, lang, os.environ.get("ICCKD_GLYPHS", ""))
