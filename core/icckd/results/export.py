"""Rows and views as Parquet or CSV files, written by DuckDB."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.results.database import VIEWS, connect, create_tables, create_views, first_line
from icckd.results.store import Store
from icckd.results.values import FORMULA

Kind = Literal["parquet", "csv"]
_TYPES = {bool: "boolean", int: "bigint", float: "double", tuple: "bigint[]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The files written, and how many of their texts a spreadsheet takes for formulas."""

    files: tuple[Path, ...]
    formulas: int


def export_views(
    folder: StateFolder, target: Path, kind: Kind, *, for_spreadsheet: bool = False
) -> Exported:
    """Write every view of a state folder's journals into a folder, one file each.

    Args:
        folder: The state folder.
        target: Where the files go.
        kind: Their format.
        for_spreadsheet: Whether texts that look like formulas are escaped in CSV.

    Raises:
        MachineError: The files cannot be written.
    """
    connection = connect()
    create_tables(connection)
    create_views(connection)
    _make(target)
    with Store(folder, connection, on_file=False) as store:
        store.ingest()
        files, formulas = [], 0
        for view in VIEWS:
            texts = _texts_of(connection, view) if kind == "csv" else []
            formulas += _formulas_in(connection, view, texts)
            query = _escaped(view, texts) if for_spreadsheet and texts else f"from {view}"
            files.append(_copy(connection, query, target / f"{view}.{kind}"))
    return Exported(files=tuple(files), formulas=formulas)


def _texts_of(connection: DuckDBPyConnection, view: str) -> list[str]:
    described = connection.execute(f"describe {view}").fetchall()
    return [row[0] for row in described if row[1] == "VARCHAR"]


def _formulas_in(connection: DuckDBPyConnection, view: str, texts: Sequence[str]) -> int:
    if not texts:
        return 0
    counts = " + ".join(f'count_if(regexp_matches("{name}", $1))' for name in texts)
    row = connection.execute(f"select {counts} from {view}", [FORMULA]).fetchone()
    return int(row[0] or 0) if row else 0


def _escaped(view: str, texts: Sequence[str]) -> str:
    changed = ", ".join(
        f'case when regexp_matches("{name}", \'{FORMULA}\') then chr(39) || "{name}"'
        f' else "{name}" end as "{name}"'
        for name in texts
    )
    return f"select * replace ({changed}) from {view}"


def write_parquet(columns: Sequence[str], rows: Sequence[Sequence[Any]], target: Path) -> Path:
    """Write records as one Parquet file; a column's type is that of its first value.

    Raises:
        MachineError: The file cannot be written.
    """
    connection = connect()
    try:
        fill_records(connection, columns, rows)
        return _copy(connection, "from record", target)
    finally:
        connection.close()


def fill_records(
    connection: DuckDBPyConnection,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    kinds: Sequence[str] | None = None,
) -> None:
    """Make the table `record` of a few records.

    Args:
        connection: Where.
        columns: The names of its columns.
        rows: The records.
        kinds: The types of its columns; None takes that of each column's first value.
    """
    if kinds is None:
        kinds = [_type([row[i] for row in rows]) for i in range(len(columns))]
    defined = ", ".join(f'"{name}" {kind}' for name, kind in zip(columns, kinds, strict=True))
    connection.execute(f"create table record ({defined})")
    if rows:
        places = ", ".join("?" for _ in columns)
        values = [[list(v) if isinstance(v, tuple) else v for v in row] for row in rows]
        connection.executemany(f"insert into record values ({places})", values)


def _type(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    return _TYPES.get(next(iter(kinds)), "varchar") if len(kinds) == 1 else "varchar"


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make the folder {target}: {error.strerror}") from error


def _copy(connection: DuckDBPyConnection, query: str, target: Path) -> Path:
    name = str(target).replace("'", "''")
    options = "format parquet" if target.suffix == ".parquet" else "format csv, header"
    try:
        connection.execute(f"copy ({query}) to '{name}' ({options})")
    except duckdb.Error as error:
        raise MachineError(
            f"cannot write {target}: {first_line(error)}",
            hint="choose a folder that can be written",
        ) from error
    return target
