"""The state of the app: the newest readings, what the user chose, and requests not yet answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from icckd_tui.data import Frame, Query, SqlAnswer, StudyUpdate, Update
from icckd_tui.events import StudyEvent, events_between
from icckd_tui.filter import EVERYTHING, Filter
from icckd_tui.host import Host
from icckd_tui.metric_names import ALL_METRICS, MetricFilter
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.journal.requests import Wanted
    from icckd_tui.feed import Feed
    from icckd_tui.replay import Player

MOST_EVENTS = 500


@dataclass(slots=True, kw_only=True)
class Choices:
    """What the user chose; all screens share it.

    Attributes:
        focus: The arm that charts and tables point out.
        trial: The trial of the trial screen, as arm and seed.
        outcome: The outcome of the matrix and the differences.
        marked: The arms that are compared alone.
        pinned: The arm that charts draw on top of all others.
        metrics: Which series and outcomes are shown.
        group: What the trials are grouped by, "" for nothing.
        against: The arm that others are compared with, "" for the declared baseline.
        filter: Which trials are shown.
        unlocked: Whether keys may send requests to the session.
    """

    focus: str | None = None
    trial: tuple[str, int] | None = None
    outcome: str | None = None
    marked: frozenset[str] = frozenset()
    pinned: str | None = None
    metrics: MetricFilter = ALL_METRICS
    group: str = ""
    against: str = ""
    filter: Filter = EVERYTHING
    unlocked: bool = False


@dataclass(slots=True, kw_only=True)
class AppState:
    """The state that all screens share.

    Attributes:
        open: Brings the screen of a name to the front.
        leave: Leaves the app, or asks first where that is needed.
        submit: Sends a request to the session and returns its name; None for a read-only view.
        player: Moves a replay; None elsewhere.
        has_host: Whether the machine is sampled.
        storage_read: Says how long ago storage that machines share was read; "" where none is.
        update: The newest update about the study: a frame, or why it cannot be read.
        frame: The newest frame.
        host: The newest sample of the machine.
        answer: The newest SQL answer.
        events: What happened since the app was started.
        asked: Requests without an answer yet: their names and what they ask for.
    """

    glyphs: Glyphs
    clock: Callable[[], float]
    open: Callable[[str], None]
    leave: Callable[[], None]
    feed: Feed
    submit: Callable[[Wanted], str] | None = None
    player: Player | None = None
    has_host: bool = False
    storage_read: Callable[[], str] = str
    choices: Choices = field(default_factory=Choices)
    update: StudyUpdate | None = None
    frame: Frame | None = None
    host: Host | None = None
    answer: SqlAnswer | None = None
    events: deque[StudyEvent] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    asked: dict[str, str] = field(default_factory=dict)

    def apply(self, update: Update) -> tuple[StudyEvent, ...]:
        """Take in an update; return what happened since the frame before."""
        if isinstance(update, Host):
            self.host = update
        elif isinstance(update, SqlAnswer):
            self.answer = update
        else:
            self.update = update
        if not isinstance(update, Frame):
            return ()
        happened = events_between(self.frame, update) if self.frame is not None else ()
        self.frame = update
        self.events.extend(happened)
        answered = {row.name for row in update.requests}
        self.asked = {name: what for name, what in self.asked.items() if name not in answered}
        self._drop_stale_choices(update)
        return happened

    def _drop_stale_choices(self, frame: Frame) -> None:
        """Replace choices that the study does not offer (any more) by ones that it does."""
        arms = [arm.name for arm in frame.study.arms]
        choices = self.choices
        if choices.focus not in arms:
            choices.focus = arms[min(1, len(arms) - 1)]
        if choices.outcome not in frame.study.metrics:
            choices.outcome = frame.study.primary
        choices.marked &= frozenset(arms)
        if choices.pinned not in arms:
            choices.pinned = None
        if choices.against not in arms:
            choices.against = ""
        trials = [(row.arm, row.seed) for row in frame.trials]
        if choices.trial not in trials:
            choices.trial = trials[0] if trials else None

    def request_data(
        self,
        *,
        metrics: tuple[str, ...] = (),
        queries: tuple[Query[Any], ...] = (),
        queue: bool = False,
    ) -> None:
        """Have the feed read this, and nothing else, beside the study; see `DataRequest`."""
        request = replace(self.feed.request, metrics=metrics, queries=queries, queue=queue)
        self.feed.request_data(request)

    def apply_choices(self) -> None:
        """Have the feed read with the chosen reference and filter."""
        against, chosen = self.choices.against, self.choices.filter
        self.feed.request_data(replace(self.feed.request, against=against, filter=chosen))
