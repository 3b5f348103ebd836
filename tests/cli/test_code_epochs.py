"""A raised training version: what is trained again is said; earlier results stay as they were."""

import json

import pytest

from icckd.train import contract
from tests.support.studies import BY_ITSELF, TWO_STAGES


@pytest.fixture
def earlier(monkeypatch):
    """Return a function that goes to an earlier training version, or back to today's."""
    today = contract.EAGER_FP32_ON_A_CPU

    def at(epoch=None):
        monkeypatch.setattr(contract, "EAGER_FP32_ON_A_CPU", epoch or today)

    return at


def revisions(desk):
    done = desk.run(
        "sql", "select revision, is_latest from study order by planned", "--format", "json"
    )
    return [tuple(row.values()) for row in json.loads(done.stdout)]


@pytest.mark.slow
def test_stages_of_an_earlier_code_epoch_are_trained_again_apart_from_its_results(desk, earlier):
    study = desk.write(TWO_STAGES + BY_ITSELF)
    note = (
        "training version 1 -> 2: {} stages will be trained again, earlier results stay reportable"
    )
    earlier(1)
    desk.train("run", study, "--device", "cpu")
    assert "training version" not in desk.run("plan", study, "--device", "cpu").stdout
    before = revisions(desk)
    stages = len(list((desk.state / "artifacts").glob("*/manifest.json")))

    earlier()
    assert note.format(stages) in desk.run("plan", study, "--device", "cpu").stdout
    done = desk.train("run", study, "--device", "cpu")
    assert note.format(stages) in done.stderr
    assert f"{stages} of {stages} stages to train" in done.stderr
    assert "training version" not in desk.run("plan", study, "--device", "cpu").stdout

    now = revisions(desk)
    assert [revision for revision, _ in now[:1]] == [before[0][0]]
    assert [is_latest for _, is_latest in now] == [False, True]

    earlier(1)
    back = desk.train("run", study, "--device", "cpu")
    assert f"0 of {stages} stages to train" in back.stderr
    assert "training version" not in back.stderr
    assert [revision for revision, is_latest in revisions(desk) if is_latest] == [before[0][0]]
