"""`icckd diff` and `icckd compare` as plain text."""

import json
from collections.abc import Iterator, Sequence
from typing import TextIO

from icckd.report.cells import difference_cell, mean_cell, p_text, scale_of
from icckd.report.notes import seeds_text
from icckd.report.text import display, write_lines
from icckd.results.read import Results
from icckd.results.types import Comparison
from icckd.results.versus import (
    Subject,
    differing_settings,
    ground_of,
    side_by_side,
    stages_of,
)


def write_diff(results: Results, first: Subject, second: Subject, out: TextIO) -> None:
    """Write in what two arms or trials differ: settings, ground, stages, outcomes."""
    lines = [f"{display(first.name)} -> {display(second.name)}", "", "settings"]
    changed = differing_settings(results, first, second)
    lines += [
        f"  {display(f'{c.path}: {json.dumps(c.before)} -> {json.dumps(c.after)}')}"
        for c in changed
    ] or ["  none differ"]
    lines += ["", "ground", *(f"  {line}" for line in _ground(results, [first, second]))]
    lines += ["", "stages", *(f"  {line}" for line in _stages(results, first, second))]
    lines += ["", "outcomes", *_outcomes(results, first, second)]
    write_lines(out, lines)


def write_comparison(
    results: Results, subjects: Sequence[Subject], metrics: Sequence[str], out: TextIO
) -> None:
    """Write subjects by metrics, each against the first over equal seeds."""
    rows = side_by_side(results, subjects, metrics)
    lines = []
    for metric in metrics:
        mine = [rows[subject.name, metric] for subject in subjects]
        if not any(row.n for row in mine):
            continue
        scale = scale_of(mine)
        cells = [["", f"{display(metric)} {scale.unit}".rstrip(), "difference", "d_z", "p"]]
        for row in mine:
            size = "" if row.effect_size is None else f"{row.effect_size:+.2f}"
            change = difference_cell(row, scale)
            p = p_text(row.p) if change else ""
            cells.append([display(row.arm, 40), mean_cell(row, scale), change, size, p])
        lines += ["", *_laid_out(cells)]
    lines = lines[1:] or ["none of them has a value of these outcomes"]
    lines += ["", "notes", *(f"  - {note}" for note in _notes(results, subjects, rows))]
    write_lines(out, lines)


def _laid_out(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _notes(
    results: Results, subjects: Sequence[Subject], rows: dict[tuple[str, str], Comparison]
) -> Iterator[str]:
    yield (
        f"differences are from {display(subjects[0].name)} over equal seeds, with 95 % t intervals;"
        " p is uncorrected: these comparisons were not declared beforehand"
    )
    for name in dict.fromkeys(row.arm for row in rows.values()):
        seeds = sorted({seed for row in rows.values() if row.arm == name for seed in row.unpaired})
        if seeds:
            yield f"{display(name)}: unpaired {seeds_text(tuple(seeds))} are left out"
    yield from _ground(results, subjects)
    if any(subject.study.is_sequential for subject in subjects):
        yield "seeds were added after results had been seen: these plain intervals are too narrow"


def _ground(results: Results, subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield whether pairs are pairs: the same data, numerics and code."""
    grounds = [ground_of(results, subject) for subject in subjects]
    names: dict[str, set[frozenset[str]]] = {
        "data": {ground.fingerprints for ground in grounds},
        "numerics class": {ground.numerics for ground in grounds},
        "code epoch": {frozenset(map(str, ground.code_epochs)) for ground in grounds},
    }
    for name, found in names.items():
        if len(found) > 1:
            yield f"the {name} differs: equal seeds are no pairs in the strict sense"
    if all(len(found) == 1 for found in names.values()):
        yield "the same data, numerics class and code epoch"


def _stages(results: Results, first: Subject, second: Subject) -> Iterator[str]:
    before, after = stages_of(results, first), stages_of(results, second)
    for kind in ("teacher", "student"):
        mine = {v for (k, *_), v in before.items() if k == kind}
        theirs = {v for (k, *_), v in after.items() if k == kind}
        yield (
            f"{kind}: {len(mine & theirs)} shared, {len(mine - theirs)} only of the first,"
            f" {len(theirs - mine)} only of the second"
        )


def _outcomes(results: Results, first: Subject, second: Subject) -> list[str]:
    metrics = list(dict.fromkeys([*first.study.metrics, *second.study.metrics]))
    rows = side_by_side(results, [first, second], metrics)
    cells = [["", display(first.name, 30), display(second.name, 30), "difference"]]
    for metric in metrics:
        mine, theirs = rows[first.name, metric], rows[second.name, metric]
        if not (mine.n and theirs.n):
            continue
        scale = scale_of([mine, theirs])
        change = difference_cell(theirs, scale)
        if not change and mine.mean is not None and theirs.mean is not None:
            change = scale.difference(theirs.mean - mine.mean)
        unit = f" ({scale.unit})" if scale.unit else ""
        cells.append(
            [f"{display(metric)}{unit}", mean_cell(mine, scale), mean_cell(theirs, scale), change]
        )
    return [f"  {line}" for line in _laid_out(cells)]
