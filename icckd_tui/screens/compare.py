"""The compare screen: arms side by side by outcome, verdict, cost and setting."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from icckd.report.item_text import more_items_text, short_why
from icckd_tui.comparison import (
    comparison_detail,
    comparison_table,
    comparison_title,
    difference_tone,
    p_text,
    role_of,
)
from icckd_tui.data import Frame, Update, arm_index
from icckd_tui.items import ItemsQuery, changes_shown, items_table, items_title
from icckd_tui.keys import Key
from icckd_tui.screens.base import ArmScreen
from icckd_tui.state import AppState
from icckd_tui.tables import Column, Row, Table, fitted
from icckd_tui.text import Span, Spans, arm_letter, arm_tone, display, scale_for, setting_text
from icckd_tui.theme import Glyphs
from icckd_tui.widgets.lines import LinesWidget
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.results.types import Comparison, StudyInfo
    from icckd.study.records import Arm

TIME = "time of a trial"
NO_COST = " not measured: stages that share a pack have no time of their own"
_COSTS = ("s", "bytes", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An arm: its place in the study, what it costs, what it reaches, whether nothing beats it."""

    index: int
    cost: float
    value: float
    best: bool


def costs_of(frame: Frame) -> tuple[str, ...]:
    """Return what an arm may cost: its trials' time, and outcomes of which less is better.

    Trials whose stages were trained in packs have no time of their own.
    """
    named = [
        name
        for name in frame.study.metrics
        if frame.study.metric(name).direction == "lower" and frame.study.metric(name).unit in _COSTS
    ]
    return (*(() if frame.is_packed else (TIME,)), *named)


def points_of(frame: Frame, cost: str, only: frozenset[str]) -> tuple[Point, ...]:
    """Return the arms that have both a cost and a mean of the primary outcome."""
    found = {(row.arm, row.metric): row.mean for row in frame.comparisons}
    raw = []
    for index, arm in enumerate(frame.study.arms):
        if only and arm.name not in only:
            continue
        spent = _seconds(frame, arm.name) if cost == TIME else found.get((arm.name, cost))
        value = found.get((arm.name, frame.study.primary))
        if spent is not None and value is not None:
            raw.append((index, spent, value))
    sign = -1.0 if frame.study.metric(frame.study.primary).direction == "lower" else 1.0
    return tuple(
        Point(index=i, cost=c, value=v, best=not any(
            oc <= c and sign * ov >= sign * v and (oc, ov) != (c, v) for _, oc, ov in raw
        ))
        for i, c, v in raw
    )  # fmt: skip


def _seconds(frame: Frame, arm: str) -> float | None:
    spent = [row.seconds for row in frame.trials if row.arm == arm and row.state == "complete"]
    return fmean(spent) if spent else None


def scatter_lines(
    frame: Frame, points: tuple[Point, ...], cost: str, width: int, height: int, glyphs: Glyphs
) -> list[Spans]:
    """Return the plane as lines: cost to the right, the primary outcome upwards."""
    rows, left = height - 2, 9
    columns = width - left - 2
    if not points or rows < 3 or columns < 12:
        return [(Span(" nothing complete yet", "muted"),)]
    costs, values = [p.cost for p in points], [p.value for p in points]
    x_low, x_high = _padded(costs)
    y_low, y_high = _padded(values)
    grid: list[list[Span]] = [[Span(" ")] * columns for _ in range(rows)]
    for point in sorted(points, key=lambda p: p.best):
        column = round((point.cost - x_low) / (x_high - x_low) * (columns - 1))
        row = round((y_high - point.value) / (y_high - y_low) * (rows - 1))
        column = _free(grid[row], column)
        tone = arm_tone(point.index) if point.best else "muted"
        grid[row][column] = Span(arm_letter(point.index), tone)
    unit = frame.study.metric(frame.study.primary).unit
    y_scale, x_scale = scale_for(unit, values), scale_for(cost_unit(frame, cost), costs)
    labels = {0: y_scale.value(y_high), rows - 1: y_scale.value(y_low)}
    lines: list[Spans] = []
    for row in range(rows):
        label = glyphs.signed(labels.get(row, "")).rjust(left - 2)
        edge = glyphs.tick if row in labels else glyphs.vertical
        lines.append((Span(f"{label} {edge}", "muted"), *grid[row]))
    lines.append((Span(" " * (left - 1) + glyphs.corner + glyphs.horizontal * columns, "muted"),))
    low, high = (f"{x_scale.value(v)} {x_scale.unit}" for v in (x_low, x_high))
    gap = max(1, columns - len(low) - len(high))
    lines.append((Span(" " * left + low + " " * gap + high, "muted"),))
    return lines


def cost_unit(frame: Frame, cost: str) -> str:
    """Return the unit of a cost."""
    return "s" if cost == TIME else frame.study.metric(cost).unit


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = (high - low) * 0.08 or abs(low) * 0.05 or 1.0
    return low - air, high + air


def _free(row: list[Span], column: int) -> int:
    """Return the nearest free cell, so that no letter hides another."""
    for away in range(len(row)):
        for place in (column + away, column - away):
            if 0 <= place < len(row) and row[place].text == " ":
                return place
    return column


def pareto_title(frame: Frame, cost: str) -> str:
    """Return what the axes are."""
    primary = display(frame.study.primary, 30)
    return f"{primary} against {display(cost, 30)}"


_WIDEST = 24


def settings_table(frame: Frame, only: frozenset[str], glyphs: Glyphs) -> Table:
    """Return only settings that some of the arms change; "=" stands for the baseline's value."""
    arms = [arm for arm in frame.study.arms if not only or arm.name in only]
    others = [arm for arm in arms if arm.name != frame.study.baseline]
    before = {c.path: setting_text(c.before) for arm in others for c in arm.changes}
    cells = {arm.name: {c.path: setting_text(c.after) for c in arm.changes} for arm in others}
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


def _column(frame: Frame, arm: Arm, changed: dict[str, str]) -> Column:
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


def asked_metrics(frame: Frame, arm: str) -> list[str]:
    """Return the outcomes on which there is a verdict on an arm, or would be."""
    asked = [each.metric for each in frame.study.questions if each.arm == arm]
    return asked if asked and frame.is_declared else [frame.study.primary]


def verdict_table(frame: Frame, only: frozenset[str], glyphs: Glyphs) -> Table:
    """Return one row for each arm and outcome with a verdict; the key of a row begins with its arm.

    Where all verdicts are on one outcome the title names it.
    """
    found = {(row.arm, row.metric): row for row in frame.comparisons}
    is_one = verdict_outcome(frame) is not None
    rows = []
    for index, arm in enumerate(frame.study.arms):
        if arm.name == frame.reference or (only and arm.name not in only):
            continue
        for number, metric in enumerate(asked_metrics(frame, arm.name)):
            row = found.get((arm.name, metric))
            name = display(arm.name, 24) if is_one else display(f"{arm.name}, {metric}", 44)
            rows.append(
                Row(
                    key=f"{arm.name}\0{metric}" if number else arm.name,
                    cells=(
                        (Span(f"{arm_letter(index)} ", arm_tone(index)), Span(name)),
                        _interval(frame.study, row, glyphs),
                        _verdict(row),
                        (Span(_number(row.effect_size if row else None, "+.2f", glyphs)),),
                        (Span(p_text(row.p if row else None)),),
                        (Span(p_text(row.p_adjusted if row else None)),),
                        (Span(role_of(arm), "muted"),),
                    ),
                )
            )
    corrected, cover = ("corrected p", "[ ]") if frame.study.rule else ("Holm", "[95 %]")
    titles = ("arm", f"{glyphs.delta} {cover}", "verdict", "d", "p", corrected, "role")
    return Table(columns=fitted(rows, titles, right=(3, 4, 5)), rows=tuple(rows), frozen=1)


def verdict_outcome(frame: Frame) -> str | None:
    """Return the outcome that all verdicts are on; None where there are several."""
    arms = [arm.name for arm in frame.study.arms if arm.name != frame.reference]
    asked = {metric for arm in arms for metric in asked_metrics(frame, arm)}
    return asked.pop() if len(asked) == 1 else None


def _interval(study: StudyInfo, row: Comparison | None, glyphs: Glyphs) -> Spans:
    if row is None or row.difference is None:
        return (Span("-", "muted"),)
    scale = scale_for(row.unit, [row.mean])
    text = scale.difference(row.difference)
    if row.low is not None and row.high is not None:
        text += f" [{scale.difference(row.low)}, {scale.difference(row.high)}]"
    return (Span(f"{glyphs.signed(text)} {scale.unit}".rstrip(), difference_tone(study, row)),)


def _number(value: float | None, form: str, glyphs: Glyphs) -> str:
    return "" if value is None else glyphs.signed(format(value, form))


def _verdict(row: Comparison | None) -> Spans:
    if row is None or not row.verdict:
        return ()
    if row.verdict in ("helps", "hurts"):
        return (Span(f"the part {row.verdict}", "strong"),)
    if row.verdict == "equivalent":
        return (Span(row.verdict, "strong"),)
    if why := short_why(row):
        return (Span(why, "muted"),)
    least = row.more_seeds_least
    count = f"{least} to {row.more_seeds}" if least and least != row.more_seeds else row.more_seeds
    seeds = f", {count} more seeds" if row.more_seeds else ""
    items = f", {more}" if (more := more_items_text(row)) else ""
    return (Span(f"{row.verdict}{seeds}{items}", "muted"),)


_PAIR = ("comparison", "verdicts")  # together on a terminal that is too small for all panes
_PAIR_FROM = 20  # rows
_WIDE = 100  # from this width on, roles are written out


class CostView(LinesWidget, can_focus=True):
    """Draws accuracy against cost."""


class CompareScreen(ArmScreen):
    """Shows the marked arms beside the baseline, or all where none is marked."""

    NAME = "compare"
    PANES = ("comparison", "verdicts", "cost", "settings", "items")
    ABOUT = (
        "Marked arms, or all, side by side: every outcome with its paired difference, the verdict"
        " on each part, the primary outcome against a cost, the settings that differ, and, where"
        " runs tell single items, those that changed most."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("n", "next_difference", "next setting in which the arm differs", label="Next", rank=6),
        Key("o", "cost", "next cost: time, memory, cache", label="Cost", rank=6),
    ]

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._cost = 0
        self._had_items = False

    def request_data(self) -> None:
        """Ask for the items that changed most, too."""
        self.state.request_data(queries=(ItemsQuery(),))

    def is_wanted(self, pane: str) -> bool:
        """Whether a pane is in use now: that of items only where runs tell them."""
        return pane != "items" or bool(changes_shown(self.frame, self._only))

    def show_update(self, update: Update) -> None:
        """Show an update; the first items make room for their pane."""
        super().show_update(update)
        has_items = self.is_wanted("items")
        if self.is_mounted and has_items != self._had_items:
            self._had_items = has_items
            self.lay_out()

    def panes(self) -> ComposeResult:
        """Compose comparison, verdicts beside costs, settings beside items."""
        glyphs = self.glyphs
        with Vertical(id="compare-body", classes="box"):
            yield GridTable(glyphs=glyphs, cells=True, detail=True, id="comparison", classes="pane")
            with Horizontal(id="compare-middle", classes="box"):
                yield GridTable(glyphs=glyphs, id="verdicts", classes="pane")
                yield CostView(glyphs=glyphs, id="cost", classes="pane")
            with Horizontal(id="compare-bottom", classes="box"):
                yield GridTable(glyphs=glyphs, cells=True, id="settings", classes="pane")
                yield GridTable(glyphs=glyphs, id="items", classes="pane")

    def arrange_panes(self) -> None:
        """Give the tables what they hold, and the rest to verdicts and costs."""
        frame = self.frame
        for name in ("comparison", "compare-bottom"):
            self.query_one(f"#{name}").styles.height = "1fr"
        if frame is None:
            return
        arms = len(frame.study.arms)
        if self.is_single:
            if self._pair_fits:
                most = max(8, self.size.height - 9)
                self.query_one("#comparison").styles.height = min(arms + 6, most)
            return
        height = self.size.height - 2
        paths = len({change.path for arm in frame.study.arms for change in arm.changes})
        self.query_one("#comparison").styles.height = min(arms + 6, height * 2 // 5)
        bottom = min(paths + 3, height // 4) if not self.is_wanted("items") else height // 3
        self.query_one("#compare-bottom").styles.height = bottom

    @property
    def _pair_fits(self) -> bool:
        """Whether the comparison and the verdicts go below each other on a small terminal."""
        return self.is_single and not self._maximized and self.size.height >= _PAIR_FROM

    def companions(self, pane: str) -> tuple[str, ...]:
        """Return the panes that are shown with one where there is no room for all."""
        return _PAIR if pane in _PAIR and self._pair_fits else (pane,)

    def on_resize(self) -> None:
        """Draw the plane for the new size once it is known."""
        super().on_resize()
        self.call_after_refresh(self.refill, "cost")

    @property
    def _only(self) -> frozenset[str]:
        """The arms to show, all when empty."""
        frame, choices = self.frame, self.state.choices
        if frame is None:
            return frozenset()
        kept = choices.marked or frame.matching_arms
        return kept | {frame.reference} if kept else frozenset()

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        assert self.frame is not None
        frame, glyphs, only = self.frame, self.glyphs, self._only
        if pane == "cost":
            self._fill_cost()
            return
        table = self.query_one(f"#{pane}", GridTable)
        if pane == "comparison":
            compact = self.size.width < _WIDE
            marked = self.state.choices.marked
            table.show(comparison_table(frame, glyphs, compact=compact, only=only, marked=marked))
            title = comparison_title(frame, glyphs)
            shown = f" {glyphs.separator} {len(only)} arms" if only else ""
            table.set_titles(f"{title}{shown}", table.position)
            if self.state.choices.focus is not None and table.key != self.state.choices.focus:
                table.put_cursor(self.state.choices.focus)
            if table.key and table.column_key:
                table.show_detail(comparison_detail(frame, table.key, table.column_key, glyphs))
        elif pane == "verdicts":
            table.show(verdict_table(frame, only, glyphs))
            outcome = display(verdict_outcome(frame) or "", 40)
            title = f"Verdicts on {outcome}" if outcome else "Verdicts"
            if not frame.is_declared:
                title = f"No verdicts without the baseline: {outcome}"
            table.set_titles(title, table.position)
        elif pane == "items":
            found = changes_shown(frame, only)
            table.show(items_table(frame, found, glyphs))
            table.set_titles(items_title(found, glyphs), table.position)
        else:
            table.show(settings_table(frame, only, glyphs))
            table.set_titles("Settings that differ", table.position)

    def _fill_cost(self) -> None:
        assert self.frame is not None
        view = self.query_one("#cost", CostView)
        costs = costs_of(self.frame)
        if not costs:
            view.set_lines([(Span(NO_COST, "muted"),)])
            view.set_titles(pareto_title(self.frame, "a cost"))
            return
        cost = costs[self._cost % len(costs)]
        points = points_of(self.frame, cost, self._only)
        view.set_lines(scatter_lines(self.frame, points, cost, *view.size, self.glyphs))
        view.set_titles(pareto_title(self.frame, cost))

    @on(GridTable.Moved, "#comparison")
    @on(GridTable.Moved, "#verdicts")
    def _arm_moved(self, event: GridTable.Moved) -> None:
        self.state.choices.focus = self.arm_of(event.table)
        self.refill(str(event.table.id))

    @on(GridTable.Moved, "#settings")
    def _setting_moved(self) -> None:
        self.refill("settings")

    @on(GridTable.Moved, "#items")
    def _item_moved(self) -> None:
        self.refill("items")

    @on(GridTable.Chosen, "#comparison")
    @on(GridTable.Chosen, "#verdicts")
    def _arm_chosen(self, event: GridTable.Chosen) -> None:
        self.state.choices.focus = self.arm_of(event.table)
        self.state.open("charts")

    def arm_of(self, table: GridTable) -> str | None:
        """Return the arm under a table's cursor."""
        key = table.column_key if table.id == "settings" else table.key
        return key and key.partition("\0")[0]

    def action_cost(self) -> None:
        self._cost += 1
        self.refill("cost")

    def action_next_difference(self) -> None:
        """Go to the next setting in which the arm in focus differs."""
        if self.frame is None:
            return
        table = self.query_one("#settings", GridTable)
        self._fill("settings")
        paths = [row.key for row in table.table.rows]
        arm = table.column_key if self._pane == "settings" else self.state.choices.focus
        found = next_difference(self.frame, arm or "", table.key, paths)
        if found is not None:
            self.go_to("settings")
            table.select(found)
