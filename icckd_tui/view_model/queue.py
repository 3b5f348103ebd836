"""The queue: the plan's stages in their order, and what the session was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame, arm_index
from icckd_tui.view_model.numbers import duration, short_duration
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone
from icckd_tui.view_model.table import Column, LazyRows, Row, Table

if TYPE_CHECKING:
    from icckd.results.queue import QueueRow

_USERS = 3  # trials of a stage that are named
_REASON = 60


def queue_rows(frame: Frame, arms: frozenset[tuple[str, int]] | None) -> tuple[QueueRow, ...]:
    """Return the stages that any of these trials needs, all where it is None."""
    if arms is None:
        return frame.queue
    return tuple(row for row in frame.queue if not arms.isdisjoint(row.trials))


def queue_table(frame: Frame, rows: tuple[QueueRow, ...], glyphs: Glyphs) -> Table:
    """Return the stages in the plan's order; rows are made when they are drawn."""
    places = {row.stage: place for place, row in enumerate(frame.queue, 1)}
    study = frame.study

    def cells(row: QueueRow) -> tuple[Spans, ...]:
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
    widths = (
        ("#", len(str(len(frame.queue))), True), ("state", 11, False), ("stage", 9, False),
        ("for", min(60, most * (names + 7)), False), ("epoch", 9, True), ("time", 6, True),
        ("left", 14, True), ("tries", 5, True), ("reason", _REASON, False),
    )  # fmt: skip
    columns = tuple(
        Column(key=title, titles=(title,), width=max(width, len(title)), right=right)
        for title, width, right in widths
    )
    made = LazyRows(rows, lambda row: row.stage, cells, (study.arms, glyphs.ascii))
    return Table(columns=columns, rows=made, frozen=4)


def _left(row: QueueRow, glyphs: Glyphs) -> str:
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
            parts.append(f"cannot go on: {display(progress.stalled, 60)}")
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


def first_open(rows: tuple[QueueRow, ...], after: int = 0) -> str | None:
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
