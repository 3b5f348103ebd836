"""Tables of runs: wide and long, CSV, JSON, Parquet; what is refused, what is told of them."""

import csv
import io
import json
import re
from itertools import product

import duckdb
import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from tests.imports.conftest import curve, long_form, parquet, steps_of, values, wide, write_csv
from tests.support.desk import Desk

FORMS = ("wide", "long")
QUICK = (("runs.parquet", "wide"), ("runs.csv", "long"))
BASICS = ("--arm", "method", "--baseline", "full", "--metric", "acc")


def imported(desk: Desk, name: str, *more: str, kind: str = "csv"):
    return desk.run("import", kind, name, *BASICS, *more)


def expected(rows: list[dict], metric: str = "acc") -> dict[tuple[str, int], float]:
    return {(r["method"], r["seed"]): r[metric] for r in rows}


# Forms.


def test_a_row_a_run_gives_the_numbers_of_the_file_and_a_verdict(desk):
    rows = wide()
    write_csv(desk.folder / "runs.csv", rows)

    done = imported(desk, "runs.csv", "--metric", "loss", "--unit", "acc=%")

    assert values(desk) == expected(rows)
    assert values(desk, "observed.loss") == expected(rows, "loss")
    assert "Arm no-cache lowers observed.acc by" in done.stdout
    assert "the part helps" in done.stdout
    assert "imported 24 runs of 3 arms from runs.csv as study runs" in done.stderr


@pytest.mark.parametrize("between", [";", "\t"])
def test_semicolons_and_tabs_part_columns_too(desk, between):
    rows = wide()
    write_csv(desk.folder / "runs.csv", rows, between)

    imported(desk, "runs.csv")

    assert values(desk) == expected(rows)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow)
        for case in product(("runs.csv", "runs.parquet", "runs.json", "runs.jsonl"), FORMS)
    ],
)
def test_every_kind_of_table_gives_the_same_numbers_in_both_forms(desk, name, form):
    rows = wide()
    written = rows if form == "wide" else long_form(rows)
    path = desk.folder / name
    if name.endswith("csv"):
        write_csv(path, written)
    elif name.endswith("parquet"):
        parquet(path, written)
    elif name.endswith("json"):
        path.write_text(json.dumps(written))
    else:
        path.write_text("\n".join(map(json.dumps, written)))

    imported(desk, name, "--metric", "loss")

    assert values(desk) == expected(rows)
    assert values(desk, "observed.loss") == expected(rows, "loss")


def test_other_names_of_the_long_form_are_told_by_an_option(desk):
    rows = wide()
    renamed = [
        {"method": r["method"], "seed": r["seed"], "what": r["metric"], "score": r["value"]}
        for r in long_form(rows)
    ]
    write_csv(desk.folder / "runs.csv", renamed)

    imported(desk, "runs.csv", "--long", "what,score")

    assert values(desk) == expected(rows)


def test_single_precision_keeps_its_value(desk):
    rows = wide()
    listed = ", ".join(f"('{r['method']}', {r['seed']}, {r['acc']}::float)" for r in rows)
    duckdb.execute(
        f"copy (select * from (values {listed}) as t(method, seed, acc))"
        f" to '{desk.folder / 'runs.parquet'}'"
    )

    imported(desk, "runs.parquet")

    exact = {k: pytest.approx(v, abs=1e-5) for k, v in expected(rows).items()}
    assert values(desk) == exact
    assert values(desk) != expected(rows)


# Curves and rules.


def test_a_curve_without_a_rule_is_refused(desk):
    write_csv(desk.folder / "runs.csv", steps_of(wide()))

    done = desk.run("import", "csv", "runs.csv", *BASICS, "--step", "epoch", code=3)

    assert "acc has several values a run" in done.stderr
    assert "--rule last, or --rule best:VALIDATION_METRIC" in done.stderr
    assert not desk.state.exists()


@pytest.mark.parametrize("name", ["runs.csv", "runs.parquet"])
def test_the_last_value_of_a_curve_counts_and_the_curve_is_kept(desk, name):
    rows = wide()
    (write_csv if name.endswith("csv") else parquet)(desk.folder / name, steps_of(rows))

    done = imported(desk, name, "--step", "epoch", "--rule", "last")

    assert values(desk) == expected(rows)
    assert "last value of a run" in done.stdout
    (full, *_) = curve(desk)
    assert full.epochs_E.tolist() == [1, 2, 3, 4, 5]
    assert full.values_SE[0] == pytest.approx([rows[0]["acc"] - 5 + n for n in range(1, 6)])


def test_the_value_at_the_best_validation_counts(desk):
    rows = wide()
    write_csv(desk.folder / "runs.csv", steps_of(rows))

    done = imported(
        desk, "runs.csv", "--step", "epoch", "--rule", "best:val", "--direction", "val=higher"
    )

    assert values(desk) == {k: pytest.approx(v - 1) for k, v in expected(rows).items()}
    assert "value at the best val" in done.stdout
    assert "observed.val" not in done.stdout


@pytest.mark.slow
def test_of_several_best_steps_the_first_counts_in_either_direction(desk):
    rows = [
        {"method": arm, "seed": 0, "epoch": step, "acc": float(step), "val": 2.0}
        for arm in ("full", "no-cache")
        for step in (3, 1, 2)
    ]
    write_csv(desk.folder / "runs.csv", rows)
    for direction in ("higher", "lower"):
        imported(desk, "runs.csv", "--step", "epoch", "--rule", "best:val", "--name", direction,
                 "--direction", f"val={direction}")  # fmt: skip
        assert set(values(desk).values()) == {1.0}


def test_the_best_value_of_a_metric_that_is_reported_is_no_outcome(desk):
    write_csv(desk.folder / "runs.csv", steps_of(wide()))

    done = desk.run(
        "import", "csv", "runs.csv", *BASICS, "--step", "epoch", "--rule", "best:acc", code=2
    )

    assert "chooses the best value of a metric that is reported" in done.stderr


def test_a_long_curve_is_thinned_and_its_chosen_value_is_exact(desk):
    rows = [
        {"method": arm, "seed": seed, "step": step, "acc": step / 1000 + seed}
        for arm in ("full", "no-cache")
        for seed in range(2)
        for step in range(5000)
    ]
    write_csv(desk.folder / "runs.csv", rows)

    imported(desk, "runs.csv", "--step", "step", "--rule", "last")

    assert values(desk)["full", 1] == 5.999
    (full, _) = curve(desk)
    assert 500 < len(full.epochs_E) <= 1001
    assert full.epochs_E[-1] == 4999


@pytest.mark.slow
def test_single_values_are_captioned_rule_unknown_unless_it_is_given(desk):
    write_csv(desk.folder / "runs.csv", wide())

    unknown = imported(desk, "runs.csv").stdout
    given = imported(desk, "runs.csv", "--rule", "best:val_acc", "--name", "other").stdout

    assert "rule unknown" in unknown
    assert "rule unknown" not in given
    assert "value at the best val_acc" in given
    for form in ("latex", "html", "md"):
        assert "rule unknown" in desk.run("report", "runs", "--format", form).stdout


# What is wrong with a table: one error that names rows, and nothing is imported.


def refused(desk: Desk, rows: list[dict], *more: str, code: int = 3) -> str:
    write_csv(desk.folder / "runs.csv", rows)
    error = desk.run("import", "csv", "runs.csv", *BASICS, *more, code=code).stderr
    assert not desk.state.exists()
    assert error.count("icckd: ") == 1
    return error


def test_two_values_for_one_arm_seed_and_metric_are_refused_with_their_rows(desk):
    rows = wide()

    error = refused(desk, [*rows, {**rows[4], "acc": 1.0}])

    assert "two values for one arm, seed and metric: runs.csv line 6 and runs.csv line 26" in error
    assert "(no-cache, seed 1, acc)" in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"acc": "93.1%"}, 'acc is "93.1%", which is no number'),
        ({"seed": "one"}, 'seed "one" is no whole number'),
        ({"seed": "1.5"}, 'seed "1.5" is no whole number'),
        ({"seed": "-1"}, 'seed "-1" is no whole number'),
        ({"seed": "1e300"}, 'seed "1e300" is no whole number'),
        ({"seed": ""}, "seed (none) is no whole number"),
        ({"method": " "}, "it names no arm"),
        ({"method": "x" * 1001}, "the name of its arm is longer than 1000 letters"),
    ],
)
def test_one_bad_row_imports_nothing_and_is_named(desk, change, words):
    rows = wide()
    rows[5] = {**rows[5], **change}

    error = refused(desk, rows)

    assert f"runs.csv line 7: {words}" in error
    assert "nothing was imported" in error


def test_a_row_of_another_length_is_named(desk):
    (desk.folder / "runs.csv").write_text("method,seed,acc\nfull,0,1\nfull,1,1,2\n")

    error = desk.run("import", "csv", "runs.csv", *BASICS, code=3).stderr

    assert "line 3 of runs.csv has 4 cells and its head 3" in error


@pytest.mark.slow
def test_names_that_are_not_there_are_told_with_the_nearest(desk):
    write_csv(desk.folder / "runs.csv", wide())

    for arguments, words, hint in (
        (("--arm", "metod", "--metric", "acc"), "no column 'metod'", "method"),
        (("--arm", "method", "--metric", "ac"), "no column 'ac'", "acc"),
        (("--arm", "method", "--metric", "acc", "--baseline", "ful"), "arm 'ful'", "full"),
        (("--arm", "method", "--metric", "acc", "--adds", "no-cach"), "arm 'no-cach'", "no-cache"),
    ):
        error = desk.run("import", "csv", "runs.csv", *arguments, code=3).stderr
        assert words in error
        assert hint in error.split("hint:")[1]


def test_what_no_study_can_be_made_of_is_refused(desk):
    rows = wide()
    one = [row for row in rows if row["method"] == "full"]
    renamed = [{"method": r["method"], "seed": r["seed"], "x": r["acc"]} for r in rows]
    write_csv(desk.folder / "x.csv", renamed)

    assert "runs of two arms at least" in refused(desk, one)
    error = desk.run("import", "csv", "x.csv", "--arm", "method", "--metric", "x", code=3).stderr
    assert "which values of 'x' are better is not known" in error
    assert "--direction x=higher" in error


@pytest.mark.slow
def test_options_that_do_not_fit_are_errors_of_usage(desk):
    write_csv(desk.folder / "runs.csv", wide())

    for more, words in (
        (("--rule", "max"), "--rule 'max' is not known"),
        (("--direction", "accc=higher"), "--direction speaks of 'accc'"),
        (("--direction", "higher"), "says not of which metric"),
        (("--direction", "acc=up"), "--direction acc=up is not known"),
        (("--long", "metric"), "--long 'metric' names no two columns"),
        (("--smallest-effect", "0"), "--smallest-effect must be above 0"),
    ):
        assert words in desk.run("import", "csv", "runs.csv", *BASICS, *more, code=2).stderr
    assert "which metric is to be imported" in desk.run(
        "import", "csv", "runs.csv", "--arm", "method", code=2
    ).stderr  # fmt: skip
    assert "there is no file" in desk.run("import", "csv", "none.csv", *BASICS, code=2).stderr


# Seeds that pair, and seeds that do not.


def test_common_seeds_are_paired_and_the_rest_is_named(desk):
    rows = [r for r in wide(seeds=range(9)) if (r["method"], r["seed"]) != ("no-cache", 3)]
    write_csv(desk.folder / "runs.csv", rows)

    out = imported(desk, "runs.csv").stdout

    assert "8 paired seeds" in out
    assert "seed 3 of one of them alone" in out
    row = comparison(desk, "no-cache")
    assert (row["pairs"], row["unpaired"], row["test"]) == (8, [3], "t")


def test_without_a_common_seed_welchs_test_is_used_and_said(desk):
    from scipy.stats import t, ttest_ind

    mine = wide(arms=("no-cache",), seeds=range(10, 18))
    theirs = wide(arms=("full",))
    write_csv(desk.folder / "runs.csv", [*theirs, *mine])

    out = imported(desk, "runs.csv").stdout

    row = comparison(desk, "no-cache")
    mine_acc, their_acc = ([r["acc"] for r in rows] for rows in (mine, theirs))
    test = ttest_ind(mine_acc, their_acc, equal_var=False)
    assert row["test"] == "welch"
    assert row["p"] == pytest.approx(2 * t.sf(abs(test.statistic), 7))
    reach = t.ppf(0.975, 7) * row["difference"] / test.statistic
    assert row["low"] == pytest.approx(row["difference"] - reach)
    assert row["high"] == pytest.approx(row["difference"] + reach)
    assert (row["pairs"], row["n"], row["verdict"]) == (0, 8, "helps")
    assert "by Welch's t test with 7 degrees of freedom, not of pairs" in " ".join(out.split())
    assert "Welch's t test" in desk.run("report", "--section", "methods").stdout


def test_welchs_test_gives_no_verdict_below_six_seeds_of_an_arm(desk):
    mine, theirs = wide(arms=("no-cache",), seeds=range(10, 15)), wide(arms=("full",))
    write_csv(desk.folder / "runs.csv", [*theirs, *mine])

    out = imported(desk, "runs.csv").stdout

    row = comparison(desk, "no-cache")
    assert (row["why"], row["verdict"]) == ("too few seeds", "undecided")
    assert "without a common seed, a verdict takes 6 seeds of each arm at least" in " ".join(
        out.split()
    )


def comparison(desk: Desk, arm: str) -> dict:
    found = json.loads(desk.run("report", "--format", "json").stdout)
    return next(row for row in found["comparisons"] if row["arm"] == arm)


# Runs without a number.


def test_a_run_that_diverged_counts_as_the_worst_and_one_without_a_value_is_missing(desk):
    rows = wide()
    rows[1] = {**rows[1], "acc": "nan"}
    rows[5] = {**rows[5], "acc": ""}
    write_csv(desk.folder / "runs.csv", rows)

    out = " ".join(imported(desk, "runs.csv").stdout.split())

    assert "no-cache lacks seed 0: failed (observed: acc is nan at the end)" in out
    assert "no-filter lacks seed 1: failed (observed: no value of acc was there to be read)" in out
    assert "training diverged under seed 0" in out


# The study that it makes.


@pytest.mark.slow
def test_the_same_file_twice_adds_nothing_and_a_changed_one_is_a_revision(desk):
    rows = wide()
    write_csv(desk.folder / "runs.csv", rows)
    imported(desk, "runs.csv")
    before = sorted(path.name for path in desk.state.glob("*/*"))

    again = imported(desk, "runs.csv")

    assert sorted(path.name for path in desk.state.glob("*/*")) == before
    assert "nothing new in runs.csv" in again.stderr
    write_csv(desk.folder / "runs.csv", [{**row, "acc": row["acc"] + 1} for row in rows])
    imported(desk, "runs.csv")
    with open_results(StateFolder(desk.state)) as results:
        assert len(results.revisions("runs")) == 2
        assert results.values(results.study(), "observed.acc")["full"][0] == rows[0]["acc"] + 1


def test_seeds_of_a_changed_file_came_after_results_had_been_seen(desk):
    rows = wide(seeds=range(12))
    write_csv(desk.folder / "runs.csv", [row for row in rows if row["seed"] < 8])
    imported(desk, "runs.csv")
    write_csv(desk.folder / "runs.csv", rows)

    out = imported(desk, "runs.csv").stdout

    assert "seeds 8-11 came after results had been seen" in out


def test_journals_tell_the_file_its_digest_and_the_row_of_every_number(desk):
    import hashlib

    rows = wide()
    path = write_csv(desk.folder / "runs.csv", rows)
    imported(desk, str(path), "--metric", "loss")

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    logs = desk.run("logs", "no-cache/0").stdout
    assert f"acc = {rows[1]['acc']!r}, runs.csv line 3" in logs
    assert digest in desk.run("logs", "-n", "500").stdout
    told = b"".join(p.read_bytes() for p in desk.state.glob("*/*/journal.jsonl"))
    assert digest.encode() in told
    assert str(desk.folder).encode() not in told


@pytest.mark.slow
def test_the_rows_of_the_database_come_back_from_the_journals_alone(desk):
    write_csv(desk.folder / "runs.csv", steps_of(wide()))
    imported(desk, "runs.csv", "--step", "epoch", "--rule", "last")
    query = "from outcome order by all"
    before = desk.run("sql", query, "--format", "csv").stdout
    (desk.folder / "runs.csv").unlink()
    for path in desk.state.glob("icckd.duckdb*"):
        path.unlink()

    assert desk.run("sql", query, "--format", "csv").stdout == before
    assert before.count("\n") > 24
    assert "whole: 25 journals" in desk.run("fsck").stdout


@pytest.mark.slow
def test_everything_that_reads_results_reads_an_imported_study(desk):
    rows = wide(seeds=range(7))
    write_csv(desk.folder / "runs.csv", steps_of(rows))
    imported(desk, "runs.csv", "--step", "epoch", "--rule", "last", "--smallest-effect", "0.1")

    assert "no-cache" in desk.run("compare", "full", "no-cache").stdout
    desk.run("report", "--gate", "diff(no-cache, observed.acc) < 0")
    desk.run("report", "--gate", "diff(no-cache, observed.acc) > 0", code=6)
    assert "more seeds" in desk.run("report").stdout
    desk.run("report", "--figures", "drawn")
    assert "imported runs" in (desk.folder / "drawn" / "forest.svg").read_text()
    answer = desk.run("sql", "select count(*) as n from curve", "--format", "csv").stdout
    assert int(next(csv.DictReader(io.StringIO(answer)))["n"]) == 21 * 5
    for form in ("latex", "html", "md", "csv", "json"):
        assert "no-cache" in desk.run("report", "--format", form).stdout
    desk.run("report", "-o", "rows.parquet")
    assert "imported from runs.csv" in desk.run("status").stdout
    assert "imported from runs.csv" in desk.run("ls").stdout


@pytest.mark.slow
def test_an_imported_study_cannot_be_run_or_planned(desk):
    write_csv(desk.folder / "runs.csv", wide())
    imported(desk, "runs.csv")
    same_name = desk.write(desk.small.replace('name = "small"', 'name = "runs"'), "s.toml")
    assert '"runs"' in (desk.folder / "s.toml").read_text()

    for target in ("runs", same_name):
        for verb in ("run", "plan"):
            error = desk.run(verb, target, code=2).stderr
            assert "study 'runs' was imported from runs.csv: its runs were made elsewhere" in error
            assert error.count("icckd: ") == 1


@pytest.mark.slow
def test_a_study_that_icckd_runs_keeps_its_name(desk, fresh_process):
    desk.write(desk.small)
    desk.train("run", "small.toml", "--seeds", "0:1")
    write_csv(desk.folder / "runs.csv", wide())

    error = desk.run("import", "csv", "runs.csv", *BASICS, "--name", "small", code=2).stderr

    assert "study 'small' is one that icckd runs, and keeps its name" in error


def test_an_arm_that_adds_a_part_is_judged_the_other_way(desk):
    write_csv(desk.folder / "runs.csv", wide(arms=("no-cache", "full")))

    out = desk.run(
        "import", "csv", "runs.csv", "--arm", "method", "--metric", "acc", "--baseline", "no-cache",
        "--adds", "full",
    ).stdout  # fmt: skip

    assert re.search(r"Arm full raises observed\.acc .*the part helps", " ".join(out.split()))


# Hostile files.


def test_names_of_arms_are_made_harmless(desk):
    rows = [
        {
            **row,
            "method": {"full": "full\x1b[31m", "no-cache": "a\u202eb/c:d"}.get(
                row["method"], "=1+1"
            ),
        }
        for row in wide()
    ]
    write_csv(desk.folder / "runs\x1b[2J.csv", rows)

    done = desk.run("import", "csv", "runs\x1b[2J.csv", "--arm", "method", "--metric", "acc")

    text = done.stdout + done.stderr
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "ab-c-d" in text
    told = b"".join(p.read_bytes() for p in desk.state.glob("*/*/journal.jsonl"))
    assert b"\\u001b" not in told
    assert b"\\u202e" not in told
    desk.run("compare", "full[31m", "ab-c-d")


def test_arms_that_would_share_a_name_are_refused(desk):
    rows = [
        {**r, "method": {"no-cache": "a/b", "no-filter": "a:b"}.get(r["method"], "full")}
        for r in wide()
    ]

    error = refused(desk, rows)

    assert "runs.csv line 3 and runs.csv line 4: two arms would both be called 'a-b'" in error


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\x00" * 5000, b"PAR1garbagePAR1", b"\xff\xfem\0e\0t\0h\0",
        b"method,seed,acc\n\"full,0,1\n", b"method,seed,acc\nfull,0," + b"9" * 300_000,
        b"method,method,seed,acc\nfull,full,0,1\n", b"[" * 100_000, b"{}", b"[1, 2]", b"null",
        b"method,seed,acc\n", b"method,seed,acc\nfull\x00,0,1\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["runs.csv", "runs.parquet", "runs.json"])
@pytest.mark.slow
def test_a_hostile_file_gives_one_clear_error_and_imports_nothing(desk, content, name):
    (desk.folder / name).write_bytes(content)

    done = desk.run("import", "csv", name, *BASICS, code=3)

    assert done.stderr.count("icckd: ") == 1
    assert len(done.stderr) < 1500
    assert not desk.state.exists()


def test_patterns_in_the_name_of_a_parquet_file_read_no_other_file(desk):
    parquet(desk.folder / "a1.parquet", wide())
    rows = wide(seeds=range(2))
    parquet(desk.folder / "a[1]*.parquet", rows)

    imported(desk, "a[1]*.parquet")

    assert values(desk) == expected(rows)


# Shares of test cases.


def tied(scale: float = 1.0) -> list[dict]:
    """Seven seeds whose arms differ by the same half a point, or nearly."""
    base = {"full": 90.0, "no-cache": 89.5}
    return [
        {"method": arm, "seed": seed, "acc": (value + seed + 0.01 * (seed == 3)) * scale}
        for arm, value in base.items()
        for seed in range(7)
    ]


def test_differences_that_tie_are_certain_only_where_the_test_set_is_large(desk):
    write_csv(desk.folder / "runs.csv", tied())

    silent = imported(desk, "runs.csv", "--unit", "acc=%").stdout
    large = imported(desk, "runs.csv", "--test-cases", "acc=1000000").stdout
    small = imported(desk, "runs.csv", "--test-cases", "acc=200").stdout

    assert "the part helps" in silent
    assert "the part helps" in large
    assert "undecided" in small
    methods = desk.run("report", "runs", "--section", "threats").stdout
    assert "test_images" not in methods


@pytest.mark.parametrize(
    ("scale", "more", "code", "message"),
    [
        (0.01, ("--test-cases", "acc=200"), 3, "values from 0.895 to 0.96: a share of test cases"),
        (1.0, ("--test-cases", "acc=200", "--smallest-effect", "0.4"), 3, "less than one of the"),
        (1.0, ("--test-cases", "acc=many"), 2, "--test-cases acc=many is no number"),
        (1.0, ("--test-cases", "loss=200"), 2, "--test-cases speaks of 'loss'"),
    ],
)
def test_a_share_that_is_none_is_refused(desk, scale, more, code, message):
    write_csv(desk.folder / "runs.csv", tied(scale))

    done = desk.run("import", "csv", "runs.csv", *BASICS, *more, code=code)

    assert message in " ".join(done.stderr.split())
