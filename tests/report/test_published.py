"""Published numbers: what the table holds, and where a report shows it."""

import csv
import io
import json
import tomllib
from importlib.resources import files
from typing import get_args

from typer.testing import CliRunner

from icckd.cli.main import app
from icckd.results.published import published, published_for
from icckd.results.query import open_results
from icckd.study.load import parse
from icckd.train.networks.cifar import CifarName
from tests.support.lab import planned
from tests.support.reports import report

STUDY = """
[study]
name = "pairs"
baseline = "small"
seeds = { count = 1 }
[data]
kind = "cifar100"
[teacher]
model = { kind = "cifar", name = "resnet56" }
[student]
model = { kind = "cifar", name = "resnet20" }
[[arm]]
name = "small"
[[arm]]
name = "other"
set = { "teacher.model.name" = "resnet110" }
[[arm]]
name = "unpublished"
set = { "student.model.name" = "resnet14" }
"""


def number(teacher, student, method):
    (found,) = [n for n in published_for(teacher, student) if n.method == method]
    return found


def test_pairs_are_the_thirteen_of_the_field_and_networks_we_build():
    pairs = {(n.teacher, n.student) for n in published()}

    assert len(pairs) == 13
    assert {name for pair in pairs for name in pair} <= set(get_args(CifarName))
    for pair in pairs:
        methods = [n.method for n in published_for(*pair)]
        assert methods[:3] == ["teacher alone", "student alone", "KD"]
        assert len(methods) == len(set(methods))


def test_a_network_alone_has_one_number_wherever_it_stands():
    for role, method in (("teacher", "teacher alone"), ("student", "student alone")):
        alone = {(getattr(n, role), n.top1) for n in published() if n.method == method}
        assert len(alone) == len({name for name, _ in alone})


def test_every_number_says_where_it_was_read_and_which_epoch_it_is_of():
    for found in published():
        assert found.source
        assert found.work
        assert found.rule in ("last epoch", "best epoch on the test set", "not stated")
        assert 55 < found.top1 < 80
    assert {n.rule for n in published() if n.method == "KD"} == {"last epoch"}
    assert {n.rule for n in published() if n.method == "DKD"} == {"best epoch on the test set"}


def test_spreads_and_footnotes_belong_to_a_number():
    tables = tomllib.loads(files("icckd.results").joinpath("published.toml").read_text("utf-8"))

    for row in tables["row"]:
        assert row.get("spread", {}).keys() | row.get("footnote", {}).keys() <= row["top1"].keys()


def test_errors_that_circulate_are_not_copied_and_are_explained():
    for pair, method, top1 in (
        (("resnet32x4", "shufflenetv2"), "KD", 74.45),
        (("resnet32x4", "shufflenetv2"), "DKD", 77.07),
        (("wrn-40-2", "wrn-16-2"), "DKD", 76.23),
        (("resnet50", "mobilenetv2"), "KD", 67.35),
        (("resnet32x4", "resnet8x4"), "DKD", 76.32),
    ):
        found = number(*pair, method)
        assert found.top1 == top1, (pair, method)
        assert found.footnote, (pair, method)


def test_a_report_on_published_pairs_shows_them_as_context(lab):
    plan = planned()
    resolved = parse(STUDY, where="pairs.toml").model_dump(mode="json")
    with lab.finished("s1", plan.model_copy(update={"study": plan.study | resolved})):
        pass
    with open_results(lab.folder) as results:
        text = report(results, "json")
    notes = [n for n in json.loads(text)["notes"] if n.startswith("Published")]

    assert len(notes) == 2
    assert "resnet56 -> resnet20, as context and not as a baseline" in notes[0]
    assert "KD 70.66*" in notes[0]
    assert "RepDistiller README, last epoch" in notes[0]
    assert "DIST 71.75 ± 0.30" in notes[0]
    assert "resnet110 -> resnet20" in notes[1]


def test_the_verb_lists_all_of_it():
    text = CliRunner().invoke(app, ["published"]).stdout
    values = CliRunner().invoke(app, ["published", "--format", "csv"]).stdout
    rows = list(csv.DictReader(io.StringIO(values)))

    assert max(map(len, text.splitlines())) <= 100
    assert "wrn-40-2 -> shufflenetv1" in text
    assert "Tian et al. 2020, arXiv 1910.10699" in text
    assert len(rows) == len(published())
    assert rows[0]["rule"] == "last epoch"
