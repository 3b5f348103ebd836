"""The settings in which arms differ: one row a setting, one column an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame, arm_index
from icckd_tui.view_model.matrix import value_text
from icckd_tui.view_model.spans import Span, Spans, arm_letter
from icckd_tui.view_model.table import Column, Row, Table

if TYPE_CHECKING:
    from icckd.results.types import ArmRow

_WIDEST = 24


def settings_table(frame: Frame, only: frozenset[str], glyphs: Glyphs) -> Table:
    """Return only settings that some of the arms change; "=" stands for the baseline's value."""
    arms = [arm for arm in frame.study.arms if not only or arm.name in only]
    others = [arm for arm in arms if arm.name != frame.study.baseline]
    before = {c.path: value_text(c.before) for arm in others for c in arm.changes}
    cells = {arm.name: {c.path: value_text(c.after) for c in arm.changes} for arm in others}
    rows = tuple(
        Row(
            key=path,
            cells=(
                (Span(display(path, 40)),),
                (Span(display(base, _WIDEST), "muted"),),
                *(_cell(cells[arm.name].get(path)) for arm in others),
            ),
        )
        for path, base in before.items()
    )
    columns = [
        Column(key="setting", titles=("setting",), width=min(40, max(map(len, before), default=7))),
        Column(key=frame.study.baseline, titles=("baseline",),
               width=min(_WIDEST, max([8, *map(len, before.values())]))),
    ]  # fmt: skip
    columns += [_column(frame, arm, cells[arm.name]) for arm in others]
    return Table(columns=tuple(columns), rows=rows, frozen=2)


def _cell(value: str | None) -> Spans:
    return (Span("=", "faint"),) if value is None else (Span(display(value, _WIDEST), "strong"),)


def _column(frame: Frame, arm: ArmRow, changed: dict[str, str]) -> Column:
    title = f"{arm_letter(arm_index(frame.study, arm.name))} {display(arm.name, 20)}"
    width = min(_WIDEST, max([len(title), *map(len, changed.values())]))
    return Column(key=arm.name, titles=(title,), width=width)


def next_difference(frame: Frame, arm: str, after: str | None, paths: list[str]) -> str | None:
    """Return the next setting below `after`, and around, in which an arm differs."""
    row = next((row for row in frame.study.arms if row.name == arm), None)
    changed = {change.path for change in row.changes} if row is not None else set()
    start = paths.index(after) + 1 if after in paths else 0
    turned = paths[start:] + paths[:start]
    return next((path for path in turned if path in changed), None)
