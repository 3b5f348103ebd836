"""A data frame of runs: what a program has in memory already, as a study of observed trials."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icckd.imports.items import ItemRow, ItemTable
from icckd.imports.load import ImportRequest, asked_of
from icckd.results.run_table import Columns, Row, RunTable, fitting
from icckd.study.observed import Asked, ObservedStudy, Run, Source, SourceFile, observed_study

KIND = "frame"
NAME = "a data frame"
DEFAULT_SEED = "seed"


def read_frame(columns: Mapping[str, Sequence[Any]], request: ImportRequest) -> ObservedStudy:
    """Return the study that the runs of a data frame make; rows are counted from 0.

    Args:
        columns: Its columns, equally long, as plain values; None is a missing one.
        request: What is asked of it; kind and path do not matter.

    Raises:
        UsageError: Options do not fit each other.
        SpecError: What is in it makes no study; the message names rows or columns.
    """
    request.refuse_unfit_items()
    asked = asked_of(request)
    metrics = [metric.name for metric in asked.metrics]
    if request.item is not None:
        used, runs = _runs_of_items(columns, request, asked)
    else:
        used = fitting(request.columns, metrics, list(columns))
        with RunTable() as table:
            table.add_rows(_with_numbers(_rows(columns, used, metrics)))
            runs = table.runs(asked.metrics, asked.rule)
    names = {*filter(None, used), *filter(None, (request.group,)), *metrics}
    read = {name: values for name, values in columns.items() if name in names}
    source = Source(kind=KIND, files=(_as_file(read),), arm=request.arm, seed=request.seed)
    return observed_study(runs, asked, source)


def _runs_of_items(
    columns: Mapping[str, Sequence[Any]], request: ImportRequest, asked: Asked
) -> tuple[Columns, tuple[Run, ...]]:
    """Return the columns that are read, and the runs; where no column tells seeds there is one."""
    metrics, known = [metric.name for metric in asked.metrics], list(columns)
    has_seeds = request.seed in columns or request.seed != DEFAULT_SEED
    wanted = request.columns._replace(step=request.item)
    if not has_seeds:
        wanted = wanted._replace(seed=request.item or "")
    groups: Sequence[Any] = ()
    if request.group:
        fitting(wanted._replace(step=request.group), metrics, known)  # the column is there
        groups = columns[request.group]
    used = fitting(wanted, metrics, known)
    table = ItemTable(asked.metrics, has_groups=bool(request.group), place=lambda row: f"row {row}")
    table.add(
        ItemRow(
            row if has_seeds else row._replace(seed=0),
            row.step,
            groups[row.place] if groups else None,
        )
        for row in _rows(columns, used, metrics)
    )
    return used, table.runs()


def _rows(
    columns: Mapping[str, Sequence[Any]], used: Columns, metrics: Sequence[str]
) -> Iterator[Row]:
    """Yield every number with its row."""
    arms, seeds = columns[used.arm], columns[used.seed]
    steps = columns[used.step] if used.step is not None else [None] * len(arms)
    for row, (arm, seed, step) in enumerate(zip(arms, seeds, steps, strict=True)):
        named = None if arm is None else str(arm)
        if used.metric is None or used.value is None:
            for metric in metrics:
                yield Row(row, named, seed, metric, step, columns[metric][row])
        elif (metric := str(columns[used.metric][row])) in metrics:
            yield Row(row, named, seed, metric, step, columns[used.value][row])


def _with_numbers(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows with 1 for true and 0 for false."""
    for row in rows:
        yield row._replace(value=float(row.value)) if isinstance(row.value, bool) else row


def _as_file(columns: Mapping[str, Sequence[Any]]) -> SourceFile:
    """Return what tells one data frame from another, as a file's name, digest and size do."""
    content = json.dumps({name: [str(v) for v in columns[name]] for name in sorted(columns)})
    data = content.encode("utf-8", "surrogatepass")
    return SourceFile(name=NAME, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
