"""The report as GitHub Markdown."""

import json
from typing import TextIO

from icckd.report.cells import difference_cell, mean_cell, scale_of
from icckd.report.methods import methods
from icckd.report.notes import incomplete, label, notes, synthetic
from icckd.report.sections import Cells, effects, verdicts
from icckd.report.text import MARKDOWN_SPECIAL, display, write_lines
from icckd.results.read import Results
from icckd.results.types import Comparison, StudyInfo


def write_markdown(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write the same as the table, for a README or an issue."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    done = results.progress(study).trials
    missing = incomplete(results, study) or ["Nothing: every planned trial is complete."]
    lines = [
        f"## {_plain(study.name)}",
        "",
        *([_plain(study.question), ""] if study.question else []),
        f"Revision {_plain(study.revision)}: {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {done.complete} of {done.total} trials complete{synthetic(study)}.",
        "",
        *_section(f"Verdicts on {study.primary}", verdicts(results, study)),
        *_section(f"Effects on {study.primary}", effects(results, study)),
        *_comparison(study, rows),
        f"### What differs from {_plain(study.baseline)}",
        "",
        *_changes(study),
        "",
        "### Incomplete",
        "",
        *(f"- {_plain(text)}" for text in missing),
        "",
        "### Methods",
        "",
        _plain(methods(results, study)),
        "",
        "### Notes",
        "",
        *(f"- {_plain(note)}" for note in notes(results, study)),
    ]
    write_lines(out, lines)


def _plain(text: str) -> str:
    return display(text, 4000).translate(MARKDOWN_SPECIAL)


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    rule = ["---"] * len(head)
    return [f"| {' | '.join(row)} |" for row in [head, rule, *body]]


def _comparison(study: StudyInfo, rows: dict[tuple[str, str], Comparison]) -> list[str]:
    scales = {m: scale_of([rows[arm.name, m] for arm in study.arms]) for m in study.metrics}
    head = [
        f"{_plain(metric)} ({scale.unit})" if scale.unit else _plain(metric)
        for metric, scale in scales.items()
    ]
    body = []
    for arm in study.arms:
        cells = [f"{_plain(arm.name)}<br>{_plain(label(arm))}"]
        for metric, scale in scales.items():
            row = rows[arm.name, metric]
            parts = (mean_cell(row, scale), _plain(difference_cell(row, scale)))
            cells.append("<br>".join(part for part in parts if part))
        body.append(cells)
    return [*_table(["arm", *head], body), ""]


def _section(title: str, cells: Cells) -> list[str]:
    if not cells:
        return []
    plain = [[_plain(cell) for cell in row] for row in cells]
    return [f"### {_plain(title)}", "", *_table(plain[0], plain[1:]), ""]


def _changes(study: StudyInfo) -> list[str]:
    lines = []
    for arm in study.arms:
        changes = "; ".join(
            f"{change.path}: {json.dumps(change.before)} → {json.dumps(change.after)}"
            for change in arm.changes
        )
        if changes:
            title = f", {_plain(arm.title)}" if arm.title else ""
            lines.append(f"- {_plain(arm.name)} ({_plain(label(arm))}{title}): {_plain(changes)}")
    return lines
