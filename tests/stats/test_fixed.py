"""The test of a fixed number of seeds: a collapsed spread is no certainty, exact flips agree."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.stats.fixed import (
    LEAST_PAIRS,
    Sample,
    difference_ways,
    equivalence_ways,
    flip_p,
    interval,
)
from icckd.stats.paired import one_sided_flip_p, sign_flip_p, worst_rank_scores

COUNTS = st.lists(st.integers(-6, 6), min_size=2, max_size=10)


def holds(ways, level):
    return any(p <= level and exact <= 0.05 for p, exact in ways)


def test_without_a_floor_p_is_that_of_students_t():
    values = np.random.default_rng(1).normal(0.5, 1, 14)

    [(p, exact)] = difference_ways(Sample(values))

    assert p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    assert exact == 0  # so many pairs need no second test
    low, high = interval(Sample(values), 0.05)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_equal_differences_are_as_certain_as_their_floor_allows():
    sample = Sample(np.full(8, 2.0), floor=9.0)

    [(p, exact)] = difference_ways(sample)

    assert p == pytest.approx(2 * scipy.stats.norm.sf(2 / (3 / np.sqrt(8))))
    assert exact == 2 / 2**8
    assert interval(sample, 0.05) == pytest.approx((2 - 1.96 * 1.0607, 2 + 1.96 * 1.0607), abs=1e-3)


def test_below_six_pairs_no_difference_is_ever_found_however_clear():
    for n in range(2, LEAST_PAIRS):
        sample = Sample(np.arange(n) + 1e6)
        assert not holds(difference_ways(sample), 1.0)
        assert interval(sample, 0.05) == (-np.inf, np.inf)
    assert holds(difference_ways(Sample(np.arange(6.0) + 1e3)), 0.05)


@given(COUNTS)
def test_flips_by_subset_means_are_the_sign_flip_test(counts):
    values = np.array(counts, dtype=float)

    assert flip_p(Sample(values)) == pytest.approx(sign_flip_p(values))


@given(COUNTS, st.integers(-3, 3))
def test_flips_about_a_value_are_those_of_the_differences_minus_it(counts, value):
    values = np.array(counts, dtype=float)
    shifted = values - value
    sums = [np.dot(signs, shifted) for signs in itertools.product([1, -1], repeat=len(shifted))]

    expected = np.mean(np.array(sums) >= shifted.sum() - 1e-9)
    assert Sample(values).flip_tail(value) == pytest.approx(expected)
    assert one_sided_flip_p(worst_rank_scores(shifted)) <= 1


@given(COUNTS, st.sampled_from([0.0, 0.5, 4.0]), st.sampled_from([0.05, 0.025, 0.0125]))
@settings(max_examples=200)
def test_the_interval_excludes_zero_exactly_when_there_is_a_difference(counts, floor, level):
    sample = Sample(np.array(counts, dtype=float), floor)
    low, high = interval(sample, level)

    assert holds(difference_ways(sample), level) == (low > 0 or high < 0)


@given(COUNTS, st.sampled_from([0.5, 2.0, 5.0]))
def test_what_is_equivalent_is_within_the_bound_by_both_tests(counts, bound):
    sample = Sample(np.array(counts, dtype=float), 1.0)
    [(p, exact)] = equivalence_ways(sample, bound)

    assert p == max(sample.tail(-bound), sample.tail(bound, -1))
    if p <= 0.05:
        assert abs(sample.mean) < bound
    assert exact >= 1 / 2**sample.n
