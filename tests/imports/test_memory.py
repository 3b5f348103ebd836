"""Ten million rows of Parquet take no more memory than a limit of DuckDB and the program itself."""

import runpy
from pathlib import Path

import duckdb
import pytest

BENCH = Path(__file__).parents[2] / "bench" / "import_parquet.py"
MOST_MIB = 1100


@pytest.mark.long
def test_ten_million_rows_are_imported_in_bounded_memory(tmp_path):
    imported = runpy.run_path(str(BENCH))["imported"]
    path = tmp_path / "steps.parquet"
    duckdb.execute(
        "copy (select 'arm-' || (i % 5) as arm, i // 5 % 8 as seed, i // 40 as step,"
        " i / 1e7 as acc, hash(i) % 9973 / 1e4 as val_acc from range(10_000_000) as t(i))"
        f" to '{path}'"
    )

    for rule in ("last", "best:val_acc"):
        _, peak_kib = imported(path, rule, tmp_path / rule[:4])
        assert peak_kib / 1024 < MOST_MIB
