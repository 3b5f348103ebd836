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
        f"## {plain(study.name)}",
        "",
        *([plain(study.question), ""] if study.question else []),
        f"Revision {plain(study.revision)}: {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {done.complete} of {done.total} trials complete{synthetic(study)}.",
        "",
        *_section(f"Verdicts on {study.primary}", verdicts(results, study)),
        *_section(f"Effects on {study.primary}", effects(results, study)),
        *_comparison(study, rows),
        f"### What differs from {plain(study.baseline)}",
        "",
        *_changes(study),
        "",
        "### Incomplete",
        "",
        *(f"- {plain(text)}" for text in missing),
        "",
        "### Methods",
        "",
        plain(methods(results, study)),
        "",
        "### Notes",
        "",
        *(f"- {plain(note)}" for note in notes(results, study)),
    ]
    write_lines(out, lines)


def plain(text: str) -> str:
    """Return text that Markdown prints as it is."""
    return display(text, 4000).translate(MARKDOWN_SPECIAL)


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """Return the lines of a table; its cells are Markdown."""
    rule = ["---"] * len(head)
    return [f"| {' | '.join(row)} |" for row in [head, rule, *body]]


def _comparison(study: StudyInfo, rows: dict[tuple[str, str], Comparison]) -> list[str]:
    scales = {m: scale_of([rows[arm.name, m] for arm in study.arms]) for m in study.metrics}
    head = [
        f"{plain(metric)} ({scale.unit})" if scale.unit else plain(metric)
        for metric, scale in scales.items()
    ]
    body = []
    for arm in study.arms:
        cells = [f"{plain(arm.name)}<br>{plain(label(arm))}"]
        for metric, scale in scales.items():
            row = rows[arm.name, metric]
            parts = (mean_cell(row, scale), plain(difference_cell(row, scale)))
            cells.append("<br>".join(part for part in parts if part))
        body.append(cells)
    return [*table(["arm", *head], body), ""]


def _section(title: str, cells: Cells) -> list[str]:
    if not cells:
        return []
    shown = [[plain(cell) for cell in row] for row in cells]
    return [f"### {plain(title)}", "", *table(shown[0], shown[1:]), ""]


def _changes(study: StudyInfo) -> list[str]:
    lines = []
    for arm in study.arms:
        changes = "; ".join(
            f"{change.path}: {json.dumps(change.before)} → {json.dumps(change.after)}"
            for change in arm.changes
        )
        if changes:
            title = f", {plain(arm.title)}" if arm.title else ""
            lines.append(f"- {plain(arm.name)} ({plain(label(arm))}{title}): {plain(changes)}")
    return lines
