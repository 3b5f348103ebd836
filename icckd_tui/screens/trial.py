"""The trial screen: states, settings, environment, series and outcomes of a trial, and its log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from icckd_tui.data import Frame
from icckd_tui.failure import failure_of, row_of
from icckd_tui.host import growth_text, process_of, size_text
from icckd_tui.keys import Key
from icckd_tui.log import LEVELS, Level, log_table, log_text, matches, places_of
from icckd_tui.metric_names import ALL_METRICS, MetricFilter
from icckd_tui.screens.control import ControlScreen
from icckd_tui.screens.dialogs import SearchPrompt
from icckd_tui.state import AppState
from icckd_tui.tables import Column, Row, Table, fitted
from icckd_tui.text import Span, Spans, display, duration, scale_for, wrapped
from icckd_tui.theme import Glyphs
from icckd_tui.widgets.table import GridTable

if TYPE_CHECKING:
    from icckd.results.query import Results
    from icckd.results.series import TrialSeries
    from icckd.results.types import Attempt, LogEntry, StudyInfo
    from icckd.study.records import Arm
    from icckd_tui.host import Host

_SPARK = 20
_LOG_LINES = 2000
_NAMES = 34
_LEAST_NAME = 28  # cells of the names
_OUTCOME = 40  # cells of an outcome, its pair, the difference, the unit, and what is between
_Fact = tuple[str, Spans]  # name and value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialFacts:
    """All that is recorded about one trial; `pair` are the baseline's outcomes of its seed."""

    arm: str
    seed: int
    attempts: tuple[Attempt, ...]
    series: tuple[TrialSeries, ...]
    outcomes: Mapping[str, float]
    log: tuple[LogEntry, ...]
    pair: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Asks for everything about one trial."""

    arm: str
    seed: int

    def read(self, results: Results, study: StudyInfo) -> TrialFacts:
        """Read it, with the newest lines of its log."""
        arm, seed = self.arm, self.seed
        return TrialFacts(
            arm=arm,
            seed=seed,
            attempts=results.attempts(study, arm, seed),
            series=results.trial_series(study, arm, seed),
            outcomes=results.trial_outcomes(study, arm, seed),
            log=results.log(study, _LOG_LINES, arm, seed),
            pair={} if arm == study.baseline else (
                results.trial_outcomes(study, study.baseline, seed)),
        )  # fmt: skip


def facts_table(  # what a table shows
    frame: Frame, facts: TrialFacts, host: Host | None, glyphs: Glyphs,
    kept: MetricFilter = ALL_METRICS, width: int = 200,
) -> Table:  # fmt: skip
    """Return name and value of everything that is known: states first, then what came out.

    Outcomes stand beside those of the baseline's trial of the same seed, the declared ones first;
    a failure is told in full in a table of this width.
    """
    arm = next((arm for arm in frame.study.arms if arm.name == facts.arm), None)
    changed = {change.path for change in arm.changes} if arm is not None else set()
    sections: list[tuple[str, list[_Fact]]] = [
        *_outcomes(frame.study, facts, kept, glyphs),
        ("Differs from the baseline", _differences(arm, glyphs)),
        ("Attempts", [*_history(facts, glyphs), *_processes(frame, facts, host)]),
        *(
            (f"Settings of the {attempt.kind}", _settings(attempt, changed))
            for attempt in _newest(facts.attempts)
        ),
        ("Environment", _environment(facts)),
    ]
    names = [len(name) + 1 for _, lines in sections for name, _ in lines]
    names += [len(title) for title, lines in sections if lines]
    room = max(_LEAST_NAME, width - _OUTCOME)  # beside an outcome and its pair
    width_of_names = min(_NAMES + 10, room, max([*names, _LEAST_NAME]))
    sections.insert(0, ("", _about(frame, facts, arm, glyphs, width - width_of_names)))
    rows: list[Row] = []
    for title, lines in sections:
        if lines and title:
            rows.append(Row(key=title, cells=((Span(title, "key"),), ())))
        rows += [
            Row(key=f"{title}\0{place}", cells=((Span(f" {name}", "muted"),), spans))
            for place, (name, spans) in enumerate(lines)
        ]
    columns = (
        Column(key="name", titles=(), width=width_of_names),
        Column(key="value", titles=(), width=200),
    )
    return Table(columns=columns, rows=tuple(rows), frozen=1)


def _about(
    frame: Frame, facts: TrialFacts, arm: Arm | None, glyphs: Glyphs, width: int
) -> list[_Fact]:
    """Return state, why it failed and what to do, and what the arm is."""
    row = row_of(frame, (facts.arm, facts.seed))
    lines: list[_Fact] = []
    if row is not None:
        lines.append(("state", (Span(f"{glyphs.states[row.state]} {row.state}", row.state),)))
        failure = failure_of(facts.attempts) if row.state in ("failed", "blocked") else None
        reason = row.reason or (failure.reason if failure is not None else "")
        lines += _told_in(width, "reason", Span(display(reason), row.state)) if reason else []
        if failure is not None and failure.hint:
            lines += _told_in(width, "what helps", Span(display(failure.hint), "strong"))
    if arm is not None and arm.title:
        lines += _told_in(width, "about", Span(display(arm.title)))
    return lines


def _told_in(width: int, name: str, text: Span) -> list[_Fact]:
    """Return a text in as many lines as it takes, four at most."""
    told = wrapped((text,), max(20, width - 5), 4, hang=0)
    return [(name if not place else "", line) for place, line in enumerate(told)]


def _differences(arm: Arm | None, glyphs: Glyphs) -> list[_Fact]:
    return [
        (
            display(change.path, _NAMES),
            (
                Span(display(_text(change.before), 40), "muted"),
                Span(f" {glyphs.arrow} ", "muted"),
                Span(display(_text(change.after), 40), "strong"),
            ),
        )
        for change in (arm.changes if arm is not None else ())
    ]


def _history(facts: TrialFacts, glyphs: Glyphs) -> list[_Fact]:
    lines: list[_Fact] = []
    for attempt in facts.attempts:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started))
        state = Span(f"{glyphs.states[attempt.state]} {attempt.state}", attempt.state)
        epochs = f"{attempt.epoch}/{attempt.epochs} epochs in {duration(attempt.seconds)}"
        about = f"  {epochs}  {started}"
        replicate = f" {attempt.replicate}" if attempt.replicate else ""
        lines.append((f"{attempt.kind}{replicate}", (state, Span(about, "muted"))))
        if attempt.reason:
            lines.append(("", (Span(display(attempt.reason), "failed"),)))
        if attempt.hint:
            lines.append(("hint", (Span(display(attempt.hint)),)))
    return lines or [("attempts", (Span("none yet", "muted"),))]


def _processes(frame: Frame, facts: TrialFacts, host: Host | None) -> list[_Fact]:
    lines: list[_Fact] = []
    for stage in frame.queue:
        if stage.state != "running" or (facts.arm, facts.seed) not in stage.trials:
            continue
        past = process_of(host, stage)
        if past:
            now = past[-1]
            gpu = "" if now.gpu_memory is None else f", GPU {size_text(now.gpu_memory)}"
            text = f"pid {now.pid}: CPU {now.cpu:.0f} %, memory {size_text(now.memory)}{gpu}"
            lines.append(("process", (Span(text, "running"),)))
            grown = growth_text(past)
            if grown != "-":
                lines.append(("growth of its memory", (Span(f"{grown} a minute"),)))
        elif stage.pid:
            where = display(stage.host, 30)
            lines.append(("process", (Span(f"pid {stage.pid} on {where}", "running"),)))
    return lines


def _outcomes(
    study: StudyInfo, facts: TrialFacts, kept: MetricFilter, glyphs: Glyphs
) -> list[tuple[str, list[_Fact]]]:
    """Return the outcomes in groups: declared ones, then those of each kind of stage.

    Each has the value of the baseline's trial of this seed, and the difference from it.
    """
    names = [name for name in kept.kept(facts.outcomes) if name in facts.outcomes]
    declared = [name for name in study.metrics if name in names]
    groups: dict[str, list[str]] = {"Declared outcomes": declared}
    for name in names:
        if name not in declared:
            groups.setdefault(f"Other outcomes of the {name.split('.', 1)[0]}", []).append(name)
    seed = f" s{facts.seed}"
    beside = f"{display(study.baseline, 11 - len(seed))}{seed}" if facts.pair else ""
    head = f"{'this':>9} {beside:>11} {glyphs.delta:>8}" if beside else ""
    found: list[tuple[str, list[_Fact]]] = []
    for title, members in groups.items():
        lines: list[_Fact] = [_outcome(study, facts, name, glyphs) for name in members]
        if lines and head and not found:
            lines.insert(0, ("", (Span(head, "header"),)))
        found.append((title, lines))
    return found


def _outcome(study: StudyInfo, facts: TrialFacts, name: str, glyphs: Glyphs) -> _Fact:
    value, pair, known = facts.outcomes[name], facts.pair.get(name), study.metric(name)
    scale = scale_for(known.unit, [value])
    shown = Span(f"{glyphs.signed(scale.value(value)):>9}", "strong")
    unit = Span(f" {scale.unit}", "muted")
    if not facts.pair:
        return display(name, _NAMES), (shown, unit)
    if pair is None:
        return display(name, _NAMES), (shown, Span(f" {'-':>11}", "muted"), unit)
    difference = value - pair
    text = glyphs.signed(scale.difference(difference)) if np.isfinite(difference) else "-"
    return display(name, _NAMES), (
        shown,
        Span(f" {glyphs.signed(scale.value(pair)):>11}", "muted"),
        Span(f" {text:>8}"),
        unit,
    )


def _newest(attempts: tuple[Attempt, ...]) -> list[Attempt]:
    """Return the newest attempt at each kind of stage."""
    return list({attempt.kind: attempt for attempt in attempts}.values())


def _settings(attempt: Attempt, changed: set[str]) -> list[_Fact]:
    lines: list[_Fact] = []
    for path, value in _leaves(attempt.settings, ""):
        if path.startswith("teacher.") and attempt.kind == "student":
            continue
        differs = any(path == name or path.startswith(f"{name}.") for name in changed)
        lines.append(
            (display(path, 44), (Span(display(_text(value)), "strong" if differs else ""),))
        )
    return lines


def _environment(facts: TrialFacts) -> list[_Fact]:
    if not facts.attempts:
        return []
    newest = facts.attempts[-1]
    shown = {"host": newest.host, **newest.numerics, **newest.environment}
    return [
        (display(name, _NAMES), (Span(display(_text(value)), "muted"),))
        for name, value in shown.items()
        if value != ""
    ]


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [
        leaf
        for key, inner in value.items()
        for leaf in _leaves(inner, f"{path}.{key}" if path else str(key))
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def series_table(study: StudyInfo, facts: TrialFacts, glyphs: Glyphs) -> Table:
    """Return one row a series: newest, best, mean of the last tenth, and its shape."""
    rows = []
    for series in facts.series:
        values = series.values_E
        known = study.metric(series.metric)
        scale = scale_for(known.unit, [float(values[-1])])
        best = {"higher": values.max, "lower": values.min}.get(known.direction)
        rows.append(
            Row(
                key=series.metric,
                cells=(
                    (Span(display(series.metric, _NAMES)),),
                    (Span(glyphs.signed(scale.value(float(values[-1]))), "strong"),),
                    (Span("" if best is None else glyphs.signed(scale.value(float(best())))),),
                    (Span(f"{series.epochs_E[-1]}", "muted"),),
                    (Span(spark(values, _SPARK, glyphs), "good"),),
                    (Span(scale.unit, "muted"),),
                ),
            )
        )
    titles = ("series", "newest", "best", "epoch", "shape", "unit")
    return Table(columns=fitted(rows, titles, right=(1, 2, 3)), rows=tuple(rows), frozen=1)


def spark(values: NDArray[np.float64], width: int, glyphs: Glyphs) -> str:
    """Return a series in a few cells: the mean of each part, from the lowest to the highest."""
    parts = [float(part.mean()) for part in np.array_split(values, min(width, len(values)))]
    low, high = min(parts), max(parts)
    top = len(glyphs.levels) - 1
    span = high - low or 1.0
    return "".join(glyphs.levels[round((part - low) / span * top)] for part in parts)


def traceback_table(facts: TrialFacts) -> Table | None:
    """Return the lines of the newest traceback, None without one."""
    found = next((a.traceback for a in reversed(facts.attempts) if a.traceback), "")
    if not found:
        return None
    rows = tuple(
        Row(key=str(place), cells=((Span(display(line)),),))
        for place, line in enumerate(found.splitlines())
    )
    return Table(columns=(Column(key="line", titles=(), width=300),), rows=rows)


class TrialScreen(ControlScreen):
    """Facts on the left, series and log on the right; brackets go to the next trial."""

    NAME = "trial"
    PANES = ("facts", "series", "lines")
    ABOUT = (
        "One trial: why it failed and what helps, outcomes beside those of the baseline's trial of"
        " the same seed with the difference, the declared ones first, settings that differ,"
        " attempts, the process that trains it, environment, every series, and its log with"
        " search, levels and the traceback of a failure."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("n", "next_match(1)", "next match in the log"),
        Key("N", "next_match(-1)", "previous match in the log"),
        Key("v", "level", "log: all lines, warnings, errors", label="Level", rank=6),
        Key("o", "open_log", "open the log in $PAGER or $EDITOR", label="Open", rank=9),
        Key("b", "traceback", "the traceback of a failure, and back", label="Traceback", rank=6),
        Key("right_square_bracket", "step_trial(1)", "next trial", label="Next", rank=7),
        Key("left_square_bracket", "step_trial(-1)", "previous trial"),
    ]

    def __init__(self, state: AppState) -> None:
        super().__init__(state)
        self._level: Level = "info"
        self._search = ""
        self._traceback = False

    def panes(self) -> ComposeResult:
        glyphs = self.glyphs
        with Horizontal(id="trial-body", classes="box"):
            with Vertical(id="trial-left", classes="box"):
                yield GridTable(glyphs=glyphs, id="facts", classes="pane")
            with Vertical(id="trial-right", classes="box"):
                yield GridTable(glyphs=glyphs, id="series", classes="pane")
                yield GridTable(glyphs=glyphs, follow=True, id="lines", classes="pane")

    def request_data(self) -> None:
        """Ask for the chosen trial, and for the queue with the process that trains it."""
        chosen = self.state.choices.trial
        queries = (TrialQuery(*chosen),) if chosen is not None else ()
        self.state.request_data(queries=queries, queue=True)

    def arrange_panes(self) -> None:
        """Give the series their lines."""
        facts = self._facts
        lines = len(facts.series) if facts is not None else 8
        height = "1fr" if self.is_single else min(lines + 3, self.size.height // 2)
        self.query_one("#series").styles.height = height

    @property
    def _facts(self) -> TrialFacts | None:
        """Everything about the chosen trial, None until it is read."""
        chosen = self.state.choices.trial
        if self.frame is None or chosen is None:
            return None
        return self.frame.answer(TrialQuery(*chosen))

    def show_host(self) -> None:
        """Show the process's newest sample too."""
        super().show_host()
        self.refill("facts")

    def fill(self, pane: str) -> None:
        """Fill one pane."""
        table, facts = self.query_one(f"#{pane}", GridTable), self._facts
        if facts is None:
            table.set_titles("Reading the trial")
            self.request_data()
            return
        assert self.frame is not None
        if pane == "facts":
            kept, width = self.state.choices.metrics, table.size.width or 200
            table.show(facts_table(self.frame, facts, self.state.host, self.glyphs, kept, width))
            row = row_of(self.frame, (facts.arm, facts.seed))
            state = f" {self.glyphs.separator} {row.state}" if row is not None else ""
            table.set_titles(f"{display(facts.arm, 40)} s{facts.seed}{state}", table.position)
        elif pane == "series":
            kept = self.state.choices.metrics
            names = set(kept.kept(each.metric for each in facts.series))
            shown = replace(facts, series=tuple(s for s in facts.series if s.metric in names))
            if len(table.table.rows) != len(shown.series):
                self.arrange_panes()
            table.show(series_table(self.frame.study, shown, self.glyphs))
            table.set_titles("Series", table.position)
        else:
            self._fill_lines(table, facts)

    def _fill_lines(self, table: GridTable, facts: TrialFacts) -> None:
        shown = traceback_table(facts) if self._traceback else None
        if shown is not None:
            table.follow = False
            table.show(shown)
            table.set_titles("Traceback of the newest failure, b goes back", table.position)
            return
        assert self.frame is not None
        table.show(log_table(facts.log, places_of(self.frame.study), level=self._level))
        parts = ["Log"]
        if self._level != "info":
            parts.append(f"{self._level}s and worse" if self._level == "warning" else "errors")
        if self._search:
            found = matches(table.table, self._search)
            parts.append(f"{len(found)} x {display(self._search, 30)}")
        if not table.follow:
            parts.append("paused, f follows")
        table.set_titles(f" {self.glyphs.separator} ".join(parts), table.position)

    @on(GridTable.Moved, "#lines")
    @on(GridTable.Moved, "#facts")
    @on(GridTable.Moved, "#series")
    def _moved(self, event: GridTable.Moved) -> None:
        self.refill(str(event.table.id))

    def applies(self, action: str) -> bool:
        """Whether an action can do something now: matches need a search, a log its lines."""
        facts = self._facts
        if action == "traceback":
            return facts is not None and traceback_table(facts) is not None
        if action.startswith("next_match"):
            return bool(self._search)
        if action == "open_log":
            return self.state.submit is not None and facts is not None and bool(facts.log)
        if action.startswith("step_trial"):
            return self.frame is not None and len(self.frame.shown_trials) > 1
        return super().applies(action)

    def action_step_trial(self, step: int) -> None:
        """Look at the next or the previous trial that the filter lets through."""
        if self.frame is None:
            return
        trials = [(row.arm, row.seed) for row in self.frame.shown_trials]
        if not trials:
            return
        chosen = self.state.choices.trial
        place = trials.index(chosen) if chosen in trials else -step
        self.state.choices.trial = trials[(place + step) % len(trials)]
        self.query_one("#lines", GridTable).follow = True
        self._traceback = False
        self.request_data()
        self.fill_panes()

    def action_filter(self) -> None:
        """Search the log."""
        self.app.push_screen(SearchPrompt(self._search, glyphs=self.glyphs), self._searched)

    def _searched(self, text: str | None) -> None:
        if text is None:
            return
        self._search = text
        self.go_to("lines")
        self.refill("lines")
        if text:
            self.action_next_match(0)

    def action_next_match(self, step: int) -> None:
        """Go to the next or the previous line with the text; 0 takes the newest one."""
        table = self.query_one("#lines", GridTable)
        found = matches(table.table, self._search)
        if not found:
            self.say(f"nothing with {self._search!r}" if self._search else "/ searches first")
            return
        if step > 0:
            place = next((p for p in found if p > table.row), found[0])
        elif step < 0:
            place = next((p for p in reversed(found) if p < table.row), found[-1])
        else:
            place = found[-1]
        table.select(table.table.rows[place].key)
        self.refill("lines")

    def action_level(self) -> None:
        """Show all lines, then warnings and worse, then errors."""
        self._level = LEVELS[(LEVELS.index(self._level) + 1) % len(LEVELS)]
        self.refill("lines")

    def action_open_log(self) -> None:
        """Show the log in the user's pager or editor; the monitor waits meanwhile."""
        facts = self._facts
        if self.state.submit is None:
            self.say("a read-only view starts no other program", severe=True)
        elif facts is None or not facts.log:
            self.say("this trial has no log yet")
        else:
            from icckd_tui.terminal import PagerError, show_in_pager

            try:
                show_in_pager(self.app, log_text(facts.log))
            except PagerError as error:
                self.say(str(error), severe=True)

    def action_traceback(self) -> None:
        """Show the newest traceback instead of the log, or the log again."""
        facts = self._facts
        if facts is None or traceback_table(facts) is None:
            self.say("this trial has no traceback")
            return
        self._traceback = not self._traceback
        table = self.query_one("#lines", GridTable)
        self.go_to("lines")
        self.refill("lines")
        if self._traceback:
            table.action_last()
        else:
            self.action_follow()
