"""What is known about each part: difference, size of the effect, p, verdict in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.comparison import difference_tone, role_of
from icckd_tui.view_model.frame import Frame
from icckd_tui.view_model.numbers import scale_for
from icckd_tui.view_model.spans import Span, Spans, arm_letter, arm_tone
from icckd_tui.view_model.table import Row, Table, fitted

if TYPE_CHECKING:
    from icckd.results.types import Comparison


def verdict_table(frame: Frame, only: frozenset[str], glyphs: Glyphs) -> Table:
    """Return one row an arm on the primary outcome."""
    found = {row.arm: row for row in frame.comparisons if row.metric == frame.study.primary}
    rows = []
    for index, arm in enumerate(frame.study.arms):
        if arm.name == frame.reference or (only and arm.name not in only):
            continue
        row = found.get(arm.name)
        rows.append(
            Row(
                key=arm.name,
                cells=(
                    (Span(f"{arm_letter(index)} ", arm_tone(index)), Span(display(arm.name, 24))),
                    _interval(row, glyphs),
                    (Span(_number(row.effect_size if row else None, "+.2f", glyphs)),),
                    (Span(_number(row.p if row else None, ".3f", glyphs)),),
                    (Span(_number(row.p_adjusted if row else None, ".3f", glyphs)),),
                    _verdict(row),
                    (Span(role_of(arm), "muted"),),
                ),
            )
        )
    titles = ("arm", f"{glyphs.delta} [95 %]", "d", "p", "Holm", "verdict", "role")
    return Table(columns=fitted(rows, titles, right=(2, 3, 4)), rows=tuple(rows), frozen=1)


def _interval(row: Comparison | None, glyphs: Glyphs) -> Spans:
    if row is None or row.difference is None:
        return (Span("-", "muted"),)
    scale = scale_for(row.unit, [row.mean])
    text = scale.difference(row.difference)
    if row.low is not None and row.high is not None:
        text += f" [{scale.difference(row.low)}, {scale.difference(row.high)}]"
    return (Span(f"{glyphs.signed(text)} {scale.unit}".rstrip(), difference_tone(row, row.metric)),)


def _number(value: float | None, form: str, glyphs: Glyphs) -> str:
    return "" if value is None else glyphs.signed(format(value, form))


def _verdict(row: Comparison | None) -> Spans:
    if row is None or not row.verdict:
        return ()
    if row.verdict in ("helps", "hurts"):
        return (Span(f"the part {row.verdict}", "strong"),)
    seeds = f", {row.more_seeds} more seeds" if row.more_seeds else ""
    return (Span(f"{row.verdict}{seeds}", "muted"),)
