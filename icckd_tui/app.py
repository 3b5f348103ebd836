"""The app that watches a study: it looks, asks, and never touches training itself."""

from __future__ import annotations

import locale
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual.app import App, SystemCommand
from textual.message import Message
from textual.screen import Screen

from icckd_tui.feed import Feed, Source, source_in
from icckd_tui.glyphs import BRAILLE, Glyphs, glyphs_for
from icckd_tui.keymap import KEYS
from icckd_tui.screens.leaving import Answer, Leaving
from icckd_tui.screens.study import StudyScreen
from icckd_tui.theme import DARK, LIGHT
from icckd_tui.view_model.frame import Brought

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder


class FeedNews(Message):
    """The feed brought something."""

    def __init__(self, news: Brought) -> None:
        super().__init__()
        self.news = news


class WatchApp(App[Answer]):
    """Shows one study live.

    Given `request_stop`, this terminal started the session, and leaving asks what becomes of it;
    the app calls it when the answer is to stop, and then leaves.
    """

    CSS_PATH = "app.tcss"
    TITLE = "icckd"

    def __init__(
        self,
        source: Source,
        study: str | None,
        *,
        request_stop: Callable[[], None] | None = None,
        glyphs: Glyphs = BRAILLE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = os.environ.get("TEXTUAL_THEME") or DARK.name
        self._request_stop = request_stop
        self._feed = Feed(source, study, lambda news: self.post_message(FeedNews(news)))
        self._study_screen = StudyScreen(
            glyphs=glyphs,
            show_metric=self._feed.show_metric,
            leave=self._leave,
            host=source.host is not None,
            clock=clock,
        )

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
        """Hand the news to the screen."""
        self._study_screen.show(message.news)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer every key's action by name, and the themes."""
        yield SystemCommand("Theme", "change the colors", self.action_change_theme)
        if screen is not self._study_screen:
            return
        for key in KEYS:
            if key.scope == "study":
                name = key.action.replace("_", " ").capitalize()
                yield SystemCommand(name, key.about, getattr(screen, f"action_{key.action}"))

    async def action_quit(self) -> None:
        """Leave the way every other key leaves."""
        self._leave()

    def _leave(self) -> None:
        frame = self._study_screen.frame
        over = frame is not None and frame.progress.session in ("ended", "interrupted")
        if self._request_stop is None or over:
            self.exit("go-on")
        elif not isinstance(self.screen, Leaving):
            self.push_screen(Leaving(glyphs=self._study_screen.glyphs), self._answered)

    def _answered(self, answer: Answer | None) -> None:
        if answer == "stop" and self._request_stop is not None:
            self._request_stop()
        if answer in ("go-on", "stop"):
            self.exit(answer)


def run_watch(
    folder: StateFolder, study: str | None, *, request_stop: Callable[[], None] | None = None
) -> Answer:
    """Show a study until the user leaves; return "stop" when that was the answer.

    Args:
        folder: The state folder to read; it need not exist yet.
        study: A study's name, or None for the newest.
        request_stop: Given when this terminal started the session: asks it to stop.
    """
    lang = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    glyphs = glyphs_for(sys.stdout.encoding or locale.getpreferredencoding(False), lang)
    app = WatchApp(source_in(folder), study, request_stop=request_stop, glyphs=glyphs)
    return app.run() or "go-on"
