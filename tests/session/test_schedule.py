"""The schedule starts what is ready, blocks what lost its input, and always comes to an end."""

from hypothesis import given
from hypothesis import strategies as st

from icckd.plan import NumericsClass, Plan, Stage
from icckd.session.schedule import MAX_LOSSES, Schedule


def stage(digest, *inputs):
    return Stage(
        kind="student" if inputs else "teacher",
        settings={}, seed=0, replicate=0, inputs=inputs, fingerprint="", epochs=1,
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
    schedule.ended("t0", "complete")
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

    changes = schedule.ended("t0", "failed")

    assert [(c.stage, c.state) for c in changes] == [("t0", "failed"), ("s0", "blocked")]
    assert schedule.states["t1"] in ("pending", "running")


def test_a_stage_whose_worker_died_is_tried_again_but_not_for_ever():
    schedule = Schedule(teachers_with_students(1), ())
    for _ in range(MAX_LOSSES - 1):
        schedule.next_list(1)
        [change] = schedule.lost("t0", "killed")
        assert change.state == "pending"
    schedule.next_list(1)

    assert [c.state for c in schedule.lost("t0", "killed")] == ["failed", "blocked"]
    assert schedule.is_over()


def test_lists_are_long_at_first_and_single_at_the_end():
    schedule = Schedule(teachers_with_students(12), ())

    assert len(schedule.next_list(2)) == 3
    while ready := schedule.next_list(2):
        last = ready
    assert len(last) == 1


@given(
    st.integers(1, 9), st.integers(1, 4),
    st.lists(st.sampled_from(["complete", "failed", "lost", "returned"]), max_size=60),
)  # fmt: skip
def test_every_schedule_ends_with_every_stage_settled_once(count, workers, fates):
    schedule = Schedule(teachers_with_students(count), ())
    fate = iter(fates)
    completed = []
    for _ in range(1000):
        if schedule.is_over():
            break
        for taken in schedule.next_list(workers):
            match next(fate, "complete"):
                case "lost":
                    schedule.lost(taken.digest, "killed")
                case "returned":
                    schedule.returned(taken.digest)
                case state:
                    schedule.ended(taken.digest, state)
                    completed += [taken.digest] if state == "complete" else []
    assert schedule.is_over()
    assert len(completed) == len(set(completed))
    for number in range(count):
        if schedule.states[f"t{number}"] == "failed":
            assert schedule.states[f"s{number}"] == "blocked"
