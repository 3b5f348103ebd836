"""What the command line prints: the report as a table, status, studies, one arm or trial, logs.

Plain text of fixed width, no colour, the same bytes for the same results.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, TextIO

from icckd.report import methods
from icckd.report.document import (
    Bullets,
    CellTable,
    Changes,
    ComparisonTable,
    MetricColumn,
    ReportDocument,
)
from icckd.report.notes import by_source, epoch_text, revision_text
from icckd.report.text import (
    aligned,
    as_wide_as,
    difference_cell,
    display,
    effect_size_text,
    line_width,
    mean_cell,
    origin_suffix,
    p_text,
    scale_of,
    seeds_text,
    wrapped,
    write_lines,
)
from icckd.report.words import shortened
from icckd.results.published import SEPARATOR, published, published_for
from icckd.results.query import Results
from icckd.results.selection import (
    Selection,
    compare_selections,
    conditions_of,
    rule_of,
    setting_changes,
    stages_of,
)
from icckd.results.types import (
    Comparison,
    StudyInfo,
)

_GAP = 3
_ARM_WIDTH = 30


def write_report_table(document: ReportDocument, out: TextIO) -> None:
    """Write question, verdicts, comparison, differences in settings, what is missing, notes."""
    with as_wide_as(out):
        lines = _report_lines(document)
    write_lines(out, lines)


def _report_lines(document: ReportDocument) -> list[str]:
    lines = _head(document)
    for section in document.sections:
        if section is document.requested:
            lines += _requested(document.requested)
        elif isinstance(section, CellTable):
            lines += _cell_table(section)
        elif isinstance(section, ComparisonTable):
            lines += _comparison(section)
        elif isinstance(section, Changes):
            lines += _changes(section)
        elif isinstance(section, Bullets):
            lines += ["", _title(section.title)]
            lines += [line for text in section.items for line in wrapped(text, "  - ", "    ")]
    return lines


def write_section(
    results: Results, study: StudyInfo, section: Literal["methods", "threats"], out: TextIO
) -> None:
    """Write the methods paragraph, or threats to validity as a list."""
    if section == "methods":
        write_lines(out, wrapped(methods.methods(results, study), ""))
        return
    texts = methods.threats(results, study)
    lines = [line for text in texts for line in wrapped(text, "- ", "  ")]
    write_lines(out, lines)


def _title(text: str) -> str:
    return display(text[:1].lower() + text[1:])


def _head(document: ReportDocument) -> list[str]:
    study = document.study
    return [
        *(wrapped(document.revision, "") if document.revision else []),
        *(wrapped(display(study.question, 2000), "") if study.question else []),
        *(line for text in document.answers for line in wrapped(text, "", "  ")),
        f"study {display(study.name)}, revision {display(study.revision)}:"
        f" {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {document.complete} of {document.total} trials complete{origin_suffix(study)}",
    ]


def _cell_table(section: CellTable) -> list[str]:
    """Lay a table of cells out; the first column gives way where it is too wide."""
    rows = [section.head, *section.rows]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    room = line_width() - 2 - sum(others)
    gap = _GAP if first + _GAP * len(others) <= room else _GAP - 1
    rows = [(display(row[0], max(8, room - gap * len(others))), *row[1:]) for row in rows]
    return ["", _title(section.title), *(f"  {line}" for line in aligned(rows, gap))]


def _requested(section: CellTable) -> list[str]:
    """Lay out what plans asked for: sentences need the whole width."""
    lines = ["", _title(section.title)]
    for name, arm, answer in section.rows:
        by = "" if arm == "-" else f", {arm}"
        lines += wrapped(f"{name}{by}: {answer}", "  - ", "    ")
    return lines


def _comparison(section: ComparisonTable) -> list[str]:
    """Lay the columns out in blocks that fit the width; every block names the arms."""
    arms = ["arm", ""]
    for arm in section.arms:
        arms += [display(arm.name, _ARM_WIDTH), f"  {shortened(arm.what, _ARM_WIDTH)}"]
    blocks: list[list[list[str]]] = []
    for metric in section.columns:
        column = _metric(metric)
        if not blocks or _width([*blocks[-1], column]) > line_width():
            blocks.append([arms])
        blocks[-1].append(column)
    lines = []
    for block in blocks:
        texts = aligned(list(zip(*block, strict=True)), _GAP)
        rule = "-" * max(map(len, texts))
        lines += ["", *texts[:2], rule, *texts[2:]]
    return lines


def _metric(column: MetricColumn) -> list[str]:
    unit = column.scale.unit
    lines = [display(column.metric), f"{unit}; difference in points" if unit == "%" else unit]
    for cell in column.cells:
        lines += [cell.value, f"  {cell.difference}"]
    return lines


def _width(columns: list[list[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + _GAP * (len(columns) - 1)


def _changes(section: Changes) -> list[str]:
    lines = ["", _title(section.title)]
    for arm in section.arms:
        title = f": {display(arm.title)}" if arm.title else ""
        lines += wrapped(f"{display(arm.name)} - {arm.label}{title}", "  ", "    ")
        for change in arm.changes:
            text = f"{change.path}: {change.before} -> {change.after}"
            lines += wrapped(display(text), "      ", "        ")
    return lines


# Any arms or trials beside each other: `icckd diff`, `icckd compare`.


def write_diff(results: Results, first: Selection, second: Selection, out: TextIO) -> None:
    """Write in what two arms or trials differ: settings, conditions, stages, outcomes."""
    lines = [f"{display(first.name)} -> {display(second.name)}", "", "settings"]
    changed = setting_changes(results, first, second)
    lines += [
        f"  {display(f'{c.path}: {json.dumps(c.before)} -> {json.dumps(c.after)}')}"
        for c in changed
    ] or ["  none differ"]
    lines += ["", "conditions", *(f"  {line}" for line in _conditions(results, [first, second]))]
    lines += ["", "stages", *(f"  {line}" for line in _shared_stages(results, first, second))]
    lines += ["", "outcomes", *_outcome_lines(results, first, second)]
    write_lines(out, lines)


def write_comparison(
    results: Results, selections: Sequence[Selection], metrics: Sequence[str], out: TextIO
) -> None:
    """Write selections by metrics, each against the first over equal seeds."""
    rows = compare_selections(results, selections, metrics)
    lines = []
    for metric in metrics:
        mine = [rows[selection.name, metric] for selection in selections]
        if not any(row.n for row in mine):
            continue
        scale = scale_of(mine)
        cells = [["", f"{display(metric)} {scale.unit}".rstrip(), "difference", "d_z", "p"]]
        for row in mine:
            size = "" if row.effect_size is None else effect_size_text(row.effect_size)
            change = difference_cell(row, scale)
            p = "" if row.p is None else p_text(row.p)
            cells.append([display(row.arm, 40), mean_cell(row, scale), change, size, p])
        lines += ["", *aligned(cells)]
    lines = lines[1:] or ["none of them has a value of these outcomes"]
    revisions = dict.fromkeys(revision_text(results, each.study) for each in selections)
    lines = [*filter(None, revisions), *lines]
    lines += ["", "notes", *(f"  - {note}" for note in _compare_notes(results, selections, rows))]
    write_lines(out, lines)


def _compare_notes(
    results: Results, selections: Sequence[Selection], rows: dict[tuple[str, str], Comparison]
) -> Iterator[str]:
    others = selections[1:]
    repeated = [each for each in others if rule_of(each, selections[0]).is_sequential]
    by_test = "intervals of the test that gives p" if selections[0].study.rule else "t intervals"
    intervals = by_test if len(repeated) < len(others) else ""
    if repeated:
        intervals += f"{' or ' if intervals else ''}confidence sequences"
    yield (
        f"differences are from {display(selections[0].name)} over equal seeds, with 95 %"
        f" {intervals}; p is uncorrected: these comparisons were not declared beforehand"
    )
    if repeated:
        yield (
            "seeds were added after results had been seen, or the study declares the rule for"
            " repeated looks: confidence sequences and their p stay valid however often one looks"
        )
    if any(row.never or row.test in ("worst-rank", "sequential sign") for row in rows.values()):
        yield (
            "where a seed never reached its target or diverged, p comes from signed ranks in which"
            " such seeds are the worst"
        )
    for name in dict.fromkeys(row.arm for row in rows.values()):
        seeds = sorted({seed for row in rows.values() if row.arm == name for seed in row.unpaired})
        if seeds:
            yield f"{display(name)}: unpaired {seeds_text(tuple(seeds))} are left out"
    yield from _conditions(results, selections)


def _conditions(results: Results, selections: Sequence[Selection]) -> Iterator[str]:
    """Yield whether equal seeds are pairs: trained on the same data, numerics and code."""
    known = [conditions_of(results, selection) for selection in selections]
    names: dict[str, set[frozenset[str]]] = {
        "data": {each.fingerprints for each in known},
        "numerics": {each.numerics for each in known},
        "training version": {frozenset(map(str, each.code_epochs)) for each in known},
    }
    for name, found in names.items():
        if len(found) > 1:
            yield f"the {name} differs: equal seeds are not pairs in the strict sense"
    if all(len(found) == 1 for found in names.values()):
        yield "the same data, numerics and training version"


def _shared_stages(results: Results, first: Selection, second: Selection) -> Iterator[str]:
    before, after = stages_of(results, first), stages_of(results, second)
    for kind in dict.fromkeys([*first.study.kinds, *second.study.kinds]):
        mine = {v for (k, *_), v in before.items() if k == kind}
        theirs = {v for (k, *_), v in after.items() if k == kind}
        yield (
            f"{kind}: {len(mine & theirs)} shared, {len(mine - theirs)} only of the first,"
            f" {len(theirs - mine)} only of the second"
        )


def _outcome_lines(results: Results, first: Selection, second: Selection) -> list[str]:
    metrics = list(dict.fromkeys([*first.study.metrics, *second.study.metrics]))
    rows = compare_selections(results, [first, second], metrics)
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
    return [f"  {line}" for line in aligned(cells)]


# Published numbers: `icckd published`.


def write_published(out: TextIO) -> None:
    """Write every published number, pair by pair, then sources and footnotes."""
    pairs = dict.fromkeys((number.teacher, number.student) for number in published())
    lines = [
        "Published CIFAR-100 top-1 accuracies in percent: context, not a baseline.",
        "* has a footnote below.",
    ]
    for pair in pairs:
        lines += ["", SEPARATOR.join(pair)]
        for source, texts in by_source(published_for(*pair)):
            lines += wrapped(f"{source}: {texts}", "  ", "    ")
    lines += ["", "sources"]
    for number in {number.source: number for number in published()}.values():
        lines += wrapped(
            f"{number.source}: {number.work}; {epoch_text(number)}; {number.remark}", "  ", "    "
        )
    lines += ["", "footnotes"]
    for number in published():
        if number.footnote:
            pair_text = f"{number.teacher}{SEPARATOR}{number.student}"
            lines += wrapped(f"{pair_text}, {number.method}: {number.footnote}", "  ", "    ")
    write_lines(out, lines)
