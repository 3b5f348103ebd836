"""Adding seeds: what the journals tell, when to stop, which arms need no more."""

from dataclasses import replace

import numpy as np
import pytest

from icckd.errors import UsageError
from icckd.results.compare import compare, effects
from icckd.results.query import open_results
from icckd.results.seeds import Goal, hopeless_arms, parse, seed_power, seeds_missing
from icckd.study.records import Arm
from tests.results.test_compare import BASE, shifted, study
from tests.support.lab import planned


def info_after(lab):
    with open_results(lab.folder) as results:
        return results.study()


# --- what the journals tell ---------------------------------------------------------------------


def test_seeds_planned_after_a_result_count_as_added(lab):
    with lab.finished("s1", planned(seeds=(0, 1, 2))) as session:
        session.train_all()
    assert info_after(lab).added == ()
    with lab.finished("s2", planned(seeds=(0, 1, 2, 3, 4)), revision="r2"):
        pass

    info = info_after(lab)

    assert info.added == (3, 4)
    assert info.is_sequential


def test_a_session_that_was_stopped_before_any_result_adds_nothing(lab):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train(session.stage("full", 0))  # a teacher alone answers no question
    with lab.finished("s2", planned(seeds=(0, 1, 2)), revision="r2"):
        pass

    assert info_after(lab).added == ()


def test_running_the_same_seeds_again_or_other_settings_adds_nothing(lab):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    with lab.finished("s2", planned(seeds=(0, 1))):
        pass
    assert info_after(lab).added == ()
    with lab.finished("s3", planned(seeds=(0, 1, 2), salt="other"), revision="r3"):
        pass

    assert info_after(lab).added == ()


def test_seeds_that_ran_and_are_left_out_are_told(lab):
    with lab.finished("s1", planned(seeds=(0, 1, 2, 3))) as session:
        session.train_all()
    with lab.finished("s2", planned(seeds=(0, 1)), revision="r2"):
        pass

    assert info_after(lab).left_out == (2, 3)


def test_arms_that_were_stopped_do_not_lack_the_seeds_they_were_not_given(lab):
    plan = planned(seeds=(0, 1, 2))
    trials = tuple(t for t in plan.trials if t.arm != "no-cache" or t.seed < 2)
    stopped = {**plan.study, "stopped": {"no-cache": 2}}
    plan = plan.model_copy(update={"trials": trials, "study": stopped})
    with lab.finished("s1", plan) as session:
        session.train_all()
    with open_results(lab.folder) as results:
        row = next(r for r in results.comparisons(results.study()) if r.arm == "no-cache")

    assert (row.n, row.missing, row.unpaired) == (2, (), (2,))


# --- when to stop -------------------------------------------------------------------------------


def goal(text):
    return Goal(text=text, condition=parse(text, study(family=("arm",))))


def rows_of(info, arm):
    return compare(info, {info.primary: {"base": BASE, "arm": arm}})


def test_precision_is_judged_by_the_sequential_interval():
    info = replace(study(), always_sequential=True)
    rows = rows_of(info, shifted(-1.0, wiggle=0.3))
    row = rows[1]
    width = (row.high - row.low) / 2

    assert goal(f"halfwidth(student.top1) < {width + 0.01}").holds(info, rows)
    assert not goal(f"halfwidth(arm, student.top1) <= {width - 0.01}").holds(info, rows)


def test_an_arm_that_gets_no_more_seeds_is_not_waited_for():
    info = replace(study(), always_sequential=True, stopped={"arm": 6})
    rows = rows_of(info, shifted(-1.0, wiggle=0.3))

    assert goal("halfwidth(student.top1) < 0.0001").holds(info, rows)
    assert Goal(text="decided", condition=None).holds(info, rows)
    assert rows[1].more_seeds is None


def test_decided_waits_for_every_verdict():
    info = replace(study(smallest_effect=0.5), always_sequential=True)
    decided = Goal(text="decided", condition=None)

    assert decided.holds(info, rows_of(info, shifted(-3.0)))
    assert not decided.holds(info, rows_of(info, shifted(-0.4, wiggle=0.9)))


def test_the_seeds_a_goal_takes_follow_from_the_spread():
    info = study()
    rng = np.random.default_rng(0)
    arm = {seed: BASE[seed] + v for seed, v in zip(BASE, rng.normal(0, 1, 6), strict=True)}
    rows = rows_of(info, arm)
    need = seeds_missing(info, goal("halfwidth(student.top1) < 0.1"), rows)

    assert need.spread == pytest.approx(rows[1].difference_spread)
    assert need.fixed == pytest.approx((1.96 * need.spread / 0.1) ** 2, rel=0.1)
    assert need.sequential > 2 * need.fixed
    few = rows_of(info, {0: 90.5, 1: 91.7})
    assert seeds_missing(info, goal("halfwidth(student.top1) < 0.3"), few) is None


@pytest.mark.parametrize(
    ("shift", "smallest", "hopeless"),
    [(-3.0, 0.5, ["arm"]), (-3.0, 2.9, []), (3.0, 0.5, []), (-0.1, None, [])],
)
def test_only_arms_worse_by_more_than_what_matters_are_hopeless(shift, smallest, hopeless):
    info = replace(study(smallest_effect=smallest), always_sequential=True)

    assert hopeless_arms(info, rows_of(info, shifted(shift, wiggle=0.2))) == hopeless


@pytest.mark.parametrize(
    ("metric", "shift", "hopeless"),
    [
        ("teacher.stability", 3.0, ["arm"]),
        ("teacher.stability", -3.0, []),
        ("teacher.intra_ratio", 3.0, []),
        ("teacher.intra_ratio", -3.0, []),
    ],
)
def test_where_lower_is_better_an_arm_above_is_hopeless_and_without_a_direction_none(
    metric, shift, hopeless
):
    info = replace(study(primary=metric, smallest_effect=0.5), always_sequential=True)

    assert hopeless_arms(info, rows_of(info, shifted(shift, wiggle=0.2))) == hopeless


def test_without_the_rule_for_repeated_looks_no_arm_is_given_up():
    assert hopeless_arms(study(), rows_of(study(), shifted(-9.0))) == []


# --- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("diff(arm, student.top1) > -2.5", True),
        ("diff(arm) > -1.5", False),
        ("p(arm, student.top1) < 0.05", True),
        ("high(arm) < 0", True),
        ("pairs(arm) >= 6", True),
        ("mean(arm) > 1e2", False),
        ("low(base) > -100", False),  # a baseline has no difference: unknown does not hold
    ],
)
def test_conditions_on_results(text, holds):
    info = study()
    rows = {(r.arm, r.metric): r for r in rows_of(info, shifted(-2.0))}

    assert parse(text, info).holds(rows) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("diff(arm)", "not a condition"),
        ("diff(arm) > nan", "not a number"),
        ("diff(arm) > x", "not a number"),
        ("dif(arm) > 1", "no quantity 'dif'"),
        ("diff(arn) > 1", "no arm or outcome 'arn'"),
        ("diff(student.top1) > 1", "takes one arm"),
        ("diff(arm, base) > 1", "takes one arm"),
        ("__import__('os').system('id') > 1", "not a condition"),
    ],
)
def test_what_is_no_condition_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse(text, study())


# --- what seeds can tell ------------------------------------------------------------------------


def test_the_power_of_seeds_warns_when_a_test_cannot_reach_its_level():
    five = seed_power(study(), 5, {})
    eight = seed_power(study(family=("arm", "x"), more=("x",)), 8, {})

    assert five.smallest_p > five.level
    assert eight.smallest_p < eight.level == 0.025
    assert (five.spread, five.needed) == (None, None)
    assert seed_power(study(), 1, {}).detectable is None


def test_the_power_of_seeds_takes_the_spread_of_earlier_results():
    info = study(smallest_effect=0.5)
    rows = {r.arm: r for r in rows_of(info, shifted(0.2, wiggle=0.7))}
    found = seed_power(info, 8, rows)

    assert found.spread == pytest.approx(0.7 * np.sqrt(6 / 5))
    assert found.needed == 22
    assert seed_power(replace(info, added=(9,)), 8, rows).needed > 2 * 22


# --- factorial designs --------------------------------------------------------------------------


def factorial(values, *, design="factorial"):
    names = {
        "base": (0, 0),
        "cache=off": (0, 1),
        "margin=off": (1, 0),
        "margin=off+cache=off": (1, 1),
    }
    labels = {"margin": ("threshold.0.5", "off"), "cache": ("per_class.64", "off")}
    arms = tuple(
        Arm(
            name=name, role="variant", title="", action="", control_for=None, changes=(),
            levels={factor: labels[factor][i] for factor, i in zip(labels, place, strict=True)},
        )
        for name, place in names.items()
    )  # fmt: skip
    resolved = {
        "study": {"design": design},
        "factor": [
            {"name": "margin", "levels": [{"threshold": 0.5}, "off"]},
            {"name": "cache", "levels": [{"per_class": 64}, "off"]},
        ],
    }
    info = replace(study(), baseline="base", arms=arms, resolved=resolved)
    rng = np.random.default_rng(1)
    by_arm = {
        name: {seed: 90 + seed + values[place] + rng.normal(0, 0.01) for seed in range(4)}
        for name, place in names.items()
    }
    return info, {info.primary: by_arm}


def test_main_effects_and_interactions_of_a_factorial_design():
    info, outcomes = factorial({(0, 0): 0, (0, 1): -1, (1, 0): -2, (1, 1): -5})
    found = effects(info, outcomes)

    assert [effect.name for effect in found] == [
        "margin=off",
        "cache=off",
        "margin=off x cache=off",
    ]
    assert [effect.mean for effect in found] == pytest.approx([-3.0, -2.0, -2.0], abs=0.05)
    assert all(effect.low < effect.mean < effect.high for effect in found)
    assert all(effect.p <= effect.p_adjusted < 0.05 for effect in found)


def test_a_seed_without_every_cell_is_left_out_as_a_whole():
    info, outcomes = factorial({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0})
    del outcomes[info.primary]["margin=off"][2]

    assert {effect.n for effect in effects(info, outcomes)} == {3}


def test_other_designs_have_no_effects():
    info, outcomes = factorial(dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], 0), design="zip")

    assert effects(info, outcomes) == ()
    assert effects(study(), {}) == ()
