import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.results.compare import compare
from icckd.results.types import ArmRow, StudyInfo

BASE = {0: 90.0, 1: 91.0, 2: 92.5, 3: 90.5, 4: 91.7, 5: 90.9}


def study(
    *, action="REMOVE", primary="student.top1", smallest_effect=None, family=("arm",), more=()
):
    def arm(name, role, action=""):
        return ArmRow(name=name, role=role, title="", action=action, control_for=None, changes=())

    return StudyInfo(
        name="s", revision="r", question="", baseline="base", primary=primary, metrics=(primary,),
        arms=(
            arm("base", "baseline"), arm("arm", "ablation", action),
            *(arm(name, "control") for name in more),
        ),
        seeds=tuple(BASE), smallest_effect=smallest_effect, family=family, planned_at=0.0,
    )  # fmt: skip


def shifted(shift, wiggle=0.1):
    return {seed: value + shift + wiggle * (-1) ** seed for seed, value in BASE.items()}


def judge(study, arm, **others):
    outcomes = {study.primary: {"base": BASE, "arm": arm, **others}}
    return next(row for row in compare(study, outcomes) if row.arm == "arm")


@pytest.mark.parametrize(
    ("action", "primary", "shift", "verdict"),
    [
        ("REMOVE", "student.top1", -2.0, "helps"),
        ("REMOVE", "student.top1", +2.0, "hurts"),
        ("REMOVE", "teacher.stability", +2.0, "helps"),
        ("REMOVE", "teacher.stability", -2.0, "hurts"),
        ("REPLACE", "student.top1", -2.0, "helps"),
        ("REPLACE", "student.top1", +2.0, "hurts"),
        ("ADD", "student.top1", +2.0, "helps"),
        ("ADD", "student.top1", -2.0, "hurts"),
        ("ADD", "teacher.stability", -2.0, "helps"),
        ("", "student.top1", -2.0, "helps"),
        ("REMOVE", "teacher.intra_ratio", -2.0, "undecided"),
        ("REMOVE", "student.top1", 0.05, "undecided"),
    ],
)
def test_the_verdict_is_about_the_part(action, primary, shift, verdict):
    row = judge(study(action=action, primary=primary), shifted(shift))

    assert row.verdict == verdict
    assert row.p_adjusted == row.p


def test_a_difference_within_the_smallest_effect_is_equivalent_even_if_it_is_real():
    row = judge(study(smallest_effect=0.5), shifted(0.2, wiggle=0.02))

    assert row.p_adjusted < 0.05
    assert row.verdict == "equivalent"
    assert judge(study(smallest_effect=0.1), shifted(0.2, wiggle=0.02)).verdict == "hurts"


def test_only_the_family_is_judged_and_only_on_the_primary_metric():
    info = study(family=("arm",), more=("control",))
    info = replace(info, metrics=(info.primary, "teacher.top1"))
    values = {"base": BASE, "arm": shifted(-2.0), "control": shifted(-2.0)}
    rows = compare(info, {info.primary: values, "teacher.top1": values})

    judged = [(row.arm, row.metric) for row in rows if row.verdict]
    assert judged == [("arm", "student.top1")]
    assert [row.p_adjusted is not None for row in rows if row.difference is not None] == [
        True, False, False, False,
    ]  # fmt: skip
    assert [(row.arm, row.metric) for row in rows] == [
        (arm.name, metric) for arm in info.arms for metric in info.metrics
    ]


def test_the_family_counts_as_planned_when_an_arm_is_still_missing():
    alone = judge(study(family=("arm",)), shifted(-0.3))
    planned = judge(study(family=("arm", "control"), more=("control",)), shifted(-0.3))

    assert planned.p == alone.p
    assert planned.p_adjusted == pytest.approx(2 * alone.p)


def test_without_pairs_nothing_is_judged():
    assert judge(study(), {}).verdict == ""
    row = judge(study(), {0: 89.0})
    assert (row.verdict, row.pairs, row.difference, row.n) == ("undecided", 1, None, 1)
    assert row.missing == (1, 2, 3, 4, 5)


def test_never_reached_leaves_no_mean_and_no_difference():
    arm = {**shifted(1.0), 3: math.inf}
    row = judge(study(primary="student.convergence"), arm)

    assert (row.n, row.never, row.pairs) == (6, 1, 6)
    assert (row.mean, row.spread, row.difference, row.p) == (None, None, None, None)
    assert row.median == sorted(arm.values())[2] / 2 + sorted(arm.values())[3] / 2
    assert row.verdict == "undecided"


def test_equal_differences_are_certain():
    row = judge(study(), {seed: value - 0.5 for seed, value in BASE.items()})

    assert (row.p, row.low, row.high, row.verdict) == (0.0, -0.5, -0.5, "helps")


@given(st.permutations(list(BASE)), st.sets(st.sampled_from(list(BASE))))
def test_the_order_of_seeds_changes_nothing_and_missing_ones_are_named(order, dropped):
    arm = {seed: shifted(-1.0)[seed] for seed in BASE if seed not in dropped}
    shuffled = {seed: arm[seed] for seed in order if seed in arm}

    row = judge(study(), shuffled)

    assert row == judge(study(), arm)
    assert set(row.missing) == dropped
    assert row.n == row.pairs == len(arm)
