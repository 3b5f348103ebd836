"""A checkout whose training code was edited: what is reused, what is said, what is journalled."""

import json
import shutil
from pathlib import Path

import pytest

import icckd
from tests.support.desk import Desk
from tests.support.studies import TWO_STAGES

PACKAGE = Path(icckd.__file__).parent
EDITED = "train/student.py"


@pytest.fixture
def edited(desk: Desk, tmp_path) -> Desk:
    """A desk whose study is complete, and at which icckd is a copy with an edited file."""
    desk.write(TWO_STAGES.replace("epochs = 2", "epochs = 1"))
    desk.train("run", "small.toml")
    copy = tmp_path / "edited" / "icckd"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / EDITED
    file.write_text(file.read_text() + "\n\nEDITED = True\n")
    desk.environment["PYTHONPATH"] = str(copy.parent)
    return desk


def session_headers(desk: Desk) -> list[dict]:
    paths = sorted((desk.state / "sessions").glob("*/journal.jsonl"))
    return [json.loads(path.read_text().partition("\n")[0]) for path in paths]


@pytest.mark.slow
def test_edited_source_is_named_and_given_old_results_only_where_it_is_accepted(edited):
    done = edited.run_apart("plan", "small.toml")

    assert "to train: 1 stages" in done.stdout
    assert f"changed source (icckd/{EDITED}) concerns 1 of 2 stages: 1 of them" in done.stdout
    assert "--accept-code" in done.stdout

    done = edited.run_apart("run", "small.toml", "--accept-code")

    assert done.returncode == 0, done.stderr
    assert "0 of 2 stages to train" in done.stderr
    assert f"changed source (icckd/{EDITED})" in done.stderr
    before, after = session_headers(edited)
    assert before["accepted_source"] == {}
    assert list(after["accepted_source"]) == ["icckd.train.student"]
    told = " ".join(edited.run_apart("report").stdout.split())
    assert "accepted as giving the same numbers (--accept-code)" in told


@pytest.mark.long
def test_edited_source_trains_beside_the_old_results(edited):
    done = edited.run_apart("run", "small.toml")

    assert done.returncode == 0, done.stderr
    assert "1 of 2 stages to train" in done.stderr
    assert len(list((edited.state / "artifacts").iterdir())) == 3
    told = " ".join(edited.run_apart("report").stdout.split())
    assert "stages were trained with changed source" in told
