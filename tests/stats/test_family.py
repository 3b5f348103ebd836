"""One family over differences and equivalences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.stats.family import Claims, closed_family, first_levels
from icckd.stats.fixed import NEVER
from icckd.stats.paired import holm

P = st.floats(0, 1)


def claims(difference, equivalence=None, exact=0.0):
    alike = None if equivalence is None else ((equivalence, 0.0),)
    return Claims(difference=((difference, exact),), equivalence=alike)


def test_two_arms_with_bounds_share_the_level_three_to_two():
    open_, _ = closed_family([claims(1, 1), claims(1, 1)])
    assert (open_.level, open_.equivalence_level) == pytest.approx((0.025, 0.02))
    assert first_levels(2) == pytest.approx((0.025, 0.02))

    _, other = closed_family([claims(0.02, 1), claims(1, 1)])  # the first differs
    assert (other.level, other.equivalence_level) == pytest.approx((0.03, 0.025))

    _, other = closed_family([claims(0.02, 0.015), claims(1, 1)])  # and is equivalent, too
    assert (other.level, other.equivalence_level) == pytest.approx((0.05, 0.05))


def test_an_arm_that_is_found_different_passes_its_level_on():
    alone = closed_family([claims(0.028, 1), claims(1, 1)])
    beside = closed_family([claims(0.028, 1), claims(0.001, 1)])

    assert alone[0].difference > 0.05 > beside[0].difference


@given(st.lists(P, min_size=1, max_size=6))
def test_without_bounds_it_is_holms_test(p_values):
    found = closed_family([claims(p) for p in p_values])

    assert [each.difference for each in found] == pytest.approx(list(holm(p_values)))


@given(st.lists(st.tuples(P, P), min_size=1, max_size=4))
def test_what_is_found_is_what_lies_within_the_level_it_was_tested_at(pairs):
    for (difference, equivalence), judged in zip(
        pairs, closed_family([claims(d, e) for d, e in pairs]), strict=True
    ):
        assert (judged.difference <= 0.05) == (difference <= judged.level)
        assert (judged.equivalence <= 0.05) == (equivalence <= judged.equivalence_level)


def test_an_arm_without_a_result_counts_and_an_exact_test_that_disagrees_decides():
    missing = Claims(difference=NEVER, equivalence=NEVER)

    with_it, without = closed_family([claims(0.03, 1), missing]), closed_family([claims(0.03, 1)])
    assert with_it[0].difference == pytest.approx(0.06)
    assert without[0].difference == pytest.approx(0.03)
    assert closed_family([claims(0.001, exact=0.0625)])[0].difference == 0.0625
