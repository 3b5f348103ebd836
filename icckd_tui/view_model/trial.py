"""One trial: its states, settings, environment, series and outcomes, as tables."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icckd.spec.metrics import OUTCOMES, SERIES
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.frame import Frame, TrialFacts
from icckd_tui.view_model.host import growth_text, size_text
from icckd_tui.view_model.numbers import duration, scale_for
from icckd_tui.view_model.spans import Span, Spans
from icckd_tui.view_model.table import Column, Row, Table, fitted

if TYPE_CHECKING:
    from icckd.results.queue import QueueRow
    from icckd.results.types import ArmRow, AttemptRow, TrialRow
    from icckd_tui.view_model.host import Host, ProcessHistory

_SPARK = 20
_NAMES = 34
_Fact = tuple[str, Spans]  # name and value


def row_of(frame: Frame, trial: tuple[str, int] | None) -> TrialRow | None:
    """Return where a trial stands."""
    return next((row for row in frame.trials if (row.arm, row.seed) == trial), None)


def facts_table(frame: Frame, facts: TrialFacts, host: Host | None, glyphs: Glyphs) -> Table:
    """Return name and value of everything that is known: states first, then where, then what."""
    arm = next((arm for arm in frame.study.arms if arm.name == facts.arm), None)
    changed = {change.path for change in arm.changes} if arm is not None else set()
    sections: list[tuple[str, list[_Fact]]] = [
        ("", _about(frame, facts, arm, glyphs)),
        ("Attempts", [*_history(facts, glyphs), *_processes(frame, facts, host)]),
        ("Differs from the baseline", _differences(arm, glyphs)),
        ("Outcomes", _outcomes(facts)),
        *(
            (f"Settings of the {attempt.kind}", _settings(attempt, changed))
            for attempt in _newest(facts.attempts)
        ),
        ("Environment", _environment(facts)),
    ]
    rows: list[Row] = []
    for title, lines in sections:
        if lines and title:
            rows.append(Row(key=title, cells=((Span(title, "key"),), ())))
        rows += [
            Row(key=f"{title}\0{place}", cells=((Span(f" {name}", "muted"),), spans))
            for place, (name, spans) in enumerate(lines)
        ]
    names = (len(name) + 1 for _, lines in sections for name, _ in lines)
    width = min(_NAMES + 10, max([*names, 28]))
    columns = (
        Column(key="name", titles=(), width=width),
        Column(key="value", titles=(), width=200),
    )
    return Table(columns=columns, rows=tuple(rows), frozen=1)


def _about(frame: Frame, facts: TrialFacts, arm: ArmRow | None, glyphs: Glyphs) -> list[_Fact]:
    row = row_of(frame, (facts.arm, facts.seed))
    lines: list[_Fact] = []
    if arm is not None and arm.title:
        lines.append(("about", (Span(display(arm.title)),)))
    if row is not None:
        state = Span(f"{glyphs.states[row.state]} {row.state}", row.state)
        lines.append(("state", (state, Span(f"  {display(row.reason)}", "failed"))))
    return lines


def _differences(arm: ArmRow | None, glyphs: Glyphs) -> list[_Fact]:
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


def process_of(host: Host | None, stage: QueueRow) -> ProcessHistory | None:
    """Return the samples of the process that trains a stage, None where there are none."""
    if host is None or stage.pid is None:
        return None
    return next((past for past in host.processes if past and past[-1].pid == stage.pid), None)


def _outcomes(facts: TrialFacts) -> list[_Fact]:
    lines: list[_Fact] = []
    for name, value in facts.outcomes.items():
        scale = scale_for(OUTCOMES[name].unit, [value])
        text = f"{scale.value(value)} {scale.unit}".rstrip()
        lines.append((name, (Span(text, "strong"),)))
    return lines


def _newest(attempts: tuple[AttemptRow, ...]) -> list[AttemptRow]:
    """Return the newest attempt at each kind of stage."""
    return list({attempt.kind: attempt for attempt in attempts}.values())


def _settings(attempt: AttemptRow, changed: set[str]) -> list[_Fact]:
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


def series_table(facts: TrialFacts, glyphs: Glyphs) -> Table:
    """Return one row a series: newest, best, mean of the last tenth, and its shape."""
    rows = []
    for series in facts.series:
        values = series.values_E
        known = SERIES.get(series.metric)
        unit = known.unit if known else "1"
        scale = scale_for(unit, [float(values[-1])])
        direction = known.direction if known else "none"
        best = {"higher": values.max, "lower": values.min}.get(direction)
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
    """Return the lines of the newest traceback, None where there is none."""
    found = next((a.traceback for a in reversed(facts.attempts) if a.traceback), "")
    if not found:
        return None
    rows = tuple(
        Row(key=str(place), cells=((Span(display(line)),),))
        for place, line in enumerate(found.splitlines())
    )
    return Table(columns=(Column(key="line", titles=(), width=300),), rows=rows)
