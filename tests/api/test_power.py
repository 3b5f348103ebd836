"""`icckd.power`: seeds for an effect, effect for seeds, by the rules that reports judge by."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

import icckd
from icckd.errors import UsageError
from icckd.results.rules import critical_values
from icckd.results.types import StudyInfo
from tests.structure.test_structure import ROOT


@pytest.mark.parametrize(("seeds", "effect"), [(8, 0.9), (20, 0.7), (60, 0.3)])
def test_one_question_has_the_power_of_a_paired_t_test(seeds, effect):
    expected = TTestPower().power(effect, seeds, 0.05)

    assert icckd.power(seeds=seeds, effect=effect).power == pytest.approx(expected, abs=1e-6)
    assert icckd.power(seeds=seeds, effect=-3 * effect, spread=3).power == pytest.approx(expected)


@settings(max_examples=15)
@given(
    effect=st.floats(0.3, 3),
    spread=st.floats(0.1, 10),
    questions=st.integers(1, 8),
    looks=st.sampled_from(["once", "always"]),
)
def test_the_seeds_that_an_effect_takes_are_the_fewest(effect, spread, questions, looks):
    options = {"spread": spread, "questions": questions, "looks": looks}
    found = icckd.power(effect=effect * spread, **options)

    assert found.power >= 0.8
    if found.seeds > 6:
        fewer = icckd.power(effect=effect * spread, seeds=found.seeds - 1, **options)
        assert fewer.power < 0.8


@settings(max_examples=15)
@given(seeds=st.integers(6, 200), questions=st.integers(1, 8))
def test_the_effect_that_seeds_find_is_found_with_the_power_wanted(seeds, questions):
    found = icckd.power(seeds=seeds, questions=questions, spread=2.0)
    again = icckd.power(seeds=seeds, effect=found.effect, questions=questions, spread=2.0)

    assert again.power == pytest.approx(0.8, abs=1e-3)


def test_more_questions_and_more_looks_take_more_seeds():
    one = icckd.power(effect=0.8).seeds

    assert icckd.power(effect=0.8, questions=5).seeds > one
    assert icckd.power(effect=0.8, looks="always").seeds > one
    assert icckd.power(effect=0.8, wanted=0.95).seeds > one


def test_fewer_than_six_pairs_find_nothing_whatever_the_effect():
    assert icckd.power(seeds=5, effect=100.0).power == 0.0
    assert icckd.power(seeds=5).effect is None
    assert "find no difference" in str(icckd.power(seeds=5))
    assert icckd.power(effect=100.0).seeds == 6


def test_what_no_number_of_seeds_finds_is_said():
    found = icckd.power(effect=1e-4)

    assert found.seeds is None
    assert "more than 100,000 paired seeds" in str(found)


def test_equivalence_within_an_effect_has_seeds_of_its_own():
    found = icckd.power(effect=0.5)

    assert found.equivalence_seeds is not None
    assert f"{found.equivalence_seeds} show that there is none as large" in str(found)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": 1},
        {"effect": 0.0},
        {"effect": float("inf")},
        {"effect": 1.0, "spread": 0.0},
        {"effect": 1.0, "questions": 0},
        {"effect": 1.0, "wanted": 1.0},
        {"effect": 1.0, "looks": "twice"},
    ],
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(UsageError):
        icckd.power(**options)


def test_the_critical_values_are_those_of_a_study_with_so_many_questions():
    study = StudyInfo(
        name="s", revision="", question="", baseline="full", primary="m", metrics=("m",), arms=(),
        seeds=tuple(range(12)), smallest_effect=None, family=(), planned_at=0.0, rule="fixed",
    )  # fmt: skip
    difference, _ = critical_values(study, 4)
    found = icckd.power(seeds=12, questions=4)

    from icckd.stats.power import power

    assert power(12, found.effect, difference) == pytest.approx(0.8, abs=1e-3)


def test_the_examples_of_the_documentation_hold():
    path = str(ROOT / "docs" / "python.md")
    done = doctest.testfile(path, module_relative=False, optionflags=doctest.ELLIPSIS)

    assert done == (0, 3)
