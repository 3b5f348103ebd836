"""Rows of single test cases that a run reports or writes, and what is refused of them."""

import json

import pytest

from icckd.errors import StageError
from icckd.journal.artifacts import RUN_MARK
from icckd.run import task_items
from icckd.run.task_entry import ITEMS, Run
from icckd.run.task_items import read_items
from icckd.study.tasks import Task

ENTRY = {"entry": "a.py:f", "metrics": {"score": {}, "first": {}}}
TABLE = {
    "command": ("python", "a.py"),
    "metrics": {"score": {}, "first": {"unit": "%"}},
    "items": {"csv": "items.csv", "id": "query", "group": "topic", "metrics": ("score", "first")},
}


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Return what makes a run in a folder, as an attempt does, and the items of that folder."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.register_at_fork", lambda **_: None)
    (tmp_path / RUN_MARK).mkdir()

    def make(*, resume=False):
        order = {"seed": 0, "folder": str(tmp_path), "device": "cpu", "inputs": {},
                 "resume": resume, "log": str(tmp_path / RUN_MARK / "log.jsonl")}  # fmt: skip
        return Run(order)

    return make


def refused(task, folder):
    with pytest.raises(StageError) as raised:
        read_items(Task.model_validate(task), folder)
    return raised.value.message


def test_reported_items_come_in_the_order_of_their_ids_with_their_means(reported, tmp_path):
    run = reported()
    run.item("q2", group="b", score=0.25, first=False)
    run.item(10, group=1, score=1, first=True)

    items = read_items(Task.model_validate(ENTRY), tmp_path)

    assert items.ids == ("10", "q2")
    assert items.groups == ("1", "b")
    assert items.scores == {"score": (1.0, 0.25), "first": (1.0, 0.0)}
    assert items.means() == {"score": 0.625, "first": 0.5}


def test_true_counts_a_hundred_in_a_metric_in_percent_and_numpys_too(reported, tmp_path):
    import numpy as np

    run = reported()
    run.item("a", score=np.bool_(True))
    run.item("b", score=False)
    run.item(np.int64(3), score=np.float32(50.0))
    task = {"entry": "a.py:f", "metrics": {"score": {"unit": "%"}}}
    assert read_items(Task.model_validate(task), tmp_path).scores["score"] == (50.0, 100.0, 0.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": ""}, "no text"),
        ({"id": None}, "no text"),
        ({"id": True}, "no text"),
        ({"id": 1.5}, "no text"),
        ({"id": "q\x1b[2J"}, "not printable"),
        ({"id": "x" * 201}, "longer than 200"),
        ({"id": "q", "group": "a\nb"}, "not printable"),
        ({"id": "q", "score": float("nan")}, "score of item 'q' is nan"),
        ({"id": "q", "score": float("inf")}, "is inf"),
    ],
)
def test_a_function_learns_at_once_what_is_wrong_with_an_item(reported, given, words):
    with pytest.raises(ValueError, match=r"run\.item") as raised:
        reported().item(**{"score": 1.0, **given})
    assert words in str(raised.value)


def test_an_item_that_comes_twice_is_refused_by_name(reported, tmp_path):
    run = reported()
    run.item("q7", score=1)
    with pytest.raises(ValueError, match="'q7' came twice"):
        run.item("q7", score=0)
    with pytest.raises(ValueError, match="no score"):
        run.item("q8")

    reported().item("q7", score=0)  # another process of the same run
    assert refused(ENTRY, tmp_path) == "run.item: item 'q7' came twice"


def test_a_resumed_run_may_report_again_what_an_attempt_before_it_reported(reported, tmp_path):
    run = reported()
    run.item("a", score=0.0)
    run.item("b", score=0.0)
    with (tmp_path / RUN_MARK / ITEMS).open("a") as file:
        file.write('{"id": "c", "sco')  # it was killed here

    again = reported(resume=True)
    again.item("b", score=1.0)
    again.item("c", score=1.0)
    items = read_items(Task.model_validate(ENTRY), tmp_path)
    assert items.scores == {"score": (0.0, 1.0, 1.0)}


def test_undeclared_and_missing_scores_are_refused(reported, tmp_path):
    run = reported()
    run.item("a", score=1, first=True)
    run.item("b", score=1)
    assert refused(ENTRY, tmp_path) == "run.item: item 'b' has no first"
    (tmp_path / RUN_MARK / ITEMS).write_text('{"id": "a", "scores": {"scoer": 1}}\n')
    assert refused(ENTRY, tmp_path) == "run.item: item 'a' has the undeclared score 'scoer'"
    (tmp_path / RUN_MARK / ITEMS).unlink()
    assert read_items(Task.model_validate(ENTRY), tmp_path) is None
    assert refused({**ENTRY, "items": {}}, tmp_path) == "run.item: no items"


def test_a_table_and_json_lines_give_the_same_items(tmp_path):
    (tmp_path / "items.csv").write_text(
        'query;topic;score;first\n"a; b";x;0.5;true\n2;y;1e-3;False\n', encoding="utf-8-sig"
    )
    rows = [{"query": "a; b", "topic": "x", "score": 0.5, "first": True},
            {"query": 2, "topic": "y", "score": 1e-3, "first": 0}]  # fmt: skip
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    lines = {**TABLE["items"], "jsonl": "items.jsonl"}
    del lines["csv"]

    table = read_items(Task.model_validate(TABLE), tmp_path)

    assert table == read_items(Task.model_validate({**TABLE, "items": lines}), tmp_path)
    assert table.ids == ("2", "a; b")
    assert table.scores == {"score": (0.001, 0.5), "first": (0.0, 100.0)}


HEAD = "query,topic,score,first\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "items.csv: no column or key 'query'"),
        ("query,score,first\n", "items.csv: no column or key 'topic'"),
        (HEAD, "items.csv: no items"),
        (HEAD + "a,x,1,1\na,x,1,1\n", "items.csv, line 3: item 'a' came twice"),
        (HEAD + "a,x,1,1\nb,,1,1\n", "items.csv, line 3: group of 'b' is ''"),
        (HEAD + "a,x,,1\n", "items.csv, line 2: item 'a', score is ''"),
        (HEAD + "a,x,nan,1\n", "items.csv, line 2: item 'a', score is 'nan'"),
        (HEAD + "a,x,1\n", "items.csv, line 2: 3 values and the head 4 names"),
        (HEAD + "a\x1b,x,1,1\n", "items.csv, line 2: id 'a\\x1b' holds the control character"
         " U+001B"),
        (HEAD + "\u202ea,x,1,1\n", "items.csv, line 2: id '\\u202ea' holds the control character"
         " U+202E"),
        (HEAD + "a" * 201 + ",x,1,1\n", "items.csv, line 2: id is 201 characters long"),
    ],
)  # fmt: skip
def test_a_table_is_refused_with_its_row(tmp_path, text, message):
    (tmp_path / "items.csv").write_text(text)
    assert refused(TABLE, tmp_path) == message


def test_what_is_too_much_is_refused(tmp_path, monkeypatch):
    (tmp_path / "items.csv").write_text(HEAD + "a,x,1,1\nb,x,1,1\n")
    monkeypatch.setattr(task_items, "MOST_ITEMS", 1)
    assert refused(TABLE, tmp_path) == "items.csv: more than 1 items"
    monkeypatch.setattr(task_items, "MOST_BYTES", 10)
    assert refused(TABLE, tmp_path) == "items.csv: a file of items of 40 bytes"
    (tmp_path / "items.csv").unlink()
    assert refused(TABLE, tmp_path) == "items.csv: no such file of items in the run folder"


def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path):
    (tmp_path / "i.jsonl").write_text('{"id": 1, "score": 1}\n\n[1]\n')
    task = {"command": ("a",), "metrics": {"score": {}}, "items": {"jsonl": "i.jsonl"}}
    assert refused(task, tmp_path) == "i.jsonl, line 3 is no JSON object"


def test_items_come_from_one_place(reported, tmp_path):
    reported().item("a", score=1.0)
    (tmp_path / "items.csv").write_text("id,score\na,1\n")
    task = {"entry": "a.py:f", "metrics": {"score": {}}, "items": {"csv": "items.csv"}}
    assert refused(task, tmp_path) == "items come from run.item and from items.csv"


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({}, "items says not where they come from"),
        ({"csv": "a.csv", "jsonl": "b"}, "items come from csv and from jsonl"),
        ({"csv": "../a.csv"}, "is not inside the run folder"),
        ({"csv": "a.csv", "metrics": ("scoer",)}, "items.metrics names 'scoer'"),
        ({"csv": "a.csv", "metrics": ("loss",)}, "metrics.loss comes from csv and from items"),
        ({"csv": "a.csv", "metrics": ("score", "score")}, "metrics names one of them twice"),
    ],
)
def test_a_study_is_refused_that_does_not_say_where_items_are(items, words):
    task = {"command": ("a",), "metrics": {"score": {}, "loss": {"csv": "m.csv"}}, "items": items}
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        Task.model_validate(task)
