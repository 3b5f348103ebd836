"""Whether a list may start, by turns, memory and time: a function of measurements."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.run.admission import (
    GPU_CONTEXT_BYTES,
    HUNGRY_SECONDS,
    KEPT_FREE,
    MARGIN,
    SAMPLES,
    UNMEASURED_BYTES,
    Claim,
    Holder,
    Party,
    Sharing,
    expected_bytes,
    fits,
    is_due,
)

GIB = 2.0**30
CPU = Claim(pool="cpu")


def holding(count, **more):
    return Party(claims=(CPU,) * count, **more)


def test_a_lone_run_gets_all_and_no_more():
    assert [is_due(holding(n), [], CPU, 3, 0.0) for n in range(4)] == [True, True, True, False]
    wide = Claim(pool="cpu", weight=2)
    assert [is_due(holding(n), [], wide, 3, 0.0) for n in range(3)] == [True, True, False]


def test_one_that_waits_and_holds_less_goes_first_while_it_asks():
    waiting = Party(waits_since=10.0, asked=20.0)

    assert not is_due(holding(1), [waiting], CPU, 2, 20.0)
    assert is_due(holding(1), [waiting], CPU, 2, 20.1 + HUNGRY_SECONDS)
    assert is_due(holding(1), [Party(asked=20.0)], CPU, 2, 20.0)
    assert is_due(waiting, [holding(1)], CPU, 2, 20.0)


@settings(max_examples=25)
@given(
    st.integers(1, 8), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 2**32)
)
def test_runs_never_hold_more_than_there_is_and_all_get_their_turn(size, weights, seed):
    """Runs ask in any order, lists take any time; each is served, and the idle rest is used."""
    dice = random.Random(seed)
    weights = [min(weight, size) for weight in weights]
    held = [[] for _ in weights]
    since = [None] * len(weights)
    served, now = [0] * len(weights), 0.0

    def party(n):
        claims = tuple(Claim(pool="cpu", weight=weights[n]) for _ in held[n])
        return Party(claims=claims, waits_since=since[n], asked=now)

    for _ in range(60 * len(weights)):
        now += 0.1
        order = list(range(len(weights)))
        dice.shuffle(order)
        for n in order:
            others = [party(m) for m in range(len(weights)) if m != n]
            wanted = Claim(pool="cpu", weight=weights[n])
            if is_due(party(n), others, wanted, size, now):
                held[n].append(now + dice.uniform(0.1, 0.5))
                since[n], served[n] = None, served[n] + 1
            else:
                since[n] = now if since[n] is None else since[n]
            assert sum(w * len(h) for w, h in zip(weights, held, strict=True)) <= size
        held = [[end for end in ends if end > now] for ends in held]
    assert min(served) >= 10, served


def test_two_runs_get_equal_shares_of_what_both_want():
    held, since, served, now = [[], []], [None, None], [0, 0], 0.0
    for _ in range(400):
        now += 0.1
        for n in (0, 1):
            other = Party(claims=(CPU,) * len(held[1 - n]), waits_since=since[1 - n], asked=now)
            me = Party(claims=(CPU,) * len(held[n]), waits_since=since[n], asked=now)
            if is_due(me, [other], CPU, 3, now):
                held[n].append(now + 1.0)
                since[n], served[n] = None, served[n] + 1
            else:
                since[n] = since[n] or now
        held = [[end for end in ends if end > now] for ends in held]
    assert abs(served[0] - served[1]) <= 0.1 * sum(served), served


def test_what_stages_are_expected_to_take_is_what_they_took_and_a_margin():
    assert expected_bytes(1e9, on_gpu=False) == MARGIN * 1e9
    assert expected_bytes(1e9, on_gpu=True) == MARGIN * 1e9 + GPU_CONTEXT_BYTES
    assert expected_bytes(None, on_gpu=False) == UNMEASURED_BYTES
    assert expected_bytes(None, on_gpu=True) is None


def room(free, *holders, needs=4 * GIB, reused=0.0):
    return fits(needs, free=free * GIB, total=80 * GIB, holders=holders, reused=reused * GIB)


def test_where_nothing_runs_everything_fits():
    assert room(0.0)
    assert room(0.0, needs=None)


def test_what_runs_may_still_grow_to_what_it_is_expected_to_take():
    kept = KEPT_FREE * 80
    young, grown = Holder(needs=4 * GIB, holds=1 * GIB), Holder(needs=4 * GIB, holds=5 * GIB)

    assert room(7.01 + kept, young)
    assert not room(6.9 + kept, young)
    assert room(4.01 + kept, grown)
    assert room(3.01 + kept, grown, reused=1.0)


def test_a_shape_that_nobody_measured_runs_by_itself_and_nothing_joins_it():
    assert not room(80.0, Holder(needs=GIB, holds=GIB), needs=None)
    assert not room(80.0, Holder(needs=None, holds=GIB))


@given(st.floats(0.1, 30.0), st.floats(10.0, 200.0), st.floats(0.0, 20.0))
def test_as_many_as_are_admitted_never_take_more_than_there_is(peak, total, foreign):
    """Each grows to its measured peak, in a memory of which others hold some."""
    needs = expected_bytes(peak * GIB, on_gpu=True)
    grown = needs / MARGIN
    holders, free = [], max(0.0, total - foreign) * GIB
    while fits(needs, free=free, total=total * GIB, holders=holders) and len(holders) < 500:
        holders.append(Holder(needs=needs, holds=0.0))  # it has not begun to take any
    if len(holders) > 1:
        assert len(holders) * grown <= free


class Gpu:
    """A GPU on which `pace(n)` stages a second are completed by n at once."""

    def __init__(self, pace, most=4):
        self.sharing, self.pace, self.now = Sharing(most=most), pace, 0.0
        self.seen = []

    def run(self, rounds):
        names = (f"a{n}" for n in itertools.count())
        for _ in range(rounds):
            company = self.sharing.places("shape")
            self.seen.append(company)
            attempts = [next(names) for _ in range(company)]
            for attempt in attempts:
                self.sharing.begins(attempt, "shape", "GPU-1", self.now)
            self.now += company / self.pace(company)
            for attempt in attempts:
                self.sharing.ends(attempt, self.now, is_complete=True)
        return self.seen


def test_a_gpu_that_is_not_full_takes_more_stages_step_by_step():
    assert Gpu(lambda n: n).run(8) == [1, 1, 2, 3, 4, 4, 4, 4]


def test_a_gpu_that_is_full_goes_back_to_what_was_quickest():
    assert Gpu(lambda n: min(n, 2)).run(8) == [1, 1, 2, 3, 2, 2, 2, 2]
    assert Gpu(lambda n: 1.0).run(6) == [1, 1, 2, 1, 1, 1]


def test_where_stages_may_not_share_a_gpu_each_has_one():
    assert Gpu(lambda n: n, most=1).run(5) == [1] * 5


def test_stages_that_fail_or_run_elsewhere_tell_nothing():
    sharing = Sharing(most=4)
    for n in range(2 * SAMPLES):
        sharing.begins(f"a{n}", "shape", f"GPU-{n}", 0.0)
    for n in range(SAMPLES):
        sharing.ends(f"a{n}", 5.0, is_complete=False)
    assert sharing.places("shape") == 1
    for n in range(SAMPLES, 2 * SAMPLES):
        sharing.ends(f"a{n}", 5.0, is_complete=True)  # each was alone on its GPU
    assert sharing.places("shape") == 2
    assert sharing.places("another shape") == 1


@pytest.mark.parametrize("overlap", [0.2, 0.9])
def test_a_stage_counts_with_those_that_ran_beside_it_most_of_the_time(overlap):
    sharing = Sharing(most=4)
    for n in range(SAMPLES):
        start = 100.0 * n
        sharing.begins(f"first{n}", "shape", "GPU-1", start)
        sharing.begins(f"second{n}", "other", "GPU-1", start + 10 * (1 - overlap))
        sharing.ends(f"first{n}", start + 10.0, is_complete=True)
        sharing.ends(f"second{n}", start + 11.0, is_complete=True)
    assert (1 if overlap < 0.5 else 2) in {n for shape, n in sharing._seconds if shape == "shape"}
