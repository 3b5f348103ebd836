"""What all screens share: the newest reading, what the user chose, and whom to ask for more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from icckd_tui.glyphs import Glyphs
from icckd_tui.player import Player
from icckd_tui.view_model.events import Happening, happenings_between
from icckd_tui.view_model.filter import EVERYTHING, Filter
from icckd_tui.view_model.frame import Answered, Brought, Frame, News
from icckd_tui.view_model.host import Host
from icckd_tui.view_model.requests import Asked

if TYPE_CHECKING:
    from icckd_tui.feed import Feed

MOST_HAPPENINGS = 500


@dataclass(slots=True, kw_only=True)
class Choices:
    """What the user chose; every screen reads and changes the same."""

    focus: str | None = None  # the arm
    trial: tuple[str, int] | None = None
    outcome: str | None = None
    marked: frozenset[str] = frozenset()
    against: str = ""  # the arm that others are compared with; "": the declared baseline
    filter: Filter = EVERYTHING
    unlocked: bool = False


@dataclass(slots=True, kw_only=True)
class Desk:
    """One for the app; screens look at it and never at each other."""

    glyphs: Glyphs
    clock: Callable[[], float]
    leave: Callable[[], None]
    feed: Feed
    submit: Callable[[Asked], str] | None = None
    player: Player | None = None  # of a replay
    has_host: bool = False
    choices: Choices = field(default_factory=Choices)
    news: News | None = None
    frame: Frame | None = None
    host: Host | None = None
    answer: Answered | None = None
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=MOST_HAPPENINGS))
    asked: dict[str, str] = field(default_factory=dict)  # open requests: name and what was asked

    def take(self, news: Brought) -> tuple[Happening, ...]:
        """Put the news on the desk; return what happened since the reading before."""
        if isinstance(news, Host):
            self.host = news
        elif isinstance(news, Answered):
            self.answer = news
        else:
            self.news = news
        if not isinstance(news, Frame):
            return ()
        happened = happenings_between(self.frame, news) if self.frame is not None else ()
        self.frame = news
        self.happenings.extend(happened)
        answered = {row.name for row in news.requests}
        self.asked = {name: what for name, what in self.asked.items() if name not in answered}
        self._settle(news)
        return happened

    def _settle(self, frame: Frame) -> None:
        """Let choices that the study does not offer fall back to what it does."""
        arms = [arm.name for arm in frame.study.arms]
        choices = self.choices
        if choices.focus not in arms:
            choices.focus = arms[min(1, len(arms) - 1)]
        if choices.outcome not in frame.study.metrics:
            choices.outcome = frame.study.primary
        choices.marked &= frozenset(arms)
        if choices.against not in arms:
            choices.against = ""
        trials = [(row.arm, row.seed) for row in frame.trials]
        if choices.trial not in trials:
            choices.trial = trials[0] if trials else None

    def want(self, **more: object) -> None:
        """Ask the feed for more, or less, beside the study."""
        self.feed.want(replace(self.feed.wish, **more))  # type: ignore[arg-type]
