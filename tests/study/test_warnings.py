"""What a study is warned of before it trains; each warning says what follows and what to do."""

import pytest

from icckd.study.arms import expand, outcome_columns
from icckd.study.load import parse
from icckd.study.warnings import changed_meaning, study_warnings

STUDY = """
[study]
name = "s"
baseline = "full"
seeds = { count = 2 }
convergence = { teacher = 80.0, student = 80.0 }
[data]
kind = "digits"
[teacher.intra]
[[arm]]
name = "full"
[[arm]]
name = "hot"
set = { "student.distiller.temperature" = 8.0 }
"""
CONVERGES = 'study.metrics=["student.convergence"]'


def warnings(*overrides, text=STUDY):
    study = parse(text, where="x", overrides=overrides)
    return study_warnings(study, expand(study).methods, outcome_columns(study), {})


def test_a_sound_study_has_none():
    assert warnings(CONVERGES) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("data.augment.padding=0",), "the intra-class loss compares each image with itself"),
        (("student.training.batch_size=450",), "an epoch of the student is one step"),
        (("data.train=1000", "data.validation=700"), "the test set has 97 images: one is 1 points"),
        (("data.validation=20",), "the validation set has 20 images"),
        (
            (CONVERGES, "study.convergence.student=20.0"),
            "student = 20 % is no more than chance with 5 classes (20 %)",
        ),
    ],
)
def test_what_misleads_is_said(overrides, says):
    (warning,) = warnings(*overrides)
    assert says in warning


def test_a_target_that_nobody_set_is_named_where_an_outcome_waits_for_it():
    text = STUDY.replace("convergence =", "# convergence =")

    assert warnings(text=text) == []
    (warning,) = warnings(CONVERGES, text=text)
    assert "student.convergence wait for 90 % validation accuracy, the default" in warning


def test_the_arms_that_a_warning_concerns_are_named_unless_it_is_all():
    one = STUDY.replace(
        '"student.distiller.temperature" = 8.0', '"teacher.training.batch_size" = 450'
    )

    (warning,) = warnings(text=one)
    assert warning.startswith("hot: an epoch of the teacher is one step")


def test_a_file_whose_meaning_changed_with_the_defaults_is_told_what_gives_the_old_one():
    bare = STUDY.replace("[teacher.intra]", "[teacher.training]\nepochs = 2")

    assert "`views = 2` in [teacher]" in changed_meaning(parse(bare, where="x"))
    for said in ("[teacher.intra]", '[teacher]\nintra = "off"', "[teacher]\nviews = 1"):
        assert not changed_meaning(parse(STUDY.replace("[teacher.intra]", said), where="x"))
