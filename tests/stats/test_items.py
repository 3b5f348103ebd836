"""Tests of paired items in groups, under one seed or several that are drawn anew, too."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icckd.stats.items import (
    Changes,
    ItemSample,
    clustered,
    clustered_freedom,
    difference_ways,
    equivalence_ways,
    interval,
    mcnemar_p,
)
from icckd.stats.paired import paired_difference, sign_flip_p

SIZES = st.lists(st.integers(1, 30), min_size=2, max_size=15).map(lambda n: np.array(n, float))


def sample(sums, sizes=None, **more):
    sums = np.atleast_2d(np.array(sums, dtype=float))
    sizes = np.ones(sums.shape[1]) if sizes is None else np.array(sizes, dtype=float)
    return ItemSample(sums_SG=sums, sizes_G=sizes, **more)


def test_single_items_are_tested_as_by_students_t():
    differences = np.random.default_rng(1).normal(0.2, 1.0, 40)
    known = paired_difference(differences, np.zeros(40))

    items = sample(differences)

    assert items.mean == pytest.approx(known.mean)
    assert items.freedom == pytest.approx(39)
    assert difference_ways(items)[0][0] == pytest.approx(known.p)
    open_to_0 = known.low <= 0 <= known.high
    assert open_to_0 or interval(items, 0.05) == pytest.approx((known.low, known.high))


def test_groups_of_one_size_are_tested_as_their_means_by_students_t():
    means = np.random.default_rng(2).normal(0.5, 1.0, 14)
    known = paired_difference(means, np.zeros(14))

    items = sample(means * 7, [7] * 14)

    assert items.mean == pytest.approx(known.mean)
    assert items.freedom == pytest.approx(13)
    assert items.error == pytest.approx(known.spread / 14**0.5)


def by_matrices(sums, sizes):
    """CR2 of a mean and its degrees of freedom, in the matrices of Pustejovsky and Tipton 2018."""
    count = int(sizes.sum())
    codes = np.repeat(np.arange(len(sizes)), sizes.astype(int))
    x = np.ones((count, 1))
    hat = x @ np.linalg.inv(x.T @ x) @ x.T
    rest = np.eye(count) - hat
    y = np.zeros(count)
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    y[firsts] = sums  # how a group's sum is spread over its items plays no part
    residuals = rest @ y
    variance, columns = 0.0, []
    for group in range(len(sizes)):
        mine = np.flatnonzero(codes == group)
        values, vectors = np.linalg.eigh(rest[np.ix_(mine, mine)])
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        weights = root @ x[mine, 0] / count
        variance += float(weights @ residuals[mine]) ** 2
        columns.append(rest[:, mine] @ weights)
    p = np.array(columns)
    omega = p @ p.T
    return variance, float(np.trace(omega)) ** 2 / float((omega**2).sum())


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (1, 2, 5, 9), (20, 1, 1, 4, 6), (2, 7)])
def test_the_variance_is_cr2_over_its_bias_and_the_freedom_satterthwaites(sizes):
    sizes = np.array(sizes, dtype=float)
    sums = np.random.default_rng(3).normal(0, sizes)
    known, freedom = by_matrices(sums, sizes)
    w = sizes / sizes.sum()
    q = (w**2).sum()
    bias = (w**2 * (1 - 2 * w + q) / (1 - w)).sum() / q

    variance, found = clustered(sums, sizes)

    assert variance == pytest.approx(known / min(1.0, bias))
    assert found == pytest.approx(freedom)


@given(SIZES)
def test_degrees_of_freedom_lie_between_one_and_the_groups_less_one(sizes):
    freedom = clustered_freedom(sizes)
    assert 0.99 <= freedom <= len(sizes) - 1 + 1e-6


@given(SIZES, st.integers(0, 2**32 - 1))
def test_the_order_of_groups_and_of_seeds_changes_nothing(sizes, seed):
    rng = np.random.default_rng(seed)
    sums = rng.normal(0.3, 1.0, (4, len(sizes))) * sizes
    places, seeds = rng.permutation(len(sizes)), rng.permutation(4)
    one = sample(sums, sizes, crosses_seeds=True)
    two = sample(sums[seeds][:, places], sizes[places], crosses_seeds=True)

    assert two.mean == pytest.approx(one.mean)
    assert difference_ways(two)[0] == pytest.approx(difference_ways(one)[0])
    assert interval(two, 0.05) == pytest.approx(interval(one, 0.05))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_test_is_the_binomial_test_of_the_changes(better, worse):
    changed = better + worse
    known = stats.binomtest(better, changed, 0.5).pvalue if changed else 1.0
    assert mcnemar_p(Changes(better=better, worse=worse)) == pytest.approx(known)


def test_right_or_wrong_items_are_never_judged_below_mcnemars_p():
    for better, worse in itertools.product(range(8), range(8)):
        sums = [1.0] * better + [-1.0] * worse + [0.0] * (20 - better - worse)
        changes = Changes(better=better, worse=worse)
        p, exact = difference_ways(sample(sums, changes=changes, step=1.0))[0]
        assert p >= mcnemar_p(changes) - 1e-12
        assert exact == 0.0


def test_few_groups_that_differ_have_to_agree_by_exact_flips():
    sums = [3.0, 2.0, 4.0, 1.0, 2.0, *([0.0] * 40)]
    p, exact = difference_ways(sample(sums, [4] * 45))[0]

    assert exact == pytest.approx(sign_flip_p(np.array(sums[:5])))
    assert exact > 0.05
    assert interval(sample(sums, [4] * 45), 0.05)[0] <= 0.0, p


def test_few_changes_that_agree_by_chance_have_a_floor():
    sums = [1.0] * 7 + [0.0] * 993
    items = sample(sums)
    assert items.floor_error == pytest.approx((7 + 1) ** 0.5 / 1000)
    assert items.floor_error > items.error
    none = sample([0.0] * 100, step=1.0)
    assert none.floor_error == pytest.approx(0.01)
    assert equivalence_ways(none, 0.005)[0][0] > 0.05
    assert equivalence_ways(none, 0.05)[0][0] < 0.001
    assert difference_ways(none)[0][0] == 1.0


def test_the_variances_of_crossed_seeds_and_groups_are_added():
    rng = np.random.default_rng(4)
    sums = rng.normal(0, 1, (8, 12)) + rng.normal(0, 1, (8, 1))
    both, alone = sample(sums, crosses_seeds=True), sample(sums)
    of_seeds = (sums.sum(axis=1) / 12).var(ddof=1) / 8

    assert both.error**2 == pytest.approx(alone.error**2 + of_seeds)
    groups, seeds = alone.error**2, of_seeds
    assert both.freedom == pytest.approx((groups + seeds) ** 2 / (groups**2 / 10 + seeds**2 / 6))
    assert both.mean == pytest.approx(alone.mean)


def test_seeds_have_to_agree_by_exact_flips_where_they_are_drawn_anew():
    sums = np.ones((5, 30)) + np.random.default_rng(5).normal(0, 0.1, (5, 30))
    assert difference_ways(sample(sums))[0][1] == 0.0
    assert difference_ways(sample(sums, crosses_seeds=True))[0][1] == pytest.approx(1 / 16)


@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 8, 12, 30]), st.floats(0, 1))
def test_an_interval_excludes_0_exactly_where_its_test_finds_a_difference(seed, groups, mean):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, groups).astype(float)
    items = sample(rng.normal(mean, 1.0, (3, groups)) * sizes, sizes, crosses_seeds=bool(seed % 2))
    for level in (0.05, 0.01):
        p, exact = difference_ways(items)[0]
        low, high = interval(items, level)
        assert (low > 0 or high < 0) == (p <= level and exact <= 0.05)
        assert low <= items.mean <= high


def test_few_changes_that_were_seen_do_not_bound_those_that_were_not():
    sums = [0.0] * 97 + [-0.1, 0.1, -0.1]
    many, few = sample(sums), sample(sums, changed=3.0, step=1.0)

    variance = many.error**2 * (1 + 2 / 3**0.5) + 0.01**2
    assert few.outer_error == pytest.approx(variance**0.5)
    assert difference_ways(few) == difference_ways(many)
    assert equivalence_ways(many, 0.01)[0][0] < 0.001
    assert equivalence_ways(few, 0.01)[0][0] > 0.1
    assert interval(few, 0.05)[0] == pytest.approx(few.mean - 1.984 * few.outer_error, rel=1e-3)
    assert sample(sums, changed=60.0, step=1.0).outer_error == many.error


def test_the_end_of_an_interval_at_0_follows_the_test_of_0():
    sums = [-1.0] * 9 + [-0.5] * 6 + [0.0] * 85
    items = sample(sums, changed=15.0, step=1.0)
    assert difference_ways(items)[0][0] < 0.05
    low, high = interval(items, 0.05)
    assert low < items.mean < high < 0
    assert items.mean - low > high - items.mean


def test_an_equivalence_takes_both_sides():
    close = sample(np.random.default_rng(6).normal(0, 0.1, 50))
    assert equivalence_ways(close, 0.1)[0][0] < 0.05
    far = sample(np.random.default_rng(6).normal(0.1, 0.1, 50))
    assert equivalence_ways(far, 0.1)[0][0] > 0.05
