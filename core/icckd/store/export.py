"""Rows and views as Parquet or CSV files, written by DuckDB."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
from duckdb import DuckDBPyConnection

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.store.database import connect
from icckd.store.schema import VIEWS, create_tables, create_views
from icckd.store.store import Store

Kind = Literal["parquet", "csv"]
_TYPES = {bool: "boolean", int: "bigint", float: "double", tuple: "bigint[]"}


def export_views(folder: StateFolder, target: Path, kind: Kind) -> list[Path]:
    """Write every view of a state folder's journals into a folder, one file each.

    Raises:
        MachineError: The files cannot be written.
    """
    connection = connect()
    create_tables(connection)
    create_views(connection)
    _make(target)
    with Store(folder, connection, on_file=False) as store:
        store.ingest()
        return [_copy(connection, f"from {view}", target / f"{view}.{kind}") for view in VIEWS]


def write_parquet(columns: Sequence[str], rows: Sequence[Sequence[Any]], target: Path) -> Path:
    """Write records as one Parquet file; a column's type is that of its first value.

    Raises:
        MachineError: The file cannot be written.
    """
    connection = connect()
    kinds = [_type([row[i] for row in rows]) for i in range(len(columns))]
    defined = ", ".join(f'"{name}" {kind}' for name, kind in zip(columns, kinds, strict=True))
    connection.execute(f"create table record ({defined})")
    if rows:
        places = ", ".join("?" for _ in columns)
        values = [[list(v) if isinstance(v, tuple) else v for v in row] for row in rows]
        connection.executemany(f"insert into record values ({places})", values)
    try:
        return _copy(connection, "from record", target)
    finally:
        connection.close()


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
        first_line = str(error).strip().splitlines()[0]
        raise MachineError(
            f"cannot write {target}: {first_line}", hint="choose a folder that can be written"
        ) from error
    return target
