"""The trial list: one row for each arm under each seed, what needs eyes first."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from icckd.spec.metrics import OUTCOMES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import scale_for, short_duration
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone
from icckd_tui.view_model.table import Column, LazyRows, Table

if TYPE_CHECKING:
    from icckd.results.types import TrialRow

_FIRST = ("running", "failed", "blocked", "pending", "cancelled", "complete")
_ARM_WIDTH = 24
_REASON_WIDTH = 60


def trial_key(row: TrialRow) -> str:
    """Return what names a trial."""
    return f"{row.arm}\0{row.seed}"


def trial_of(key: str | None) -> tuple[str, int] | None:
    """Return arm and seed of a key."""
    if key is None:
        return None
    arm, _, seed = key.rpartition("\0")
    return arm, int(seed)


def trial_table(frame: Frame, rows: Sequence[TrialRow], glyphs: Glyphs) -> Table:
    """Return trials: running ones first, then failed, then the rest in the plan's order.

    Rows are made when they are drawn, and widths follow from the study, so that ten thousand
    trials cost little more than the few that are in view.
    """
    ordered = _ordered(rows)
    unit = OUTCOMES[frame.study.primary].unit if frame.study.primary in OUTCOMES else ""
    scale = scale_for(unit, (row.primary for row in rows))
    places = {arm.name: place for place, arm in enumerate(frame.study.arms)}

    def cells(row: TrialRow) -> tuple[Spans, ...]:
        place = places.get(row.arm, 0)
        return (
            (Span(f"{arm_letter(place)} ", arm_tone(place)), Span(display(row.arm, _ARM_WIDTH))),
            (Span(str(row.seed)),),
            (Span(f"{glyphs.states[row.state]} {row.state}", row.state),),
            (Span(_stage(row), "muted"),),
            _number(row.primary, glyphs.signed(scale.value(row.primary))),
            _number(row.difference, glyphs.signed(scale.difference(row.difference))),
            _number(row.seconds or None, short_duration(row.seconds)),
            (Span(display(row.reason, _REASON_WIDTH), "failed"),),
        )

    lost = any(map(attrgetter("reason"), rows))
    return Table(
        columns=_columns(frame, rows, glyphs, lost),
        rows=LazyRows(ordered, trial_key, cells, (scale, tuple(places), glyphs.ascii)),
        frozen=2,
    )


def _ordered(rows: Sequence[TrialRow]) -> list[TrialRow]:
    groups: dict[str, list[TrialRow]] = {state: [] for state in _FIRST}
    into = {state: group.append for state, group in groups.items()}
    for row in rows:
        into[row.state](row)
    return [row for state in _FIRST for row in groups[state]]


def _columns(
    frame: Frame, rows: Sequence[TrialRow], glyphs: Glyphs, lost: bool
) -> tuple[Column, ...]:
    names = max((len(display(arm.name, _ARM_WIDTH)) for arm in frame.study.arms), default=3)
    seeds = max((len(str(seed)) for seed in frame.study.seeds), default=1)
    epochs = max(map(attrgetter("epochs"), rows), default=0)
    primary = display(frame.study.primary.split(".", 1)[-1], 12)
    widths = {
        "arm": (names + 2, False),
        "seed": (max(4, seeds), True),
        "state": (11, False),
        "stage": (9 + 2 * len(str(epochs)), False),
        primary: (max(len(primary), 6), True),
        glyphs.delta: (7, True),
        "time": (5, True),
        "reason": (_REASON_WIDTH if lost else 6, False),
    }
    return tuple(
        Column(key=title, titles=(title,), width=width, right=right)
        for title, (width, right) in widths.items()
    )


def trial_detail(row: TrialRow, glyphs: Glyphs) -> Spans:
    """Return the line below the list: why a trial failed, or where it stands."""
    head = (Span(f" {display(row.arm)} s{row.seed}", "strong"), Span("  "))
    state = Span(f"{glyphs.states[row.state]} {row.state}", row.state)
    if row.reason:
        return (*head, state, Span("  "), Span(display(row.reason), "failed"))
    return (*head, state, Span(f"  {_stage(row)}", "muted"))


def _stage(row: TrialRow) -> str:
    return f"{display(row.stage, 12)} {row.epoch}/{row.epochs}" if row.stage else ""


def _number(value: float | None, text: str) -> Spans:
    return (Span("" if value is None else text),)
