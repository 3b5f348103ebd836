"""The queue screen: the plan's stages in their order, and the requests to the session."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from icckd_tui.data import Frame, arm_index
from icckd_tui.screens.control import ControlScreen
from icckd_tui.state import AppState
from icckd_tui.tables import Column, LazyRows, Row, Table
from icckd_tui.text import Span, Spans, arm_letter, arm_tone, display, duration, short_duration
from icckd_tui.theme import Glyphs
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.results.trials import StageStatus

_USERS = 3  # trials of a stage that are named
_REASON = 60


def queue_rows(frame: Frame) -> tuple[StageStatus, ...]:
    """Return the stages that any trial needs which the filter lets through."""
    if frame.matching is None:
        return frame.queue
    trials = {(row.arm, row.seed) for row in frame.matching}
    return tuple(row for row in frame.queue if not trials.isdisjoint(row.trials))


def queue_table(frame: Frame, rows: tuple[StageStatus, ...], glyphs: Glyphs) -> Table:
    """Return the stages in the plan's order; rows are made when they are drawn."""
    places = {row.stage: place for place, row in enumerate(frame.queue, 1)}
    study = frame.study

    def cells(row: StageStatus) -> tuple[Spans, ...]:
        users: list[Span] = []
        for arm, seed in row.trials[:_USERS]:
            index = arm_index(study, arm)
            users += [
                Span(f"{arm_letter(index)} ", arm_tone(index)),
                Span(f"{display(arm, 24)} s{seed}  "),
            ]
        if len(row.trials) > _USERS:
            users.append(Span(f"and {len(row.trials) - _USERS} more", "muted"))
        replicate = f" {row.replicate}" if row.replicate else ""
        return (
            (Span(str(places[row.stage]), "muted"),),
            (Span(f"{glyphs.states[row.state]} {row.state}", row.state),),
            (Span(f"{row.kind}{replicate}"),),
            tuple(users),
            (Span(f"{row.epoch}/{row.epochs}", "muted"),),
            (Span(short_duration(row.seconds) if row.seconds else ""),),
            (Span(_left(row, glyphs)),),
            (Span(str(row.attempts) if row.attempts > 1 else ""),),
            (Span(display(row.reason, _REASON), "muted" if row.state == "pending" else "failed"),),
        )

    names = max((len(display(arm.name, 24)) for arm in study.arms), default=4)
    most = min(_USERS, max((len(row.trials) for row in rows), default=1))
    seeds = max((len(str(seed)) for seed in study.seeds), default=1)
    widths = (
        ("#", len(str(len(frame.queue))), True), ("state", 11, False), ("stage", 9, False),
        ("for", min(60, most * (names + seeds + 6)), False), ("epoch", 9, True), ("time", 6, True),
        ("left", 14, True), ("tries", 5, True), ("reason", _REASON, False),
    )  # fmt: skip
    columns = tuple(
        Column(key=title, titles=(title,), width=max(width, len(title)), right=right)
        for title, width, right in widths
    )
    made = LazyRows(rows, lambda row: row.stage, cells, (study.arms, glyphs.ascii))
    return Table(columns=columns, rows=made, frozen=4)


def _left(row: StageStatus, glyphs: Glyphs) -> str:
    if row.left is None:
        return ""
    spread = f" {glyphs.plus_minus}{short_duration(row.spread)}" if row.spread else ""
    return f"{short_duration(row.left)}{spread}"


def queue_title(frame: Frame, glyphs: Glyphs) -> str:
    """Return how long the rest takes and how sure that is."""
    parts = ["Queue"]
    if frame.progress.session == "live":
        progress = frame.progress
        parts.append("paused" if progress.paused else f"{progress.workers} at work")
        if progress.stalled:
            parts.append(f"stalled: {display(progress.stalled, 60)}")
        if frame.progress.eta_seconds is not None:
            eta = f"ETA {duration(frame.progress.eta_seconds)}"
            spread = eta_spread(frame)
            parts.append(eta + (f" {glyphs.plus_minus} {duration(spread)}" if spread else ""))
    else:
        parts.append({"ended": "the session ended", "interrupted": "the session was interrupted"}
                     .get(frame.progress.session, "no session"))  # fmt: skip
    return f" {glyphs.separator} ".join(parts)


def eta_spread(frame: Frame) -> float | None:
    """Return the standard deviation of the time left in seconds: stages are independent."""
    variances = [row.spread**2 for row in frame.queue if row.spread is not None]
    if not variances or not frame.progress.workers:
        return None
    return math.sqrt(sum(variances)) / frame.progress.workers


def first_open(rows: tuple[StageStatus, ...], after: int = 0) -> str | None:
    """Return the first stage that is not over, or the one so many rows after it."""
    found = (place for place, row in enumerate(rows) if row.state in ("running", "pending"))
    place = min(next(found, len(rows)) + after, len(rows) - 1)
    return rows[place].stage if rows else None


def request_table(
    frame: Frame, asked: Mapping[str, str], glyphs: Glyphs, *, read_only: bool
) -> Table:
    """Return what was asked: open requests first, then what was answered, the newest first."""
    rows = [
        Row(
            key=name,
            cells=(
                (Span("now", "running"),),
                (Span(what),),
                (Span(f"{glyphs.waiting} waiting for the session's answer", "running"),),
            ),
        )
        for name, what in asked.items()
    ]
    rows += [
        Row(
            key=row.name,
            cells=(
                (Span(time.strftime("%H:%M:%S", time.localtime(row.time)), "muted"),),
                (Span(display(row.kind, 20)),),
                (Span(display(row.answer)),),
            ),
        )
        for row in reversed(frame.requests)
    ]
    if not rows:
        keys = "W unlocks, then p pauses, X cancels, R retries, P puts first, A adds, D stops"
        about = (Span("" if read_only else keys, "muted"),)
        rows.append(Row(key="", cells=((Span("none", "muted"),), (), about)))
    columns = (
        Column(key="time", titles=(), width=8),
        Column(key="kind", titles=(), width=30 if asked else 12),
        Column(key="answer", titles=(), width=100),
    )
    return Table(columns=columns, rows=tuple(rows), frozen=2)


class QueueScreen(ControlScreen):
    """Stages in the plan's order; requests below."""

    NAME = "queue"
    PANES = ("stages", "requests")
    ABOUT = (
        "The stages in the plan's order with the time that each is expected to take, and what the"
        " session was asked and answered. A view starts locked; `W` unlocks requests, and those"
        " that give up work ask once more. A request is a small file that the session carries out"
        " and confirms in its journal. `P` puts a trial's waiting stages ahead of all others."
    )

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._placed = False

    def panes(self) -> ComposeResult:
        with Vertical(id="queue-body", classes="box"):
            yield GridTable(glyphs=self.glyphs, id="stages", classes="pane")
            yield GridTable(glyphs=self.glyphs, id="requests", classes="pane")

    def request_data(self) -> None:
        """Ask for the queue."""
        self.state.request_data(queue=True)

    def arrange_panes(self) -> None:
        """Give requests a few lines."""
        requests = len(self.frame.requests) + len(self.state.asked) if self.frame else 0
        height = "1fr" if self.is_single else max(4, min(requests + 2, self.size.height // 4))
        self.query_one("#requests").styles.height = height

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        table = self.query_one(f"#{pane}", GridTable)
        if pane == "requests":
            read_only = self.state.submit is None
            asked = self.state.asked
            table.show(request_table(self.frame, asked, self.glyphs, read_only=read_only))
            locked = "UNLOCKED" if self.state.choices.unlocked else "locked, W unlocks"
            locked = "read-only" if read_only else locked
            table.set_titles(f"Requests {self.glyphs.separator} {locked}", table.position)
            return
        if not self.frame.queue:
            table.set_titles("Reading the queue")
            self.request_data()
            return
        rows = queue_rows(self.frame)
        table.show(queue_table(self.frame, rows, self.glyphs))
        if not self._placed:
            self._placed = True
            ahead = first_open(rows, table.size.height * 2 // 3)
            table.put_cursor(ahead or "")  # so that what comes next is in view too
            table.put_cursor(first_open(rows) or "")
        table.set_titles(queue_title(self.frame, self.glyphs), table.position)

    def action_unlock(self) -> None:
        """Unlock requests to the session, or lock them again."""
        super().action_unlock()
        self.refill("requests")

    def _trials_under_cursor(self) -> tuple[tuple[str, int], ...]:
        key = self.query_one("#stages", GridTable).key
        rows = self.frame.queue if self.frame is not None else ()
        return next((row.trials for row in rows if row.stage == key), ())

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the first trial that needs the stage under the cursor."""
        return next(iter(self._trials_under_cursor()), None)

    @on(GridTable.Moved, "#stages")
    def _moved(self) -> None:
        self.refill("stages")

    @on(GridTable.Chosen, "#stages")
    def _chosen(self) -> None:
        trial = self.trial_in_view()
        if trial is not None:
            self.state.choices.trial = trial
            self.state.open("trial")

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm of the stage under the cursor."""
        trial = self.trial_in_view() if table.id == "stages" else None
        return trial[0] if trial else None
