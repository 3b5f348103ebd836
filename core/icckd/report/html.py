"""The report as one HTML file that loads nothing from elsewhere."""

import html
import json
from collections.abc import Callable, Iterator
from typing import TextIO

from icckd.report.cells import difference_cell, mean_cell, scale_of
from icckd.report.methods import methods
from icckd.report.notes import incomplete, label, notes, synthetic
from icckd.report.sections import Cells, effects, verdicts
from icckd.report.text import display, write_lines
from icckd.results.read import Results
from icckd.results.types import Comparison, StudyInfo

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --muted: #767676; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { border-bottom: 2px solid; font-weight: 600; }
small, .muted { color: var(--muted); font-weight: normal; }
svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
"""
_FOREST = {"width": 720, "left": 210, "right": 40, "row": 26}


def write_html(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write question, verdicts, forest plot, comparison, differences, what is missing, methods."""
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    done = results.progress(study).trials
    title = study.question or study.name
    missing = incomplete(results, study) or ["Nothing: every planned trial is complete."]
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(study.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1>",
        f'<p class="muted">study {_text(study.name)}, revision {_text(study.revision)}:'
        f" {len(study.arms)} arms × {len(study.seeds)} seeds, {done.complete} of {done.total}"
        f" trials complete{synthetic(study)}</p>",
        *_section(f"Verdicts on {study.primary}", verdicts(results, study)),
        *_forest(study, rows),
        *_section(f"Effects on {study.primary}", effects(results, study)),
        *_comparison(study, rows),
        f"<h2>What differs from {_text(study.baseline)}</h2><ul>",
        *_changes(study),
        "</ul><h2>Incomplete</h2><ul>",
        *(f"<li>{_text(text)}</li>" for text in missing),
        "</ul><h2>Methods</h2>",
        f"<p>{_text(methods(results, study))}</p>",
        "<h2>Notes</h2><ul>",
        *(f"<li>{_text(note)}</li>" for note in notes(results, study)),
        "</ul></body></html>",
    ]
    write_lines(out, lines)


def _text(text: str) -> str:
    return html.escape(display(text, 8000))


def _section(title: str, cells: Cells) -> Iterator[str]:
    if cells:
        yield f"<h2>{_text(title)}</h2>"
        yield from _table([_text(c) for c in cells[0]], [[_text(c) for c in r] for r in cells[1:]])


def _table(head: list[str], body: list[list[str]]) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f'<th scope="col">{cell}</th>' for cell in head)
    yield "</tr></thead><tbody>"
    for first, *rest in body:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _comparison(study: StudyInfo, rows: dict[tuple[str, str], Comparison]) -> Iterator[str]:
    scales = {m: scale_of([rows[arm.name, m] for arm in study.arms]) for m in study.metrics}
    head = [
        f"{_text(metric)}<br><small>{_text(scale.unit) or '&nbsp;'}</small>"
        for metric, scale in scales.items()
    ]
    body = []
    for arm in study.arms:
        cells = [f"{_text(arm.name)}<br><small>{_text(label(arm))}</small>"]
        for metric, scale in scales.items():
            row = rows[arm.name, metric]
            change = _text(difference_cell(row, scale))
            cells.append(f"{_text(mean_cell(row, scale))}<br><small>{change}</small>")
        body.append(cells)
    yield "<h2>Comparison</h2>"
    yield from _table(["arm", *head], body)


def _changes(study: StudyInfo) -> Iterator[str]:
    for arm in study.arms:
        changes = "<br>".join(
            f"<code>{_text(change.path)}</code>: {_text(json.dumps(change.before))} →"
            f" {_text(json.dumps(change.after))}"
            for change in arm.changes
        )
        if changes:
            title = f": {_text(arm.title)}" if arm.title else ""
            yield f"<li>{_text(arm.name)} ({_text(label(arm))}){title}<br>{changes}</li>"


def _forest(study: StudyInfo, rows: dict[tuple[str, str], Comparison]) -> Iterator[str]:
    """Yield a forest plot of the paired differences on the primary metric, as SVG."""
    mine = [rows[arm.name, study.primary] for arm in study.arms]
    shown = [r for r in mine if r.difference is not None and r.low is not None]
    if not shown:
        return
    scale = scale_of(mine)
    bound = study.smallest_effect or 0.0
    ends = [0.0, bound, -bound, *(v or 0.0 for row in shown for v in (row.low, row.high))]
    lowest, highest = min(ends), max(ends)
    width, left, step = _FOREST["width"], _FOREST["left"], _FOREST["row"]
    span = (width - left - _FOREST["right"]) / ((highest - lowest) or 1.0)
    height = step * (len(shown) + 2)

    def across(value: float) -> float:
        return left + span * (value - lowest)

    yield f"<h2>Paired differences from {_text(study.baseline)} in {_text(study.primary)}</h2>"
    yield f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<title>95 % intervals of the paired differences in {_text(study.primary)}</title>"
    if bound:
        yield (
            f'<rect x="{across(-bound):.1f}" width="{across(bound) - across(-bound):.1f}" y="4"'
            f' height="{step * len(shown)}" fill="var(--line)" opacity=".5"/>'
        )
    zero = across(0.0)
    yield f'<path d="M{zero:.1f} 4V{step * len(shown) + 8}" stroke="currentColor"/>'
    for place, row in enumerate(shown):
        yield _interval(row, (across, left), step * place + step / 2 + 4)
    base = step * (len(shown) + 1) + 2
    unit = {"%": " points", "": ""}.get(scale.unit, f" {scale.unit}")
    for value in sorted({lowest, 0.0, highest}):
        yield (
            f'<text x="{across(value):.1f}" y="{base}" text-anchor="middle">'
            f"{scale.difference(value)}</text>"
        )
    yield "</svg>"
    shaded = " Shaded: differences smaller than the smallest that matters." if bound else ""
    yield f'<p class="muted">Difference{unit and f" in{unit}"}, 95 % interval.{shaded}</p>'


def _interval(row: Comparison, place: tuple[Callable[[float], float], int], y: float) -> str:
    across, left = place
    low, high = across(row.low or 0.0), across(row.high or 0.0)
    return (
        f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{_text(row.arm[:26])}</text>'
        f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="#0072B2" stroke-width="2"/>'
        f'<circle cx="{across(row.difference or 0.0):.1f}" cy="{y}" r="4" fill="#0072B2"/>'
    )
