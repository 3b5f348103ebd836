"""Power and seeds needed, against statsmodels and against simulated studies."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from icckd.stats.paired import t_quantile
from icckd.stats.power import (
    detectable_effect,
    equivalence_power,
    power,
    seeds_for_effect,
    seeds_for_equivalence,
    seeds_for_halfwidth,
    seeds_where,
    student,
)


def one_sided(n):
    return t_quantile(n - 1, 0.95)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("effect", [0.0, 0.3, 0.8, 1.5])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_power_agrees_with_statsmodels(n, effect, alpha):
    theirs = TTestPower().power(effect, n, alpha)

    assert power(n, effect, student(alpha)) == pytest.approx(theirs, abs=1e-9)
    assert power(n, -effect, student(alpha)) == pytest.approx(theirs, abs=1e-9)


def test_power_far_out_is_certain():
    assert power(60, 3.0, student(0.05)) == pytest.approx(1.0)
    assert power(8, 3.0, student(0.05 / 6)) == pytest.approx(0.9997, abs=1e-3)


@pytest.mark.parametrize(("effect", "alone", "of_six"), [(0.5, 34, 52), (1, 10, 16), (2, 5, 7)])
def test_the_seeds_needed_are_those_of_the_tables(effect, alone, of_six):
    assert seeds_for_effect(effect, student(0.05)) == alone
    assert seeds_for_effect(effect, student(0.05 / 6)) == of_six
    assert TTestPower().solve_power(effect, None, 0.05, 0.8) == pytest.approx(alone, abs=1)


def test_the_detectable_effect_is_found_with_the_wanted_power():
    effect = detectable_effect(8, student(0.05))

    assert power(8, effect, student(0.05)) == pytest.approx(0.8, abs=1e-3)
    of_two = detectable_effect(2, student(0.05))
    assert power(2, of_two, student(0.05)) == pytest.approx(0.8, abs=1e-3)
    assert detectable_effect(1, student(0.05)) is None


def test_equivalence_power_is_that_of_simulated_studies():
    generator = np.random.default_rng(3)
    values = generator.normal(0, 1, (20_000, 30))
    error = values.std(axis=1, ddof=1) / np.sqrt(30)
    found = np.abs(values.mean(axis=1)) + one_sided(30) * error < 0.55

    assert equivalence_power(30, 0.55, one_sided) == pytest.approx(found.mean(), abs=0.012)
    assert equivalence_power(3, 0.1, one_sided) == 0.0
    assert seeds_for_equivalence(0.55, one_sided) in (29, 30, 31)


def test_a_half_width_of_a_fifth_of_the_spread_needs_about_a_hundred_seeds():
    assert seeds_for_halfwidth(0.3 / 1.5, student(0.05)) == 99


def test_what_never_holds_is_said():
    assert detectable_effect(8, lambda n: 1e9) is None
    assert detectable_effect(1, student(0.05)) is None
    assert seeds_where(lambda n: False) is None
    assert seeds_where(lambda n: n >= 2) == 2
    assert [seeds_where(lambda n, k=k: n >= k) for k in (3, 17, 4097, 100_000)] == [
        3, 17, 4097, 100_000,
    ]  # fmt: skip
