"""Studies whose arms are paired item by item, from the script to report and screen."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from icckd.results.types import Comparison
from icckd.stats.items import ItemSample, difference_ways
from tests.support.desk import Desk

SCRIPT = Path(__file__).parents[1] / "support" / "scripts" / "search.py"
SEARCH = """
[study]
name = "search"
question = "Do rare words count for more?"
baseline = "full"
primary = "task.reciprocal"
metrics = ["task.first"]
smallest_effect = 0.02
seeds = 1
{study}

[task]
{task}

[task.config]
idf = true
norm = true
queries = 72

[task.metrics.reciprocal]
direction = "higher"
about = "reciprocal rank of the first document of the query's topic"

[task.metrics.first]
unit = "%"
direction = "higher"

[[arm]]
name = "full"

[[ablation]]
name = "Remove the weight of rare words"
arm = "no-idf"
part = "task.config.idf"
action = "REMOVE"

[[ablation]]
name = "Remove the length norm"
arm = "no-norm"
part = "task.config.norm"
action = "REMOVE"
"""
ENTRY = 'entry = "search.py:rank"'
COMMAND = """command = ["python", "search.py", "--config", "{config}", "--seed", "{seed}"]
[task.items]
csv = "items.csv"
id = "query"
group = "topic"
"""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    shutil.copy(SCRIPT, desk.folder / "search.py")
    return desk


def write(desk, *, task=ENTRY, study=""):
    desk.write(SEARCH.replace("{study}", study).replace("{task}", task), "search.toml")


@pytest.fixture(scope="module")
def searched(tmp_path_factory, fresh_process) -> Desk:
    """A desk on which the study of one seed has run; tests must leave it as it is."""
    made = Desk(tmp_path_factory.mktemp("searched"))
    shutil.copy(SCRIPT, made.folder / "search.py")
    write(made)
    made.printed = made.train("run", "search.toml").stdout  # type: ignore[attr-defined]
    return made


def rows(desk, study="search"):
    with open_results(StateFolder(desk.state)) as results:
        return {(r.arm, r.metric): r for r in results.comparisons(results.study(study))}


def test_one_seed_gives_verdicts_about_items_which_every_report_says(searched):
    desk, printed = searched, " ".join(searched.printed.split())

    told = "72 items in 12 groups, one seed: speaks about items, not about other trainings"
    assert told in printed
    assert "the part helps" in printed
    found = rows(desk)
    lost = found["no-idf", "task.reciprocal"]
    assert (lost.verdict, lost.about, lost.items, lost.groups) == ("helps", "items", 72, 12)
    assert found["no-norm", "task.reciprocal"].verdict in ("equivalent", "undecided")
    table = " ".join(desk.run("report").stdout.split())
    assert "items that changed most: no-idf in task.reciprocal" in table

    report = json.loads(desk.run("report", "--format", "json").stdout)
    for record in report["comparisons"]:
        assert set(record) == set(Comparison.__dataclass_fields__)
    told = next(each for each in report["items"] if each["arm"] == "no-idf")
    assert told["lower"] + told["higher"] + told["same"] == 72
    most = [abs(change["difference"]) for change in told["most"]]
    assert most == sorted(most, reverse=True)
    markdown = desk.run("report", "--format", "md").stdout
    assert "### Items that changed most: no-idf in task.reciprocal" in markdown
    assert f"| {told['most'][0]['item']} | {told['most'][0]['group']} |" in markdown
    latex = desk.run("report", "--format", "latex").stdout
    assert r"\caption{Items that changed most: no-idf in task.reciprocal" in latex
    html = desk.run("report", "--format", "html").stdout
    assert "Items that changed most: no-idf in task.reciprocal" in html
    line = next(csv.DictReader(io.StringIO(desk.run("report", "--format", "csv").stdout)))
    assert {"about", "items", "groups", "items_apart"} <= line.keys()
    methods = desk.run("report", "--section", "methods").stdout
    assert "cluster-robust CR2" in methods
    assert "not about other trainings" in " ".join(methods.split())


def test_the_numbers_follow_from_the_rows_that_the_view_shows(searched):
    desk = searched
    asked = "select item, item_group, arm, score from item where metric = 'task.reciprocal'"
    told = list(csv.DictReader(io.StringIO(desk.run("sql", asked, "--format", "csv").stdout)))
    assert len(told) == 3 * 72
    groups = sorted({row["item_group"] for row in told})
    sums = dict.fromkeys(groups, 0.0)
    for row in told:
        sign = {"no-idf": 1, "full": -1}.get(row["arm"], 0)
        sums[row["item_group"]] += sign * float(row["score"])

    row = rows(desk)["no-idf", "task.reciprocal"]
    assert row.difference == pytest.approx(sum(sums.values()) / 72)
    sample = ItemSample(sums_SG=np.array([list(sums.values())]), sizes_G=np.full(12, 6.0))
    assert row.p == pytest.approx(difference_ways(sample)[0][0])
    mean = float(desk.run(
        "sql", "select value from outcome where arm = 'full' and metric = 'task.reciprocal'",
        "--format", "csv",
    ).stdout.split()[1])  # fmt: skip
    full = [float(each["score"]) for each in told if each["arm"] == "full"]
    assert mean == pytest.approx(sum(full) / 72)


@pytest.mark.slow
def test_a_command_that_writes_a_table_gives_the_same_items_as_a_function(desk, searched):
    function = rows(searched)
    write(desk, task=COMMAND)
    desk.train("run", "search.toml")
    for key, row in rows(desk).items():
        if key[1] in ("task.reciprocal", "task.first"):
            assert (row.mean, row.difference, row.p) == (
                function[key].mean, function[key].difference, function[key].p,
            )  # fmt: skip


@pytest.mark.slow
def test_seeds_and_items_cross_and_a_declared_question_holds_after_looking(desk):
    write(desk)
    desk.train("run", "search.toml", "study.seeds=7")
    row = rows(desk)["no-idf", "task.reciprocal"]
    assert (row.about, row.pairs, row.test, row.verdict) == (
        "seeds and items", 7, "seeds and items", "helps",
    )  # fmt: skip
    printed = desk.run("report").stdout
    assert "72 items in 12 groups, 7 seeds: speaks about items and other trainings" in " ".join(
        printed.split()
    )
    before = row.p

    desk.train("run", "search.toml", "study.seeds=7", 'study.generalise_to=["items"]')
    row = rows(desk)["no-idf", "task.reciprocal"]
    assert (row.about, row.p) == ("seeds and items", before)
    assert "was changed after results had been seen" in " ".join(desk.run("report").stdout.split())


@pytest.mark.slow
def test_arms_that_saw_other_items_are_not_compared_until_common_ones_are_asked_for(desk):
    script = desk.folder / "search.py"
    script.write_text(
        script.read_text().replace(
            "queries=config.queries):", "queries=config.queries - (not config.idf)):"
        )
    )
    write(desk)
    desk.train("run", "search.toml")
    printed = " ".join(desk.run("report", "search").stdout.split())
    assert "no-idf and full did not see the same items under every seed: q071." in printed
    row = rows(desk)["no-idf", "task.reciprocal"]
    assert (row.why, row.verdict, row.difference) == ("other items", "undecided", None)
    assert rows(desk)["no-norm", "task.reciprocal"].why == ""

    study = (desk.folder / "search.toml").read_text()
    desk.write(
        study.replace('name = "search"', 'name = "common"').replace(
            "seeds = 1", 'seeds = 1\nitems = "common"'
        ), "common.toml",
    )  # fmt: skip
    desk.train("run", "common.toml")
    printed = " ".join(desk.run("report", "common").stdout.split())
    row = rows(desk, "common")["no-idf", "task.reciprocal"]
    assert (row.verdict, row.items, row.items_apart) == ("helps", 71, 1)
    assert "1 items that not every run has are left out, 71 are common to all" in printed


def test_an_item_that_comes_twice_fails_the_run_with_its_name(desk):
    script = desk.folder / "search.py"
    script.write_text(script.read_text().replace("        run.item(name,", '        run.item("q",'))
    write(desk)
    done = desk.train("run", "search.toml", code=1)
    assert "run.item: item 'q' came twice" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
def test_a_mean_that_contradicts_its_items_fails_the_run(desk):
    script = desk.folder / "search.py"
    script.write_text(
        script.read_text().replace(
            '    """Report every query."""\n',
            '    """Report every query."""\n    run.summary(reciprocal=0.123)\n',
        )
    )
    write(desk)
    done = desk.train("run", "search.toml", code=1)
    told = "reciprocal was reported as 0.123, and the mean of its items is"
    assert told in " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
def test_a_rebuilt_database_holds_the_same_items(desk, searched):
    shutil.copytree(searched.state, desk.state)
    asked = ("sql", "from item order by all", "--format", "csv")
    before = desk.run(*asked).stdout
    for path in desk.state.glob("*.duckdb*"):
        path.unlink()
    assert desk.run(*asked).stdout == before
    assert before.count("\n") > 400
