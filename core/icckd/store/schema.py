"""Tables and views of the store, from the SQL files beside this module."""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from duckdb import DuckDBPyConnection

from icckd.spec.metrics import OUTCOMES, SERIES
from icckd.store.transaction import transaction

_HERE = Path(__file__).parent
# A view stands after those that it reads.
VIEWS = (
    "study",
    "attempt_state",
    "stage_state",
    "trial",
    "outcome",
    "curve",
    "paired_difference",
    "comparison",
    "convergence",
    "stability",
    "memory",
    "stage_cost",
    "lineage",
    "log",
)


def create_tables(connection: DuckDBPyConnection) -> None:
    """Make the tables in the current database: all of them, or none."""
    with transaction(connection):
        connection.execute((_HERE / "schema.sql").read_text())
        connection.execute("insert into made_by values (?, '')", [tables_digest()])


def create_views(connection: DuckDBPyConnection) -> None:
    """Make views and metric catalogue afresh unless this code made those that are there."""
    made = connection.execute("select views from made_by").fetchone()
    if made == (views_digest(),):
        return
    known = list({**SERIES, **OUTCOMES}.values())
    with transaction(connection):
        for name in VIEWS:
            connection.execute(_view_sql(name))
        connection.execute("delete from metric_info")
        connection.execute(
            "insert into metric_info select unnest($1::varchar[]), unnest($2::integer[]),"
            " unnest($3::varchar[]), unnest($4::varchar[]), unnest($5::varchar[])",
            [[m.name for m in known], list(range(len(known))), [m.unit for m in known],
             [m.direction for m in known], [m.about for m in known]],
        )  # fmt: skip
        connection.execute("update made_by set views = ?", [views_digest()])


def made_by_this_code(connection: DuckDBPyConnection, database: str) -> bool:
    """Say whether an attached database has the tables of this version."""
    has_mark = connection.execute(
        "select 1 from duckdb_tables() where database_name = ? and table_name = 'made_by'",
        [database],
    ).fetchone()
    if has_mark is None:
        return False
    row = connection.execute(f"select tables from {database}.main.made_by").fetchone()
    return row is not None and row[0] == tables_digest()


@cache
def tables_digest() -> str:
    """Return what names this version of the tables."""
    return hashlib.sha256((_HERE / "schema.sql").read_bytes()).hexdigest()[:16]


@cache
def views_digest() -> str:
    """Return what names this version of the views and the metric catalogue."""
    text = "\0".join([*(_view_sql(name) for name in VIEWS), repr(SERIES), repr(OUTCOMES)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: str
    is_nullable: bool


def columns(connection: DuckDBPyConnection) -> dict[str, list[Column]]:
    """Return the columns of each table, in the order of its definition."""
    found: dict[str, list[Column]] = {}
    for table, *column in connection.execute(
        "select table_name, column_name, data_type, is_nullable from duckdb_columns()"
        " where database_name = current_database() and not internal"
        " and table_name in (select table_name from duckdb_tables())"
        " order by table_oid, column_index"
    ).fetchall():
        found.setdefault(table, []).append(Column(*column))
    return found


def about_views() -> list[tuple[str, str]]:
    """Return name and leading comment of every view."""
    return [(name, _leading_comment(_view_sql(name))) for name in VIEWS]


def _leading_comment(sql: str) -> str:
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


@cache
def _view_sql(name: str) -> str:
    return (_HERE / "views" / f"{name}.sql").read_text()
