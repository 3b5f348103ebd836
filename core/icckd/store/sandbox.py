"""SQL that somebody typed: one statement, reading only, without files or settings.

The fence is not the statement's type, which a `with x as (insert ...)` hides, but a sealed
connection and a read-only transaction that is always rolled back.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection, StatementType

from icckd.errors import UsageError

# MULTI is what DuckDB calls a PIVOT.
_READING = (StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Column names and rows; `is_cut` when there were more than asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


def ask(cursor: DuckDBPyConnection, sql: str, *, rows: int) -> Answer:
    """Return the answer to one reading statement on a sealed connection, so many rows at most.

    Raises:
        UsageError: It is not one reading statement, or DuckDB refuses it.
    """
    if any("\ud800" <= character <= "\udfff" for character in sql):
        raise UsageError("SQL: it is not valid UTF-8", hint="type the statement anew")
    try:
        statements = cursor.extract_statements(sql)
        _refuse_unless_reading(statements)
        cursor.execute("begin transaction read only")
        try:
            result = cursor.execute(statements[0])
            found = tuple(result.fetchmany(rows + 1))
            columns = tuple(str(column[0]) for column in result.description or ())
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.execute("rollback")
    except duckdb.Error as error:
        raise UsageError(
            f"SQL: {str(error).strip()}", hint="views and tables: show tables"
        ) from error
    return Answer(columns=columns, rows=found[:rows], is_cut=len(found) > rows)


def _refuse_unless_reading(statements: list[Any]) -> None:
    if not statements:
        raise UsageError("SQL: no statement", hint="for example: from comparison")
    if len(statements) > 1:
        raise UsageError(f"SQL: {len(statements)} statements", hint="give one statement at a time")
    kind = statements[0].type
    if kind not in _READING:
        raise UsageError(
            f"SQL: a {kind.name} statement cannot be run here",
            hint="only statements that read, such as select",
        )
