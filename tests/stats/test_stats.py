import doctest
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from icckd.stats import paired, power
from icckd.stats.paired import equivalence, holm, mean_interval, paired_difference

VALUES = st.floats(-100, 100, allow_nan=False, width=32)
PAIRS = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=VALUES), arrays(np.float64, n, elements=VALUES)
    )
)


@pytest.mark.parametrize("module", [paired, power])
def test_the_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("n", [2, 3, 5, 8, 30])
def test_paired_difference_agrees_with_scipy(n):
    generator = np.random.default_rng(n)
    treated, baseline = generator.normal(1, 2, n), generator.normal(0, 2, n)

    ours = paired_difference(treated, baseline)
    theirs = scipy.stats.ttest_rel(treated, baseline)
    interval = theirs.confidence_interval(0.95)

    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert ours.mean == pytest.approx(np.mean(treated - baseline))
    assert ours.spread == pytest.approx(np.std(treated - baseline, ddof=1))


def test_paired_difference_of_two_pairs_by_hand():
    # differences 1 and 3: mean 2, standard error 1; t(1; 0.975) = 12.706, p = 1 - 2/pi * atan(2)
    result = paired_difference(np.array([1.0, 3.0]), np.zeros(2))

    assert (result.low, result.high) == pytest.approx((2 - 12.70620474, 2 + 12.70620474))
    assert result.p == pytest.approx(1 - 2 / np.pi * np.arctan(2.0))


@pytest.mark.parametrize(("shift", "p"), [(0.5, 0.0), (-0.5, 0.0), (0.0, 1.0)])
def test_equal_differences_have_a_degenerate_interval_and_no_warning(shift, p):
    baseline = np.array([1.0, 2.0, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_difference(baseline + shift, baseline)

    assert (result.low, result.mean, result.high, result.p) == (shift, shift, shift, p)


@given(PAIRS, st.randoms(use_true_random=False))
def test_permuting_seeds_changes_nothing(pair, random):
    treated, baseline = pair
    order = list(range(len(treated)))
    random.shuffle(order)

    assert paired_difference(treated[order], baseline[order]) == paired_difference(
        treated, baseline
    )


@given(PAIRS)
def test_swapping_arms_flips_the_sign(pair):
    there, back = paired_difference(*pair), paired_difference(*reversed(pair))

    assert there.mean == pytest.approx(-back.mean)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p, abs=1e-12)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(20)
    hits = 0
    for _ in range(2000):
        blocks = generator.normal(0, 5, 5)  # what a seed adds to both arms
        result = paired_difference(
            blocks + generator.normal(0.7, 1, 5), blocks + generator.normal(0, 1, 5)
        )
        hits += result.low <= 0.7 <= result.high

    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_without_a_difference_p_is_uniform():
    generator = np.random.default_rng(21)
    p = [
        paired_difference(generator.normal(size=4), generator.normal(size=4)).p for _ in range(2000)
    ]

    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("shapes", [((1,), (1,)), ((2,), (3,)), ((2, 2), (2, 2))])
def test_arrays_that_are_no_pairs_are_refused(shapes):
    with pytest.raises(ValueError, match="paired"):
        paired_difference(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == (0.03, 0.06, 0.06)
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_counts_comparisons_that_have_no_p_yet():
    assert holm([0.01, 0.02], family_size=4) == pytest.approx((0.04, 0.06))
    with pytest.raises(ValueError, match="family"):
        holm([0.1, 0.2], family_size=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_is_monotone_bounded_and_ignores_order(p_values, random):
    adjusted = holm(p_values)

    assert all(raw <= adj <= 1 for raw, adj in zip(p_values, adjusted, strict=True))
    ranked = [adj for _, adj in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]) == tuple(adjusted[i] for i in order)


def test_holm_keeps_the_familywise_error_rate():
    generator = np.random.default_rng(22)
    false = sum(min(holm(list(generator.uniform(size=4)))) < 0.05 for _ in range(4000))

    assert false / 4000 <= 0.06


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.8])
def test_equivalence_agrees_with_two_scipy_tests(shift):
    differences = np.random.default_rng(5).normal(shift, 0.5, 8)

    ours = equivalence(differences, bound=0.6)
    above = scipy.stats.ttest_1samp(differences, -0.6, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(differences, 0.6, alternative="less").pvalue
    interval = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.90)

    assert ours.p == pytest.approx(max(above, below), rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


@given(arrays(np.float64, st.integers(2, 10), elements=VALUES), st.floats(0.01, 50))
@settings(max_examples=200)
def test_equivalence_holds_exactly_when_the_90_percent_interval_is_inside(differences, bound):
    result = equivalence(differences, bound=bound)
    inside = -bound < result.low and result.high < bound
    slack = min(abs(result.low + bound), abs(result.high - bound))

    assert (result.p < 0.05) == inside or slack < 1e-6 * max(1, bound)


@pytest.mark.parametrize(("value", "p"), [(0.2, 0.0), (0.5, 0.5), (0.7, 1.0)])
def test_equivalence_of_equal_differences(value, p):
    assert equivalence(np.full(3, value), bound=0.5).p == p


def test_equivalence_is_rarely_found_at_the_bound():
    generator = np.random.default_rng(23)
    found = sum(equivalence(generator.normal(0.5, 0.3, 6), bound=0.5).p < 0.05 for _ in range(2000))

    assert found / 2000 == pytest.approx(0.05, abs=0.015)


def test_equivalence_needs_a_bound():
    with pytest.raises(ValueError, match="bound"):
        equivalence(np.zeros(3), bound=0.0)


def test_mean_interval_is_the_t_interval_at_each_epoch():
    values = np.array([[1.0, 2.0, np.nan], [3.0, 2.5, np.nan], [2.0, np.nan, 7.0]])

    mean, low, high = mean_interval(values)

    assert mean == pytest.approx([2.0, 2.25, 7.0])
    first = scipy.stats.t.interval(0.95, 2, loc=2.0, scale=1 / np.sqrt(3))
    assert (low[0], high[0]) == pytest.approx(first)
    assert np.isnan([low[2], high[2]]).all()
