"""Tables as data frames of pandas or polars, or as Arrow: made by DuckDB, none of them required."""

import html
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Literal, get_args, get_type_hints

from duckdb import DuckDBPyConnection

from icckd.errors import MachineError, UsageError
from icckd.results.database import connect
from icckd.results.export import fill_records
from icckd.results.types import Table

FrameKind = Literal["pandas", "polars", "arrow"]
_NEEDED: Mapping[FrameKind, tuple[str, ...]] = {
    "pandas": ("pandas",),
    "polars": ("polars", "pyarrow"),
    "arrow": ("pyarrow",),
}
SHOWN_ROWS = 20
SHOWN_LETTERS = 200
Fetch = Callable[[DuckDBPyConnection], Any]


class Frame(Sequence[tuple[Any, ...]]):
    """A table: rows as tuples here, a data frame of another library when asked for one.

    Args:
        query: Runs the query behind the table, and what it is given on the result.
        table: The rows, where they are there already.
    """

    def __init__(self, query: Callable[[Fetch], Any], table: Table | None = None) -> None:
        self._query = query
        self._table = table

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._read().columns

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The rows."""
        return self._read().rows

    def _read(self) -> Table:
        if self._table is None:
            self._table = self._query(_table)
        return self._table

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        """Return a row, or rows."""
        return self.rows[place]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Return the rows in order."""
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"<Frame of {len(self)} rows: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """Return the first rows for a notebook."""

        def cells(kind: str, row: Sequence[Any]) -> str:
            texts = (
                html.escape("" if value is None else str(value)[:SHOWN_LETTERS]) for value in row
            )
            return "".join(f"<{kind}>{text}</{kind}>" for text in texts)

        rows = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows[:SHOWN_ROWS])
        more = f"<p>{len(self):,} rows</p>" if len(self) > SHOWN_ROWS else ""
        head = f"<thead><tr>{cells('th', self.columns)}</tr></thead>"
        return f"<table>{head}<tbody>{rows}</tbody></table>{more}"

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`.

        Raises:
            MachineError: pandas is not installed.
        """
        return self._made("pandas")

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame`.

        Raises:
            MachineError: polars or pyarrow is not installed.
        """
        return self._made("polars")

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`.

        Raises:
            MachineError: pyarrow is not installed.
        """
        return self._made("arrow")

    def _made(self, kind: FrameKind) -> Any:
        for package in _NEEDED[kind]:
            if find_spec(package) is None:
                raise MachineError(
                    f"a table as {kind} needs the package {package}, which is not installed",
                    hint=f"pip install {package}; to_dicts() needs nothing",
                )
        return self._query(lambda found: _converted(found, kind))


def records_frame(record: type, columns: Sequence[str], found: Sequence[Any]) -> Frame:
    """Return a few records of a class, a dataclass whose fields have types, as a frame."""
    hints = get_type_hints(record)
    kinds = [_kind(hints[name]) for name in columns]
    rows = tuple(tuple(getattr(each, name) for name in columns) for each in found)

    def query(fetch: Fetch) -> Any:
        connection = connect()
        try:
            fill_records(connection, columns, rows, kinds)
            return fetch(connection.execute("from record"))
        finally:
            connection.close()

    return Frame(query, Table(columns=tuple(columns), rows=rows))


def _kind(hint: Any) -> str:
    """Return the type of a column that has the values of a field."""
    kinds = {kind for kind in get_args(hint) if isinstance(kind, type)} or {hint}
    if float in kinds:
        return "double"
    return "bigint" if int in kinds else "varchar"


def _table(found: DuckDBPyConnection) -> Table:
    columns = tuple(str(column[0]) for column in found.description or ())
    return Table(columns=columns, rows=tuple(found.fetchall()))


def _converted(found: DuckDBPyConnection, kind: FrameKind) -> Any:
    if kind == "pandas":
        return found.df()
    name = "to_arrow_table" if hasattr(found, "to_arrow_table") else "fetch_arrow_table"
    with warnings.catch_warnings():  # DuckDB 2 tells of a copy that a cursor costs
        warnings.simplefilter("ignore")
        table = getattr(found, name)()  # DuckDB 2 has the first, 1.5 the second
    if kind == "arrow":
        return table
    import polars

    return polars.from_arrow(table)


# Reading a data frame of the user.


def columns_of(frame: Any) -> dict[str, list[Any]]:
    """Return the columns of a table of any kind, as lists of plain values by their names.

    Args:
        frame: A `Frame`, a data frame of pandas or polars, an Arrow table, a mapping of columns, or
            a sequence of mappings, one a row. A missing value is None; in pandas NaN is one, too.

    Raises:
        UsageError: It is no table, or its columns are not equally long.
    """
    found = _read(frame)
    if found is None:
        raise UsageError(
            f"{type(frame).__name__} is not a table",
            hint="give a data frame of pandas or polars, an Arrow table, a dict of columns, or a"
            " list of dicts",
        )
    columns = {str(name): [_plain(value) for value in values] for name, values in found.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"the columns are not equally long: {told}", hint="mend the table")
    return columns


def _read(frame: Any) -> Mapping[Any, Sequence[Any]] | None:
    if isinstance(frame, Frame):
        return {name: [row[i] for row in frame] for i, name in enumerate(frame.columns)}
    if hasattr(frame, "to_pydict"):  # Arrow
        return dict(frame.to_pydict())
    package = type(frame).__module__.partition(".")[0]
    if package == "pandas" and hasattr(frame, "columns"):
        known = frame.reset_index(drop=True).astype(object)
        return dict(known.where(known.notna(), None).to_dict("list"))
    if package == "polars" and hasattr(frame, "collect"):
        frame = frame.collect()
    if package == "polars" and hasattr(frame, "to_dict"):
        return dict(frame.to_dict(as_series=False))
    if isinstance(frame, Mapping):
        return {name: list(values) for name, values in frame.items()}
    is_rows = isinstance(frame, Sequence) and not isinstance(frame, (str, bytes))
    if is_rows and all(isinstance(row, Mapping) for row in frame):
        names = dict.fromkeys(name for row in frame for name in row)
        return {name: [row.get(name) for row in frame] for name in names}
    return None


def _plain(value: Any) -> Any:
    """Return a scalar of NumPy, and a decimal, as one of Python."""
    if isinstance(value, Decimal):
        return float(value)
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value
