"""The schedule starts what is ready, blocks what lost its input, and always comes to an end."""

import copy
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.run.schedule import IN_RESERVE, MAX_LIST, POLICIES, Schedule
from icckd.study.numerics import NumericsClass
from icckd.study.packing import Packing
from icckd.study.plan import Plan, StageJob
from icckd.study.records import Trial


def stage(digest, *inputs):
    return StageJob(
        kind="student" if inputs else "teacher",
        settings={}, seed=0, replicate=0, fingerprint="", epochs=1,
        inputs=dict(zip(("teacher",), inputs, strict=False)),
        numerics=NumericsClass(device="cpu", threads=1, layout="channels-last"),
        code_epoch=1, digest=digest, shape="",
    )  # fmt: skip


def plan_of(*stages):
    return Plan(arms=(), trials=(), stages={s.digest: s for s in stages})


def teachers_with_students(count):
    return plan_of(*(s for i in range(count) for s in (stage(f"t{i}"), stage(f"s{i}", f"t{i}"))))


def test_a_student_waits_for_its_teacher():
    schedule = Schedule(teachers_with_students(1), ())

    assert [s.digest for s in schedule.next_list(1)] == ["t0"]
    assert schedule.next_list(1) == []
    schedule.completed("t0")
    assert [s.digest for s in schedule.next_list(1)] == ["s0"]


def test_a_ready_student_goes_before_a_later_teacher():
    schedule = Schedule(teachers_with_students(3), ["t0"])

    assert schedule.next_list(1)[0].digest == "s0"


def test_what_is_complete_is_not_trained_again():
    plan = teachers_with_students(2)

    assert Schedule(plan, plan.stages).is_over()


def test_what_depends_on_a_failed_stage_is_blocked_and_the_rest_goes_on():
    schedule = Schedule(teachers_with_students(2), ())
    schedule.next_list(1)

    changes = schedule.failed("t0", "bug")

    assert [(c.stage, c.state) for c in changes] == [("t0", "failed"), ("s0", "blocked")]
    assert schedule.states["t1"] in ("pending", "running")


def chain(*digests):
    """A plan in which each stage needs the one before."""
    inputs = zip(digests, ["", *digests], strict=False)
    return plan_of(*(stage(each, *filter(None, [before])) for each, before in inputs))


def test_what_depends_on_a_failed_stage_over_several_stages_is_blocked_too():
    schedule = Schedule(chain("pretrain", "finetune", "evaluate"), ())
    schedule.next_list(1)

    changes = schedule.failed("pretrain", "exit-code")

    assert [(c.stage, c.state) for c in changes] == [
        ("pretrain", "failed"), ("finetune", "blocked"), ("evaluate", "blocked"),
    ]  # fmt: skip
    assert changes[2].reason == "its student is blocked"
    assert schedule.is_over()


def test_retrying_the_first_of_a_chain_frees_all_of_it():
    stages = chain("a", "b", "c").stages
    plan = Plan(arms=(), trials=(trial("x", 0, "a", "b", "c"),), stages=stages)
    schedule = Schedule(plan, ())
    schedule.next_list(1)
    schedule.failed("a", "bug")

    assert {c.stage for c in schedule.retry_trials("x", 0)} == {"a", "b", "c"}
    assert [s.digest for s in schedule.next_list(1)] == ["a"]


class Slow:
    """The rules of a schedule, read off all stages at each decision."""

    def __init__(self, plan, complete):
        self.stages, self.order = plan.stages, list(plan.stages)
        self.states = {d: "complete" if d in complete else "pending" for d in self.order}
        self.alone, self.not_before = set(), {}
        self.largest = {d: each.packing.largest for d, each in plan.stages.items()}
        self.wished, self.needed = (
            set(),
            {d for s in plan.stages.values() for d in s.inputs.values()},
        )
        self.seconds = {True: [], False: []}

    def is_urgent(self, first, workers):
        """Whether teachers go first: students left keep the workers busy for too short a time."""
        if workers == 1 or first in self.wished or not all(self.seconds.values()):
            return False
        longest = max(self.seconds[True]) + max(self.seconds[False])
        left = sum(s == "pending" and d not in self.needed for d, s in self.states.items())
        return left * statistics.fmean(self.seconds[False]) / workers <= IN_RESERVE * longest

    def next_list(self, workers, now):
        running = [d for d, state in self.states.items() if state == "running"]
        if any(d in self.alone for d in running):
            return []
        ready = [
            d for d in self.order
            if self.states[d] == "pending" and now >= self.not_before.get(d, now)
            and all(self.states[i] == "complete" for i in self.stages[d].inputs.values())
        ]  # fmt: skip
        together = [d for d in ready if d not in self.alone]
        if not together:
            return [] if running else ready[:1]
        teachers = [d for d in together if d in self.needed]
        is_urgent = bool(teachers) and self.is_urgent(together[0], workers)
        head = teachers[0] if is_urgent else together[0]
        first = self.stages[head].packing
        if not first.key:
            alike = teachers if is_urgent else together
            alike = [d for d in alike if not self.stages[d].packing.key]
            return alike[: max(1, min(MAX_LIST, len(alike) // (2 * workers)))]
        largest = self.largest[head]
        alike = [
            d for d in together
            if self.stages[d].packing.key == first.key and self.largest[d] == largest
        ]  # fmt: skip
        units = -(-len(alike) // (workers * first.unit))
        return alike[: min(largest, units * first.unit)]


PACKINGS = (Packing(), Packing(key="a", largest=4, unit=2), Packing(key="b", largest=3, unit=1))


@given(
    st.integers(1, 3),
    st.lists(st.sampled_from(PACKINGS), min_size=20, max_size=20),
    st.sets(st.integers(0, 9)),
    st.lists(st.tuples(st.sampled_from(["complete", "killed", "out-of-memory", "first", "next",
                                        "next", "next", "bug", "returned", "pack", "by itself"]),
                       st.integers(0, 9)),
             max_size=80),
)  # fmt: skip
def test_decisions_are_those_of_the_rules_read_off_all_stages(workers, packings, done, steps):
    plan = teachers_with_students(10)
    stages = {
        digest: replace(stage, packing=packing)
        for (digest, stage), packing in zip(plan.stages.items(), packings, strict=True)
    }
    plan = replace(plan, stages=stages)
    trials = tuple(trial("x", i, f"t{i}", f"s{i}") for i in range(10))
    plan = Plan(arms=(), trials=trials, stages=plan.stages)
    complete = {f"t{i}" for i in done}
    schedule, slow, now = Schedule(plan, complete), Slow(plan, complete), 0.0
    for what, number in steps:
        now += 0.7
        running = sorted(d for d, state in slow.states.items() if state == "running")
        if what == "next":
            expected = slow.next_list(workers, now)
            assert [s.digest for s in schedule.next_list(workers, now)] == expected
            slow.states |= dict.fromkeys(expected, "running")
        elif what == "first":
            schedule.put_first("x", number)
            mine = [d for d in slow.order if d in (f"t{number}", f"s{number}")
                    and slow.states[d] == "pending"]  # fmt: skip
            slow.order = list(dict.fromkeys([*mine, *slow.order]))
            slow.wished |= set(mine)
        elif running:
            digest = running[number % len(running)]
            if what == "complete":
                schedule.completed(digest, seconds=1.0 + number / 4)
                slow.seconds[digest in slow.needed].append(1.0 + number / 4)
            elif what == "returned":
                schedule.returned(digest)
            elif what == "by itself":
                schedule.returned(digest, by_itself=True)
                slow.largest[digest] = 1
            elif what == "pack":
                schedule.pack_failed(digest, 1 + number, "killed")
                slow.largest[digest] = max(1, (1 + number) // 2)
            else:
                schedule.failed(digest, what, now=now)
            slow.states = dict(schedule.states)
            slow.alone = {d for d in slow.order if schedule.runs_alone(d)}
            if slow.states[digest] == "pending" and what not in ("returned", "pack", "by itself"):
                ends = schedule._ends[digest, what]
                slow.not_before[digest] = now + POLICIES[what].pause_after(ends)
        assert schedule.states == slow.states
        assert schedule.is_over() == (not {"pending", "running"} & set(slow.states.values()))


def test_teachers_start_while_students_can_still_fill_the_workers():
    """Two workers, teachers ten times as long as students: the end must not wait for a teacher."""
    plan = plan_of(*(
        s for i in range(40)
        for s in (stage(f"t{i:02}"), *(stage(f"s{i:02}{j}", f"t{i:02}") for j in range(8)))
    ))  # fmt: skip
    schedule, order = Schedule(plan, ()), []
    while not schedule.is_over():
        for each in schedule.next_list(2):
            order.append(each.digest)
            schedule.completed(each.digest, seconds=10.0 if each.kind == "teacher" else 1.0)

    students_left = [
        sum(each.startswith("s") for each in order[place:])
        for place, digest in enumerate(order) if digest.startswith("t")
    ]  # fmt: skip
    assert order.index("s000") < order.index("t10"), "in plan order as long as it can be"
    assert min(students_left) >= IN_RESERVE * (10.0 + 1.0) * 2 - MAX_LIST


def arms_by_seeds(arms, seeds):
    """A plan as studies have it, seed by seed: of each trial a teacher and a student."""
    trials = [
        trial(arm, seed, f"t{arm}{seed}", f"s{arm}{seed}") for seed in range(seeds) for arm in arms
    ]
    stages = [s for t in trials for s in (stage(t.stages[0]), stage(t.stages[1], t.stages[0]))]
    return Plan(arms=(), trials=tuple(trials), stages={s.digest: s for s in stages})


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("seeds", "a0 b0 c0 a1 b1 c1 a2 b2 c2"),
        ("arms", "a0 a1 a2 b0 b1 b2 c0 c1 c2"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_seeds_are_finished_one_after_the_other_or_arms_are(first, expected, workers):
    schedule, finished = Schedule(arms_by_seeds("abc", 3), (), first=first), []
    while not schedule.is_over():
        lists = [schedule.next_list(workers) for _ in range(workers)]
        for each in (each for taken in lists for each in taken):
            schedule.completed(each.digest)
            finished += [each.digest[1:]] if each.kind == "student" else []

    if workers == 1:
        assert " ".join(finished) == expected
    else:  # several at once: each group of three is done before the next one's last
        place = {trial: number for number, trial in enumerate(finished)}
        groups = [expected.split()[n : n + 3] for n in (0, 3, 6)]
        assert [max(map(place.get, group)) for group in groups] == sorted(
            max(map(place.get, group)) for group in groups
        )


def test_a_stage_that_several_arms_share_goes_with_the_first_of_them():
    shared, own = stage("t"), [stage(f"s{arm}{seed}", "t") for seed in (0, 1) for arm in "ab"]
    trials = [trial(arm, seed, "t", f"s{arm}{seed}") for seed in (0, 1) for arm in "ab"]
    plan = Plan(arms=(), trials=tuple(trials), stages={s.digest: s for s in (shared, *own)})
    schedule, order = Schedule(plan, (), first="arms"), []
    while taken := schedule.next_list(1):
        order += [each.digest for each in taken]
        for each in taken:
            schedule.completed(each.digest)

    assert order == ["t", "sa0", "sa1", "sb0", "sb1"]


def packable(count, **packing):
    packing = Packing(**{"key": "a", "largest": 12, "unit": 4, **packing})
    return plan_of(*(replace(stage(f"t{i}"), packing=packing) for i in range(count)))


@pytest.mark.parametrize(
    ("count", "workers", "sizes"),
    [(48, 2, [12, 12, 12, 8, 4]), (10, 2, [8, 2]), (3, 2, [3]), (9, 1, [9]), (26, 1, [12, 12, 2])],
)
def test_packs_share_what_is_ready_among_the_workers_in_whole_units(count, workers, sizes):
    schedule, found = Schedule(packable(count), ()), []
    while taken := schedule.next_list(workers):
        found.append(len(taken))
    assert found == sizes


def test_a_pack_that_fails_is_halved_until_the_one_at_fault_is_alone_and_then_counts():
    schedule, sizes = Schedule(packable(8), ()), []
    now = 0.0
    while not schedule.is_over():
        taken = [s.digest for s in schedule.next_list(1, now)]
        sizes.append(len(taken))
        now += 100
        for digest in taken:
            if "t5" not in taken:
                schedule.completed(digest)
            elif len(taken) > 1:
                [change] = schedule.pack_failed(digest, len(taken), "killed")
                assert "trying again" in change.reason
            else:
                schedule.failed(digest, "killed", "killed", now)
    assert schedule.states.pop("t5") == "failed"
    assert set(schedule.states.values()) == {"complete"}
    assert sizes[0] == 8
    assert sizes.count(1) <= POLICIES["killed"].tries + 1


def test_a_stage_that_another_process_works_on_waits_by_itself():
    schedule = Schedule(packable(4), ())
    schedule.next_list(1)
    schedule.returned("t1", "another worker is training it", by_itself=True)
    schedule.returned("t2")

    assert [s.digest for s in schedule.next_list(1)] == ["t1"]
    assert [s.digest for s in schedule.next_list(1)] == ["t2"]


class Unscanned(dict):
    """States that nobody looks through."""

    def __iter__(self):
        raise AssertionError("all stages were looked at")

    values = items = keys = __iter__


def test_a_decision_looks_at_no_more_than_what_it_takes():
    schedule = Schedule(teachers_with_students(5000), ())
    schedule.states = Unscanned(schedule.states)
    taken = 0
    while stages := schedule.next_list(2):
        for each in stages:
            schedule.completed(each.digest)
            taken += 1

    assert taken == 10_000
    assert schedule.is_over()


@pytest.mark.parametrize("cause", POLICIES)
def test_a_stage_is_tried_as_often_as_the_policy_of_its_cause_says_and_no_more(cause):
    schedule = Schedule(teachers_with_students(1), ())
    policy = POLICIES[cause]
    for ends in range(1, policy.tries):
        assert schedule.next_list(1, now=1e6 * ends)
        [change] = schedule.failed("t0", cause, "gone", now=1e6 * ends)
        assert change.state == "pending"
        assert "trying again" in change.reason
    schedule.next_list(1, now=1e9)

    changes = schedule.failed("t0", cause, "gone", now=1e9)

    assert [c.state for c in changes] == ["failed", "blocked"]
    assert schedule.is_over()


def test_only_what_may_pass_by_itself_is_tried_again():
    assert {cause for cause, policy in POLICIES.items() if policy.tries == 1} == {
        "non-finite", "machine", "study", "bug", "exit-code", "time-limit", "no-metric",
    }  # fmt: skip


def test_a_killed_stage_waits_longer_before_every_further_attempt():
    schedule = Schedule(teachers_with_students(1), ())
    waits = []
    for moment in (100.0, 200.0):
        schedule.next_list(1, now=moment)
        schedule.failed("t0", "killed", now=moment)
        waits.append(
            next(w for w in range(60) if Schedule.next_list(copy.deepcopy(schedule), 1, moment + w))
        )

    assert waits == [1, 2]


def test_a_stage_that_ran_out_of_memory_runs_alone():
    schedule = Schedule(teachers_with_students(3), ())
    [first], [second] = schedule.next_list(3), schedule.next_list(3)
    [change] = schedule.failed("t0", "out-of-memory", "out of memory")
    assert change.reason == "out of memory; trying again alone"
    assert [s.digest for s in schedule.next_list(3)] == ["t2"]
    schedule.completed("t1")
    schedule.completed("t2")
    others = [s.digest for _ in range(3) for s in schedule.next_list(3)]
    assert others == ["s1", "s2"]

    assert schedule.next_list(3) == []
    schedule.completed("s1")
    assert schedule.next_list(3) == []
    schedule.completed("s2")
    assert [s.digest for s in schedule.next_list(3)] == ["t0"]
    assert schedule.runs_alone("t0")
    assert (first.digest, second.digest) == ("t0", "t1")


def trial(arm, seed, *stages):
    return Trial(arm=arm, seed=seed, stages=stages)


def shared_plan():
    """Arms a and b share the teacher of seed 0; b alone has one of seed 1."""
    stages = [stage("t"), stage("sa", "t"), stage("sb", "t"), stage("t1"), stage("sb1", "t1")]
    trials = (trial("a", 0, "t", "sa"), trial("b", 0, "t", "sb"), trial("b", 1, "t1", "sb1"))
    return Plan(arms=(), trials=trials, stages={s.digest: s for s in stages})


def test_cancelling_an_arm_gives_up_what_no_other_arm_needs():
    schedule = Schedule(shared_plan(), ())

    changes = schedule.cancel_trials("b", None)

    assert {c.stage for c in changes} == {"sb", "t1", "sb1"}
    assert schedule.states["t"] == "pending"
    assert schedule.cancel_trials("b", None) == []


def test_cancelling_one_trial_leaves_the_other_seeds():
    schedule = Schedule(shared_plan(), ())

    assert {c.stage for c in schedule.cancel_trials("b", 1)} == {"t1", "sb1"}


def test_a_cancelled_stage_whose_worker_is_then_lost_stays_cancelled():
    schedule = Schedule(shared_plan(), ())
    while schedule.next_list(1):
        pass
    schedule.cancel_trials("b", 1)

    assert schedule.failed("t1", "killed", "killed") == []
    assert schedule.returned("t1") == []
    assert schedule.states["t1"] == "cancelled"


def test_retrying_a_trial_frees_everything_that_its_teacher_blocked():
    schedule = Schedule(shared_plan(), ())
    schedule.failed("t", "bug")
    assert schedule.states["sa"] == schedule.states["sb"] == "blocked"

    changes = schedule.retry_trials("a", 0)

    assert {c.stage: c.state for c in changes} == dict.fromkeys(("t", "sa", "sb"), "pending")
    schedule.completed("t")
    assert schedule.retry_trials("a", 0) == []


def test_a_trial_put_first_starts_before_what_was_planned_earlier():
    schedule = Schedule(shared_plan(), ())

    changes = schedule.put_first("b", 1)

    assert [(c.stage, c.state, c.reason) for c in changes] == [
        ("t1", "pending", "first on request"), ("sb1", "pending", "first on request"),
    ]  # fmt: skip
    assert [s.digest for s in schedule.next_list(4)] == ["t1"]
    assert schedule.put_first("a", 0)[0].stage == "t"
    assert [s.digest for s in schedule.next_list(4)] == ["t"], "the newest wish goes first"
    schedule.completed("t1")
    schedule.completed("sb1")
    assert schedule.put_first("b", 1) == []


def test_lists_are_long_at_first_and_single_at_the_end():
    schedule = Schedule(teachers_with_students(12), ())

    assert len(schedule.next_list(2)) == 3
    while ready := schedule.next_list(2):
        last = ready
    assert len(last) == 1


FATES = ["complete", "returned", *POLICIES, "cancel", "retry", "first"]


@given(st.integers(1, 4), st.lists(st.sampled_from(FATES), max_size=60))
def test_every_schedule_ends_with_every_stage_settled_once(workers, fates):
    schedule = Schedule(shared_plan(), ())
    fate = iter(fates)
    completed = []
    running = []
    for moment in range(10_000):
        if schedule.is_over():
            break
        running += schedule.next_list(workers, moment * 50.0)
        for taken in running:
            match next(fate, "complete"):
                case "returned":
                    schedule.returned(taken.digest)
                case "complete":
                    schedule.completed(taken.digest)
                    completed.append(taken.digest)
                case "cancel":
                    schedule.cancel_trials("b", 1)
                    schedule.failed(taken.digest, "killed", now=moment * 50.0)
                case "retry":
                    schedule.retry_trials("a", None)
                    schedule.failed(taken.digest, "killed", now=moment * 50.0)
                case "first":
                    schedule.put_first("b", 1)
                    schedule.completed(taken.digest)
                    completed.append(taken.digest)
                case cause:
                    schedule.failed(taken.digest, cause, now=moment * 50.0)
        running = []
    assert schedule.is_over()
    assert len(completed) == len(set(completed))
    for digest, found in shared_plan().stages.items():
        if schedule.states[digest] == "complete":
            assert all(schedule.states[i] == "complete" for i in found.inputs.values())
