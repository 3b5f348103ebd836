import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from icckd.results.compare import compare
from icckd.results.types import StudyInfo
from icckd.study.records import Arm

BASE = {0: 90.0, 1: 91.0, 2: 92.5, 3: 90.5, 4: 91.7, 5: 90.9}


def study(
    *, action="REMOVE", primary="student.top1", smallest_effect=None, family=("arm",), more=()
):
    def arm(name, role, action=""):
        return Arm(name=name, role=role, title="", action=action, control_for=None, changes=())

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


def by_flips(scores):
    signs = itertools.product([1, -1], repeat=len(scores))
    sums = np.array([np.dot(s, np.abs(scores)) for s in signs])
    return np.mean(np.abs(sums) >= abs(sum(scores)))


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


def test_the_median_is_that_of_the_seeds_there_are():
    for n in range(1, len(BASE) + 1):
        arm = dict(list(shifted(1.0, wiggle=0.7).items())[:n])

        assert judge(study(), arm).median == pytest.approx(np.median(list(arm.values())))


def test_never_reached_leaves_no_mean_and_no_difference_but_is_not_dropped():
    arm = {**shifted(1.0), 3: math.inf}
    row = judge(study(primary="student.convergence", smallest_effect=50.0), arm)

    assert (row.n, row.never, row.pairs) == (6, 1, 6)
    assert (row.mean, row.spread, row.difference, row.low) == (None, None, None, None)
    assert row.median == sorted(arm.values())[2] / 2 + sorted(arm.values())[3] / 2
    assert (row.test, row.p) == ("worst-rank", pytest.approx(2 / 2**6))  # worse under every seed
    assert row.verdict == "helps"


def test_a_seed_that_never_reached_its_target_counts_as_worst_not_as_far():
    near = judge(study(primary="student.convergence"), {**shifted(-1.0), 3: math.inf})
    far = judge(study(primary="student.convergence"), {**shifted(-1.0), 3: 1e9})

    assert near.verdict == "undecided"
    assert near.p == pytest.approx(by_flips([2, 2, 2, 4.5, 4.5, -6]))  # equal sizes share ranks
    assert far.test == "t"


def test_both_never_reaching_says_nothing_either_way():
    info = study(primary="student.convergence")
    base, arm = {**BASE, 2: math.inf}, {**shifted(1.0), 2: math.inf}
    row = next(r for r in compare(info, {info.primary: {"base": base, "arm": arm}}) if r.pairs)

    assert row.p == pytest.approx(2 / 2**5)


def test_a_seed_that_diverged_counts_as_the_worst_outcome():
    values = shifted(0.6)
    arm = {seed: value for seed, value in values.items() if seed not in (1, 4)}
    info = study()
    outcomes = {
        info.primary: {"base": BASE, "arm": arm},
        "teacher.nonfinite_steps": {"arm": {1: 1.0, 4: 1.0, 2: 0.0}},
    }
    row = next(r for r in compare(info, outcomes) if r.arm == "arm")

    assert (row.diverged, row.missing, row.pairs) == ((1, 4), (1, 4), 4)
    assert row.difference == pytest.approx(np.mean([arm[s] - BASE[s] for s in arm]))
    assert (row.test, row.verdict) == ("worst-rank", "undecided")
    assert row.p == pytest.approx(by_flips([1.5, 1.5, 3.5, 3.5, -5.5, -5.5]))
    assert judge(info, arm).verdict == "hurts"  # without the rule the loss would go unseen


def test_seeds_that_one_side_lacks_are_named():
    row = judge(study(), {seed: v for seed, v in shifted(-1.0).items() if seed != 5} | {9: 1.0})

    assert row.unpaired == (5, 9)
    assert row.baseline_mean == pytest.approx(np.mean([BASE[s] for s in range(5)]))


def test_a_comparison_comes_with_effect_size_checks_and_equivalence():
    row = judge(study(smallest_effect=0.5), shifted(-2.0))
    differences = np.array([shifted(-2.0)[s] - BASE[s] for s in BASE])

    d_z = differences.mean() / differences.std(ddof=1)
    assert row.effect_size == pytest.approx(d_z * 0.8408, rel=1e-3)  # J(5)
    assert row.difference_spread == pytest.approx(differences.std(ddof=1))
    assert (row.p_exact, row.p_exact_smallest) == (pytest.approx(2 / 64), 2 / 64)
    assert row.p_equivalence > 0.9
    assert (row.test, row.bootstrap_low) == ("t", None)  # six pairs are too few to resample


def test_undecided_says_how_many_more_seeds_from_the_spread_alone():
    def more(shift, **settings):
        return judge(study(smallest_effect=0.5, **settings), shifted(shift, wiggle=0.7)).more_seeds

    effect = 0.5 / (0.7 * np.sqrt(6 / 5))
    assert more(0.2) == more(-0.2) == 16  # 21 pairs for the difference, 22 for equivalence
    of_two = TTestPower().solve_power(effect, None, 0.025, 0.8)
    assert more(0.2, family=("arm", "x"), more=("x",)) == math.ceil(of_two) - 6
    assert judge(study(), shifted(0.2, wiggle=0.7)).more_seeds is None
    assert judge(study(smallest_effect=0.5), shifted(-2.0)).more_seeds is None


@pytest.mark.parametrize("why", [{"added": (4, 5)}, {"always_sequential": True}])
def test_added_seeds_switch_to_the_rule_for_repeated_looks(why):
    plain, info = study(smallest_effect=5.0), replace(study(smallest_effect=5.0), **why)
    before, after = judge(plain, shifted(-2.0, 0.9)), judge(info, shifted(-2.0, 0.9))

    assert (before.test, after.test) == ("t", "sequential")
    assert after.difference == before.difference
    assert after.low < before.low < before.high < after.high
    assert after.p > before.p
    assert (after.p_exact, after.p_equivalence) == (None, None)
    assert after.verdict == "equivalent"  # the whole interval lies within 5 points


def test_too_few_pairs_for_the_sequential_rule_have_no_interval():
    info = replace(study(), added=(1,))
    row = judge(info, {s: v for s, v in shifted(-2.0).items() if s < 3})

    assert row.difference == pytest.approx(-2.0 + 0.1 / 3)
    assert (row.low, row.high, row.verdict) == (None, None, "undecided")


def test_never_reached_under_the_sequential_rule_goes_by_signs():
    info = replace(study(primary="student.convergence"), added=(5,))
    row = judge(info, {**shifted(1.0), 3: math.inf})

    assert row.test == "sequential sign"
    assert row.p == pytest.approx(1 / (2**6 * 231 / 1024))  # B(6.5, .5) / B(.5, .5) = 231 / 1024


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
