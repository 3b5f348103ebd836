"""Stages of one seed are computed on one class of hardware, unless a mixture is allowed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.errors import MachineError
from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL
from icckd.results.bits import Bits, FinishedStage
from icckd.run.executors import Capabilities, Report
from icckd.run.placement import (
    MISPLACED_SECONDS,
    MISPLACED_TRIES,
    Placement,
    hardware_of_seeds,
    refuse_elsewhere,
    stages_elsewhere,
)
from icckd.run.schedule import MAX_LIST, Schedule
from icckd.run.session import RunRequest, Session
from icckd.study.load import parse
from icckd.study.plan import Plan
from icckd.study.records import Trial
from tests.run.test_schedule import teachers_with_students
from tests.run.test_session import ONE_ARM, Scripted, Silent
from tests.support.executors import plan_of

H100, A100 = "NVIDIA H100", "NVIDIA A100"


def seeds(count):
    """A plan of a teacher and a student under each seed."""
    stages = {
        digest: replace(each, seed=int(digest[1:]))
        for digest, each in teachers_with_students(count).stages.items()
    }
    trials = tuple(Trial(arm="x", seed=i, stages=(f"t{i}", f"s{i}")) for i in range(count))
    return Plan(arms=(), trials=trials, stages=stages)


def finished(digest, device, ordinal):
    return FinishedStage(
        stage=digest, bits=Bits(torch="2", device=device), inputs={}, ordinal=ordinal
    )


def test_a_seed_belongs_on_the_hardware_of_its_first_stage():
    done = [
        finished("s0", A100, 7), finished("t0", H100, 3), finished("t1", A100, 4),
        finished("t2", "", 5), finished("of another study", H100, 1),
    ]  # fmt: skip

    assert hardware_of_seeds(seeds(4), done) == {0: H100, 1: A100}


def test_a_seed_that_began_elsewhere_is_refused_with_what_to_do_and_new_seeds_are_not():
    plan = seeds(3)
    refuse_elsewhere(plan, {"t0"}, {0: H100}, {H100, A100})
    refuse_elsewhere(plan, {"t0", "s0"}, {0: A100}, {H100})

    with pytest.raises(MachineError) as refused:
        refuse_elsewhere(plan, {"t0", "t1"}, {0: A100, 1: A100}, {H100})

    assert "2 seeds, 0 first, began on hardware of class 'NVIDIA A100'" in refused.value.message
    assert "this machine has 'NVIDIA H100'" in refused.value.message
    assert "2 stages of them are missing" in refused.value.message
    for way in ("--mix allow", 'mix = "allow"', "--retrain-mixed", "go on where they began"):
        assert way in refused.value.hint


def test_what_is_to_be_trained_again_here_is_all_that_keeps_a_seed_elsewhere():
    done = [finished("t0", A100, 1), finished("t1", H100, 2), finished("s1", H100, 3),
            finished("t2", A100, 4), finished("s2", A100, 5), finished("t3", H100, 6)]  # fmt: skip

    assert stages_elsewhere(seeds(4), done, {H100}) == {"t0"}  # seed 2 is complete as it is
    assert stages_elsewhere(seeds(4), done, {H100, A100}) == frozenset()

    read = [replace(done[0], bits=done[0].bits), replace(done[2], stage="s0", ordinal=9)]
    read[1] = replace(read[1], inputs={"teacher": "t0"})
    plan = seeds(1)
    plan.stages["more"] = replace(plan.stages["s0"], digest="more")
    assert stages_elsewhere(plan, read, {H100}) == {"t0", "s0"}


def test_bound_stages_start_on_their_hardware_alone_and_others_anywhere():
    schedule = Schedule(seeds(3), ())
    schedule.bind(0, H100)

    assert [s.digest for s in schedule.next_list(1, 0.0, {A100})] == ["t1"]
    assert [s.digest for s in schedule.next_list(1, 0.0, {H100})] == ["t0"]
    schedule.completed("t0")
    schedule.bind(1, A100)
    schedule.bind(2, A100)
    assert schedule.next_list(1, 0.0, {"another"}) == []
    assert [s.digest for s in schedule.next_list(1, 0.0, {H100})] == ["s0"]
    assert [s.digest for s in schedule.next_list(1, 0.0)] == ["t2"]


@given(
    st.lists(st.sampled_from([H100, A100, ""]), min_size=12, max_size=12),
    st.lists(st.sampled_from([(H100,), (A100,), (H100, A100), None]), max_size=60),
    st.integers(1, 3),
)
def test_whatever_is_free_no_list_holds_a_stage_that_does_not_belong_there(binds, free, workers):
    schedule = Schedule(seeds(12), ())
    for seed, hardware in enumerate(binds):
        if hardware:
            schedule.bind(seed, hardware)
    started = []
    for here in [*free, *[None] * 30]:
        taken = schedule.next_list(workers, 0.0, here)
        wanted = {binds[each.seed] for each in taken}
        assert len(wanted) <= 1
        assert here is None or wanted <= {"", *here}
        assert len(taken) <= MAX_LIST
        if taken and len(started) % 3 == 2:
            schedule.put_back(taken)
            taken = schedule.next_list(workers, 0.0, here)
        for each in taken:
            started.append(each.digest)
            schedule.completed(each.digest)
    assert sorted(started) == sorted(seeds(12).stages)
    assert schedule.is_over()


def test_a_stage_that_must_run_alone_waits_for_its_hardware_too():
    schedule = Schedule(seeds(1), ())
    [only] = schedule.next_list(1)
    schedule.failed(only.digest, "out-of-memory")
    schedule.bind(0, H100)

    assert schedule.next_list(1, 1.0, {A100}) == []
    assert [s.digest for s in schedule.next_list(1, 1.0, {H100})] == ["t0"]


def test_where_a_mixture_is_allowed_nothing_is_bound():
    placement = Placement("allow", {0: H100})

    assert placement.begins(0, A100)
    assert placement.of(0) == ""
    assert placement.bound() == {}


def test_what_comes_to_other_hardware_again_and_again_waits_longer_and_is_given_up():
    placement = Placement("refuse", {0: H100})
    found = [placement.misplaced("s0", 0, A100) for _ in range(MISPLACED_TRIES)]

    assert [each.pause for each in found] == [
        *(MISPLACED_SECONDS * 2.0**n for n in range(MISPLACED_TRIES - 1)), None,
    ]  # fmt: skip
    assert found[0].reason == (
        "waiting for hardware of class 'NVIDIA H100', on which seed 0 began; there is 'NVIDIA A100'"
    )
    assert "--mix allow" in found[-1].reason
    assert "classes in config.toml" in found[-1].reason


class Elsewhere(Scripted):
    """An executor whose machines are of several classes."""

    capabilities = Capabilities(remote=True)


def run_elsewhere(folder, steps, **more):
    request = RunRequest(
        study=parse(ONE_ARM, where="x"), plan=plan_of(folder, study=ONE_ARM), complete=frozenset(),
        arguments=[], data_root=folder.root / "data", requested_at=0.0, **more,
    )  # fmt: skip
    executor = Elsewhere(steps)
    code = Session(folder, request, executor, Silent(), lambda: "").run()
    [journal] = folder.sessions.glob(f"*/{JOURNAL}")
    return code, executor, [line.body for line in read_chunk(journal).lines if line.kind == "s"]


def complete(order, hardware):
    return [
        Report(order=order, what="started", hardware=hardware),
        Report(order=order, what="ended", state="complete"),
    ]


def test_a_seed_stays_where_its_first_stage_began(folder):
    def steps(executor):
        devices, where = [H100, A100], {}
        while True:
            order = executor.orders[-1]
            assert order.hardware == where.get(order.stage.seed, "")
            assert order.is_bound == (order.hardware != "")
            where.setdefault(order.stage.seed, order.hardware or devices.pop(0))
            executor.free = 1
            yield complete(order, where[order.stage.seed])

    code, executor, _ = run_elsewhere(folder, steps)

    assert code == 0
    assert [order.is_bound for order in executor.orders].count(True) == 2


def test_two_stages_of_a_seed_that_begin_in_two_places_end_in_one(folder, monkeypatch):
    monkeypatch.setattr("icckd.run.placement.MISPLACED_SECONDS", 0.001)

    def steps(executor):
        first = executor.orders[0]
        executor.free = 1
        yield complete(first, H100)
        second = next(o for o in executor.orders[1:] if o.stage.seed == first.stage.seed)
        assert (second.hardware, second.is_bound) == (H100, True)
        yield [Report(order=second, what="started", hardware=A100)]  # it took no heed
        assert executor.cancelled == {second.attempt}
        yield [Report(order=second, what="lost", cause="killed")]  # not heard of any more
        while True:
            executor.free = 1
            yield []
            open_ = [o for o in executor.orders if o.attempt not in ended]
            ended.update(o.attempt for o in open_)
            yield [each for o in open_ for each in complete(o, o.hardware or A100)]

    ended = set()

    def counted(executor):
        for reports in steps(executor):
            ended.update(r.order.attempt for r in reports)
            yield reports

    code, _, changes = run_elsewhere(folder, counted)

    assert code == 0
    waits = [c["reason"] for c in changes if c["state"] == "pending"]
    assert waits == [
        "waiting for hardware of class 'NVIDIA H100', on which seed 0 began; there is 'NVIDIA A100'"
    ]


def test_hardware_that_is_not_to_be_had_ends_its_stages_with_what_to_do(folder, monkeypatch):
    monkeypatch.setattr("icckd.run.placement.MISPLACED_SECONDS", 0.001)

    def steps(executor):
        while True:
            order = executor.orders[-1]
            executor.free = 1
            if order.hardware == H100:
                yield [Report(order=order, what="returned", hardware=A100)]
            else:
                yield complete(order, A100)

    code, executor, changes = run_elsewhere(folder, steps, hardware={0: H100})

    assert code == 1
    [failed] = [c for c in changes if c["state"] == "failed"]
    assert failed["cause"] == "machine"
    assert "--mix allow" in failed["reason"]
    assert [c["state"] for c in changes].count("blocked") == 1
    assert len([o for o in executor.orders if o.stage.seed == 0]) == MISPLACED_TRIES
    assert [o.hardware for o in executor.orders if o.stage.seed == 1] == ["", A100]


class Admitting(Scripted):
    """An executor of a machine with two GPUs, one of which is lost."""

    capabilities = Capabilities(admits=True)
    models: dict[str, int]
    waits_for = ""

    def hardware(self):
        return self.models

    def admits(self, stages, hardware):
        return hardware in ("", *self.models)


def test_hardware_that_is_lost_while_a_session_runs_ends_it_with_what_to_do(folder):
    def steps(executor):
        while True:
            order = executor.orders[-1]
            executor.free = 1
            if len(executor.orders) == 2:
                executor.models = {A100: 1}
            yield complete(order, H100)

    request = RunRequest(
        study=parse(ONE_ARM, where="x"), plan=plan_of(folder, study=ONE_ARM), complete=frozenset(),
        arguments=[], data_root=folder.root / "data", requested_at=0.0, hardware={1: H100},
    )  # fmt: skip
    executor = Admitting(steps)
    executor.models = {H100: 1, A100: 1}

    with pytest.raises(MachineError, match="no hardware of class 'NVIDIA H100' is left") as error:
        Session(folder, request, executor, Silent(), lambda: "").run()

    assert "--mix allow" in error.value.hint
    assert {order.stage.seed for order in executor.orders} == {0}
