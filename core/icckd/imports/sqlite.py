"""SQLite files that other programs wrote, read from a copy: nothing beside them is touched.

Only tables are read, no views, whose SQL comes from the file; and the work that a query may take is
limited.
"""

import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.imports.files import GIB, source_file
from icckd.study.observed import SourceFile, visible

MOST_BYTES = 4 * GIB
MOST_SECONDS = 600.0
LONGEST_VALUE = 1 << 24


class Tables:
    """The tables of a file.

    Attributes:
        files: The file, and its log of what is not yet in it, if there is one.
    """

    def __init__(
        self, connection: sqlite3.Connection, files: tuple[SourceFile, ...], name: str
    ) -> None:
        self.files = files
        self._connection = connection
        self._name = name
        rows = self._ask("select name from sqlite_master where type = 'table'")
        self._known = {str(row[0]) for row in rows}

    def require(self, tables: tuple[str, ...], what: str) -> None:
        """Do nothing where the file has these tables.

        Raises:
            SpecError: It lacks one.
        """
        for table in tables:
            if table not in self._known:
                raise SpecError(
                    f"{self._name} is no {what}: it has no table {table!r}",
                    hint="is it the right file?",
                )

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query over tables that were asked for by `require`.

        Raises:
            SpecError: The file is damaged, or of another version, or takes too long.
        """
        yield from self._ask(sql, parameters)

    def _ask(self, sql: str, parameters: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(sql, parameters)
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise SpecError(
                f"cannot read {self._name} as SQLite: {visible(str(error))}",
                hint="is it whole, and of a version named in docs/results-from-elsewhere.md?",
            ) from error


@contextlib.contextmanager
def open_tables(path: Path) -> Iterator[Tables]:
    """Yield the tables of an SQLite file; errors as `source_file` and `Tables.rows`."""
    files = [source_file(path, most=MOST_BYTES)]
    log = path.with_name(f"{path.name}-wal")
    if log.is_file():
        files.append(source_file(log, most=MOST_BYTES))
    with tempfile.TemporaryDirectory(prefix="icckd-import-") as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(path, copy)
        if log.is_file():
            shutil.copyfile(log, copy.with_name("copy.db-wal"))
        connection = sqlite3.connect(copy)
        try:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            until = time.monotonic() + MOST_SECONDS
            connection.set_progress_handler(lambda: int(time.monotonic() > until), 100_000)
            with contextlib.suppress(sqlite3.Error):  # the first look at a damaged file
                connection.execute("pragma trusted_schema = off")
            yield Tables(connection, tuple(files), visible(path.name))
        finally:
            connection.close()
