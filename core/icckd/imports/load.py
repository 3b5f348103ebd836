"""From files to a study of observed trials: what is asked, which reader, and what is told of it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from icckd.errors import UsageError
from icckd.imports.files import GIB, source_file
from icckd.imports.tables import MOST_JSON, csv_rows, json_rows
from icckd.results.run_table import Columns, Row, RunTable
from icckd.study.metrics import Direction
from icckd.study.observed import (
    Asked,
    AskedMetric,
    ObservedStudy,
    Source,
    observed_study,
    study_name,
    visible,
)
from icckd.study.paths import nearest
from icckd.study.scripts.outputs import direction_of

Kind = Literal["csv", "parquet"]
MOST_CSV = 2 * GIB
MOST_PARQUET = 64 * GIB
RULE = re.compile(r"last|best:.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What is to be imported.

    Attributes:
        kind: What wrote it.
        path: File or folder.
        metrics: Names of the metrics there, the primary one first.
        arm, seed: What tells arm and seed of a run: a column, or a key of its settings.
        step: The column of the step, of a table with a row a step.
        long: Columns of the long form: the metric's name, its value.
        name: Name of the study; "" makes one of the file's.
        rule: Which value of a curve counts: "last", "best:METRIC", or "".
        directions, units: By metric, where they are told.
        baseline, question, smallest_effect, adds: As in `Asked`.
    """

    kind: Kind
    path: Path
    metrics: tuple[str, ...]
    arm: str = "arm"
    seed: str = "seed"
    step: str | None = None
    long: tuple[str, str] = ("metric", "value")
    name: str = ""
    rule: str = ""
    directions: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""
    question: str = ""
    smallest_effect: float | None = None
    adds: tuple[str, ...] = ()

    @property
    def columns(self) -> Columns:
        """The columns of a table."""
        return Columns(self.arm, self.seed, self.step, *self.long)

    @property
    def has_curves(self) -> bool:
        """Whether runs may have several values of a metric: a table needs steps for that."""
        return self.step is not None or self.kind not in ("csv", "parquet")


def read_study(request: ImportRequest) -> ObservedStudy:
    """Return the study that some files hold; nothing is written.

    Raises:
        UsageError: The file is not there, or options do not fit each other.
        SpecError: What is in it makes no study; the message names the place.
    """
    asked = asked_of(request)
    names = [metric.name for metric in asked.metrics]
    opened = _READERS[request.kind](request)
    with RunTable(opened.place) as table:
        if opened.parquet is not None:
            table.use_parquet(opened.parquet, request.columns, names)
        else:
            table.add_rows(opened.rows(names))
        runs = table.runs(asked.metrics, asked.rule)
    return observed_study(runs, asked, opened.source())


def asked_of(request: ImportRequest) -> Asked:
    """Return what is asked of the runs.

    Raises:
        UsageError: No metric is named, or options speak of others.
    """
    if not request.metrics:
        raise UsageError("which metric is to be imported?", hint="--metric NAME, the primary first")
    for option, told in (("direction", request.directions), ("unit", request.units)):
        known = (*request.metrics, *_chooser(request.rule))
        for name in told:
            if name not in known:
                raise UsageError(
                    f"--{option} speaks of {name!r}, which is no --metric",
                    hint=nearest(name, list(known)),
                )
    if request.rule and not RULE.fullmatch(request.rule):
        raise UsageError(
            f"--rule {request.rule!r} is not known", hint="last, or best:VALIDATION_METRIC"
        )
    for chooser in _chooser(request.rule):
        if chooser in request.metrics:
            raise UsageError(
                f"--rule {request.rule} chooses the best value of a metric that is reported: its"
                " result would be too good",
                hint="choose by a validation metric that is no --metric, or take --rule last",
            )
    metrics = [_metric(request, name, is_outcome=True) for name in dict.fromkeys(request.metrics)]
    if request.has_curves:
        metrics += [_metric(request, name, is_outcome=False) for name in _chooser(request.rule)]
    return Asked(
        name=study_name(request.name or request.path.name.partition(".")[0]),
        metrics=tuple(metrics),
        baseline=request.baseline,
        question=visible(request.question, 2000),
        rule=request.rule,
        smallest_effect=request.smallest_effect,
        adds=request.adds,
    )


def _chooser(rule: str) -> tuple[str, ...]:
    """Return the metric that chooses the step, if one does."""
    return (rule.removeprefix("best:"),) if rule.startswith("best:") else ()


def _metric(request: ImportRequest, name: str, *, is_outcome: bool) -> AskedMetric:
    direction = request.directions.get(name) or direction_of(name) or "none"
    if direction not in get_args(Direction):
        raise UsageError(
            f"--direction {name}={direction} is not known", hint="higher, lower or none"
        )
    if direction == "none" and not is_outcome:
        raise UsageError(
            f"which values of {name!r} are better is not known, and --rule chooses by it",
            hint=f"--direction {name}=higher, or lower",
        )
    return AskedMetric(
        name=name,
        unit=visible(request.units.get(name, "1"), 20),
        direction=cast(Direction, direction),
        is_outcome=is_outcome,
    )


# Readers.


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A source that was looked at: its rows are still to be read.

    Attributes:
        source: Tells where the runs come from; asked when the rows were read.
        rows: Yields the rows of some metrics.
        place: Puts the place of a row into words.
        parquet: The file whose rows the table reads itself, instead of `rows`.
    """

    source: Callable[[], Source]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    place: Callable[[int], str]
    parquet: Path | None = None


def _table(request: ImportRequest) -> Opened:
    """Return a table: Parquet, JSON, or CSV under any other name."""
    path, suffix = request.path, request.path.suffix.lower()
    is_parquet = request.kind == "parquet" or suffix in (".parquet", ".pq")
    is_json = not is_parquet and suffix in (".json", ".jsonl", ".ndjson")
    most = MOST_PARQUET if is_parquet else MOST_JSON if is_json else MOST_CSV
    file = source_file(path, most=most)
    kind = "parquet" if is_parquet else request.kind
    source = Source(kind=kind, files=(file,), arm=request.arm, seed=request.seed)
    what = "line" if not (is_parquet or is_json) else "row"
    read = json_rows if is_json else csv_rows
    return Opened(
        source=lambda: source,
        rows=lambda metrics: read(path, request.columns, metrics),
        place=lambda row: f"{file.name} {what} {row}",
        parquet=path if is_parquet else None,
    )


_READERS: dict[Kind, Callable[[ImportRequest], Opened]] = {"csv": _table, "parquet": _table}
