"""The report as a plain text table: fixed width, no colour, the same bytes for the same results."""

import json
import textwrap
from typing import TextIO

from icckd.report.cells import difference_cell, mean_cell, scale_of
from icckd.report.notes import incomplete, label, notes, synthetic
from icckd.report.sections import Cells, effects, verdicts
from icckd.report.text import display, write_lines
from icckd.results.read import Results
from icckd.results.types import Comparison, StudyInfo

WIDTH = 100
_GAP = 3
_ARM_WIDTH = 30


def write_table(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write question, verdicts, comparison, differences in settings, what is missing, notes."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    missing = incomplete(results, study) or ["Nothing: every planned trial is complete."]
    lines = [
        *_head(results, study),
        *_section(f"verdicts on {display(study.primary)}", verdicts(results, study)),
        *_section(f"effects on {display(study.primary)}", effects(results, study)),
        *_comparison(study, rows),
        *_changes(study),
        *_list("incomplete", missing),
        *_list("notes", notes(results, study)),
    ]
    write_lines(out, lines)


def _list(title: str, texts: list[str]) -> list[str]:
    return ["", title, *(line for text in texts for line in _wrapped(text, "  - ", "    "))]


def _section(title: str, cells: Cells) -> list[str]:
    """Lay a table of cells out; the first column gives way where it is too wide."""
    if not cells:
        return []
    others = sum(max(map(len, column)) + _GAP for column in list(zip(*cells, strict=True))[1:])
    cells = [[display(row[0], max(8, WIDTH - 2 - others)), *row[1:]] for row in cells]
    columns = [list(column) for column in zip(*cells, strict=True)]
    return ["", title, *(f"  {line}" for line in _side_by_side(columns))]


def _wrapped(text: str, first: str, following: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=following or first
    ) or [first]


def _head(results: Results, study: StudyInfo) -> list[str]:
    done = results.progress(study).trials
    return [
        *(_wrapped(display(study.question, 2000), "") if study.question else []),
        f"study {display(study.name)}, revision {display(study.revision)}:"
        f" {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {done.complete} of {done.total} trials complete{synthetic(study)}",
    ]


def _comparison(study: StudyInfo, rows: dict[tuple[str, str], Comparison]) -> list[str]:
    """Lay the columns out in blocks that fit the width; every block names the arms."""
    names = [(display(a.name, _ARM_WIDTH), f"  {label(a)[:_ARM_WIDTH]}") for a in study.arms]
    arms = _column(["arm", ""], names)
    blocks: list[list[list[str]]] = []
    for metric in study.metrics:
        column = _metric(study, metric, rows)
        if not blocks or _width([*blocks[-1], column]) > WIDTH:
            blocks.append([arms])
        blocks[-1].append(column)
    lines = []
    for block in blocks:
        texts = _side_by_side(block)
        rule = "-" * max(map(len, texts))
        lines += ["", *texts[:2], rule, *texts[2:]]
    return lines


def _metric(study: StudyInfo, metric: str, rows: dict[tuple[str, str], Comparison]) -> list[str]:
    mine = [rows[arm.name, metric] for arm in study.arms]
    scale = scale_of(mine)
    unit = f"{scale.unit}; difference in points" if scale.unit == "%" else scale.unit
    cells = [(mean_cell(row, scale), f"  {difference_cell(row, scale)}") for row in mine]
    return _column([display(metric), unit], cells)


def _column(head: list[str], cells: list[tuple[str, str]]) -> list[str]:
    return [*head, *(line for cell in cells for line in cell)]


def _width(columns: list[list[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + _GAP * (len(columns) - 1)


def _side_by_side(columns: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    gap = " " * _GAP
    return [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def _changes(study: StudyInfo) -> list[str]:
    lines = ["", f"what differs from {display(study.baseline)}"]
    for arm in study.arms:
        for number, change in enumerate(arm.changes):
            if number == 0:
                title = f": {display(arm.title)}" if arm.title else ""
                lines += _wrapped(f"{display(arm.name)} - {label(arm)}{title}", "  ", "    ")
            text = f"{change.path}: {json.dumps(change.before)} -> {json.dumps(change.after)}"
            lines += _wrapped(display(text), "      ", "        ")
    return lines
