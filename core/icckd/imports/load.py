"""From files to a study of observed trials: what is asked, which reader, and what is told of it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast, get_args

from icckd.errors import SpecError, UsageError
from icckd.imports.files import GIB, source_file
from icckd.imports.items import ItemTable, with_groups
from icckd.imports.runs import RunsToRows, pattern_of
from icckd.imports.tables import MOST_JSON, csv_rows, json_rows
from icckd.imports.trackers import open_tracker
from icckd.results.run_table import Columns, Row, RunTable
from icckd.study.items import Varies
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

Kind = Literal["csv", "parquet", "wandb", "mlflow", "tensorboard", "optuna", "trackio"]
NOTHING_KNOWN: Mapping[str, Direction] = MappingProxyType({})
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
MOST_CSV = 2 * GIB
MOST_PARQUET = 64 * GIB
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
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
        test_cases: By metric, of how many test cases it is a share in percent.
        runs: Pattern of the names of runs with {arm} and {seed}, or "".
        experiment: The experiment, project or study in it, where there are several.
        baseline, question, smallest_effect, adds: As in `Asked`.
        item, group: Columns of a table with a row an item: what names it, and what it shares with
            others that err with it.
        generalise_to, common_items: As in `Asked`.
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
    test_cases: Mapping[str, int] = field(default_factory=dict)
    runs: str = ""
    experiment: str = ""
    baseline: str = ""
    question: str = ""
    smallest_effect: float | None = None
    adds: tuple[str, ...] = ()
    item: str | None = None
    group: str = ""
    generalise_to: tuple[str, ...] = ()
    common_items: bool = False

    @property
    def columns(self) -> Columns:
        """The columns of a table."""
        return Columns(self.arm, self.seed, self.step, *self.long)

    @property
    def has_curves(self) -> bool:
        """Whether runs may have several values of a metric: a table needs steps for that."""
        return self.step is not None or not self.is_table

    @property
    def is_table(self) -> bool:
        """Whether it is a table, which trackers export, too."""
        return self.kind in ("csv", "parquet") or (
            self.kind == "wandb" and self.path.suffix.lower() in _TABLES
        )

    def refuse_unfit_items(self) -> None:
        """Refuse options about items that do not fit.

        Raises:
            UsageError: They do not.
        """
        if self.item is None:
            if self.group or self.generalise_to or self.common_items:
                raise UsageError(
                    "no column of items is named, and these speak of items: --group,"
                    " --generalise-to, --common-items",
                    hint="name the column with --item",
                )
            return
        if self.kind not in ("csv", "parquet") or self.step is not None or self.rule:
            raise UsageError(
                "a table with a row an item has no --step, and no --rule",
                hint="write the scores of the items into a table of their own",
            )
        for name in self.generalise_to:
            if name not in get_args(Varies):
                raise UsageError(
                    f"--generalise-to {name!r} is not known", hint="seeds, items, or both of them"
                )


def read_study(request: ImportRequest) -> ObservedStudy:
    """Return the study that some files hold; nothing is written.

    Raises:
        UsageError: The file is not there, or options do not fit each other.
        SpecError: What is in it makes no study; the message names the place.
    """
    request.refuse_unfit_items()
    if request.item is not None:
        return _study_of_items(request)
    with ExitStack() as stack:
        opened = _table(request) if request.is_table else _tracker(request, stack)
        asked = asked_of(request, opened.directions)
        names = [metric.name for metric in asked.metrics]
        table = stack.enter_context(RunTable(opened.place))
        if opened.parquet is not None:
            table.use_parquet(opened.parquet, request.columns, names)
        else:
            table.add_rows(opened.rows(names))
        runs = table.runs(asked.metrics, asked.rule)
    return observed_study(runs, asked, opened.source())


def _study_of_items(request: ImportRequest) -> ObservedStudy:
    """Return the study of a table with a row an item; where no column tells seeds there is one."""
    assert request.item is not None
    opened, asked = _table(request), asked_of(request)
    names = [metric.name for metric in asked.metrics]
    table = ItemTable(asked.metrics, has_groups=bool(request.group), place=opened.place)

    def read(columns: Columns, step: str) -> Iterator[Row]:
        columns = columns._replace(step=step)
        if opened.parquet is not None:
            return runs.parquet_rows(opened.parquet, columns, names)
        is_json = request.path.suffix.lower() in JSON_SUFFIXES
        return (json_rows if is_json else csv_rows)(request.path, columns, names)

    def add(columns: Columns, *, has_seeds: bool) -> None:
        groups = read(columns, request.group) if request.group else None
        table.add(with_groups(read(columns, request.item or ""), groups, has_seeds=has_seeds))

    with RunTable() as runs:
        try:
            add(request.columns, has_seeds=True)
        except SpecError as error:
            if request.seed != "seed" or "'seed'" not in error.message:
                raise
            add(request.columns._replace(seed=request.item), has_seeds=False)
    return observed_study(table.runs(), asked, opened.source())


def asked_of(request: ImportRequest, known: Mapping[str, Direction] = NOTHING_KNOWN) -> Asked:
    """Return what is asked of the runs.

    Args:
        request: What is to be imported.
        known: Which values of a metric are better, where the files tell.

    Raises:
        UsageError: No metric is named, or options speak of others.
    """
    if not request.metrics:
        raise UsageError("which metric is to be imported?", hint="--metric NAME, the primary first")
    by_metric: Mapping[str, Mapping[str, object]] = {
        "direction": request.directions,
        "unit": request.units,
        "test-cases": request.test_cases,
    }
    for option, told in by_metric.items():
        for name in told:
            if name not in (*request.metrics, *_chooser(request.rule)):
                raise UsageError(
                    f"--{option} speaks of {name!r}, which is no --metric",
                    hint=nearest(name, [*request.metrics, *_chooser(request.rule)]),
                )
    if request.rule and not RULE.fullmatch(request.rule):
        raise UsageError(
            f"--rule {request.rule!r} is not known", hint="last, or best:VALIDATION_METRIC"
        )
    for name in _chooser(request.rule):
        if name in request.metrics:
            raise UsageError(
                f"--rule {request.rule} chooses the best value of a metric that is reported: its"
                " result would be too good",
                hint="choose by a validation metric that is no --metric, or take --rule last",
            )
    chooser = _chooser(request.rule) if request.has_curves else ()
    metrics = [
        _metric(request, name, known, is_outcome=name not in chooser)
        for name in dict.fromkeys((*request.metrics, *chooser))
    ]
    return Asked(
        name=study_name(request.name or request.path.name.partition(".")[0]),
        metrics=tuple(metrics),
        baseline=request.baseline,
        question=visible(request.question, 2000),
        rule=request.rule,
        smallest_effect=request.smallest_effect,
        adds=request.adds,
        generalise_to=tuple(sorted(set(request.generalise_to), reverse=True)),
        common_items=request.common_items,
    )


def _chooser(rule: str) -> tuple[str, ...]:
    """Return the metric that chooses the step, if one does."""
    return (rule.removeprefix("best:"),) if rule.startswith("best:") else ()


def _metric(
    request: ImportRequest, name: str, known: Mapping[str, Direction], *, is_outcome: bool
) -> AskedMetric:
    direction = request.directions.get(name) or known.get(name) or direction_of(name) or "none"
    if direction not in get_args(Direction):
        raise UsageError(
            f"--direction {name}={direction} is not known", hint="higher, lower or none"
        )
    if direction == "none" and not is_outcome:
        raise UsageError(
            f"which values of {name!r} are better is not known, and --rule chooses by it",
            hint=f"--direction {name}=higher, or lower",
        )
    cases = request.test_cases.get(name)
    if cases is not None and cases < 1:
        raise UsageError(f"--test-cases {name}={cases} is no number of test cases")
    return AskedMetric(
        name=name,
        unit=visible(request.units.get(name, "%" if cases else "1"), 20),
        direction=cast(Direction, direction),
        is_outcome=is_outcome,
        test_images=cases,
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
        directions: Which values of a metric are better, where the files tell.
    """

    source: Callable[[], Source]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    place: Callable[[int], str]
    parquet: Path | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)


def _table(request: ImportRequest) -> Opened:
    """Return a table: Parquet, JSON, or CSV under any other name."""
    path, suffix = request.path, request.path.suffix.lower()
    is_parquet = request.kind == "parquet" or suffix in (".parquet", ".pq")
    is_json = not is_parquet and suffix in JSON_SUFFIXES
    most = MOST_PARQUET if is_parquet else MOST_JSON if is_json else MOST_CSV
    file = source_file(path, most=most)
    kind = "parquet" if is_parquet else request.kind
    source = Source(kind=kind, name=file.name, files=(file,), arm=request.arm, seed=request.seed)
    what = "line" if not (is_parquet or is_json) else "row"
    read = json_rows if is_json else csv_rows
    return Opened(
        source=lambda: source,
        rows=lambda metrics: read(path, request.columns, metrics),
        place=lambda row: f"{file.name} {what} {row}",
        parquet=path if is_parquet else None,
    )


def _tracker(request: ImportRequest, stack: ExitStack) -> Opened:
    """Return the runs of a tracker, whose settings tell arm and seed, or whose names do."""
    pattern = request.runs
    if request.kind == "tensorboard" and not pattern:
        pattern = "{arm}/{seed}"
    if pattern:
        pattern_of(pattern)
    tracked = open_tracker(request.kind, request.path, request.experiment, stack)
    turned = RunsToRows(arm=request.arm, seed=request.seed, pattern=pattern)
    by_name = f"the names of runs ({visible(pattern)})"
    return Opened(
        source=lambda: Source(
            kind=request.kind,
            name=visible(request.path.name),
            files=tracked.files,
            arm=by_name if "{arm}" in pattern else request.arm,
            seed=by_name if "{seed}" in pattern else request.seed,
            notes=(*tracked.notes, *turned.notes),
        ),
        rows=lambda metrics: turned.rows(tracked.runs, metrics),
        place=turned.place,
        directions=tracked.directions,
    )
