"""The rule for repeated looks: against its definition and over thousands of simulated studies."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from icckd.stats.sequential import (
    anytime_p,
    anytime_sign_p,
    critical_t,
    sequential_difference,
)


@pytest.mark.parametrize(("n", "t", "effect"), [(2, 3.0, 1.0), (5, 1.2, 0.5), (12, 4.0, 2.0)])
def test_the_ratio_is_that_of_the_likelihoods_of_t(n, t, effect):
    def of_alternative(d_z):
        prior = scipy.stats.norm.pdf(d_z, 0, effect)
        return prior * scipy.stats.nct.pdf(t, n - 1, d_z * math.sqrt(n))

    mixed = scipy.integrate.quad(of_alternative, -8 * effect, 8 * effect, limit=200)[0]
    ratio = mixed / scipy.stats.t.pdf(t, n - 1)

    assert anytime_p(n, t, effect=effect) == pytest.approx(min(1.0, 1 / ratio), rel=1e-6)


@given(st.integers(2, 200), st.floats(0.1, 5), st.floats(0.001, 0.2))
def test_critical_t_is_where_p_reaches_alpha(n, effect, alpha):
    limit = critical_t(n, effect=effect, alpha=alpha)

    if math.isinf(limit):
        assert anytime_p(n, math.inf, effect=effect) >= alpha * (1 - 1e-9)
    else:
        assert anytime_p(n, limit, effect=effect) == pytest.approx(alpha, rel=1e-6)


def test_the_interval_is_wider_than_students_and_p_larger():
    values = np.random.default_rng(7).normal(1, 1, 8)
    result = sequential_difference(values, effect=1.0)
    plain = scipy.stats.ttest_1samp(values, 0)
    interval = plain.confidence_interval(0.95)

    assert result.low < interval.low < interval.high < result.high
    assert result.p > plain.pvalue
    assert (result.low > 0) == (result.p < 0.05)


def test_equal_differences_are_certain_only_after_enough_of_them():
    assert sequential_difference(np.zeros(4), effect=1.0).p == 1.0
    few, many = (sequential_difference(np.ones(n), effect=1.0) for n in (3, 30))

    assert (few.low, few.high) == (-math.inf, math.inf)
    assert (many.low, many.high) == (1.0, 1.0)
    assert few.p > 0.05 > many.p


def test_looking_after_every_seed_errs_as_rarely_as_it_says():
    values = np.random.default_rng(8).normal(0, 1, (4000, 40))
    count = np.arange(1, 41)
    mean = values.cumsum(axis=1) / count
    freedom = np.maximum(count - 1, 1)
    variance = ((values**2).cumsum(axis=1) - count * mean**2) / freedom
    t = np.abs(mean[:, 1:]) / np.sqrt(variance[:, 1:] / count[1:])
    ours = np.array([critical_t(n, effect=1.0) for n in range(2, 41)])
    students = scipy.stats.t.ppf(0.975, np.arange(1, 40))

    assert (t > ours).any(axis=1).mean() < 0.05
    assert (t > students).any(axis=1).mean() > 0.25  # what looking costs a plain t test


def test_signs_alone_err_as_rarely_as_they_say():
    signs = np.random.default_rng(9).choice([-1.0, 1.0], (1000, 40))
    found = [min(anytime_sign_p(row[:n]) for n in range(1, 41)) < 0.05 for row in signs]

    assert np.mean(found) < 0.05
    assert anytime_sign_p(np.ones(8)) < 0.05
    assert anytime_sign_p(np.zeros(5)) == 1.0
