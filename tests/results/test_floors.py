"""The least variance of a paired difference, from what is known of the test images."""

import base64
from dataclasses import replace

import numpy as np
import pytest

from icckd.results.pairing import ArmValues, pair_arms, read_right
from icckd.results.query import open_results
from icckd.results.store import Store
from icckd.study.metrics import Metric
from tests.support.lab import planned

IMAGES = 200
TOP1 = Metric(
    name="student.top1", unit="%", direction="higher", about="", counts="test images"
)  # fmt: skip
SHARE = replace(TOP1, name="student.score", images=IMAGES)
"""A metric of a task, which says of how many images it is the share."""


def hits(right, first=0):
    """Return the hits of a model that is right about so many images, from one on."""
    found = np.zeros(IMAGES, dtype=bool)
    found[first : first + right] = True
    return found


def floors(metric, mine, theirs, right=None):
    """Return the floors of one pair of values; `right` has the hits of both sides' models."""
    bits = ({}, {}) if right is None else tuple({0: models} for models in right)
    arm, baseline = (
        ArmValues(arm=name, info=metric, by_seed={0: value}, planned=(0,), diverged=frozenset(),
                  right=of)
        for name, value, of in zip(("arm", "base"), (mine, theirs), bits, strict=True)
    )  # fmt: skip
    found = pair_arms(arm, baseline, counts_diverged=True).floors
    return None if found is None else found.tolist()


def in_images(count):
    """Return the variance of a count in percent squared."""
    return pytest.approx(count * (100 / IMAGES) ** 2)


def test_it_is_the_images_that_the_models_judge_differently_and_one():
    right = ((hits(100),), (hits(100, first=10),))

    assert floors(TOP1, 50.0, 50.0, right) == [in_images(20 + 1)]


def test_students_of_one_teacher_are_averaged_and_so_are_their_floors():
    right = ((hits(100), hits(90)), (hits(100, first=10), hits(90)))

    assert floors(TOP1, 47.5, 47.5, right) == [in_images((20 + 1 + 0 + 1) / 4)]


@pytest.mark.parametrize(
    "right",
    [
        None,
        ((hits(100),), ()),
        ((hits(100), hits(90)), (hits(100),)),
        ((hits(100),), (hits(100)[:150],)),
    ],
    ids=["no bits", "bits of one side", "another number of students", "other test images"],
)
def test_it_is_not_known_unless_both_sides_judged_the_same_images(right):
    assert floors(TOP1, 50.0, 50.0, right) is None


def test_a_declared_share_without_bits_has_the_widest_that_its_values_allow():
    assert floors(SHARE, 90.0, 95.0) == [in_images(20 + 10 + 1)]
    assert floors(SHARE, 10.0, 5.0) == [in_images(20 + 10 + 1)]


def test_a_declared_share_of_just_the_images_that_a_model_was_right_about_has_theirs():
    right = ((hits(180),), (hits(190),))

    assert floors(SHARE, 90.0, 95.0, right) == [in_images(10 + 1)]
    assert floors(SHARE, 80.0, 95.0, right) == [in_images(40 + 10 + 1)]  # a share of something else


def test_a_pair_without_a_size_is_ranked_and_has_none():
    assert floors(replace(TOP1, direction="lower"), np.inf, 50.0) == [0.0]
    assert floors(replace(TOP1, counts="epochs"), 9.0, 11.0) == [1.0]
    assert floors(replace(TOP1, counts=""), 9.0, 11.0) == [0.0]


# --- read from the journals ---------------------------------------------------------------------


def packed(found):
    return base64.b64encode(np.packbits(found).tobytes()).decode()


def trained(lab, right):
    """Write a study of one seed whose models were right about the first images of 20."""
    with lab.finished("s1", planned(seeds=(0,), students=2)) as session:
        for trial in session.plan.trials:
            for position in range(len(trial.stages)):
                session.train(session.stage(trial.arm, 0, position), images=20, right=right)


def right_of(lab):
    with open_results(lab.folder) as results, Store.open_file(lab.folder) as store:
        store.ingest()
        return read_right(store, results.study())


def test_the_hits_of_every_model_are_read_by_kind_arm_and_seed(lab):
    trained(lab, packed(hits(20)[:20]))
    found = right_of(lab)

    assert set(found) == {"teacher", "student"}
    assert set(found["student"]) == {"full", "no-margin", "no-margin-matched", "no-cache"}
    assert [len(models) for models in found["teacher"]["full"].values()] == [1]
    [students] = found["student"]["full"].values()
    assert [each.tolist() for each in students] == [[True] * 20] * 2


@pytest.mark.parametrize(
    "bits", ["no base64!", packed(np.ones(40, bool)), packed(np.ones(8, bool))]
)
def test_bits_that_are_not_those_of_so_many_images_are_not_known(lab, bits):
    trained(lab, bits)

    assert right_of(lab) == {}
