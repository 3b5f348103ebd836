"""The trial list: one row for each arm under each seed, what needs eyes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd.spec.metrics import OUTCOMES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame, arm_index
from icckd_tui.view_model.numbers import scale_for, short_duration
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone, width_of
from icckd_tui.view_model.table import Column, Row, Table

if TYPE_CHECKING:
    from icckd.results.types import TrialRow

_FIRST = ("running", "failed", "blocked", "pending", "cancelled", "complete")
_ARM_WIDTH = 24
_REASON_WIDTH = 60


def trial_key(row: TrialRow) -> str:
    """Return what names a trial."""
    return f"{row.arm}\0{row.seed}"


def trial_table(frame: Frame, glyphs: Glyphs) -> Table:
    """Return the trials: running ones first, then failed, then the rest in the plan's order."""
    ordered = sorted(frame.trials, key=lambda row: _FIRST.index(row.state))
    unit = OUTCOMES[frame.study.primary].unit if frame.study.primary in OUTCOMES else ""
    scale = scale_for(unit, [row.primary for row in ordered])
    rows = tuple(
        Row(
            key=trial_key(row),
            cells=(
                _name(frame, row),
                (Span(str(row.seed)),),
                (Span(f"{glyphs.states[row.state]} {row.state}", row.state),),
                (Span(_stage(row), "muted"),),
                _number(row.primary, glyphs.signed(scale.value(row.primary))),
                _number(row.difference, glyphs.signed(scale.difference(row.difference))),
                _number(row.seconds or None, short_duration(row.seconds)),
                (Span(display(row.reason, _REASON_WIDTH), "failed"),),
            ),
        )
        for row in ordered
    )
    primary = display(frame.study.primary.split(".", 1)[-1], 12)
    titles = ("arm", "seed", "state", "stage", primary, glyphs.delta, "time", "reason")
    right = (False, True, False, False, True, True, True, False)
    columns = tuple(
        Column(key=title, titles=(title,), width=_width(title, rows, place), right=right[place])
        for place, title in enumerate(titles)
    )
    return Table(columns=columns, rows=rows, frozen=3)


def trial_detail(row: TrialRow, glyphs: Glyphs) -> Spans:
    """Return the line below the list: why a trial failed, or where it stands."""
    head = (Span(f" {display(row.arm)} s{row.seed}", "strong"), Span("  "))
    state = Span(f"{glyphs.states[row.state]} {row.state}", row.state)
    if row.reason:
        return (*head, state, Span("  "), Span(display(row.reason), "failed"))
    return (*head, state, Span(f"  {_stage(row)}", "muted"))


def _name(frame: Frame, row: TrialRow) -> Spans:
    index = arm_index(frame.study, row.arm)
    return (Span(f"{arm_letter(index)} ", arm_tone(index)), Span(display(row.arm, _ARM_WIDTH)))


def _stage(row: TrialRow) -> str:
    return f"{display(row.stage, 12)} {row.epoch}/{row.epochs}" if row.stage else ""


def _number(value: float | None, text: str) -> Spans:
    return (Span("" if value is None else text),)


def _width(title: str, rows: tuple[Row, ...], place: int) -> int:
    return max([len(title), *(width_of(row.cells[place]) for row in rows)])
