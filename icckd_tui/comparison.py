"""Comparisons as tables: arms by metrics, and the forest plot of the paired differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.decision import (
    better_tone,
    need_text,
    questions_of,
    sign_text,
    verdict_tone,
    verdict_word,
)
from icckd_tui.tables import Column, Row, Table
from icckd_tui.text import (
    Scale,
    Span,
    Spans,
    arm_letter,
    arm_tone,
    display,
    fit,
    scale_for,
    width_of,
)
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.results.types import Comparison, StudyInfo
    from icckd.study.records import Arm
    from icckd_tui.data import Frame

_TABLE_ARM = 28
_ACTIONS = {"REMOVE": "removed", "REPLACE": "replaced", "ADD": "added"}
_SHORT_ROLES = {
    "baseline": "base",
    "ablation": "abl",
    "control": "ctrl",
    "combination": "comb",
    "variant": "var",
}


_NOTHING, _NO_STAR = Span(""), Span(" ")


@dataclass(frozen=True, slots=True)
class _Parts:
    """The pieces of one cell before they are lined up; a note stands instead of a difference."""

    mean: Span
    count: Span
    difference: Span = _NOTHING
    interval: Span = _NOTHING
    star: Span = _NO_STAR
    note: Span = _NOTHING


def excludes_zero(row: Comparison) -> bool:
    """Whether the interval of the paired difference excludes 0."""
    return row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)


def comparison_table(
    frame: Frame,
    glyphs: Glyphs,
    *,
    compact: bool,
    only: frozenset[str] = frozenset(),
    marked: frozenset[str] = frozenset(),
) -> Table:
    """Return the table, metrics without any value last.

    `compact` shortens the roles, `only` are the arms to show (all when empty), `marked` those with
    a mark.
    """
    found = {(row.arm, row.metric): row for row in frame.comparisons}
    shown = [i for i, arm in enumerate(frame.study.arms) if not only or arm.name in only]
    leads = [_lead(frame, index, glyphs, compact, marked) for index in shown]
    valued = {row.metric for row in frame.comparisons if row.n}
    names = sorted(frame.study.metrics, key=lambda name: bool(valued) and name not in valued)
    metrics = [_metric(frame, found, name, glyphs) for name in names]
    rows = tuple(
        Row(
            key=frame.study.arms[index].name,
            cells=(*lead, *(cells[index] for _, cells in metrics)),
        )
        for index, lead in zip(shown, leads, strict=True)
    )
    titles = ("arm", "role", "done")
    lead_columns = tuple(
        Column(
            key=title,
            titles=("", title),
            width=max([len(title), *(width_of(row.cells[place]) for row in rows)]),
        )
        for place, title in enumerate(titles)
    )
    return Table(columns=(*lead_columns, *(column for column, _ in metrics)), rows=rows, frozen=3)


def _lead(
    frame: Frame, index: int, glyphs: Glyphs, compact: bool, marked: frozenset[str]
) -> tuple[Spans, ...]:
    arm = frame.study.arms[index]
    mark = glyphs.mark if arm.name in marked else " "
    name = (
        Span(f"{arm_letter(index)}{mark}", arm_tone(index)),
        Span(display(arm.name, _TABLE_ARM), "strong" if arm.role == "baseline" else ""),
    )
    role = _SHORT_ROLES[arm.role] if compact else role_of(arm)
    return (name, (Span(role, "muted"),), _done(frame, arm.name, glyphs))


def role_of(arm: Arm) -> str:
    """Return what the arm is for, in a few words."""
    if arm.role == "control" and arm.control_for:
        return f"control for {display(arm.control_for, 20)}"
    if arm.role == "ablation":
        return _ACTIONS.get(arm.action, "ablation")
    return arm.role


def _done(frame: Frame, arm: str, glyphs: Glyphs) -> Spans:
    states = [row.state for row in frame.trials if row.arm == arm]
    complete = states.count("complete")
    done = Span(f"{complete}/{len(frame.study.planned_seeds(arm))}", "" if complete else "muted")
    lost = (
        Span(f" {glyphs.states[state]}{states.count(state)}", state)
        for state in ("failed", "blocked")
        if state in states
    )
    return (done, *lost)


def _metric(
    frame: Frame, found: dict[tuple[str, str], Comparison], metric: str, glyphs: Glyphs
) -> tuple[Column, list[Spans]]:
    """Return one metric's column and its cells, their pieces lined up."""
    rows = [found.get((arm.name, metric)) for arm in frame.study.arms]
    present = [row for row in rows if row is not None]
    unit = present[0].unit if present else frame.study.metric(metric).unit
    scale = scale_for(unit, [v for row in present for v in (row.mean, row.median)])
    parts = [_parts(frame, row, metric, scale, glyphs) for row in rows]
    change = change_title(frame.study, glyphs)
    widths = _widths(parts, change)
    below = f"{'mean':>{widths.mean}}  {change:>{widths.change}}  {'n':>{widths.count}}"
    title = f"{display(metric, 40)} {scale.unit}".rstrip()
    width = max(len(title), len(below))
    column = Column(key=metric, titles=(title, below.rjust(width)), width=width, right=True)
    return column, [_lined_up(p, widths) for p in parts]


@dataclass(frozen=True, slots=True)
class _Widths:
    mean: int
    difference: int
    interval: int
    count: int

    @property
    def change(self) -> int:
        """Width of difference, interval and the blank between them."""
        return self.difference + 1 + self.interval


def _widths(parts: list[_Parts], change: str) -> _Widths:
    """Return widths that hold every piece of the column and its titles."""
    interval = max(len(p.interval.text) for p in parts)
    notes = max(len(p.note.text) for p in parts)
    difference = max(len(p.difference.text) for p in parts)
    return _Widths(
        mean=max(4, *(len(p.mean.text) for p in parts)),
        difference=max(difference, max(len(change), notes) - interval - 1),
        interval=interval,
        count=max(len(p.count.text) for p in parts),
    )


def change_title(study: StudyInfo, glyphs: Glyphs) -> str:
    """Return the title of differences; by a rule their intervals do not all cover the same."""
    cover = "" if study.rule else "95%"
    return f"{glyphs.delta} {glyphs.plus_minus}{cover}"


def _lined_up(parts: _Parts, widths: _Widths) -> Spans:
    mean = parts.mean._replace(text=parts.mean.text.rjust(widths.mean) + "  ")
    count = parts.count._replace(text=" " + parts.count.text.rjust(widths.count))
    if parts.note.text:
        note = parts.note._replace(text=parts.note.text.rjust(widths.change))
        return (mean, note, parts.star, count)
    difference = parts.difference._replace(
        text=parts.difference.text.rjust(widths.difference) + " "
    )
    interval = parts.interval._replace(text=parts.interval.text.rjust(widths.interval))
    return (mean, difference, interval, parts.star, count)


def _parts(
    frame: Frame, row: Comparison | None, metric: str, scale: Scale, glyphs: Glyphs
) -> _Parts:
    planned = len(frame.study.planned_seeds(row.arm) if row else frame.study.seeds)
    if row is None or row.n == 0:
        return _Parts(Span("-", "muted"), Span(f"0/{planned}", "muted"))
    count = Span(str(row.n) if row.n >= planned else f"{row.n}/{planned}", "muted")
    mean = Span(glyphs.signed(scale.value(row.mean)))
    if row.never:
        known = row.median is not None and math.isfinite(row.median)
        median = Span(f"~{scale.value(row.median)}") if known else Span("-", "muted")
        return _Parts(median, count, note=Span(f"never {row.never}/{row.n}", "warning"))
    if row.arm == frame.reference:
        note = "baseline" if frame.is_declared else "reference"
        return _Parts(mean, count, note=Span(note, "muted"))
    if row.difference is None:
        return _Parts(mean, count)
    if row.low is None or row.high is None:  # no interval yet
        difference = Span(glyphs.signed(scale.difference(row.difference)), "muted")
        return _Parts(mean, count, difference)
    tone = difference_tone(frame.study, row)
    half = scale.value((row.high - row.low) / 2)
    return _Parts(
        mean,
        count,
        Span(glyphs.signed(scale.difference(row.difference)), tone),
        Span(f"{glyphs.plus_minus}{half}", tone or "muted"),
        Span("*" if excludes_zero(row) else " ", tone),
    )


def difference_tone(study: StudyInfo, row: Comparison) -> str:
    """Return the tone of a difference whose interval excludes 0: "good", "bad" or "strong"."""
    return better_tone(study, row) if excludes_zero(row) and row.difference is not None else ""


def comparison_detail(frame: Frame, arm_name: str, metric: str, glyphs: Glyphs) -> Spans:
    """Return the line below the table: the chosen cell in full."""
    arm = next((row for row in frame.study.arms if row.name == arm_name), None)
    row = next(
        (c for c in frame.comparisons if c.arm == arm_name and c.metric == metric),
        None,
    )
    if arm is None:
        return ()
    head = (Span(f" {display(arm.name, _TABLE_ARM)}", "strong"), Span(f"  {role_of(arm)}", "muted"))
    if row is None:
        return (*head, Span(f"  {display(arm.title)}", "muted"))
    words = [sign_text(frame, arm, row, glyphs)]
    if row.verdict in ("helps", "hurts"):
        words.append(f"the part {row.verdict}")
    elif row.verdict:
        need = need_text(row) if row.verdict == "undecided" else ""
        words.append(f"{row.verdict}, {need}" if need else row.verdict)
    between = f" {glyphs.separator} "
    told = between.join(word for word in words if word)
    texts = [display(metric, 40), *_difference_text(frame.study, row, glyphs), *_never_text(row)]
    texts += [_missing_text(frame, row, glyphs)] if row.missing else []
    return (
        *head,
        Span(f"  {told}{between}" if told else "  ", "strong"),
        Span(between.join(texts)),
    )


def _difference_text(study: StudyInfo, row: Comparison, glyphs: Glyphs) -> list[str]:
    if row.difference is None or row.low is None or row.high is None:
        return []
    from icckd.report.item_text import speaks  # with results, which the first paint does not need

    scale = scale_for(row.unit, [row.mean])
    low, high = scale.difference(row.low), scale.difference(row.high)
    interval = f"{scale.difference(row.difference)} [{low}, {high}] {scale.unit}".rstrip()
    basis = f"{row.pairs} pairs" if not row.about else speaks(row)
    texts = [f"{glyphs.delta} {glyphs.signed(interval)}", basis]
    if row.p is not None:
        corrected = "corrected" if study.rule else "Holm"
        adjusted = f" ({corrected} {p_text(row.p_adjusted)})" if row.p_adjusted is not None else ""
        texts.append(f"p {p_text(row.p)}{adjusted}")
    return texts


def p_text(p: float | None) -> str:
    """Return a p value with three decimals, which a small one does not reach."""
    return "" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}"


def without_difference(row: Comparison) -> str:
    """Return why there is no difference though there are values, "" where there is one."""
    if row.difference is not None:
        return ""
    if row.diverged:
        return "diverged"
    return f"never {row.never}/{row.n}" if row.never else ""


def _missing_text(frame: Frame, row: Comparison, glyphs: Glyphs) -> str:
    """Name the seeds without a value, those that failed with their sign."""
    states = {t.seed: t.state for t in frame.trials if t.arm == row.arm}
    signs = {
        seed: glyphs.states[state] if (state := states.get(seed)) in ("failed", "blocked") else ""
        for seed in row.missing
    }
    seeds = ", ".join(f"{seed}{signs[seed]}" for seed in row.missing[:12])
    return f"without seed {seeds}{', ...' if len(row.missing) > 12 else ''}"


def _never_text(row: Comparison) -> list[str]:
    return [f"{row.never} of {row.n} seeds never reached the target"] if row.never else []


def comparison_title(frame: Frame, glyphs: Glyphs) -> str:
    """Return what the table compares, and whether that is final."""
    complete = frame.progress.trials.complete == frame.progress.trials.total
    note = "" if complete else f" {glyphs.separator} provisional"
    if not frame.is_declared:
        return f"Against {reference_text(frame)}{note}"
    by = "seed and item" if any(row.about for row in frame.comparisons) else "seed"
    return f"Comparison with {reference_text(frame)}, paired by {by}{note}"


def reference_text(frame: Frame) -> str:
    """Return the reference's name, with the declared baseline where that is another arm."""
    name = display(frame.reference, 24)
    declared = display(frame.study.baseline, 24)
    return name if frame.is_declared else f"{name}, not the declared baseline {declared}"


_FOREST_ARM = 20
_SHORTEST_ARM = 9
_FEWEST = 12  # cells of the plot


def forest_table(frame: Frame, metric: str, width: int, glyphs: Glyphs) -> Table:
    """Return a row for each arm, in the study's order; `width` is that of the whole table."""
    rows = {row.arm: row for row in frame.comparisons if row.metric == metric}
    arms = [arm for arm in frame.study.arms if arm.name != frame.reference]
    unit = next((row.unit for row in rows.values()), "")
    scale = scale_for(unit, [row.mean for row in rows.values()])
    names = min(_FOREST_ARM, max((len(display(arm.name, _FOREST_ARM)) for arm in arms), default=1))
    texts = {arm.name: _text(frame.study, rows.get(arm.name), scale, glyphs) for arm in arms}
    counts = {arm.name: _count(frame, rows.get(arm.name)) for arm in arms}
    change = max([6, *(len(span.text) for span in texts.values())])
    tail = max((len(text) for text in counts.values()), default=1)
    verdicts = _verdicts(frame, metric, rows)
    word = max((len(span.text) for span in verdicts.values()), default=0)
    taken = word + 2 if word else 0
    room = width - 1 - (names + 2) - change - tail - 8 - taken
    if room < _FEWEST and word:  # the verdicts stand in the matrix, too
        verdicts, word, room = {}, 0, room + taken
    if room < _FEWEST:
        names, room = max(_SHORTEST_ARM, names + room - _FEWEST), _FEWEST
    low, high = _range(list(rows.values()))
    table_rows = tuple(
        Row(
            key=arm.name,
            cells=(
                (
                    Span(f"{arm_letter(place)} ", arm_tone(place)),
                    Span(fit(display(arm.name, _FOREST_ARM), names, glyphs.ellipsis)),
                ),
                _plot(frame.study, rows.get(arm.name), low, high, room, glyphs),
                (texts[arm.name],),
                (Span(counts[arm.name], "muted"),),
                *(((verdicts.get(arm.name, _NOTHING),),) if word else ()),
            ),
        )
        for place, arm in enumerate(frame.study.arms)
        if arm.name != frame.reference
    )
    judged = (Column(key="verdict", titles=("part",), width=word),) if word else ()
    return Table(
        columns=(
            Column(key="arm", titles=("arm",), width=names + 2),
            Column(key="plot", titles=(_axis(low, high, room, scale),), width=room, drawn=True),
            Column(key="change", titles=(change_title(frame.study, glyphs),),
                   width=change, right=True),
            Column(key="n", titles=("n",), width=tail, right=True),
            *judged,
        ),
        rows=table_rows,
        frozen=5 if judged else 4,
    )  # fmt: skip


def _verdicts(frame: Frame, metric: str, rows: dict[str, Comparison]) -> dict[str, Span]:
    """Return the verdicts on the parts; none on an outcome that no question is about."""
    if not frame.is_declared:
        return {}
    asked = [each.arm for each in questions_of(frame) if each.metric == metric]
    return {
        arm: Span(
            verdict_word(frame.study, rows.get(arm)), verdict_tone(frame.study, rows.get(arm))
        )
        for arm in asked
    }


def forest_title(frame: Frame, metric: str, glyphs: Glyphs) -> str:
    """Return what the differences are from, and on which side of 0 an arm is better."""
    head = comparison_title(frame, glyphs).replace(", paired by seed", "", 1)
    side = {"higher": "right", "lower": "left"}.get(frame.study.metric(metric).direction)
    return f"{head} {glyphs.separator} {side} is better" if side else head


def _range(rows: list[Comparison]) -> tuple[float, float]:
    """Return a range with 0 inside, as wide as the intervals."""
    ends = [v for row in rows for v in (row.low, row.high, row.difference) if v is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return (low, high) if high > low else (-1.0, 1.0)


def _at(value: float, low: float, high: float, room: int) -> int:
    return min(room - 1, max(0, round((value - low) / (high - low) * (room - 1))))


def _axis(low: float, high: float, room: int, scale: Scale) -> str:
    """Return the labels of both ends and of 0 above the plot."""
    cells = [" "] * room
    for value in (low, high, 0.0):
        text = scale.difference(value) if value else "0"
        start = min(room - len(text), max(0, _at(value, low, high, room) - len(text) // 2))
        if value == 0.0 or abs(_at(value, low, high, room) - _at(0.0, low, high, room)) > len(text):
            cells[start : start + len(text)] = text
    return "".join(cells)[:room]


def _plot(
    study: StudyInfo, row: Comparison | None, low: float, high: float, room: int, glyphs: Glyphs
) -> Spans:
    cells, zero = [" "] * room, _at(0.0, low, high, room)
    cells[zero] = glyphs.zero
    if row is None or row.difference is None:
        return (Span("".join(cells), "faint"),)
    if row.low is None or row.high is None:
        at = _at(row.difference, low, high, room)
        point = Span(glyphs.point, "muted")
        return (Span("".join(cells[:at]), "faint"), point, Span("".join(cells[at + 1 :]), "faint"))
    left, right = _at(row.low, low, high, room), _at(row.high, low, high, room)
    middle = _at(row.difference, low, high, room)
    for place in range(left, right + 1):
        if place != zero:
            cells[place] = glyphs.horizontal
    cells[left], cells[right], cells[middle] = glyphs.cap_left, glyphs.cap_right, glyphs.point
    tone = difference_tone(study, row) or ("strong" if excludes_zero(row) else "muted")
    return (
        Span("".join(cells[:left]), "faint"),
        Span("".join(cells[left : right + 1]), tone),
        Span("".join(cells[right + 1 :]), "faint"),
    )


def _text(study: StudyInfo, row: Comparison | None, scale: Scale, glyphs: Glyphs) -> Span:
    if row is not None and row.difference is not None and row.low is None:
        return Span(glyphs.signed(scale.difference(row.difference)), "muted")  # no interval yet
    if row is None or row.difference is None or row.low is None or row.high is None:
        return Span((without_difference(row) if row is not None else "") or "-", "muted")
    half = scale.value((row.high - row.low) / 2)
    star = "*" if excludes_zero(row) else " "
    text = f"{glyphs.signed(scale.difference(row.difference))} {glyphs.plus_minus}{half}{star}"
    return Span(text, difference_tone(study, row))


def _count(frame: Frame, row: Comparison | None) -> str:
    planned = len(frame.study.planned_seeds(row.arm)) if row is not None else 0
    pairs = row.pairs if row is not None else 0
    return str(pairs) if pairs >= planned else f"{pairs}/{planned}"
