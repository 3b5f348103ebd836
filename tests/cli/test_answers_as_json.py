"""Answers to SQL for other programs: always JSON, every value kept, nothing that runs by itself."""

import csv
import io
import json
from pathlib import Path

import duckdb
import pytest

from icckd.errors import MachineError
from icckd.report.query import write_query
from icckd.results.export import _copy, export_views
from icckd.results.sandbox import Fence
from icckd.results.types import Table
from tests.support.lab import planned


def no(word):
    raise ValueError(f"{word} is no JSON")


@pytest.fixture(scope="module")
def fence(tmp_path_factory):
    from icckd.journal.folder import StateFolder

    folder = StateFolder(tmp_path_factory.mktemp("state"))
    folder.create()
    with Fence(folder.root) as opened:
        yield opened


def as_json(fence, sql):
    """Return the rows of an answer as a program reads them that knows JSON and nothing more."""
    table, _ = fence.ask(sql, rows=100)
    out = io.StringIO()
    write_query(table, "json", out)
    return json.loads(out.getvalue(), parse_constant=no)


def test_numbers_that_json_lacks_are_words_however_deep_they_are(fence):
    [row] = as_json(
        fence,
        "select 'nan'::double as a, '-inf'::float as b, [0.5, 'nan'::double] as c,"
        " {'x': 'inf'::double, 'y': [{'z': 'nan'::double}]} as d, map {'k': 'inf'::double} as e",
    )

    assert row == {
        "a": "nan", "b": "-inf", "c": [0.5, "nan"],
        "d": {"x": "inf", "y": [{"z": "nan"}]}, "e": {"k": "inf"},
    }  # fmt: skip


def test_decimals_are_numbers_also_inside_lists(fence):
    [row] = as_json(
        fence,
        "select 1.5 as x, round(2.25, 1) as y, 3::decimal(4, 0) as n, [1.25::decimal(4, 2)] as l,"
        " sum(v) as s from (values (1), (2)) as t(v)",
    )

    assert row == {"x": 1.5, "y": 2.3, "n": 3, "l": [1.25], "s": 3}
    assert isinstance(row["n"], int)


def test_columns_of_one_name_keep_their_values_apart(fence):
    [row] = as_json(fence, "select 1 as value, 2 as value, 3 as value_1, 4 as value")

    assert row == {"value": 1, "value_2": 2, "value_1": 3, "value_3": 4}


def test_values_of_every_other_type_are_text_or_lists(fence):
    [row] = as_json(
        fence,
        "select date '2026-01-02' as d, interval 36 hours as i, 'ab'::blob as b, null as n,"
        " map {1: 'x'} as m, uuid '00000000-0000-0000-0000-000000000001' as u,"
        " 170141183460469231731687303715884105727::hugeint as h, true as t",
    )

    assert row == {
        "d": "2026-01-02", "i": "1 day, 12:00:00", "b": "6162", "n": None, "m": {"1": "x"},
        "u": "00000000-0000-0000-0000-000000000001",
        "h": 170141183460469231731687303715884105727, "t": True,
    }  # fmt: skip


@pytest.mark.parametrize("statement", ["update extensions", "install httpfs", "checkpoint"])
def test_a_statement_that_does_more_than_read_is_told_as_such(fence, statement):
    from icckd.errors import UsageError

    with pytest.raises(UsageError, match=r"SQL: [A-Z ]+ statements cannot be run here"):
        fence.ask(statement, rows=1)
    assert fence.ask("select 1", rows=1)[0].rows == ((1,),)


HOSTILE = ("=HYPERLINK(1)", "@SUM(A1)", "+cmd", "-1+2", "-cmd", "plain", "-0.5")


def test_texts_that_a_spreadsheet_would_run_are_told_and_escaped_on_request(finished):
    values = ", ".join(f"('{text}')" for text in HOSTILE)
    sql = f"select t, -0.5 as n from (values {values}) as v(t)"

    raw = finished.run("sql", sql, "--format", "csv")
    assert raw.stdout.splitlines()[1] == "=HYPERLINK(1),-0.5"
    assert "5 texts: they would be run; --for-spreadsheet escapes them" in raw.stderr

    safe = finished.run("sql", sql, "--format", "csv", "--for-spreadsheet")
    cells = [row[0] for row in csv.reader(io.StringIO(safe.stdout))][1:]
    assert cells == ["'=HYPERLINK(1)", "'@SUM(A1)", "'+cmd", "'-1+2", "'-cmd", "plain", "-0.5"]
    assert "have ' before them" in safe.stderr
    assert finished.run("sql", "select 'a' as t", "--format", "csv").stderr == ""


def test_a_full_disk_is_told_in_its_own_words_where_duckdb_writes():
    told = 'IO Error: Async write failed: {"exception_type":"IO","errno":"28"}'

    class Full:
        def execute(self, statement):
            raise duckdb.IOException(told)

    with pytest.raises(MachineError, match=r"cannot write x.csv: No space left on device$"):
        _copy(Full(), "from trial", Path("x.csv"))


def test_csv_keeps_columns_of_one_name_apart_and_has_lists_and_structs_as_json(finished):
    sql = "select 1 as a, 2 as a, {'b': [0.5, 'nan'::double, null]} as s, true as t"
    done = finished.run("sql", sql, "--format", "csv")

    [row] = csv.DictReader(io.StringIO(done.stdout))
    assert row == {"a": "1", "a_1": "2", "s": '{"b": [0.5, "nan", null]}', "t": "True"}


def test_a_statement_that_needs_too_much_memory_is_told_as_that(fence):
    from icckd.errors import UsageError

    with pytest.raises(UsageError, match="it needed more memory than it may have") as refused:
        fence.ask("select repeat('x', 3000000000)", rows=1)
    assert "\n" not in refused.value.message


def test_views_as_csv_escape_texts_on_request_and_change_nothing_else(lab, tmp_path):
    plan = planned()
    plan.study["study"]["question"] = "=HYPERLINK(1)"
    with lab.finished("s", plan):
        pass
    raw = export_views(lab.folder, tmp_path / "raw", "csv")
    safe = export_views(lab.folder, tmp_path / "safe", "csv", for_spreadsheet=True)

    assert (raw.formulas, safe.formulas) == (1, 1)
    for view in ("study", "trial", "comparison"):
        one, two = ((tmp_path / kind / f"{view}.csv").read_text() for kind in ("raw", "safe"))
        assert two == one.replace("=HYPERLINK", "'=HYPERLINK")
    assert "'=HYPERLINK" in (tmp_path / "safe" / "study.csv").read_text()
    assert duckdb.sql(f"from '{tmp_path}/safe/study.csv'").fetchall()


def test_a_table_of_our_own_is_json_too():
    out = io.StringIO()
    write_query(Table(columns=("a", "a"), rows=((float("nan"), (1, float("inf"))),)), "json", out)

    assert json.loads(out.getvalue(), parse_constant=no) == [{"a": "nan", "a_1": [1, "inf"]}]
