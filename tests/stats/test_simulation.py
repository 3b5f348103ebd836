"""Coverage and error rates over thousands of simulated studies; figures in docs/statistics.md."""

import pytest

from bench import interval_simulation as simulation

pytestmark = pytest.mark.long


@pytest.mark.parametrize("n", [3, 5, 8, 20])
def test_intervals_cover_as_often_as_they_say(n):
    t, sequence = simulation.coverage(simulation.normal, n)

    assert t == pytest.approx(0.95, abs=0.006)
    assert sequence >= 0.95
    assert simulation.coverage(simulation.accuracy, n)[0] == pytest.approx(0.95, abs=0.012)


def test_the_bootstrap_nearly_covers_from_ten_pairs_on():
    assert simulation.bootstrap_coverage(10) == pytest.approx(0.92, abs=0.03)


@pytest.mark.parametrize(("arms", "n"), [(1, 5), (2, 8), (6, 8)])
def test_holm_keeps_the_error_of_the_family(arms, n):
    assert simulation.family_error(arms, n)[0] <= 0.058


@pytest.mark.parametrize("n", [5, 20])
def test_equivalence_errs_at_most_at_its_level(n):
    assert simulation.equivalence_rates(n, 1.0)[0] <= 0.058


@pytest.mark.parametrize("draw", simulation.DRAWS.values(), ids=simulation.DRAWS)
def test_looking_costs_a_plain_test_its_level_and_the_sequential_rule_nothing(draw):
    plain, ours = simulation.looking(draw, simulation.LOOKS)

    assert plain > 0.09
    assert ours <= (plain / 2 if draw is simulation.skewed else 0.05)  # made for normal values


def test_intervals_cover_also_when_precision_decided_when_to_stop():
    assert simulation.coverage_when_stopped(0.9, 50)[1] >= 0.95


@pytest.mark.parametrize("n", [6, 8])
def test_exact_tests_err_at_most_at_their_level(n):
    assert max(simulation.exact_error(n)) <= 0.062
