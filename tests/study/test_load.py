"""A study file is read whole and right, or refused with one clear error."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms, expand
from icckd.study.load import load, parse, study_schema

ROOT = Path(__file__).parents[2]
SMALL = """
[study]
name = "small"
baseline = "full"
seeds = { count = 2 }
[data]
kind = "digits"
[[arm]]
name = "full"
"""


def problem(text: str, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, where="x.toml", overrides=overrides)
    return caught.value


def test_the_shipped_study_loads():
    study = load(ROOT / "studies" / "ablations.toml")

    assert study.study.seeds.count >= 8
    assert study.teacher.intra.margin.threshold == 0.5


def test_an_unknown_key_names_file_place_and_nearest_valid_key():
    error = problem(SMALL + "[teacher.intra]\nmargn = 1\n")

    assert "x.toml" in error.message
    assert "teacher.intra.margn" in error.message
    assert "'margin'" in error.hint


def test_a_key_of_another_kind_of_data_is_unknown():
    error = problem(SMALL, "data.kind=cifar10", "data.train=450")

    assert "data.train" in error.message


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("study.seeds.count=0", "study.seeds.count"),
        ("data.train=3.5", "data.train"),
        ("data.train=true", "data.train"),
        ("teacher.training.lr=nan", "teacher.training.lr"),
        ("teacher.training.lr=inf", "teacher.training.lr"),
        ("teacher.views=3", "teacher.views"),
        ("teacher.intra.margin=of", "teacher.intra.margin"),
        ("study.name=../etc", "study.name"),
        ("data.kind=imagenet21k", "data"),
        ("teacher.model.kind=resnet", "teacher.model.kind"),
        ("teacher.views_in_ce=2", "teacher"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(override, place):
    assert place in problem(SMALL, override).message


def test_a_batch_larger_than_the_training_set_is_refused():
    study = parse(SMALL, where="x.toml", overrides=["teacher.training.batch_size=451"])

    with pytest.raises(SpecError, match="451 is more than the 450 training images"):
        arms(study)


def test_overrides_are_full_paths_typed_as_in_toml():
    study = parse(
        SMALL,
        where="x.toml",
        overrides=[
            "teacher.intra.margin.threshold=0.3",
            "study.seeds.count=3",
            "data.labels=fine",
            'teacher.intra.cache="off"',
        ],
    )

    assert study.teacher.intra.margin.threshold == 0.3
    assert study.study.seeds.all() == (0, 1, 2)
    assert study.data.labels == "fine"
    assert study.teacher.intra.cache == "off"


@pytest.mark.parametrize("override", ["seeds", "=3", "arm.name=x", "teecher.views=1"])
def test_an_override_that_is_none_is_refused(override):
    assert problem(SMALL, override).hint


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"[study]\nname = '\xff'\n")

    with pytest.raises(SpecError, match=r"not UTF-8 \(line 2\)"):
        load(path)


def test_a_gigabyte_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "x.toml"
    with path.open("wb") as file:
        file.truncate(1 << 30)

    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SpecError, match="cannot read"):
            load(path)


@pytest.mark.parametrize(
    "text",
    ["x = ", "[study\n", "a" * 20_000, "x = " + "[" * 10_000, ".".join("a" * 100) + " = 1"],
)
def test_text_that_is_no_toml_or_abuses_it_is_refused(text):
    problem(text)


def test_the_committed_schema_is_the_one_the_models_give():
    committed = (ROOT / "studies" / "study.schema.json").read_text()

    assert committed == study_schema()


@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_study_names_the_schema_fits_it_and_has_sound_arms(study):
    text = study.read_text()

    assert text.startswith("#:schema ./study.schema.json\n")
    jsonschema.validate(tomllib.loads(text), json.loads(study_schema()))
    assert arms(load(study))


def test_a_teacher_trains_plainly_unless_the_study_names_a_loss():
    teacher = parse(SMALL, where="x").teacher

    assert (teacher.losses(), teacher.views) == ({}, 1)


def test_a_loss_that_compares_two_views_gets_them_and_its_ablation_keeps_them():
    off = '[[arm]]\nname = "none"\nset = { "teacher.intra" = "off" }\n'
    study = parse(f"{SMALL}[teacher.intra]\n{off}", where="x")

    assert study.teacher.views == 2
    assert expand(study).methods["none"].teacher.views == 2
