"""Exact tests and worst ranks, against slow enumeration and scipy."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from icckd.stats.paired import (
    _drawn_signs,
    bootstrap_interval,
    hedges_correction,
    one_sided_flip_p,
    sign_flip_p,
    smallest_p,
    standardized_effect,
    worst_rank_p,
    worst_rank_scores,
)

NUMBERS = arrays(np.float64, st.integers(1, 8), elements=st.integers(-20, 20).map(float))


@given(NUMBERS)
def test_sign_flips_are_counted_one_by_one(differences):
    observed = abs(differences.sum())
    flips = itertools.product([1, -1], repeat=len(differences))
    extreme = [abs(sum(s * d for s, d in zip(f, differences, strict=True))) for f in flips]

    assert sign_flip_p(differences) == pytest.approx(np.mean(np.array(extreme) >= observed - 1e-9))


def test_sign_flips_agree_with_scipy():
    differences = np.random.default_rng(1).normal(0.5, 1, 9)
    theirs = scipy.stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    )

    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("n", [2, 5, 6, 8])
def test_the_smallest_p_is_reached_when_all_signs_agree(n):
    assert sign_flip_p(np.arange(1.0, n + 1)) == smallest_p(n) == 2 / 2**n


def test_many_pairs_are_sampled_and_p_is_never_zero():
    generator = np.random.default_rng(2)
    null = generator.normal(0, 1, 30)

    assert sign_flip_p(np.ones(40)) == pytest.approx(1e-5)
    assert sign_flip_p(null) == pytest.approx(scipy.stats.ttest_1samp(null, 0).pvalue, abs=0.02)


def test_one_side_of_many_pairs_is_sampled_too():
    null = np.random.default_rng(2).normal(0, 1, 30)
    theirs = scipy.stats.ttest_1samp(null, 0, alternative="greater").pvalue

    assert one_sided_flip_p(null) == pytest.approx(theirs, abs=0.02)
    assert one_sided_flip_p(np.ones(40)) == pytest.approx(1e-5)
    assert one_sided_flip_p(-np.ones(40)) == 1.0


def test_worst_ranks_agree_with_wilcoxon_where_all_are_finite():
    differences = np.random.default_rng(4).normal(0.4, 1, 10)
    theirs = scipy.stats.wilcoxon(differences, method="exact")

    assert worst_rank_p(differences) == pytest.approx(theirs.pvalue)


@given(NUMBERS, st.integers(0, 7))
def test_an_infinite_difference_ranks_as_a_larger_one_than_all(differences, place):
    infinite, large = differences.copy(), differences.copy()
    infinite[place % len(differences)], large[place % len(differences)] = np.inf, 1e6

    assert worst_rank_scores(infinite).tolist() == worst_rank_scores(large).tolist()


def test_hedges_correction_removes_the_bias_of_d_z():
    samples = np.random.default_rng(5).normal(0.8, 1, (40_000, 6))
    effects = np.array([standardized_effect(sample) for sample in samples])

    assert effects.mean() == pytest.approx(0.8, abs=0.01)
    assert (samples.mean(axis=1) / samples.std(axis=1, ddof=1)).mean() > 0.9  # uncorrected
    assert hedges_correction(5) == pytest.approx(1 - 3 / (4 * 5 - 1), abs=2e-3)  # Hedges' formula
    assert hedges_correction(1) == 0  # the bias of two values is infinite
    assert standardized_effect(np.array([1.0, 2.0])) is None
    assert standardized_effect(np.ones(5)) is None


def test_the_bootstrap_waits_for_ten_pairs():
    values = np.random.default_rng(6).normal(1, 1, 12)
    low, high = bootstrap_interval(values)

    assert bootstrap_interval(values[:9]) is None
    assert bootstrap_interval(np.ones(12)) is None
    assert (low, high) == bootstrap_interval(values[::-1])
    t = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((t.low, t.high), abs=0.4)


@given(
    arrays(np.float64, st.integers(10, 24), elements=st.integers(-40, 40).map(lambda n: n / 8)),
    st.sampled_from([0.9, 0.95]),
)
@settings(max_examples=15, deadline=None)
def test_the_bootstrap_is_that_of_scipy(differences, confidence):
    assume(np.ptp(differences) > 0)
    theirs = scipy.stats.bootstrap(
        (np.sort(differences),), np.mean, confidence_level=confidence, method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip

    ours = bootstrap_interval(differences, confidence=confidence)

    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-12, abs=1e-12)


@given(
    arrays(
        np.float64, st.integers(1, 60),
        elements=st.integers(-5, 5).map(float) | st.sampled_from([np.inf, -np.inf, np.nan]),
    )
)  # fmt: skip
def test_worst_ranks_are_mean_ranks_of_sizes_with_unknown_ones_last(differences):
    known = np.nan_to_num(differences, nan=0.0, posinf=1e9, neginf=-1e9)

    ranks = scipy.stats.rankdata(np.abs(known), method="average")

    assert worst_rank_scores(differences).tolist() == (np.sign(known) * ranks).tolist()


def test_a_drawn_sign_takes_a_bit():
    """A byte each would be a gigabyte for ten thousand seeds."""
    assert sum(rows.nbytes for rows in _drawn_signs(80)) == 99_999 * 80 // 8


@pytest.mark.parametrize("pairs", [21, 40])
def test_flips_of_many_pairs_are_those_of_one_draw(pairs):
    """The signs are drawn some rows at a time, and kept."""
    ranks = worst_rank_scores(np.random.default_rng(pairs).normal(size=pairs))
    ranks[0] = abs(ranks[0])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (99_999, pairs))
    sums = signs @ np.sort(np.abs(ranks))
    for side in (1, -1):
        least = side * ranks.sum() - 1e-9
        expected = (int((sums >= least).sum()) + 1) / 100_000
        assert one_sided_flip_p(side * ranks) == expected
