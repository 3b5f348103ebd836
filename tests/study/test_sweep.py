"""Sweeps put arms beside a study's baseline: by a path or its ending, all in the family."""

import tomllib

import pytest

from icckd.errors import UsageError
from icckd.study.arms import expand, family
from icckd.study.load import load, parse, swept_tables
from icckd.study.sweep import read_sweep, study_toml
from tests.support.studies import SMALL

TASK = """
[study]
name = "own"
baseline = "full"
primary = "task.score"
seeds = 2
[task]
command = ["python", "train.py", "--lr", "{lr}", "--drop", "{drop}"]
[task.config]
lr = 0.1
drop = 0.5
ema = true
[task.off]
drop = 0.0
[task.metrics.score]
stdout = "score=([0-9.]+)"
direction = "higher"
[[arm]]
name = "full"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def arms_of(file, *sweeps, overrides=()):
    study = load(file, overrides, sweeps)
    return {arm.name: {c.path: c.after for c in arm.changes} for arm in expand(study).arms}


def test_arms_are_added_to_the_baseline_and_the_others_left_out(file):
    found = arms_of(file, "student.training.lr=0.01,0.02")

    assert list(found) == ["full", "lr=0.01", "lr=0.02"]
    assert found["lr=0.01"] == {"student.training.lr": 0.01}
    study = load(file, (), ["student.training.lr=0.01,0.02"])
    assert family(study, expand(study).arms) == ("lr=0.01", "lr=0.02")
    assert study.study.name == "small"


def test_several_sweeps_multiply_and_the_baseline_is_no_arm_of_its_own(file):
    lr = load(file).student.training.lr
    found = arms_of(file, f"student.training.lr=0.01,{lr}", "distiller.temperature=2.0,4.0")

    assert len(found) == 4
    assert found[f"lr={lr}+temperature=2.0"] == {"student.distiller.temperature": 2.0}


def test_off_is_the_part_that_can_be_off(file):
    found = arms_of(file, "intra.weight=off,0.5", "intra.temperature=0.2,0.3")

    assert found["weight=off+temperature=0.2"] == {"teacher.intra": "off"}
    assert "weight=off+temperature=0.3" not in found  # the same arm
    assert "teacher.intra.weight" in found["weight=0.5+temperature=0.3"]


def test_overrides_are_part_of_the_baseline(file):
    found = arms_of(file, "teacher.training.lr=0.3", overrides=["student.training.lr=0.7"])

    assert found["lr=0.3"] == {"teacher.training.lr": 0.3}


def test_two_settings_of_one_name_are_both_shown(file):
    with pytest.raises(UsageError, match=r"student.training.lr or teacher.training.lr") as error:
        read_sweep(load(file), "training.lr=1,2")
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("lr", "is not PATH=v1,v2"),
        ("=1", "is not PATH=v1,v2"),
        ("student.training.lr=", "is not PATH=v1,v2"),
        ("nothing=1", "there is no setting 'nothing'"),
        ("student.training.lr=off", "nothing there has an off value"),
    ],
)
def test_what_is_no_sweep_is_one_error(file, sweep, words):
    with pytest.raises(UsageError, match=words):
        load(file, (), [sweep])


def test_a_sweep_that_varies_nothing_or_twice_is_refused(file):
    lr = load(file).student.training.lr
    with pytest.raises(UsageError, match="vary nothing"):
        load(file, (), [f"student.training.lr={lr}"])
    with pytest.raises(UsageError, match="lr twice"):
        load(file, (), ["student.training.lr=1", "student.training.lr=2"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("data.split_seed=1,2", (1, 2)),
        ("model.widths=[2, 4],[8]", ([2, 4], [8])),
        ('distiller={ kind = "kd", weight = 0.5 },off', ({"kind": "kd", "weight": 0.5}, "off")),
        ("data.labels=coarse,'fine'", ("coarse", "fine")),
        ("views=1,1,2", (1, 2)),
    ],
)
def test_values_are_those_of_toml_and_bare_words_are_strings(file, text, values):
    path, _, _ = text.partition("=")
    full = {"model.widths": "student.model.widths"}.get(path, path)

    assert read_sweep(load(file), text.replace(path, full, 1)).values == values


def test_settings_of_a_task_are_named_by_themselves(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(TASK)
    (tmp_path / "train.py").write_text("")

    found = arms_of(file, "drop=off,0.2", "ema=off")

    assert found == {
        "full": {},
        "drop=off+ema=off": {"task.config.drop": 0.0, "task.config.ema": False},
        "drop=0.2+ema=off": {"task.config.drop": 0.2, "task.config.ema": False},
    }


def test_the_written_file_is_the_same_study(file):
    sweeps = ["student.training.lr=0.01,0.02", "intra.weight=off,0.5"]
    overrides = ["student.training.epochs=7"]
    text = study_toml(swept_tables(file, overrides, sweeps), ["Made by hand"])

    again = parse(text, where="again")

    assert text.startswith("# Made by hand")
    assert again.model_dump() == load(file, overrides, sweeps).model_dump()
    assert expand(again) == expand(load(file, overrides, sweeps))


def test_toml_of_odd_names_and_texts_can_be_read_back():
    tables = {"plugins": ["a.py"], "study": {"name": "x", "a b": 'q"\n\\'}, "arm": [
        {"name": "a", "set": {"a.b": [1, {"c": 1e-9, "d": True}], "e": {}}}]}  # fmt: skip

    assert tomllib.loads(study_toml(tables)) == tables
