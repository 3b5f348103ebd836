"""`icckd.compare`: runs in a data frame get the verdicts that their import would get."""

import gc
import json
import os
import random
import tempfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import icckd
from icckd.errors import SpecError, UsageError
from icckd.results.frames import columns_of
from tests.support.desk import Desk
from tests.support.lanes import slow_but

EFFECTS = {"full": 0.0, "no-cache": -2.0, "no-margin": 0.0}


def runs(seeds=8):
    """Rows of three arms with paired noise, one of which is worse."""
    rows = []
    for arm, effect in EFFECTS.items():
        for seed in range(seeds):
            shared, own = random.Random(seed), random.Random(f"{arm}{seed}")
            accuracy = 90 + effect + 0.4 * shared.gauss(0, 1) + 0.1 * own.gauss(0, 1)
            rows.append({"method": arm, "seed": seed, "acc": accuracy, "loss": 1 / accuracy})
    return rows


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "fdatasync", lambda file: None)


ASKED = {"arm": "method", "metric": ["acc", "loss"], "unit": "%", "smallest_effect": 0.5}


@pytest.fixture(scope="module")
def compared():
    with icckd.compare(runs(), **ASKED) as found:
        yield found


def comparisons(found):
    return json.loads(found.report("json"))["comparisons"]


def test_verdicts_are_those_of_the_import_of_the_same_table(compared, tmp_path):
    pd.DataFrame(runs()).to_csv(tmp_path / "runs.csv", index=False)
    desk = Desk(tmp_path)
    desk.run(
        "import", "csv", "runs.csv", "--arm", "method", "--metric", "acc", "--metric", "loss",
        "--unit", "acc=%", "--smallest-effect", "0.5",
    )  # fmt: skip
    imported = json.loads(desk.run("report", "runs", "--format", "json").stdout)

    assert comparisons(compared) == imported["comparisons"]
    assert list(compared.answers) == imported["answers"]
    assert compared.comparison("no-cache", "acc").verdict == "helps"
    assert compared.comparison("no-margin").verdict == "equivalent"


KINDS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.Table.from_pylist,
    "lazy": lambda rows: pl.DataFrame(rows).lazy(),
    "dict": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "numpy": lambda rows: {name: np.array([row[name] for row in rows]) for name in rows[0]},
    "indexed": lambda rows: (
        pd.DataFrame(rows).set_index("acc", drop=False).astype({"method": "category"})
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_has_the_same_columns(kind):
    expected = columns_of(runs())

    assert columns_of(KINDS[kind](runs())) == expected
    assert {type(value) for values in expected.values() for value in values} == {str, int, float}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same(kind, compared):
    with icckd.compare(KINDS[kind](runs()), **ASKED) as found:
        assert comparisons(found) == comparisons(compared)


def test_a_table_of_ours_can_be_compared_again(compared):
    values = compared.outcomes()

    with icckd.compare(
        values, metric=["observed.acc"], direction={"observed.acc": "higher"}, unit="%",
        smallest_effect=0.5,
    ) as found:  # fmt: skip
        again, before = found.comparison("no-cache"), compared.comparison("no-cache")
        assert (again.difference, again.p) == (before.difference, before.p)
        assert found.study.observed.rule == ""


def test_the_long_form_and_curves_are_read(compared):
    long = [
        {"method": row["method"], "seed": row["seed"], "metric": name, "value": row[name]}
        for row in runs()
        for name in ("acc", "loss")
    ]
    curves = [
        {**row, "epoch": epoch, "acc": row["acc"] - 10 + 5 * epoch}
        for row in runs()
        for epoch in (0, 1, 2)
    ]

    with icckd.compare(long, **ASKED) as found:
        assert comparisons(found) == comparisons(compared)
    with icckd.compare(
        curves, arm="method", metric="acc", unit="%", step="epoch", rule="last",
        smallest_effect=0.5,
    ) as found:  # fmt: skip
        assert found.comparison("no-cache").mean == pytest.approx(
            compared.comparison("no-cache").mean
        )
        assert len(found.series("observed.acc")) == 3 * len(runs())
    with pytest.raises(SpecError) as caught:
        icckd.compare(curves, arm="method", metric="acc", step="epoch")
    assert "rule=last" in caught.value.hint


def test_what_is_missing_and_what_diverged_is_told_apart():
    rows = runs()
    missing, diverged = rows[9], rows[10]
    missing["acc"], diverged["acc"] = None, float("nan")

    with icckd.compare(rows, arm="method", metric="acc") as plain:
        row = plain.comparison("no-cache")
        assert (row.missing, row.diverged) == ((1, 2), (2,))
    with icckd.compare(pd.DataFrame(rows), arm="method", metric="acc") as pandas:
        assert pandas.comparison("no-cache").diverged == ()  # pandas has one word for both


def test_arms_without_a_seed_in_common_are_compared_by_welch():
    rows = [
        {**row, "seed": row["seed"] + 100 if row["method"] != "full" else row["seed"]}
        for row in runs()
    ]

    with icckd.compare(rows, arm="method", metric="acc") as found:
        assert found.comparison("no-cache").test == "welch"
        assert any("Welch" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "options", "message", "hint"),
    [
        ({}, {"metric": "ac"}, "no column 'ac'", "acc"),
        ({}, {"arm": "arm"}, "no column 'arm'", "method"),
        ({}, {"metric": ()}, "which metric", "metric=NAME"),
        ({}, {"baseline": "ful"}, "no run is of arm 'ful'", "full"),
        ({}, {"direction": "up"}, 'direction={"acc": "up"}', "higher"),
        ({}, {"metric": "seed"}, "which values of 'seed'", 'direction={"seed": "higher"}'),
        ({}, {"smallest_effect": -1.0}, "smallest_effect must be above 0", "size"),
        ({"acc": "bad"}, {}, 'row 3: acc is "bad"', "correct these rows"),
        ({"seed": 0}, {}, "row 0 and row 3", "leave one out"),
        ({"seed": -1}, {}, "row 3: seed", "correct these rows"),
        ({"method": None}, {}, "row 3: it names no arm", "correct these rows"),
    ],
)
def test_what_is_wrong_is_said_with_row_or_column_in_words_of_python(
    change, options, message, hint, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = runs()
    rows[3] = {**rows[3], **change}
    with pytest.raises((SpecError, UsageError)) as caught:
        icckd.compare(rows, **{"arm": "method", "metric": "acc", **options})

    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "--" not in f"{caught.value.message}{caught.value.hint}"
    assert "imported" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def answers(seeds=(0,)):
    """Rows of two arms that answered forty questions of ten documents, right or wrong."""
    return [
        {"arm": arm, "seed": seed, "question": f"q{i}", "document": f"d{i % 10}", "right": right}
        for arm, share in (("full", 0.9), ("no-search", 0.5))
        for seed in seeds
        for i in range(40)
        for right in [random.Random(f"{arm}{seed}{i}").random() < share]
    ]


OF_ITEMS = {
    "metric": "right", "item": "question", "group": "document", "unit": "%",
    "direction": "higher",
}  # fmt: skip


@pytest.mark.parametrize("seeds", slow_but([(0,), tuple(range(6))], (0,)))
def test_items_are_paired_as_by_an_import_with_and_without_seeds(seeds, tmp_path):
    rows = answers(seeds)
    if len(seeds) == 1:
        rows = [{name: value for name, value in row.items() if name != "seed"} for row in rows]
    pd.DataFrame(rows).to_csv(tmp_path / "answers.csv", index=False)
    desk = Desk(tmp_path)
    desk.run(
        "import", "csv", "answers.csv", "--metric", "right", "--item", "question",
        "--group", "document", "--unit", "right=%", "--direction", "right=higher",
    )  # fmt: skip
    imported = json.loads(desk.run("report", "answers", "--format", "json").stdout)

    with icckd.compare(pd.DataFrame(rows), **OF_ITEMS) as found:
        assert comparisons(found) == imported["comparisons"]
        assert list(found.answers) == imported["answers"]
        assert "item" in found.answers[0] or "question" in found.answers[0]
        assert found.sql("select count(*) as n from item").to_dicts() == [{"n": len(rows)}]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"item": "quesion"}, "no column 'quesion'"),
        ({}, {"group": "doc"}, "no column 'doc'"),
        ({}, {"item": None}, "speak of items"),
        ({}, {"generalise_to": ("people",)}, "generalise_to='people' is not known"),
        ({"question": "q1"}, {}, "row 0: item 'q1' comes twice under arm 'full' and seed 0"),
        ({"document": None}, {}, "row 0: item 'q0' has no group"),
        ({"right": "yes"}, {}, "row 0: right is 'yes', which is no finite number"),
    ],
)
def test_what_is_wrong_with_items_is_said(change, options, message):
    rows = answers()
    rows[0] = {**rows[0], **change}
    if "comes twice" in message:
        rows[0], rows[1], message = rows[1], rows[0], message.replace("row 0", "row 1")
    with pytest.raises((SpecError, UsageError)) as caught:
        icckd.compare(rows, **{**OF_ITEMS, **options})

    assert message in caught.value.message
    assert "--" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("table", [None, 3, "runs.csv", [1, 2], object()])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(UsageError, match="is not a table"):
        icckd.compare(table, metric="acc")


def test_columns_of_different_length_are_refused():
    with pytest.raises(UsageError, match="not equally long: a 1, b 2"):
        columns_of({"a": [1], "b": [1, 2]})


def test_its_journals_go_with_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = icckd.compare(runs(), **ASKED)
    [home] = tmp_path.iterdir()
    assert found.refresh() is False
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    found.close()
    del found
    gc.collect()

    assert not home.exists()


def test_a_comparison_goes_into_a_paper_and_a_notebook(compared):
    assert "no-cache" in compared.to_latex()
    assert "imported from a data frame" in compared._repr_html_()
    assert "SHA-256" in " ".join(compared.notes)
