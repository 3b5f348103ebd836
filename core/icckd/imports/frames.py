"""A data frame of runs: what a program has in memory already, as a study of observed trials."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icckd.imports.load import ImportRequest, asked_of
from icckd.results.run_table import Columns, Row, RunTable, fitting
from icckd.study.observed import ObservedStudy, Source, SourceFile, observed_study

KIND = "frame"
NAME = "a data frame"


def read_frame(columns: Mapping[str, Sequence[Any]], request: ImportRequest) -> ObservedStudy:
    """Return the study that the runs of a data frame make; rows are counted from 0.

    Args:
        columns: Its columns, equally long, as plain values; None is a missing one.
        request: What is asked of it; kind and path do not matter.

    Raises:
        UsageError: Options do not fit each other.
        SpecError: What is in it makes no study; the message names rows or columns.
    """
    asked = asked_of(request)
    metrics = [metric.name for metric in asked.metrics]
    used = fitting(request.columns, metrics, list(columns))
    with RunTable() as table:
        table.add_rows(_rows(columns, used, metrics))
        runs = table.runs(asked.metrics, asked.rule)
    read = {name: columns[name] for name in columns if name in {*filter(None, used), *metrics}}
    source = Source(kind=KIND, files=(_as_file(read),), arm=request.arm, seed=request.seed)
    return observed_study(runs, asked, source)


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
                yield Row(row, named, seed, metric, step, _number(columns[metric][row]))
        elif (metric := str(columns[used.metric][row])) in metrics:
            yield Row(row, named, seed, metric, step, _number(columns[used.value][row]))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


def _as_file(columns: Mapping[str, Sequence[Any]]) -> SourceFile:
    """Return what tells one data frame from another, as a file's name, digest and size do."""
    content = json.dumps({name: [str(v) for v in columns[name]] for name in sorted(columns)})
    data = content.encode("utf-8", "surrogatepass")
    return SourceFile(name=NAME, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
