"""A table of runs that were made elsewhere, checked and reduced to one value a run and metric.

    with RunTable() as table:
        table.add_rows(rows)                # cells as text or numbers, from any reader
        runs = table.runs(metrics, rule)    # icckd.study.observed.Run, one an arm and seed

A row is (place, arm, seed, metric, step, value): a number from where it was read. DuckDB holds the
rows, in a folder that is removed, within `MEMORY`; a Parquet file is read where it is. What is
wrong with any row is found before anything is made of the others.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import duckdb

from icckd.errors import SpecError
from icckd.results.database import first_line
from icckd.study.observed import (
    LAST_SEED,
    MOST_ARMS,
    MOST_RUNS,
    AskedMetric,
    Run,
    arm_name,
    visible,
)
from icckd.study.paths import nearest

MEMORY = "768MB"
DISK = "16GB"
MOST_ROWS = 20_000_000
"""Rows that a reader may add."""
MOST_PARQUET_ROWS = 200_000_000
MOST_COLUMNS = 10_000
MOST_POINTS = 1000
"""Points of a curve that are kept for drawing; the value by the rule is always one of them."""
MOST_POINTS_IN_ALL = 1_000_000
BATCH = 50_000
SHOWN = 5
"""Rows that a message names."""


class Row(NamedTuple):
    """A number and where it comes from; `step` is None where there is one value a run.

    `place` is an index that `RunTable.place` puts into words. A value of None is a missing one.
    """

    place: int
    arm: str | None
    seed: str | int | float | None
    metric: str
    step: str | int | float | None
    value: str | int | float | None


class Columns(NamedTuple):
    """Names of a table's columns: in the long form `metric` and `value` are columns, too."""

    arm: str
    seed: str
    step: str | None = None
    metric: str | None = None
    value: str | None = None


class RunTable:
    """See the module.

    Args:
        place: Puts the place of a row into words.
    """

    def __init__(self, place: Callable[[int], str] = lambda row: f"row {row}") -> None:
        self._place = place
        self._folder = tempfile.TemporaryDirectory(
            prefix="icckd-import-", ignore_cleanup_errors=True
        )
        home = Path(self._folder.name)
        self._db = duckdb.connect(
            str(home / "runs.duckdb"),
            config={
                "memory_limit": MEMORY,
                "max_temp_directory_size": DISK,
                "temp_directory": str(home),
                "threads": 2,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            },
        )
        self._count = 0
        self._source = "cell"
        self._db.execute(
            "create table cell (place bigint, arm varchar, seed_text varchar, metric varchar,"
            " step_text varchar, value_text varchar)"
        )
        self._db.execute(f"create view source as {_FROM_CELLS}")

    def __enter__(self) -> "RunTable":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Take in rows.

        Raises:
            SpecError: There are more than `MOST_ROWS`.
        """
        rows = iter(rows)
        while batch := list(islice(rows, BATCH)):
            self._count += len(batch)
            if self._count > MOST_ROWS:
                raise SpecError(
                    f"there are more than {MOST_ROWS:,} numbers to read",
                    hint="write the runs as Parquet, or name fewer metrics",
                )
            places, *texts = zip(*batch, strict=True)
            self._db.execute(
                "insert into cell select unnest($1::bigint[]), unnest($2::varchar[]),"
                " unnest($3::varchar[]), unnest($4::varchar[]), unnest($5::varchar[]),"
                " unnest($6::varchar[])",
                [list(places), *([_text(value) for value in column] for column in texts)],
            )

    def use_parquet(self, path: Path, columns: Columns, metrics: Sequence[str]) -> None:
        """Take the rows of a Parquet file, which is read where it is, as often as it takes.

        Raises:
            SpecError: It is no Parquet file, or has not these columns, or is too large.
        """
        link = Path(self._folder.name) / "given.parquet"  # a name without patterns
        link.symlink_to(path.resolve())
        with self._refusals(path.name):
            kinds = self._columns_of(link)
            found = self._db.execute(
                "select sum(num_rows)::bigint from parquet_file_metadata(?)", [str(link)]
            ).fetchone()
            if found is not None and (found[0] or 0) > MOST_PARQUET_ROWS:
                raise SpecError(
                    f"{visible(path.name)} has {found[0]:,} rows, more than {MOST_PARQUET_ROWS:,}",
                    hint="write one row a run, or fewer steps",
                )
            sql = _from_parquet(str(link), kinds, fitting(columns, metrics, list(kinds)), metrics)
            self._db.execute(f"create or replace view source as {sql}")

    def parquet_rows(self, path: Path, columns: Columns, metrics: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a Parquet file in its order, cells as text; errors as `use_parquet`."""
        link = Path(self._folder.name) / "given.parquet"
        if not link.exists():
            link.symlink_to(path.resolve())
        with self._refusals(path.name):
            known = fitting(columns, metrics, list(self._columns_of(link)))
            is_long = known.metric is not None and known.value is not None
            values = [known.metric, known.value] if is_long else list(metrics)
            asked = [known.arm, known.seed, known.step, *values]
            cells = ", ".join(f"{_quoted(name)}::varchar" for name in asked if name is not None)
            cursor = self._db.cursor()
            cursor.execute(
                f"select file_row_number + 1, {cells} from"
                f" read_parquet({_literal(str(link))}, file_row_number = true)"
                " order by file_row_number"
            )
            while rows := cursor.fetchmany(BATCH):
                for place, arm, seed, step, *found in rows:
                    if not is_long:
                        for metric, value in zip(metrics, found, strict=True):
                            yield Row(place, arm, seed, metric, step, value)
                    elif found[0] in metrics:
                        yield Row(place, arm, seed, found[0], step, found[1])

    def _columns_of(self, link: Path) -> dict[str, str]:
        rows = self._db.execute("describe select * from read_parquet(?)", [str(link)]).fetchall()
        if len(rows) > MOST_COLUMNS:
            raise SpecError(
                f"the file has {len(rows)} columns, more than {MOST_COLUMNS}",
                hint="write arm, seed, step and metrics alone",
            )
        return {row[0]: row[1] for row in rows}

    @contextlib.contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise SpecError(
                f"cannot read {visible(name)} as a table of runs: {visible(first_line(error))}",
                hint="is it whole, and a Parquet file?",
            ) from error

    # From rows to runs.

    def runs(self, metrics: Sequence[AskedMetric], rule: str) -> tuple[Run, ...]:
        """Return the runs, in the order in which they come first.

        Args:
            metrics: The metrics; of `rule = "best:METRIC"` that metric, too.
            rule: "last", "best:METRIC", or "" where each metric has one value a run.

        Raises:
            SpecError: A row is no run, or two give the same value, or a metric is a curve and
                there is no rule; the message names rows.
        """
        with self._refusals("the runs"):
            self._refuse_bad_rows()
            self._name_arms()
            self._refuse_many_runs()
            self._refuse_doubles()
            counts = self._counts()
            curves = {metric for (_, _, metric), count in counts.items() if count > 1}
            _refuse_curves_without_rule(sorted(curves), rule, metrics)
            values = self._values(metrics, rule, sorted(curves))
            _refuse_absent(metrics, values, rule, bool(curves))
            return tuple(self._assembled(values, curves, rule))

    def _refuse_bad_rows(self) -> None:
        rows = self._db.execute(
            f"select place, min(why) from ({_BAD_ROWS}) group by place order by place limit ?",
            [SHOWN + 1],
        ).fetchall()
        if rows:
            told = "; ".join(
                f"{self._place(place)}: {visible(why, 200)}" for place, why in rows[:SHOWN]
            )
            more = "; and more" if len(rows) > SHOWN else ""
            raise SpecError(
                f"{told}{more}: nothing was imported",
                hint="correct these rows, or leave them out",
            )

    def _name_arms(self) -> None:
        """Give each arm a harmless name."""
        rows = self._db.execute(
            "select arm, min(place) from source group by arm order by min(place), arm limit ?",
            [MOST_ARMS + 1],
        ).fetchall()
        if len(rows) > MOST_ARMS:
            raise SpecError(
                f"there are more than {MOST_ARMS} arms", hint="does that column tell arms apart?"
            )
        named: dict[str, tuple[str, int]] = {}
        for text, place in rows:
            name = arm_name(text)
            if not name:
                raise SpecError(
                    f"{self._place(place)}: nothing of the arm's name can be shown",
                    hint="give it a name of letters",
                )
            if name in named:
                raise SpecError(
                    f"{self._place(named[name][1])} and {self._place(place)}: two arms would both"
                    f" be called {name!r}",
                    hint="icckd leaves out control characters, and / : @ , ( )",
                )
            named[name] = (text, place)
        self._db.execute(
            "create or replace table arm_name as select unnest($1::varchar[]) as arm,"
            " unnest($2::varchar[]) as name",
            [[text for text, _ in named.values()], list(named)],
        )
        self._db.execute(f"create or replace view given as {_GIVEN}")

    def _refuse_many_runs(self) -> None:
        rows = self._db.execute(
            "select count(*) from (select distinct arm, seed from source limit ?)", [MOST_RUNS + 1]
        ).fetchone()
        if rows is not None and rows[0] > MOST_RUNS:
            raise SpecError(
                f"there are more than {MOST_RUNS} pairs of arm and seed",
                hint="do these columns tell arms and seeds?",
            )

    def _refuse_doubles(self) -> None:
        rows = self._db.execute(_DOUBLES, [SHOWN]).fetchall()
        if not rows:
            return
        told = "; ".join(
            f"{self._place(first)} and {self._place(last)} ({visible(name)}, seed {seed},"
            f" {visible(metric)}{'' if step is None else f', step {step}'})"
            for name, seed, metric, step, first, last in rows
        )
        raise SpecError(
            f"two values for one arm, seed and metric: {told}: nothing was imported",
            hint="leave one out; steps of one run are told apart by --step COLUMN",
        )

    def _counts(self) -> dict[tuple[str, int, str], int]:
        rows = self._db.execute(
            "select name, seed, metric, count(*) from given group by all"
        ).fetchall()
        return {(name, seed, metric): count for name, seed, metric, count in rows}

    def _values(
        self, metrics: Sequence[AskedMetric], rule: str, curves: Sequence[str]
    ) -> dict[tuple[str, int], dict[str, tuple[float, int]]]:
        """Return value and place of each metric by arm and seed, as the rule chooses."""
        chooser = rule.removeprefix("best:") if rule.startswith("best:") and curves else ""
        if chooser:
            best = next(metric for metric in metrics if metric.name == chooser)
            order = (
                "arg_max(step, (value, -step))"
                if best.direction == "higher"
                else ("arg_min(step, (value, step))")
            )  # the first one of several
            self._db.execute(
                f"create or replace table chosen as {_CHOSEN.format(order=order)}", [chooser]
            )
            sql, parameters = _AT_CHOSEN, [curves]
        else:
            sql, parameters = _LAST, []
        found: dict[tuple[str, int], dict[str, tuple[float, int]]] = {}
        for name, seed, metric, value, place in self._db.execute(sql, parameters).fetchall():
            if metric is None:
                found.setdefault((name, seed), {})
            else:
                found.setdefault((name, seed), {})[metric] = (value, place)
        return found

    def _assembled(
        self,
        values: dict[tuple[str, int], dict[str, tuple[float, int]]],
        curves: set[str],
        rule: str,
    ) -> Iterator[Run]:
        series = self._series(len(values) * len(curves), curves, rule) if curves else {}
        for (name, seed), known in values.items():
            yield Run(
                arm=name,
                seed=seed,
                values={metric: value for metric, (value, _) in known.items()},
                places={metric: self._place(place) for metric, (_, place) in known.items()},
                series=series.get((name, seed), {}),
            )

    def _series(
        self, count: int, curves: set[str], rule: str
    ) -> dict[tuple[str, int], dict[str, list[tuple[int, float]]]]:
        """Return the curves, each thinned to so many points that all of them can be held."""
        points = max(20, min(MOST_POINTS, MOST_POINTS_IN_ALL // max(1, count)))
        chosen = "chosen" if rule.startswith("best:") else "(select * from given where false)"
        found: dict[tuple[str, int], dict[str, list[tuple[int, float]]]] = {}
        for name, seed, metric, step, value in self._db.execute(
            _THINNED.format(chosen=chosen), [points, sorted(curves)]
        ).fetchall():
            of_run = found.setdefault((name, seed), {})
            of_run.setdefault(metric, []).append((step, value))
        return found


def fitting(columns: Columns, metrics: Sequence[str], known: Sequence[str]) -> Columns:
    """Return the columns in the form that a table has: wide, or long where metrics are values.

    Raises:
        SpecError: It has not these columns.
    """
    for name in filter(None, (columns.arm, columns.seed, columns.step)):
        _must_have(name, known)
    if all(metric in known for metric in metrics):
        return columns._replace(metric=None, value=None)
    if columns.metric in known and columns.value in known:
        return columns
    absent = next(metric for metric in metrics if metric not in known)
    _must_have(absent, known)
    raise AssertionError(absent)


def _must_have(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise SpecError(
            f"the table has no column {visible(name)!r}",
            hint=nearest(name, [visible(each, 60) for each in known[:200]]),
        )


def _text(value: Any) -> str | None:
    """Return a cell as text; a lone surrogate is replaced."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _refuse_curves_without_rule(
    curves: Sequence[str], rule: str, metrics: Sequence[AskedMetric]
) -> None:
    if curves and not rule:
        raise SpecError(
            f"{visible(curves[0])} has several values a run, one a step, and no rule says which of"
            " them counts",
            hint="--rule last, or --rule best:VALIDATION_METRIC (never the best on test)",
        )


def _refuse_absent(
    metrics: Sequence[AskedMetric],
    values: dict[tuple[str, int], dict[str, tuple[float, int]]],
    rule: str,
    is_curve: bool,
) -> None:
    """Refuse metrics without any value."""
    seen = {metric for known in values.values() for metric in known}
    for metric in metrics:
        if metric.name not in seen and (metric.is_outcome or is_curve):
            raise SpecError(
                f"no row has a value of {visible(metric.name)!r}",
                hint=nearest(metric.name, [visible(each) for each in seen]) if seen else "",
            )


# SQL. `source` has every cell with what is wrong with it; `given` the values that are there.

_WHOLE = (
    "case when try_cast({text} as double) between 0 and " + str(LAST_SEED) + " and"
    " try_cast({text} as double) = floor(try_cast({text} as double))"
    " then try_cast({text} as double)::bigint end"
)
_FROM_CELLS = f"""
select place, nullif(trim(arm), '') as arm, nullif(trim(seed_text), '') as seed_text,
    {_WHOLE.format(text="seed_text")} as seed,
    metric, nullif(trim(step_text), '') as step_text, {_WHOLE.format(text="step_text")} as step,
    nullif(trim(value_text), '') as value_text, try_cast(trim(value_text) as double) as value
from cell
"""
_BAD_ROWS = f"""
select place, case
    when arm is null then 'it names no arm'
    when length(arm) > 1000 then 'the name of its arm is longer than 1000 letters'
    when seed is null then 'seed ' || coalesce('"' || left(seed_text, 40) || '"', '(none)')
        || ' is no whole number from 0 to {LAST_SEED}'
    when step is null and step_text is not null
        then 'step "' || left(step_text, 40) || '" is no whole number from 0 on'
    else left(metric, 80) || ' is "' || left(value_text, 40) || '", which is no number'
    end as why
from source
where arm is null or length(arm) > 1000 or seed is null
    or (step is null and step_text is not null)
    or (value is null and value_text is not null)
"""
_GIVEN = """
select source.place, arm_name.name, source.seed, source.metric, source.step, source.value
from source
inner join arm_name using (arm)
where source.value is not null
"""
_DOUBLES = """
select name, seed, metric, step, min(place), max(place)
from given
group by name, seed, metric, step
having count(*) > 1
order by min(place)
limit ?
"""
# The last value of each metric: that of the largest step, or the only one. Runs without a value
# have a row, too.
_LAST = """
with run as (
    select arm_name.name, source.seed, min(source.place) as first
    from source inner join arm_name using (arm) group by all
),
last as (
    select name, seed, metric, arg_max(value, coalesce(step, 0)) as value,
        arg_max(place, coalesce(step, 0)) as place
    from given group by all
)
select run.name, run.seed, last.metric, last.value, last.place
from run left join last using (name, seed)
order by run.first, run.name, run.seed, last.metric
"""
# The step at which the validation metric is best.
_CHOSEN = """
select name, seed, {order} as step
from given where metric = ? and isfinite(value) group by all
"""
# Values of curves at that step; what has one value a run has that one.
_AT_CHOSEN = """
with run as (
    select arm_name.name, source.seed, min(source.place) as first
    from source inner join arm_name using (arm) group by all
)
select run.name, run.seed, given.metric, given.value, given.place
from run
left join chosen using (name, seed)
left join given on given.name = run.name and given.seed = run.seed
    and (given.step = chosen.step or not list_contains($1, given.metric))
order by run.first, run.name, run.seed, given.metric
"""
_THINNED = """
with reach as (
    select name, seed, metric, min(step) as low, max(step) as high from given group by all
),
kept as (
    select given.name, given.seed, given.metric,
        (given.step - low) * $1 // (high - low + 1) as part, max(given.step) as step
    from given inner join reach using (name, seed, metric)
    where list_contains($2, given.metric) group by all
    union all
    select given.name, given.seed, given.metric, null, given.step
    from given inner join {chosen} as chosen on chosen.name = given.name
        and chosen.seed = given.seed and chosen.step = given.step
    where list_contains($2, given.metric)
),
points as (select distinct name, seed, metric, step from kept)
select given.name, given.seed, given.metric, given.step, given.value
from given inner join points using (name, seed, metric, step)
order by all
"""


def _from_parquet(
    path: str, kinds: dict[str, str], columns: Columns, metrics: Sequence[str]
) -> str:
    """Return the SQL that gives the cells of a Parquet file."""
    step, step_text = _whole_of(columns.step, kinds)
    seed, seed_text = _whole_of(columns.seed, kinds)
    table = f"read_parquet({_literal(path)}, file_row_number = true)"
    head = (
        f"select file_row_number + 1 as place, nullif(trim({_quoted(columns.arm)}::varchar), '')"
        f" as arm, {seed_text} as seed_text, {seed} as seed"
    )
    tail = f"{step_text} as step_text, {step} as step"
    if columns.metric is not None and columns.value is not None:
        value, value_text = _value_of(columns.value, kinds)
        asked = ", ".join(map(_literal, metrics))
        return (
            f"{head}, {_quoted(columns.metric)}::varchar as metric, {tail}, {value_text} as"
            f" value_text, {value} as value from {table}"
            f" where {_quoted(columns.metric)}::varchar in ({asked})"
        )
    parts = []
    for metric in metrics:
        value, value_text = _value_of(metric, kinds)
        parts.append(
            f"{head}, {_literal(metric)} as metric, {tail}, {value_text} as value_text,"
            f" {value} as value from {table}"
        )
    return " union all ".join(parts)


_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NUMBERS = (*_INTEGERS, "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE", "BOOLEAN")


def _whole_of(column: str | None, kinds: dict[str, str]) -> tuple[str, str]:
    if column is None:
        return "null::bigint", "null::varchar"
    name = _quoted(column)
    text = f"nullif(trim({name}::varchar), '')"
    if kinds[column] in _INTEGERS:
        return f"case when {name} between 0 and {LAST_SEED} then {name}::bigint end", text
    return _WHOLE.format(text=name if kinds[column] in _NUMBERS else f"{name}::varchar"), text


def _value_of(column: str, kinds: dict[str, str]) -> tuple[str, str]:
    name, kind = _quoted(column), kinds[column]
    if kind in _NUMBERS or kind.startswith("DECIMAL"):
        return f"{name}::double", f"{name}::varchar"
    text = f"nullif(trim({name}::varchar), '')"
    return f"try_cast({text} as double)", text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
