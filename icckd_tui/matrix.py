"""The matrix of factors by levels, each cell a paired difference from the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.comparison import difference_tone, excludes_zero, without_difference
from icckd_tui.data import Frame, arm_index
from icckd_tui.decision import DECIDED, part_of, verdict_word
from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import (
    HEAT_LEVELS,
    Scale,
    Span,
    Spans,
    arm_letter,
    arm_tone,
    display,
    fit,
    scale_for,
    setting_text,
    width_of,
)
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.results.types import Comparison, StudyInfo
    from icckd.study.records import Arm

_FACTOR_WIDTH = 28
_LEVEL_WIDTH = 16
_SHORTEST = 9  # of a factor or a setting where room is short
_LEAST_FACTOR = 18  # of a factor beside the baseline's settings
_GAP = 2  # cells between columns
_WIDE = 1000  # more than any terminal has
_CELL_LEVEL = 12  # cells of a level's name inside a cell
_STAR_HEAT = HEAT_LEVELS // 2  # of an interval that leaves out 0 where nothing is judged


@dataclass(frozen=True, slots=True)
class Factor:
    """Settings that were varied together, and an arm for each of their levels."""

    name: str
    base: str
    levels: tuple[tuple[str, str], ...]  # level and arm


def factors_of(study: StudyInfo) -> tuple[Factor, ...]:
    """Return the factors in the study's order: what arms changed, by which settings."""
    found: dict[tuple[str, ...], list[Arm]] = {}
    for arm in study.arms:
        if arm.name != study.baseline:
            found.setdefault(_paths(arm), []).append(arm)
    factors: list[Factor] = []
    for paths, arms in found.items():
        name = display(_name_of(study, arms[0]) or _joined(paths), 60)
        if any(name == each.name for each in factors):
            name = display(f"{name} ({_joined(paths)})", 60)
        changes = [change for change in arms[0].changes if change.path in paths]
        base = ", ".join(setting_text(change.before) for change in changes)
        levels = tuple((_level(arm, paths), arm.name) for arm in arms)
        factors.append(Factor(name, base, levels))
    return tuple(factors)


def _paths(arm: Arm) -> tuple[str, ...]:
    """Return the settings that an arm changes, without what follows from those."""
    declared = tuple(change.path for change in arm.changes if " / " not in change.path)
    return declared or tuple(change.path for change in arm.changes)


def _level(arm: Arm, paths: tuple[str, ...]) -> str:
    return ", ".join(setting_text(change.after) for change in arm.changes if change.path in paths)


def _name_of(study: StudyInfo, arm: Arm) -> str:
    """Return what the study's author calls what an arm changes, "" where only settings say it."""
    if arm.levels:
        return " + ".join(arm.levels)
    if arm.control_for:
        ablation = next((each for each in study.arms if each.name == arm.control_for), None)
        name = _name_of(study, ablation) if ablation is not None else ""
        return f"matched: {name}" if name else ""
    return part_of(arm).removeprefix("the ")


def _joined(paths: tuple[str, ...]) -> str:
    return " + ".join(_short(path, paths) for path in paths) or "as the baseline"


def _short(path: str, paths: tuple[str, ...]) -> str:
    """Return a path without its parents: the first of several keeps one of them."""
    keep = 2 if path == paths[0] and len(paths) <= 2 else 1
    return ".".join(path.split(".")[-keep:])


@dataclass(frozen=True, slots=True)
class Grid:
    """Where each arm stands: rows are factors; columns are levels by name where rows share them."""

    factors: tuple[Factor, ...]
    titles: tuple[str, ...]
    shared: bool

    def arms(self, factor: Factor) -> list[str | None]:
        """Return the arm of each column."""
        if self.shared:
            by_level = dict(factor.levels)
            return [by_level.get(title) for title in self.titles]
        arms: list[str | None] = [arm for _, arm in factor.levels]
        return arms + [None] * (len(self.titles) - len(arms))

    def arm_at(self, factor: str | None, column: str | None) -> str | None:
        """Return the arm of a cell; a column's key is "level:" and its place."""
        chosen = next((f for f in self.factors if f.name == factor), None)
        if chosen is None or column is None:
            return None
        return self.arms(chosen)[int(column.partition(":")[2])]

    def cell_of(self, arm: str) -> tuple[str, int] | None:
        """Return the factor and the column, counted from 0, in which an arm stands."""
        for factor in self.factors:
            if arm in (arms := self.arms(factor)):
                return factor.name, arms.index(arm)
        return None


def grid_of(study: StudyInfo, glyphs: Glyphs) -> Grid:
    """Return the grid of a study."""
    factors = factors_of(study)
    names = tuple(dict.fromkeys(level for factor in factors for level, _ in factor.levels))
    most = max((len(factor.levels) for factor in factors), default=0)
    shared = len(names) <= most + 1 and len(factors) > 1
    unnamed = (glyphs.delta,) if most == 1 else tuple(str(n + 1) for n in range(most))
    return Grid(factors, names if shared else unnamed, shared)


def matrix_table(
    frame: Frame, metric: str, glyphs: Glyphs, marked: frozenset[str], width: int = _WIDE
) -> Table:
    """Return factors by levels, each cell with letter, difference and star.

    Where a `width` in cells is too small for one column of levels, factors and the baseline's
    settings are shortened before any difference is, and where that does not do, the settings go.
    """
    grid = grid_of(frame.study, glyphs)
    found = {row.arm: row for row in frame.comparisons if row.metric == metric}
    cells = _Cells(frame, found, metric, glyphs, marked)
    rows = [_row(factor, grid, cells, (_FACTOR_WIDTH, _LEVEL_WIDTH)) for factor in grid.factors]
    columns = _columns(rows, grid.titles)
    over = sum(column.width + _GAP for column in columns[:3]) - width
    whole = sum(column.width + _GAP for column in columns) - _GAP + 1
    if over <= 0 and not whole - columns[1].width - _GAP <= width < whole:
        return Table(columns=columns, rows=tuple(_lined_up(rows)), frozen=2)
    if over <= 0:  # every level fits once the baseline's settings are gone
        return _without_base(columns, _lined_up(rows))
    base = max(_SHORTEST, min(_LEVEL_WIDTH, columns[1].width) - over // 2)
    base = min(base, columns[1].width)
    name = min(_FACTOR_WIDTH, columns[0].width) - (over - (columns[1].width - base))
    has_base = name >= min(_LEAST_FACTOR, columns[0].width)
    if not has_base:
        name = max(_SHORTEST, columns[0].width - over + columns[1].width + _GAP)
    rows = _lined_up([_row(factor, grid, cells, (name, base)) for factor in grid.factors])
    columns = _columns(rows, grid.titles)
    if has_base:
        return Table(columns=columns, rows=tuple(rows), frozen=2)
    return _without_base(columns, rows)


def _without_base(columns: tuple[Column, ...], rows: list[Row]) -> Table:
    left = tuple(Row(key=row.key, cells=(row.cells[0], *row.cells[2:])) for row in rows)
    return Table(columns=(columns[0], *columns[2:]), rows=left, frozen=1)


def _row(factor: Factor, grid: Grid, cells: _Cells, widths: tuple[int, int]) -> Row:
    ellipsis = cells.glyphs.ellipsis
    base = fit(factor.base, min(widths[1], len(factor.base)), ellipsis)
    name = fit(factor.name, min(widths[0], len(factor.name)), ellipsis)
    levels = () if grid.shared else tuple(level for level, _ in factor.levels)
    made = (
        cells.cell(arm, levels[place] if place < len(levels) else "")
        for place, arm in enumerate(grid.arms(factor))
    )
    return Row(key=factor.name, cells=((Span(name),), (Span(base, "muted"),), *made))


@dataclass(frozen=True, slots=True)
class _Cells:
    """Makes the cells of one metric."""

    frame: Frame
    found: dict[str, Comparison]
    metric: str
    glyphs: Glyphs
    marked: frozenset[str]

    @property
    def scale(self) -> Scale:
        """The scale of all cells."""
        unit = next((row.unit for row in self.found.values()), "")
        return scale_for(unit, [row.mean for row in self.found.values()])

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on the part of each arm, in one word; none against another reference."""
        if not self.frame.is_declared:
            return {}
        words = {arm: verdict_word(self.frame.study, row) for arm, row in self.found.items()}
        return {arm: word for arm, word in words.items() if word}

    def cell(self, arm: str | None, level: str) -> Spans:
        """Return letter, level, difference, star and verdict; the count while seeds run."""
        if arm is None:
            return ()
        index, glyphs = arm_index(self.frame.study, arm), self.glyphs
        mark = glyphs.mark if arm in self.marked else " "
        head: Spans = (Span(f" {arm_letter(index)}{mark}", arm_tone(index)),)
        if level:
            name = fit(level, min(_CELL_LEVEL, len(level)), glyphs.ellipsis)
            head = (*head, Span(f"{name} ", "level"))
        return (*head, *self._value(arm))

    def _value(self, arm: str) -> Spans:
        frame, glyphs = self.frame, self.glyphs
        row, planned = self.found.get(arm), len(frame.study.planned_seeds(arm))
        lost = _lost(frame, arm, glyphs)
        count = row.n if row is not None else 0
        if arm == frame.reference:
            return (*lost, Span(" reference ", "muted"))
        verdicts = self.verdicts
        room = max(map(len, verdicts.values()), default=0)
        word = verdicts.get(arm, "")
        is_open = word not in DECIDED
        verdict = Span(f" {word:{room}}" if room else "", "muted" if is_open else "strong")
        if row is not None and (without := without_difference(row)):
            return (*lost, Span(without, "warning"), verdict)
        if row is None or row.difference is None or count < min(2, planned):
            return (*lost, Span(f"{glyphs.waiting} {count}/{planned} ", "muted"), verdict)
        star = "*" if excludes_zero(row) else " "
        text = glyphs.signed(self.scale.difference(row.difference)) + star
        ground = self._heat(row)
        open_ = (Span(f"{glyphs.waiting}{count}/{planned} ", "muted"),) if count < planned else ()
        tone = difference_tone(frame.study, row) or "strong"
        spans = (*lost, *open_, Span(text, "strong" if ground else tone), verdict)
        return tuple(span._replace(ground=ground) for span in spans) if ground else spans

    def _heat(self, row: Comparison) -> str:
        """Return the ground: as strong as the evidence is, whatever the size of the difference."""
        direction = self.frame.study.metric(self.metric).direction
        if direction == "none" or not row.difference:
            return ""
        level = _STAR_HEAT if excludes_zero(row) else 0
        if self.frame.is_declared and row.verdict in ("helps", "hurts"):
            level = HEAT_LEVELS
        if self.verdicts.get(row.arm) in ("undecided", "equivalent"):
            level = 0
        better = (row.difference > 0) == (direction == "higher")
        return f"heat{'+' if better else '-'}{level}" if level else ""


def _lost(frame: Frame, arm: str, glyphs: Glyphs) -> Spans:
    """Return how many trials of an arm failed, and how many were blocked by another's failure."""
    states = [trial.state for trial in frame.trials if trial.arm == arm]
    failed, blocked = states.count("failed"), states.count("blocked")
    spans: list[Span] = []
    if failed:
        spans.append(Span(f"{glyphs.hatch}{failed} ", "failed"))
    if blocked:
        spans.append(Span(f"{glyphs.states['blocked']}{blocked} ", "blocked"))
    return tuple(spans)


def _columns(rows: list[Row], titles: tuple[str, ...]) -> tuple[Column, ...]:
    heads = [("factor", "factor"), ("baseline", "baseline")]
    heads += [(f"level:{place}", title) for place, title in enumerate(titles)]
    return tuple(
        Column(
            key=key,
            titles=(fit(title, min(len(title), _LEVEL_WIDTH)),),
            width=max([min(len(title), _LEVEL_WIDTH), *(width_of(r.cells[place]) for r in rows)]),
            right=place > 1,
        )
        for place, (key, title) in enumerate(heads)
    )


def _lined_up(rows: list[Row]) -> list[Row]:
    """Fill cells from the left behind their level, so that letters stand below each other."""
    widths = [max(width_of(row.cells[place]) for row in rows) for place in range(len(rows[0].cells))
              ] if rows else []  # fmt: skip
    lined = []
    for row in rows:
        cells = list(row.cells)
        for place in range(2, len(cells)):
            cell = cells[place]
            if not cell:
                continue
            ground = cell[-1].ground
            gap = widths[place] - width_of(cell)
            values = [p for p, span in enumerate(cell) if p > 0 and span.tone != "level"]
            at = values[0] if values else len(cell) - 1
            filled = (*cell[:at], Span(" " * gap), *cell[at:])
            cells[place] = tuple(
                span._replace(ground=ground) if ground else span for span in filled
            )
        lined.append(Row(key=row.key, cells=tuple(cells)))
    return lined


def matrix_title(frame: Frame, metric: str, glyphs: Glyphs) -> str:
    """Return what the cells are."""
    unit = frame.study.metric(metric).unit
    shown = f" ({unit})" if unit and unit != "1" else ""
    against = "" if frame.is_declared else f" against {display(frame.reference, 24)}"
    judged = any(each.metric == metric for each in frame.study.questions) and frame.is_declared
    verdict = ", verdict on the part" if judged else ""
    name = display(metric, 40)
    return f"Matrix {glyphs.separator} {glyphs.delta} {name}{shown}{verdict}{against}"
