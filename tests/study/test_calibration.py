"""Which controls may be matched, and how their weight is found."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import IcckdError, SpecError
from icckd.run.calibrate import MAX_ROUNDS, calibration_study, find_weights
from icckd.study.arms import expand
from icckd.study.calibration import (
    WEIGHT,
    Probe,
    is_matched,
    matched_controls,
    next_weight,
    with_weight,
)
from icckd.study.load import parse

HEAD = """
[study]
name = "s"
baseline = "full"
seeds = { count = 2 }
calibration_seeds = { first = 1000, count = 3 }
[teacher.intra]
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
"""
MATCHED = """
[[arm]]
name = "matched"
control_for = "no-cache"
set = { "teacher.intra.cache" = "off", "teacher.intra.weight" = 0.05 }
"""


def study(body, head=HEAD):
    return parse(head + body, where="x.toml")


def controls(body, only=None, head=HEAD):
    found = study(body, head)
    return matched_controls(found, expand(found), only)


def refusal(body, only=None, head=HEAD):
    with pytest.raises(SpecError) as caught:
        controls(body, only, head)
    return f"{caught.value.message} {caught.value.hint}"


def test_a_control_that_changes_only_the_weight_of_its_arm_is_found():
    assert [arm.name for arm in controls(MATCHED)] == ["matched"]
    assert [arm.name for arm in controls(MATCHED, only="matched")] == ["matched"]


@pytest.mark.parametrize(
    "more",
    ['"teacher.intra.temperature" = 0.2', '"teacher.training.lr" = 0.1', '"data.split_seed" = 1'],
)
def test_a_control_that_changes_more_than_the_weight_is_refused(more):
    body = MATCHED.replace("0.05 }", f"0.05, {more} }}")

    assert more.split('"')[1] in refusal(body)


def test_a_control_that_keeps_the_part_is_refused():
    body = MATCHED.replace('"teacher.intra.cache" = "off", ', "")

    assert "teacher.intra.cache" in refusal(body)


def test_without_a_matched_control_the_hint_says_what_one_is():
    assert "control_for" in refusal("")
    assert "teacher.intra.weight" in refusal(MATCHED, only="no-cache")


def test_a_baseline_without_the_loss_has_no_strength_to_match():
    assert "no intra-class loss" in refusal(
        MATCHED, head=HEAD.replace("intra]", "intra]\nweight = 0.0")
    )


def test_calibration_seeds_may_not_be_seeds_of_the_study():
    with pytest.raises(SpecError, match="seed 1 is in both"):
        study(MATCHED, HEAD.replace("first = 1000", "first = 1"))
    with pytest.raises(SpecError, match="no calibration seeds"):
        calibration_study(study(MATCHED, HEAD.replace("calibration_seeds", "#")))


def test_an_arm_of_a_round_is_the_control_with_another_weight():
    [control] = controls(MATCHED)
    design = expand(study(MATCHED))
    method = design.methods["matched"]

    tried = with_weight(design, control, method, 0.025)

    assert [arm.name for arm in tried.arms] == ["full", "no-cache", "matched", "matched=0.025"]
    assert tried.methods["matched=0.025"].teacher.intra.weight == 0.025
    assert tried.methods["matched=0.025"].teacher.intra.cache == "off"
    assert tried.methods["matched=0.025"].student == method.student


@settings(max_examples=200)
@given(
    slope=st.floats(0.1, 50),
    bend=st.floats(-0.3, 0.3),
    target=st.floats(0.01, 0.5),
    start=st.floats(0.001, 1.0),
)
def test_a_nearly_proportional_curve_is_met_within_a_few_rounds(slope, bend, target, start):
    def ratio(weight):
        return slope * weight * (1 + bend * weight / (1 + weight))

    probes, weight = [], start
    for rounds in count(1):
        probes.append(Probe(weight=weight, ratio=ratio(weight)))
        if is_matched(probes[-1], target, 1.0):
            break
        weight = next_weight(probes, target)
        assert weight is not None
        assert rounds < MAX_ROUNDS


def test_weights_have_three_digits_and_no_weight_is_tried_twice():
    probes = [Probe(weight=0.0216, ratio=0.9), Probe(weight=0.0217, ratio=1.2)]

    assert next_weight(probes, 1.0) is None
    assert next_weight(probes[:1], 1.0) == 0.024
    assert next_weight([Probe(weight=0.02, ratio=0.0)], 1.0) is None


def test_each_control_goes_its_own_way_and_only_unmatched_ones_go_on():
    body = MATCHED + MATCHED.replace('"matched"', '"other"').replace("0.05", "0.4")
    found = study(body)
    asked = []

    def measure(tried):
        asked.append([arm.name for arm in tried.arms])
        factor = {"full": 2.0, "matched": 0.8, "other": 5.0}
        return {
            arm: {
                seed: method.teacher.intra.weight * factor[arm.partition("=")[0]] * share
                for seed, share in ((1000, 0.9), (1001, 1.1))
            }
            for arm, method in tried.methods.items()
        }

    first, second = find_weights(expand(found), controls(body), measure, tolerance=1.0)

    assert (first.weight, second.weight) == (0.05, 0.008)
    assert first.percent == pytest.approx(100)
    assert first.by_seed == pytest.approx((100, 100))
    assert asked == [
        ["full", "matched=0.05", "other=0.4"],
        ["full", "matched=0.05", "other=0.4", "other=0.04"],
        ["full", "matched=0.05", "other=0.4", "other=0.04", "other=0.008"],
    ]


def test_a_curve_that_never_meets_the_target_ends_with_what_was_tried():
    found = study(MATCHED)

    def measure(tried):
        return {arm.name: {1000: 0.4 if arm.name == "full" else 0.1} for arm in tried.arms}

    with pytest.raises(IcckdError, match=f"within 1 %: {WEIGHT and '0.05 gave 0.1, 0.2 gave 0.1'}"):
        find_weights(expand(found), controls(MATCHED), measure, tolerance=1.0)


def test_a_baseline_that_pulls_on_nothing_is_told_and_divides_nothing():
    def measure(tried):
        return {arm.name: {1000: 0.0} for arm in tried.arms}

    found = study(MATCHED)
    with pytest.raises(SpecError, match=r"'full' pulls on nothing: its teacher.intra_ratio is 0"):
        find_weights(expand(found), controls(MATCHED), measure, tolerance=1.0)
