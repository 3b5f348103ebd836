"""What every screen can be asked for: help, filter, events, unlocking."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from textual.screen import Screen

from icckd_tui.desk import Desk
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.keymap import ScreenName
from icckd_tui.player import Player
from icckd_tui.screens.event_feed import EventFeed
from icckd_tui.screens.filter_prompt import FilterPrompt
from icckd_tui.screens.help import Help
from icckd_tui.view_model.filter import Filter
from icckd_tui.view_model.frame import Frame


class Commands(Screen[None]):
    """The commands; what they need of a screen is defined by `MonitorScreen`."""

    NAME: ClassVar[ScreenName]
    desk: Desk
    glyphs: Glyphs

    @property
    def frame(self) -> Frame | None:
        """The newest reading."""
        return self.desk.frame

    @abstractmethod
    def show_bar(self) -> None:
        """Write the bar again."""

    @abstractmethod
    def fill_panes(self) -> None:
        """Fill the visible panes."""

    def action_open(self, name: ScreenName) -> None:
        """Bring another screen to the front."""
        self.app.open(name)  # type: ignore[attr-defined]

    def say(self, text: str, *, severe: bool = False) -> None:
        """Tell the user something in passing; plain text, never markup."""
        self.app.notify(
            display(text), severity="error" if severe else "information", markup=False, timeout=4
        )

    def action_play(self) -> None:
        """Stop a replay, or let it go on."""
        self._move_replay(lambda player: player.toggle())

    def action_seek(self, steps: int) -> None:
        """Go back or forward in a replay."""
        self._move_replay(lambda player: player.seek(steps))

    def action_faster(self, steps: int) -> None:
        """Replay faster or slower."""
        self._move_replay(lambda player: player.faster(steps))

    def _move_replay(self, move: Callable[[Player], None]) -> None:
        if self.desk.player is None:
            self.say("this is no replay: icckd watch --replay 60")
            return
        move(self.desk.player)
        self.desk.feed.wake()
        self.show_bar()

    def action_help(self) -> None:
        """Show every key of this screen."""
        self.app.push_screen(Help(self.NAME, glyphs=self.glyphs))

    def action_unlock(self) -> None:
        """Unlock requests to the session, or lock them again."""
        choices = self.desk.choices
        if self.desk.submit is None:
            self.say("this view is read-only", severe=True)
            return
        choices.unlocked = not choices.unlocked
        self.show_bar()

    def action_filter(self) -> None:
        """Ask for a filter."""
        prompt = FilterPrompt(self.desk.choices.filter.text, glyphs=self.glyphs)
        self.app.push_screen(prompt, self.set_filter)

    def set_filter(self, chosen: Filter | None) -> None:
        """Show only what a filter lets through."""
        if chosen is not None:
            self.desk.choices.filter = chosen
            self.show_bar()
            self.fill_panes()

    def action_events(self) -> None:
        """Show what happened since the app was started."""
        self.app.push_screen(
            EventFeed(tuple(self.desk.happenings), glyphs=self.glyphs), self._event_chosen
        )

    def _event_chosen(self, trial: tuple[str, int | None] | None) -> None:
        if trial is None:
            return
        arm, seed = trial
        self.desk.choices.focus = arm
        if seed is not None:
            self.desk.choices.trial = (arm, seed)
            self.action_open("trial")
        else:
            self.fill_panes()

    def action_reference(self) -> None:
        """Compare with the arm in focus instead of the declared baseline, or with that again."""
        frame, choices = self.frame, self.desk.choices
        arm = choices.focus if frame is not None else None
        if frame is None or arm is None:
            return
        choices.against = "" if arm in (choices.against, frame.study.baseline) else arm
        self.desk.want(against=choices.against)
        self.show_bar()
