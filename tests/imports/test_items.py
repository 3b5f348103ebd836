"""Tables with a row an item: arms are paired by question, with or without seeds."""

import csv
import json
import random
from pathlib import Path

import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from tests.imports.conftest import parquet, write_csv
from tests.support.desk import Desk

ITEMS = ("--arm", "method", "--baseline", "full", "--metric", "right",
         "--direction", "right=higher", "--item", "question", "--group", "topic")  # fmt: skip


def answers(seeds=(None,), questions=120, topics=12) -> list[dict]:
    """Return a row an answer; without tools fewer are right."""
    rng, rows = random.Random(5), []
    for question in range(questions):
        hard = rng.random()
        for seed in seeds:
            for arm, gain in (("full", 0.35), ("no-tools", 0.0)):
                right = hard + gain + rng.gauss(0, 0.15) > 0.6
                row = {"method": arm, "question": f"q{question:03d}",
                       "topic": f"t{question % topics}", "right": int(right)}  # fmt: skip
                rows.append(row if seed is None else {**row, "seed": seed})
    return rows


def imported(desk: Desk, name: str, *more: str, kind: str = "csv", code: int = 0):
    return desk.run("import", kind, name, *ITEMS, *more, code=code)


def row(desk: Desk, arm: str = "no-tools", metric: str = "observed.right"):
    with open_results(StateFolder(desk.state)) as results:
        rows = results.comparisons(results.study())
        return next(each for each in rows if (each.arm, each.metric) == (arm, metric))


def test_a_table_without_seeds_gives_a_verdict_about_items(desk):
    rows = answers()
    write_csv(desk.folder / "answers.csv", rows)

    printed = " ".join(imported(desk, "answers.csv").stdout.split())

    assert "120 items in 12 groups, one seed: speaks about items, not about other train" in printed
    found = row(desk)
    assert (found.verdict, found.about, found.n) == ("helps", "items", 1)
    shares = {arm: [r["right"] for r in rows if r["method"] == arm] for arm in ("full", "no-tools")}
    difference = sum(shares["no-tools"]) / 120 - sum(shares["full"]) / 120
    assert found.difference == pytest.approx(difference)
    asked = "select item, item_group, arm, score from item"
    told = csv.DictReader(desk.run("sql", asked, "--format", "csv").stdout.splitlines())
    assert {(r["item"], r["item_group"], r["arm"], float(r["score"])) for r in told} == {
        (r["question"], r["topic"], r["method"], float(r["right"])) for r in rows
    }
    again = imported(desk, "answers.csv")
    assert "nothing new in answers.csv" in again.stderr


@pytest.mark.slow
def test_seeds_and_items_are_both_drawn_anew_unless_it_is_asked_for_less(desk):
    write_csv(desk.folder / "answers.csv", answers(seeds=range(6)))
    imported(desk, "answers.csv")
    assert (row(desk).about, row(desk).pairs) == ("seeds and items", 6)
    imported(desk, "answers.csv", "--generalise-to", "items", "--name", "alone")
    with open_results(StateFolder(desk.state)) as results:
        study = results.study("alone")
        found = next(r for r in results.comparisons(study) if r.arm == "no-tools")
    assert (found.about, found.pairs) == ("items", 6)


@pytest.mark.slow
def test_json_and_parquet_give_the_same_study(desk):
    rows = answers(seeds=(3, 4))
    write_csv(desk.folder / "a.csv", rows)
    (desk.folder / "a.json").write_text(json.dumps(rows))
    parquet(desk.folder / "a.parquet", rows)
    found = []
    for name, kind in (("a.csv", "csv"), ("a.json", "csv"), ("a.parquet", "parquet")):
        imported(desk, name, "--name", name.replace(".", "-"), kind=kind)
        found.append(row(desk))
    assert found[0] == found[1] == found[2]
    assert found[0].items == 120


def test_true_and_false_are_right_and_wrong(desk):
    rows = [{**r, "right": bool(r["right"])} for r in answers()]
    write_csv(desk.folder / "answers.csv", rows)
    imported(desk, "answers.csv", "--unit", "right=%")
    assert row(desk).mean == pytest.approx(100 * sum(
        r["right"] for r in rows if r["method"] == "no-tools"
    ) / 120)  # fmt: skip


def test_items_without_groups_are_mcnemars_test(desk):
    write_csv(desk.folder / "answers.csv", answers())
    desk.run("import", "csv", "answers.csv", *ITEMS[:-2])
    assert (row(desk).test, row(desk).groups) == ("McNemar", 120)


@pytest.mark.slow
def test_arms_of_other_items_are_compared_over_common_ones_only_where_that_is_asked_for(desk):
    rows = [r for r in answers() if not (r["method"] == "full" and r["question"] < "q010")]
    write_csv(desk.folder / "answers.csv", rows)
    printed = " ".join(imported(desk, "answers.csv").stdout.split())
    assert "did not see the same items under every seed: q000, q001" in printed
    assert (row(desk).why, row(desk).verdict) == ("other items", "undecided")
    imported(desk, "answers.csv", "--common-items", "--name", "common")
    assert (row(desk).items, row(desk).items_apart, row(desk).verdict) == (110, 10, "helps")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"question": ""}, "a.csv line 3: it names no item"),
        ({"topic": " "}, "a.csv line 3: item 'q000' has no group"),
        ({"right": "yes"}, "a.csv line 3: right is 'yes', which is no finite number"),
        ({"right": "nan"}, "a.csv line 3: right is 'nan', which is no finite number"),
        ({"method": ""}, "a.csv line 3: it names no arm"),
        ({"method": "full"}, "a.csv line 3: item 'q000' comes twice under arm 'full' and seed 0"),
        ({"question": "\u202eq001"}, "two items or groups would both be called 'q001'"),
    ],
)
def test_one_bad_row_imports_nothing(desk, changed, words):
    rows = answers()
    rows[1] = {**rows[1], **changed}
    write_csv(desk.folder / "a.csv", rows)
    done = imported(desk, "a.csv", code=3)
    assert words in done.stderr
    assert "nothing was imported" in done.stderr
    assert not list((desk.state / "sessions").glob("*")) if desk.state.exists() else True


def test_hostile_names_of_items_are_made_harmless(desk):
    rows = [{**r, "question": f"\x1b[31m{r['question']}\u202e<b>"} for r in answers()]
    write_csv(desk.folder / "a.csv", rows)
    printed = imported(desk, "a.csv").stdout
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "[31mq00" in printed
    assert "&lt;b&gt;" in desk.run("report", "--format", "html").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--step", "question"), "a table with a row an item has no --step"),
        (("--rule", "last"), "a table with a row an item has no --step"),
        (("--generalise-to", "worlds"), "--generalise-to 'worlds' is not known"),
    ],
)
def test_options_that_do_not_fit_are_refused(desk, options, words):
    write_csv(desk.folder / "a.csv", answers())
    assert words in imported(desk, "a.csv", *options, code=2).stderr


def test_options_about_items_need_items(desk):
    write_csv(desk.folder / "a.csv", answers())
    done = desk.run("import", "csv", "a.csv", *ITEMS[:-4], "--group", "topic", code=2)
    assert "no column of items is named" in done.stderr


def test_what_is_too_much_is_refused(desk, monkeypatch):
    write_csv(desk.folder / "a.csv", answers())
    monkeypatch.setattr("icckd.imports.items.MOST_SCORES", 100)
    assert "there are more than 100 scores of items" in imported(desk, "a.csv", code=3).stderr
    monkeypatch.setattr("icckd.imports.items.MOST_SCORES", 1000)
    monkeypatch.setattr("icckd.imports.items.MOST_ITEMS", 50)
    done = imported(desk, "a.csv", code=3)
    assert "arm 'full' has more than 50 items under seed 0" in done.stderr


def test_a_missing_column_is_named(desk):
    path: Path = desk.folder / "a.csv"
    write_csv(path, answers())
    done = desk.run("import", "csv", "a.csv", *ITEMS[:-1], "topik", code=3)
    assert "the table has no column 'topik'" in done.stderr
