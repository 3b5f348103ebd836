import math
import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from icckd.errors import UsageError
from icckd.journal.events import EpochMetrics, LogLine
from icckd.journal.folder import StateFolder
from icckd.journal.owner import owner_is_alive, owner_lock
from icckd.results.database import about_views
from icckd.results.query import open_results
from icckd.results.store import Store
from tests.support.lab import ARMS, planned
from tests.support.reports import TEXT_FORMATS, report


@pytest.fixture
def results(lab):
    """Results of the lab's folder as they are when first asked for."""
    opened = []

    def look():
        opened.append(open_results(lab.folder))
        return opened[-1]

    yield look
    for each in opened:
        each.close()


def state_of(results, arm, seed):
    found = results.trials(results.study())
    row = next(row for row in found if (row.arm, row.seed) == (arm, seed))
    return row.state, row.reason


def comparison(results, arm, metric):
    rows = results.comparisons(results.study())
    return next(row for row in rows if (row.arm, row.metric) == (arm, metric))


# --- studies ------------------------------------------------------------------------------------


def test_a_study_is_what_its_newest_session_planned(lab, results):
    with lab.finished("s1", planned(seeds=(0, 1))):
        pass
    with lab.finished("s2", planned(seeds=(0, 1, 2)), revision="r2"):
        pass
    with lab.finished("s3", planned(seeds=(4,)), study="other"):
        pass

    studies = results().studies()

    assert [(s.name, s.revision, s.seeds) for s in studies] == [
        ("other", "r1", (4,)),
        ("icc-ablations", "r2", (0, 1, 2)),
    ]
    study = studies[1]
    assert [arm.name for arm in study.arms] == [name for name, *_ in ARMS]
    assert study.family == ("no-margin", "no-cache")
    assert (study.primary, study.smallest_effect) == ("student.top1", 0.5)
    assert study.metrics[0] == study.primary
    assert study.arms[2].changes[1].after == 0.018


def test_planning_a_revision_again_doubles_nothing(lab, results):
    plan = planned()
    with lab.finished("s1", plan) as session:
        session.train_all()
    before = results()
    rows, trials = before.comparisons(before.study()), before.trials(before.study())
    for name in ("s2", "s3"):
        with lab.finished(name, plan):
            pass
    after = results()

    assert after.comparisons(after.study()) == rows
    assert after.trials(after.study()) == trials
    assert after.progress(after.study()).stages.total == 24


def test_going_back_to_an_older_revision_shows_it_again(lab, results):
    for name, revision in (("s1", "r1"), ("s2", "r2"), ("s3", "r1")):
        with lab.finished(
            name, planned(seeds=(0,) if revision == "r1" else (0, 1)), revision=revision
        ):
            pass

    assert results().study().revision == "r1"


def test_an_unknown_study_names_the_nearest(lab, results):
    with lab.finished("s1", planned()):
        pass
    with pytest.raises(UsageError) as caught:
        results().study("icc-ablation")

    assert "icc-ablations" in caught.value.hint


def test_without_any_study_the_hint_says_how_to_start(tmp_path):
    with open_results(StateFolder(tmp_path / "none")) as results:
        assert results.studies() == ()
        with pytest.raises(UsageError) as caught:
            results.study()

    assert "icckd run" in caught.value.hint
    assert not (tmp_path / "none").exists()


# --- states -------------------------------------------------------------------------------------


def test_a_failed_teacher_fails_its_trial_and_the_others_go_on(lab, results):
    with lab.finished("s1", planned()) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed", until=2)
        session.say(session.stage("no-cache", 2, 1), "blocked", reason="its teacher failed")
    found = results()
    row = next(r for r in found.trials(found.study()) if r.state == "failed")
    progress = found.progress(found.study())

    assert (row.arm, row.seed, row.stage, row.epoch, row.epochs) == ("no-cache", 2, "teacher", 2, 4)
    assert "not finite at step 7" in row.reason
    assert row.primary is None
    assert (progress.trials.failed, progress.trials.complete) == (1, 11)
    assert (progress.stages.failed, progress.stages.blocked, progress.stages.complete) == (1, 1, 22)
    assert comparison(found, "no-cache", "student.top1").missing == (2,)
    nonfinite = found.values(found.study(), "teacher.nonfinite_steps")
    assert nonfinite["no-cache"] == {0: 0.0, 1: 0.0, 2: 1.0}
    assert 2 not in found.values(found.study(), "student.nonfinite_steps")["no-cache"]


def test_a_failed_student_takes_its_teachers_outcomes_with_it(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train(session.stage("full", 0))
        session.train(session.stage("full", 0, 1), end="failed")
    found = results()

    assert "full" not in found.values(found.study(), "teacher.top1")
    assert found.values(found.study(), "student.nonfinite_steps") == {"full": {0: 1.0}}


def test_a_session_that_lives_runs_its_stages_and_an_interrupted_one_does_not(lab, results):
    plan = planned(seeds=(0,))
    session = lab.session("s1", plan)
    session.train(session.stage("full", 0), until=3, end=None)
    with owner_lock(lab.folder):
        live = results()
        assert state_of(live, "full", 0) == ("running", "")
        assert state_of(live, "no-margin", 0) == ("pending", "")
        progress = live.progress(live.study())
        assert (progress.session, progress.workers) == ("live", 1)
        row = live.trials(live.study())[0]
        assert (row.stage, row.epoch, row.epochs) == ("teacher", 3, 4)
    session.journal.close()

    assert live.refresh()
    assert live.progress(live.study()).session == "interrupted"
    assert state_of(live, "full", 0) == ("cancelled", "interrupted")
    assert live.progress(live.study()).stages.running == 0
    assert live.progress(live.study()).eta_seconds is None


def test_an_attempt_that_ended_after_its_session_died_still_counts(lab, results):
    session = lab.session("s1", planned(seeds=(0,)))
    session.train(session.stage("full", 0), say=False)
    session.train(session.stage("full", 0, 1), say=False)
    session.journal.close()

    assert state_of(results(), "full", 0) == ("complete", "")


def test_a_stage_whose_worker_died_is_pending_until_it_is_tried_again(lab, results):
    plan = planned(seeds=(0,))
    session = lab.session("s1", plan)
    stage = session.stage("full", 0)
    with owner_lock(lab.folder):
        lost = session.train(stage, until=2, end=None)
        session.say(
            stage, "pending", attempt=lost, reason="worker killed by signal 9; trying again"
        )
        found = results()
        assert state_of(found, "full", 0) == ("pending", "worker killed by signal 9; trying again")
        session.train(stage)
        session.train(session.stage("full", 0, 1))
        found.refresh()
        assert state_of(found, "full", 0) == ("complete", "")
        assert found.trials(found.study())[0].attempts == 3
        attempts = found.query("select state, reason from attempt_state order by started", rows=99)[
            0
        ].rows
    session.end()

    assert attempts[0] == ("failed", "worker killed by signal 9; trying again")


def test_stopping_a_session_cancels_what_is_left(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train(session.stage("full", 0), until=1, end=None)
        for stage in session.plan.stages:
            session.say(stage, "cancelled", reason="the session was stopped")
    found = results()

    assert state_of(found, "full", 0) == ("cancelled", "the session was stopped")
    assert found.progress(found.study()).stages.cancelled == 8
    assert found.progress(found.study()).session == "ended"


@pytest.mark.parametrize(
    ("end", "state"), [(None, "running"), ("failed", "failed"), ("complete", "complete")]
)
def test_training_a_complete_stage_again_supersedes_it_while_it_runs_or_when_it_fails(
    lab, results, end, state
):
    plan = planned(seeds=(0,))
    with lab.finished("s1", plan) as first:
        first.train_all()
    second = lab.session("s2", plan)
    with owner_lock(lab.folder):
        found = results()
        assert state_of(found, "full", 0)[0] == "complete"
        second.train(second.stage("full", 0), until=1 if end is None else None, end=end)
        found.refresh()
        assert state_of(found, "full", 0)[0] == state
        assert (plan.trials[0].stages[0] in found.complete_stages()) == (end == "complete")
        has_values = 0 in found.values(found.study(), "student.top1").get("full", {})
        assert has_values == (end != "failed")
    second.journal.close()


def test_a_forced_attempt_that_was_interrupted_leaves_the_complete_one_standing(lab, results):
    plan = planned(seeds=(0,))
    with lab.finished("s1", plan) as first:
        first.train_all()
    second = lab.session("s2", plan)
    second.train(second.stage("full", 0), until=1, end=None)
    second.journal.close()

    assert state_of(results(), "full", 0) == ("complete", "")


def test_a_failed_stage_is_pending_in_a_new_session_until_that_has_spoken(lab, results):
    plan = planned(seeds=(0,))
    with lab.finished("s1", plan) as first:
        first.train(first.stage("full", 0), end="failed")
    second = lab.session("s2", plan)
    with owner_lock(lab.folder):
        assert state_of(results(), "full", 0)[0] == "pending"
    second.journal.close()


# --- outcomes -----------------------------------------------------------------------------------


def test_students_of_one_teacher_are_averaged_and_n_counts_seeds(lab, results):
    with lab.finished("s1", planned(students=2, seeds=(0, 1))) as session:
        for seed in (0, 1):
            session.train(session.stage("full", seed))
            session.train(session.stage("full", seed, 1), accuracy=90.0)
            if seed == 0:
                session.train(session.stage("full", seed, 2), accuracy=94.0)
    found = results()
    row = comparison(found, "full", "student.top1")

    assert (row.n, row.mean, row.missing) == (1, 92.0, (1,))


def test_convergence_is_the_first_epoch_that_reaches_the_target_or_never(lab, results):
    with lab.finished("s1", planned(seeds=(0, 1), teacher_target=90.0)) as session:
        session.train(session.stage("full", 0), accuracy=93.0)  # 87 89 91 93
        session.train(session.stage("full", 0, 1))
        session.train(session.stage("full", 1), accuracy=89.5)
        session.train(session.stage("full", 1, 1))
    found = results()
    row = comparison(found, "full", "teacher.convergence")

    assert found.values(found.study(), "teacher.convergence")["full"] == {0: 3.0, 1: math.inf}
    assert found.values(found.study(), "teacher.convergence_seconds")["full"] == {
        0: 6.0,
        1: math.inf,
    }
    assert (row.n, row.never, row.mean, row.spread, row.median) == (2, 1, None, None, math.inf)


def test_the_target_is_that_of_the_latest_revision(lab, results):
    with lab.finished("s1", planned(seeds=(0,), teacher_target=90.0)) as session:
        session.train_all()
    with lab.finished("s2", planned(seeds=(0,), teacher_target=80.0), revision="r2"):
        pass
    found = results()

    assert found.values(found.study(), "teacher.convergence")["full"] == {0: 1.0}


def test_values_recorded_as_nan_or_infinite_are_no_values(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        outcomes = {"teacher.intra_ratio": math.nan, "teacher.grad_norm_max": math.inf}
        session.train(session.stage("full", 0), outcomes=outcomes)
        session.train(session.stage("full", 0, 1))
    found = results()

    assert found.values(found.study(), "teacher.intra_ratio") == {}
    assert found.values(found.study(), "teacher.grad_norm_max") == {}
    assert comparison(found, "full", "teacher.top1").n == 1


def test_a_pair_that_never_reached_its_target_leaves_out_the_difference(lab, results):
    with lab.finished("s1", planned(seeds=(0, 1, 2))) as session:
        for seed in (0, 1, 2):
            for arm in ("full", "no-margin"):
                never = (arm, seed) == ("no-margin", 1)
                session.train(session.stage(arm, seed), accuracy=80.0 if never else 93.0)
                session.train(session.stage(arm, seed, 1))
    row = comparison(results(), "no-margin", "teacher.convergence")

    assert (row.pairs, row.difference, row.p, row.never, row.median) == (3, None, 1.0, 1, 3.0)


# --- curves, log, estimates ---------------------------------------------------------------------


def test_a_curve_is_the_mean_over_seeds_with_its_interval(lab, results):
    with lab.finished("s1", planned(students=2)) as session:
        for seed, accuracy, until in ((0, 90.0, 4), (1, 92.0, 4), (2, 96.0, 2)):
            end = "complete" if until == 4 else "failed"
            session.train(session.stage("full", seed), accuracy=accuracy, until=until, end=end)
    found = results()
    (curve,) = found.curves(found.study(), "teacher.val_top1")

    assert (curve.arm, curve.seeds, curve.planned_epochs) == ("full", (0, 1, 2), 4)
    assert curve.epochs_E.tolist() == [1, 2, 3, 4]
    assert curve.count_E.tolist() == [3, 3, 2, 2]
    assert curve.mean_E[3] == 91.0
    assert (curve.low_E[3], curve.high_E[3]) == pytest.approx(
        (91 - 12.7062, 91 + 12.7062), abs=1e-3
    )
    assert np.isnan(curve.values_SE[2, 2:]).all()
    assert curve.values_SE.dtype == np.float32, "a monitor holds many"


def test_students_of_one_teacher_are_averaged_in_curves(lab, results):
    with lab.finished("s1", planned(students=2, seeds=(0,))) as session:
        session.train(session.stage("full", 0))
        session.train(session.stage("full", 0, 1), accuracy=90.0)
        session.train(session.stage("full", 0, 2), accuracy=94.0)
    found = results()
    (curve,) = found.curves(found.study(), "student.val_top1")

    assert curve.mean_E[-1] == 92.0
    assert np.isnan(curve.low_E).all()


def test_series_come_most_useful_first(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train(session.stage("full", 0))
        session.train(session.stage("full", 0, 1))
    found = results()

    assert found.series(found.study()) == (
        "student.val_top1", "teacher.val_top1", "student.ce", "teacher.ce",
        "student.train_seconds", "teacher.train_seconds",
    )  # fmt: skip
    assert found.curves(found.study(), "teacher.nothing") == ()


def test_the_log_tells_of_stages_and_sessions(lab, results):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.journal.append(LogLine(level="warning", text="slow disk"))
        session.train(session.stage("full", 0))
        session.train(session.stage("no-margin", 1), end="failed")
        session.say(session.stage("no-margin", 1, 1), "blocked", reason="its teacher failed")
    found = results()
    study = found.study()
    lines = found.log(study, 100)

    assert [line.text for line in lines] == [
        f"session started on {os.uname().nodename}", "slow disk",
        "started", "teacher reached 90.0", "complete after 10.0 s",
        "started", "teacher reached 90.0",
        "NonFiniteError: loss term 'ce' is not finite at step 7", "failed after 10.0 s",
        "blocked: its teacher failed", "session ended with exit code 0",
    ]  # fmt: skip
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    assert (lines[7].arm, lines[7].seed, lines[7].stage, lines[7].level) == (
        "no-margin", 1, "teacher", "error",
    )  # fmt: skip
    assert (lines[1].arm, lines[1].seed) == ("", None)
    assert found.log(study, 2) == lines[-2:]
    assert found.log(study, 9, arm="full") == lines[2:5]
    assert {line.seed for line in found.log(study, 9, seed=1)} == {1}
    assert found.log(study, 9, arm="full", seed=1) == ()


def test_a_shared_stages_lines_come_once_or_under_the_arm_asked_for(lab, results):
    plan = planned(seeds=(0,))
    shared = plan.trials[0].stages[0]
    trials = tuple(replace(t, stages=(shared, t.stages[1])) for t in plan.trials)
    stages = tuple(s for s in plan.stages if s.kind == "student" or s.digest == shared)
    with lab.finished(
        "s1", plan.model_copy(update={"trials": trials, "stages": stages})
    ) as session:
        session.train(session.stage("full", 0))
    found = results()
    study = found.study()

    assert [line.arm for line in found.log(study, 9) if line.stage] == ["full"] * 3
    assert {line.arm for line in found.log(study, 9, arm="no-cache")} == {"no-cache"}
    assert found.progress(study).stages.total == 5
    assert found.progress(study).stages.complete == 1


def test_estimates_are_medians_over_complete_attempts_of_a_shape(lab, results):
    with lab.finished("s1", planned()) as session:
        session.train_all(skip=[("full", 0)])
        session.train(session.stage("full", 0), end="failed")
    estimates = results().estimates()

    teacher = estimates["teacher-shape"]
    assert (teacher.seconds, teacher.memory_bytes, teacher.disk_bytes) == (10.0, 3.0e8, 60_000.0)
    assert (teacher.count, estimates["student-shape"].count) == (11, 11)


def test_the_eta_is_the_work_left_over_the_workers_but_no_less_than_a_chain(lab, results):
    session = lab.session("s1", planned(seeds=(0,)))
    with owner_lock(lab.folder):
        found = results()
        assert found.progress(found.study()).eta_seconds is None
        for arm in ("full", "no-margin"):
            session.train(session.stage(arm, 0))
            session.train(session.stage(arm, 0, 1))
        session.train(session.stage("no-margin-matched", 0), until=2, end=None)
        found.refresh()
        one = found.progress(found.study())
        session.train(session.stage("no-cache", 0), until=2, end=None)
        found.refresh()
        two = found.progress(found.study())
    session.journal.close()

    assert (one.workers, one.eta_seconds) == (1, 5.0 + 10.0 + 20.0)
    assert (two.workers, two.eta_seconds) == (2, 15.0)
    assert two.newest == lab.now


def test_stages_of_a_pack_are_at_work_in_one_worker(lab, results):
    session = lab.session("s1", planned(seeds=(0,)))
    with owner_lock(lab.folder):
        session.train(session.stage("full", 0))
        session.train(session.stage("full", 0, 1))
        alone = results()
        assert not alone.is_packed(alone.study())
        for arm in ("no-margin", "no-margin-matched"):
            session.train(session.stage(arm, 0), until=2, end=None, pack=("pack-1", 2))
        found = results()
        packed = found.progress(found.study())
        assert found.is_packed(found.study())
        session.train(session.stage("no-cache", 0), until=2, end=None)
        found.refresh()
        two = found.progress(found.study())
    session.journal.close()

    teachers, students = 3 * 10.0, 3 * 10.0
    assert (packed.stages.running, packed.workers) == (2, 1)
    assert packed.eta_seconds == teachers - 2 * 5.0 + students
    assert (two.stages.running, two.workers) == (3, 2)
    assert two.eta_seconds == (teachers - 3 * 5.0 + students) / 2


def test_the_eta_before_any_stage_is_complete_follows_from_epochs_of_the_same_kind(lab, results):
    session = lab.session("s1", planned(seeds=(0,)))
    with owner_lock(lab.folder):
        session.train(session.stage("full", 0), until=2, end=None)
        found = results()
        progress = found.progress(found.study())
        queue = [row for row in found.queue(found.study()) if row.kind == "teacher"]
    session.journal.close()

    [begun] = [row for row in queue if row.state == "running"]
    an_epoch = begun.seconds / begun.epoch
    kinds = [row.epochs for row in found.queue(found.study())]
    assert progress.workers == 1
    assert progress.eta_seconds == pytest.approx(an_epoch * (sum(kinds) - begun.epoch))


def test_where_a_study_stands_is_told_without_reading_an_outcome(lab, results, monkeypatch):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all(skip=[("full", 0)])
        session.train(session.stage("full", 0), end="failed")
    found = results()
    study = found.study()
    asked, select = [], Store.select
    monkeypatch.setattr(Store, "select", lambda *given: (asked.append(given[1]), select(*given))[1])

    progress, unsettled = found.progress(study), found.unsettled(study)

    assert not [sql for sql in asked if "outcome" in sql or "metric" in sql]
    assert len(asked) <= 8
    assert [(t.arm, t.seed, t.state) for t in unsettled] == [("full", 0, "failed")]
    assert progress.trials.complete == progress.trials.total - 1
    assert [t for t in found.trials(study) if t.state != "complete"] == list(unsettled)


def test_nothing_left_is_an_eta_of_zero(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    found = results()

    assert found.progress(found.study()).eta_seconds == 0.0


# --- opening and refreshing ---------------------------------------------------------------------


def test_looking_holds_no_lock_and_fills_the_database(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    found = results()

    assert lab.folder.database.exists()
    assert not owner_is_alive(lab.folder)
    with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
        assert store.select("select count(*) from attempt") == [(8,)]
    assert found.query("select count(*) from attempt", rows=9)[0].rows == ((8,),)


def test_while_a_session_owns_the_folder_nothing_is_written_there(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    with owner_lock(lab.folder):
        found = results()
        assert comparison(found, "full", "student.top1").n == 1
    assert not lab.folder.database.exists()


@pytest.mark.parametrize("what", ["folder", "lock"])
def test_a_folder_that_cannot_be_written_can_be_read(lab, results, monkeypatch, what):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    if what == "lock":
        lab.folder.owner_lock.unlink()
        lab.folder.owner_lock.mkdir()
    else:
        lab.folder.database.mkdir()
        lab.folder.quarantine.touch()

    assert comparison(results(), "full", "student.top1").n == 1


def test_a_refresh_tells_whether_anything_changed_and_answers_follow(lab, results):
    session = lab.session("s1", planned(seeds=(0,)))
    with owner_lock(lab.folder):
        found = results()
        study = found.study()
        assert not found.refresh()
        assert found.curves(study, "teacher.ce") == ()
        journal = lab.writer(lab.folder.attempts / "a1")
        journal.append(session._header(session.stage("full", 0), "a1"))
        session.say(session.stage("full", 0), "running", attempt="a1")
        journal.append(EpochMetrics(epoch=1, values={"teacher.ce": 1.0}))
        assert found.refresh()
        assert found.trials(study)[0].epoch == 1
        kept = found.comparisons(study)
        journal.append(EpochMetrics(epoch=2, values={"teacher.ce": 0.5}), LogLine(text="on"))
        assert found.refresh()
        assert found.trials(study)[0].epoch == 2
        assert found.curves(study, "teacher.ce")[0].mean_E.tolist() == [1.0, 0.5]
        assert found.log(study, 1)[0].text == "on"
        assert found.comparisons(study) is kept
        assert not found.refresh()
        journal.close()
    session.journal.close()


def test_a_screen_may_ask_from_several_threads(lab, results):
    with lab.finished("s1", planned()) as session:
        session.train_all()
    found = results()
    study = found.study()
    expected = [found.curves(study, name)[0].mean_E.tolist() for name in found.series(study)]
    wrong = []

    def look():
        for _ in range(3):
            found._answers = {}
            found.refresh()
            names = found.series(study)
            if [found.curves(study, name)[0].mean_E.tolist() for name in names] != expected:
                wrong.append(names)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_queries_answer_with_columns_and_rows(lab, results):
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    found = results()
    table, is_cut = found.query(
        "select arm, mean from comparison where metric = 'teacher.top1' order by 1", rows=3
    )
    assert is_cut
    table, is_cut = found.query(
        "select arm, mean from comparison where metric = 'teacher.top1' order by 1", rows=4
    )
    assert not is_cut

    assert table.columns == ("arm", "mean")
    assert len(table.rows) == 4
    with pytest.raises(UsageError, match="cannot be run"):
        found.query("drop table metric", rows=1)
    assert "comparison" in dict(about_views())


# --- law 1 --------------------------------------------------------------------------------------


def reports(found):
    return {name: report(found, name) for name in TEXT_FORMATS}


def test_reports_are_the_same_bytes_after_the_database_is_deleted(lab, results):
    with lab.finished("s1", planned(students=3)) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed")
    first = reports(results())
    again = reports(results())
    lab.folder.database.unlink()
    rebuilt = reports(results())
    with owner_lock(lab.folder):
        from_journals = reports(results())

    assert first == again == rebuilt == from_journals


def test_seen_from_another_arm_differences_turn_around_and_nothing_is_judged(lab, results):
    with lab.finished("s1", planned()) as session:
        session.train_all()
    study = results().study()
    seen = study.against("no-cache")
    declared = {(r.arm, r.metric): r for r in results().comparisons(study)}
    turned = {(r.arm, r.metric): r for r in results().comparisons(seen)}

    there, back = declared["no-cache", "student.top1"], turned["full", "student.top1"]
    assert there.difference is not None
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert turned["no-cache", "student.top1"].difference is None
    assert {row.verdict for row in turned.values()} == {""}
    assert {row.difference for row in results().trials(seen) if row.arm == "no-cache"} == {None}
    assert study.against(study.baseline) is study
