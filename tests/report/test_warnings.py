"""What a report warns of, from outcomes that are valid numbers and mislead."""

import json

import pytest

from icckd.study.arms import outcome_columns
from icckd.study.load import parse
from tests.support.desk import Desk
from tests.support.lab import ARMS, planned

TEXT = """
[study]
name = "icc-ablations"
baseline = "full"
metrics = ["student.convergence"]
seeds = { count = 2 }
[data]
kind = "digits"
[teacher.intra]
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
metrics = ["student.top1"]
"""


@pytest.fixture
def told(lab, tmp_path):
    """Return a function that trains a study to given accuracies and gives its report's warnings."""

    def train(accuracy, *overrides, images=0):
        study = parse(TEXT, where="x", overrides=overrides)
        plan = planned(arms=(ARMS[0], ARMS[3]), seeds=(0, 1))
        resolved = {
            **study.model_dump(mode="json"),
            "outcomes": list(outcome_columns(study)),
            "family": ["no-cache"],
        }
        with lab.finished("s1", plan.model_copy(update={"study": resolved})) as session:
            for stage in plan.stages:
                session.train(stage, accuracy=accuracy[stage.kind], images=images)
        return json.loads(Desk(tmp_path).run("report", "--format", "json").stdout)["warnings"]

    return train


def test_results_above_chance_at_their_target_have_none(told):
    assert told({"teacher": 95.0, "student": 93.0}, images=1000) == []


def test_two_students_at_chance_are_named_and_their_verdicts_are_void(told):
    (warning,) = told({"teacher": 95.0, "student": 21.0}, "study.metrics=[]", images=1000)

    assert "student.top1 is at chance level (20 % with 5 classes): full 21.0 %, no-cache" in warning
    assert "verdicts on them are void" in warning


def test_a_small_test_set_and_identical_views_are_named(told):
    small, identical = told({"teacher": 95.0, "student": 93.0}, "data.augment.padding=0", images=60)

    assert "the test set has 60 images: one is 1.7 points" in small
    assert "the intra-class loss compares each image with itself" in identical


def test_a_target_that_no_seed_reached_is_named_with_the_best_that_was(told):
    (warning,) = told({"teacher": 95.0, "student": 70.0})

    assert "no seed of any arm reached the target of 90 %" in warning
    assert "(the best was 70.0 %)" in warning
