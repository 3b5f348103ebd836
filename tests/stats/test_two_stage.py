"""A first look and one extension: boundaries, p, intervals, and how large the extension is."""

import numpy as np
import pytest

from icckd.stats.fixed import Sample
from icckd.stats.two_stage import (
    TwoStage,
    combine,
    combined_p,
    critical_z,
    extension_size,
    first_share,
    fixed_size,
)


def sample(n, mean, spread, floor=0.0):
    """Differences of exactly that mean and spread."""
    values = np.random.default_rng(n).normal(size=n)
    values = (values - values.mean()) / values.std(ddof=1)
    return Sample(mean + spread * values, floor)


def looks(first, second=None, share=0.5):
    whole = None
    if second is not None:
        parts = [part.differences for part in (first, second) if part is not None]
        whole = Sample(np.concatenate(parts), second.floor)
    return TwoStage(first=first, second=second, whole=whole, share=share)


def test_the_boundary_of_the_second_look_spends_what_the_first_left():
    # by numerical integration of the bivariate normal distribution
    for level, boundary in ((0.05, 1.8071), (0.025, 2.1251), (0.0125, 2.4072), (0.01, 2.4920)):
        assert critical_z(level, 0.5) == pytest.approx(boundary, abs=2e-4)
        assert combined_p(critical_z(level, 0.5), 0.5) == pytest.approx(level, rel=1e-9)
    assert critical_z(0.05, 0.0) == pytest.approx(1.6449, abs=1e-4)
    assert (first_share(5), first_share(6)) == (0.0, 0.5)


def test_both_looks_together_err_as_often_as_they_may():
    z = np.random.default_rng(5).normal(size=(2, 400_000))
    first, both = z[0], z.sum(axis=0) / np.sqrt(2)
    for share in (0.0, 0.5):
        spent = np.inf if not share else 1.959964  # the normal quantile of 0.025, half of 0.05
        errs = (first >= spent) | (both >= critical_z(0.05, share))
        assert errs.mean() == pytest.approx(0.05, abs=0.0015)


def test_a_worked_example():
    first, second = sample(8, 0.5, 1.0), sample(10, 0.8, 1.1)
    assert (first.tail(0), second.tail(0)) == pytest.approx((0.1001, 0.02351), abs=5e-5)
    assert combine(first.tail(0), second.tail(0)) == pytest.approx(2.3102, abs=1e-4)

    both = looks(first, second)

    assert min(p for p, _ in both.difference_ways()) == pytest.approx(0.0320, abs=5e-5)
    assert both.interval(0.05) == pytest.approx((0.060, 1.250), abs=5e-4)


def test_the_first_look_spends_half_and_its_verdict_stays():
    clear, flat = sample(8, 3.0, 1.0), sample(8, -0.5, 1.0)
    [(p, _)] = looks(clear).difference_ways()
    assert p == pytest.approx(2 * 2 * clear.tail(0))

    ways = looks(clear, flat).difference_ways()

    assert min(p for p, _ in ways) <= p
    low, _ = looks(clear, flat).interval(0.05)
    assert low > 0


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_excludes_zero_exactly_when_one_of_the_looks_finds_a_difference(seed):
    rng = np.random.default_rng(seed)
    for n, m in ((8, 10), (6, 4), (3, 9)):
        first, second = (Sample(np.round(rng.normal(0.6, 1, size), 1), 0.2) for size in (n, m))
        both = looks(first, second, first_share(n))
        for level in (0.05, 0.025):
            low, high = both.interval(level)
            found = any(p <= level and exact <= 0.05 for p, exact in both.difference_ways())
            assert found == (low > 0 or high < 0)


def test_the_ends_of_the_interval_are_found_however_far_they_are():
    """Six pairs at a level of 1e-6 reach a hundred times their spread."""
    only = looks(None, sample(6, 0.5, 1.0), share=0.0)
    low, high = only.interval(1e-6)

    assert 50 < high < 1000
    assert combine(0.5, only.second.tail(low, 1)) == pytest.approx(critical_z(5e-7, 0.0), rel=1e-6)
    assert low + high == pytest.approx(1.0)


def test_an_extension_is_as_large_as_an_upper_limit_of_the_spread_asks_for():
    assert [fixed_size(effect, 1) for effect in (0.8, 1.2)] == [15, 8]
    least, most = extension_size(8, 0.8, 1)
    assert (least, most) == (7, 10)  # 15 pairs in all at the spread seen, 18 at 1.09 times that
    assert extension_size(3, 0.8, 1)[1] > extension_size(5, 0.8, 1)[1]  # few seeds know little
    assert extension_size(20, 3.0, 1) == (10, 10)  # never a token of an extension
    assert extension_size(2, 50.0, 1) == (4, 4)  # at least to the fewest that give a verdict
    assert extension_size(8, 1e-6, 1) is None
