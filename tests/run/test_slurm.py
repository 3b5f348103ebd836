"""What the executor `slurm` makes of Slurm's answers; a real one is in tests/cluster."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from icckd.configuration import Slurm, configuration
from icckd.errors import MachineError, UsageError
from icckd.run import slurm
from icckd.run.executors import Report
from icckd.run.messages import orders_line
from icckd.run.slurm import SlurmExecutor, script_text
from icckd.run.slurm_client import (
    Limits,
    SlurmAwayError,
    SlurmClient,
    SlurmFullError,
    TaskState,
    limits_in,
    tasks_in,
)
from icckd.run.submissions import TaskSays, open_submissions, read_submission, write_submission
from icckd.run.task_bundle import NO_INPUT, TaskBundle
from tests.support.executors import orders

CONFIG = """
MaxArraySize            = 1001
MaxJobCount             = 10000
MaxStepCount            = 40000
"""
QUEUE = """
icckd-a|17|0|COMPLETED|None
icckd-a|17|1|RUNNING|None
icckd-a|17|2|PENDING|Resources
icckd-a|17|3|TIMEOUT|TimeLimit
icckd-b|21|0|OUT_OF_MEMORY|OutOfMemory
icckd-b|21|1|NODE_FAIL|NodeDown
icckd-b|21|2|PREEMPTED|Preempted
icckd-b|21|3|COMPLETING|None
icckd-c|30|N/A|RUNNING|None
slurm_load_jobs: a line of another form
"""
"""As squeue's manual documents these states, in the format that is asked for."""


class Answers:
    """Slurm's commands, as a test has them answer."""

    def __init__(self):
        self.sent, self.cancelled, self.states = [], [], {}
        self.refusal = self.silence = None

    def submit(self, script):
        self.sent.append(script)
        if self.refusal is not None:
            raise self.refusal
        name = script.parent.name
        self.states.setdefault((name, 0), TaskState(job="7", state="PENDING"))
        return "7"

    def tasks(self, names):
        if self.silence is not None:
            raise self.silence
        return {key: state for key, state in self.states.items() if key[0] in names}

    def cancel(self, name, jobs, *, only_waiting=False):
        assert name.startswith("icckd-")
        self.cancelled += sorted(jobs)

    def say(self, state):
        """Have all tasks stand in a state."""
        self.states = {key: TaskState(job="7", state=state) for key in self.states}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 0.01)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(slurm, "time", made)
    return made


class Desk:
    def __init__(self, folder, **settings):
        self.folder, self.answers, self.told = folder, Answers(), []
        self.seconds = {}
        self.settings = Slurm(**{"poll_seconds": 1.0, "minimum_minutes": 0.0, **settings})
        self.executor = self.made()

    def made(self, limits=Limits(array=3, jobs=8)):  # noqa: B008  # a frozen record
        return SlurmExecutor(
            client=self.answers, limits=limits, settings=self.settings, folder=self.folder,
            notice=self.told.append, seconds_of=self.seconds.get,
        )  # fmt: skip

    def says(self, number=0):
        [submission] = open_submissions(self.folder)
        return TaskSays(submission.home(number), lambda: True)

    def wait(self, seconds):
        return [(r.order.attempt, r.what, r.cause) for r in self.executor.wait(seconds)]


@pytest.fixture
def desk(folder, clock):
    return Desk(folder)


def test_limits_and_states_are_read_from_what_slurm_prints():
    assert limits_in(CONFIG) == Limits(array=1000, jobs=10_000)
    assert limits_in("") == Limits(array=1000, jobs=10_000)
    found = tasks_in(QUEUE)
    assert len(found) == 8
    assert [found["icckd-a", n].is_over for n in range(4)] == [True, False, False, True]
    causes = [found["icckd-b", place].cause for place in range(3)]
    assert causes == ["out-of-memory", "killed", "preempted"]
    assert found["icckd-a", 3].cause == "preempted"
    assert found["icckd-b", 1].words == "Slurm ended its task: NODE_FAIL (NodeDown)"
    assert not found["icckd-b", 3].is_over


def commands(folder, **texts):
    """Put commands of Slurm into a folder, as scripts."""
    for name, text in texts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("sleep 5", SlurmAwayError, "Slurm's squeue gave no answer within 0.2 s"),
        (
            "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
            SlurmAwayError,
            "Slurm's controller does not answer squeue: slurm_load_jobs error",
        ),
        ("echo 'squeue: error: bad' >&2; exit 2", MachineError, "Slurm's squeue failed: squeue:"),
    ],
)
def test_a_command_that_hangs_or_fails_is_one_clear_error(tmp_path, monkeypatch, text, kind, words):
    commands(tmp_path, squeue=text)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    with pytest.raises(MachineError, match=words) as caught:
        SlurmClient(0.2).tasks(["icckd-a"])
    assert type(caught.value) is kind


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="Slurm's command scontrol is not installed here"):
        SlurmClient().limits()


def test_sbatch_tells_a_full_queue_from_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    full = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    commands(tmp_path, sbatch=f"echo '{full}' >&2; exit 1")
    with pytest.raises(SlurmFullError, match="Slurm takes no more tasks"):
        SlurmClient().submit(tmp_path / "x")
    commands(tmp_path, sbatch="echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(MachineError, match="sbatch failed: invalid partition specified: x"):
        SlurmClient().submit(tmp_path / "x")
    commands(tmp_path, sbatch="echo '17;cluster'")
    assert SlurmClient().submit(tmp_path / "x") == "17"


def test_lists_share_a_task_up_to_its_minimum_and_arrays_are_cut(folder, clock):
    desk = Desk(folder, minimum_minutes=2.0)
    teacher, student = orders(folder)
    desk.seconds |= {teacher.stage.shape: 50.0}

    for _ in range(7):
        desk.executor.submit([teacher])
    desk.executor.submit([student])  # nobody knows how long it takes
    scripts = desk.executor.preview([])

    assert len(scripts) == 1
    assert "--array=0-2" in scripts[0]  # 3 + 3 + (1 and the student)
    for _ in range(10):
        desk.executor.submit([student])
    assert [("--array=0-2" in s, "--array=0-0" in s) for s in desk.executor.preview([])] == [
        (True, False), (True, False), (True, False), (False, True)
    ]  # fmt: skip


def test_room_is_what_slurm_and_the_site_allow(folder, clock):
    desk = Desk(folder, tasks=2)
    teacher, student = orders(folder)
    assert (desk.executor.capacity, desk.executor.idle()) == (2, 2)
    desk.executor.submit([teacher])
    desk.executor.submit([student])
    assert desk.executor.idle() == 0
    desk.executor.wait(0.0)
    assert desk.executor.idle() == 0


def test_a_short_task_waits_for_more_while_others_run_and_not_for_ever(folder, clock):
    desk = Desk(folder, minimum_minutes=10.0)
    teacher, student = orders(folder)
    desk.seconds |= {teacher.stage.shape: 5.0, student.stage.shape: 5.0}
    desk.executor.submit([teacher])
    desk.wait(0.0)
    assert len(desk.answers.sent) == 1  # nothing else ran

    desk.executor.submit([student])
    desk.wait(30.0)
    assert len(desk.answers.sent) == 1
    desk.wait(60.0)
    assert len(desk.answers.sent) == 2


def test_a_submission_that_nobody_answered_is_found_by_its_name(desk):
    teacher, _ = orders(desk.folder)
    desk.answers.refusal = SlurmAwayError("sbatch gave no answer")
    desk.executor.submit([teacher])
    desk.wait(0.0)
    [submission] = open_submissions(desk.folder)
    assert submission.job == ""

    desk.answers.refusal = None
    desk.answers.states[submission.token, 0] = TaskState(job="42", state="RUNNING")
    desk.wait(30.0)

    assert submission.job == "42"
    assert len(desk.answers.sent) == 1


def test_a_submission_that_slurm_never_got_is_sent_again_under_its_name(desk):
    teacher, _ = orders(desk.folder)
    desk.answers.refusal = SlurmAwayError("sbatch gave no answer")
    desk.executor.submit([teacher])
    desk.wait(0.0)
    desk.answers.refusal = None

    desk.wait(30.0)

    assert len(desk.answers.sent) == 2
    assert len(set(desk.answers.sent)) == 1


def test_a_full_queue_is_waited_for(desk):
    teacher, _ = orders(desk.folder)
    desk.answers.refusal = SlurmFullError("Slurm takes no more tasks: limit")
    desk.executor.submit([teacher])
    desk.wait(10.0)
    assert len(desk.answers.sent) == 1
    assert "trying again in 30 s" in desk.told[0]

    desk.answers.refusal = None
    desk.wait(31.0)
    assert len(desk.answers.sent) == 2
    assert [s.job for s in open_submissions(desk.folder)] == ["7"]


def test_a_refused_submission_ends_the_session_and_is_closed(desk):
    teacher, _ = orders(desk.folder)
    desk.answers.refusal = MachineError("Slurm's sbatch failed: Invalid account")
    desk.executor.submit([teacher])
    with pytest.raises(MachineError, match="Invalid account"):
        desk.wait(0.0)
    assert list(open_submissions(desk.folder)) == []


def test_a_controller_that_is_away_is_told_once_and_work_is_heard_of_meanwhile(desk):
    teacher, _ = orders(desk.folder)
    desk.executor.submit([teacher])
    desk.wait(0.0)
    desk.answers.silence = SlurmAwayError("Slurm's controller does not answer squeue: x")
    desk.wait(60.0)
    says = desk.says()
    says.begins()
    says.word(teacher.attempt, Report(order=teacher, what="started"), is_leaving=False)

    assert desk.wait(60.0) == [("attempt-0", "started", None)]
    desk.answers.silence = None
    desk.wait(20.0)

    assert [text.partition(":")[0] for text in desk.told] == [
        "Slurm's controller does not answer squeue", "Slurm's controller answers again"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "cause"),
    [("OUT_OF_MEMORY", "out-of-memory"), ("TIMEOUT", "preempted"), ("NODE_FAIL", "killed")],
)
def test_what_a_task_left_open_is_lost_or_returned_by_how_slurm_ended_it(desk, state, cause):
    teacher, student = orders(desk.folder)
    desk.executor.submit([teacher, student])
    desk.wait(0.0)
    says = desk.says()
    says.begins()
    says.word(teacher.attempt, Report(order=teacher, what="started"), is_leaving=False)
    assert desk.wait(5.0) == [("attempt-0", "started", None)]

    desk.answers.say(state)

    assert desk.wait(30.0) == [("attempt-0", "lost", cause), ("attempt-1", "returned", None)]
    assert list(open_submissions(desk.folder)) == []
    assert desk.executor.at_work() == frozenset()


def test_what_a_task_said_while_it_was_told_to_leave_counts_unless_it_runs_again(desk):
    teacher, student = orders(desk.folder)
    desk.executor.submit([teacher, student])
    desk.wait(0.0)
    says = desk.says()
    says.begins()
    says.word(teacher.attempt, Report(order=teacher, what="started"), is_leaving=False)
    lost = Report(order=teacher, what="lost", cause="preempted")
    says.word(teacher.attempt, lost, is_leaving=True)
    says.ends()
    assert desk.wait(5.0) == [("attempt-0", "started", None)]
    desk.answers.say("PENDING")  # requeued
    assert desk.wait(30.0) == []

    again = desk.says()
    again.begins()
    executed = orders(desk.folder)[0]
    again.word(
        "attempt-0", Report(order=executed, what="ended", state="complete"), is_leaving=False
    )
    [report] = desk.executor.wait(30.0)
    assert (report.what, report.state) == ("ended", "complete")
    assert again.number == 1
    again.word(student.attempt, Report(order=student, what="returned"), is_leaving=True)
    assert desk.wait(5.0) == []
    desk.answers.say("COMPLETED")
    assert desk.wait(30.0) == [("attempt-1", "returned", None)]


def test_a_job_that_slurm_has_forgotten_is_over(desk):
    teacher, _ = orders(desk.folder)
    desk.executor.submit([teacher])
    desk.wait(0.0)
    desk.says().begins()
    desk.answers.states.clear()

    [report] = desk.executor.wait(60.0)
    assert (report.what, report.reason) == ("returned", "Slurm has forgotten its task")


def test_a_task_that_slurm_holds_since_its_launch_failed_is_cancelled_and_given_out_again(desk):
    teacher, _ = orders(desk.folder)
    desk.executor.submit([teacher])
    desk.wait(0.0)
    [(key, _)] = desk.answers.states.items()
    held = TaskState(job="7", state="PENDING", reason="launch failed requeued held")
    desk.answers.states[key] = held
    assert desk.wait(30.0) == []
    assert set(desk.answers.cancelled) == {"7_0"}

    desk.answers.say("CANCELLED")

    assert desk.wait(30.0) == [("attempt-0", "returned", None)]


def test_tasks_that_end_before_they_begin_end_the_session(desk):
    teacher, _ = orders(desk.folder)

    def submit_and_fail():
        desk.executor.submit([teacher])
        desk.wait(0.0)
        [submission] = open_submissions(desk.folder)
        submission.log(0).write_text("bash: python: command not found\n")
        desk.answers.say("FAILED")
        return desk.wait(30.0)

    assert submit_and_fail() == [("attempt-0", "returned", None)]
    assert submit_and_fail() == [("attempt-0", "returned", None)]
    with pytest.raises(MachineError, match=r"before they train anything: .* command not found"):
        submit_and_fail()


def test_a_session_adopts_what_slurm_knows_and_closes_what_it_does_not(desk):
    teacher, student = orders(desk.folder)
    desk.executor.submit([teacher])
    desk.wait(0.0)
    desk.answers.refusal = SlurmAwayError("the session was killed here")
    desk.executor.submit([student])
    desk.wait(0.0)
    known, unknown = sorted(open_submissions(desk.folder), key=lambda each: each.job, reverse=True)
    wanted = {teacher.stage.digest, student.stage.digest}

    later = desk.made()

    assert [order.attempt for order in later.adopt(wanted)] == [teacher.attempt]
    assert later.at_work() == {teacher.stage.digest}
    assert (known.is_closed, unknown.is_closed) == (False, True)
    assert TaskBundle(unknown, 0).run() == 0  # sbatch was only late: it leaves at once
    assert not list(unknown.home(0).iterdir())


def test_what_ended_or_belongs_to_another_study_is_not_adopted(desk):
    teacher, student = orders(desk.folder)
    desk.executor.submit([teacher, student])
    desk.wait(0.0)
    says = desk.says()
    says.begins()
    report = Report(order=teacher, what="ended", state="complete")
    says.word(teacher.attempt, report, is_leaving=False)

    assert [o.attempt for o in desk.made().adopt({student.stage.digest})] == [student.attempt]
    other = desk.made()
    assert other.adopt({teacher.stage.digest}) == []
    assert other.at_work() == {student.stage.digest}


def test_leaving_and_cancelling_when_stopped_is_the_users_choice(folder, clock):
    teacher, _ = orders(folder)
    for choice, wanted in (("leave", True), ("cancel", False)):
        desk = Desk(folder, when_stopped=choice)
        desk.executor.submit([teacher])
        desk.wait(0.0)
        desk.answers.say("COMPLETED")
        assert desk.executor.leave(has_failed=False) is wanted
        desk.executor.kill()
        assert bool(desk.answers.cancelled) is not wanted
        assert desk.made().leave(has_failed=True)
        for each in open_submissions(folder):
            each.close()


def test_a_taken_back_order_cancels_a_task_that_waits_for_nothing_else(desk):
    teacher, student = orders(desk.folder)
    desk.executor.submit([teacher, student])
    desk.wait(0.0)
    [submission] = open_submissions(desk.folder)

    desk.executor.cancel({student.attempt})
    assert desk.answers.cancelled == []
    desk.executor.cancel({teacher.attempt})

    assert submission.wish().skipped == {teacher.attempt, student.attempt}
    assert desk.answers.cancelled == ["7_0"]


def test_a_stage_whose_input_is_never_there_fails_after_three_tasks(desk):
    _, student = orders(desk.folder)
    ends = []
    for _ in range(3):
        desk.executor.submit([student])
        desk.wait(0.0)
        [submission] = open_submissions(desk.folder)
        assert TaskBundle(submission, 0, input_seconds=0.0).run() == 0
        ends += [(r.what, r.cause, r.reason) for r in desk.executor.wait(5.0)]

    assert ends == [
        ("returned", None, NO_INPUT), ("returned", None, NO_INPUT), ("lost", "machine", NO_INPUT)
    ]  # fmt: skip


def test_the_script_says_what_is_configured_and_is_bash(folder, tmp_path):
    settings = Slurm(
        partition="gpu", account="kd", constraint="h100&nvlink", gres="gpu:1", memory="8G",
        time_minutes=90, prologue=("module load cuda",), options=("--reservation=course",),
    )  # fmt: skip
    text = script_text(tmp_path / "a b" / "icckd-1", 4, 2, settings)

    for option in (
        "--job-name=icckd-1", "--array=0-3", "--requeue", "--signal=B:TERM@120", "--time=90",
        "--cpus-per-task=2", "--partition=gpu", "--constraint='h100&nvlink'", "--gres=gpu:1",
        "--mem=8G", "--reservation=course", "--open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH {option}\n" in text
    assert text.index("trap ") < text.index("module load cuda") < text.index("task_bundle")
    path = tmp_path / "script.sh"
    path.write_text(text)
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_a_submission_is_read_as_it_was_written_and_a_torn_one_is_none(folder):
    made = write_submission(folder.tasks / "icckd-1", [(tuple(orders(folder)),)], "#!/bin/bash\n")
    again = read_submission(made.folder)
    assert orders_line(again.tasks[0][0]) == orders_line(made.tasks[0][0])
    (made.folder / "orders.json").write_text('[[[{"attempt"')
    assert read_submission(made.folder) is None
    assert list(open_submissions(folder)) == []


@pytest.mark.slow
def test_a_task_that_is_executed_again_leaves_out_what_has_ended(folder):
    submission = write_submission(folder.tasks / "icckd-1", [(tuple(orders(folder)),)], "")

    assert TaskBundle(submission, 0).run() == 0
    before = sorted(path.name for path in folder.attempts.iterdir())
    assert TaskBundle(submission, 0).run() == 0

    assert sorted(path.name for path in folder.attempts.iterdir()) == before == [
        "attempt-0", "attempt-1"
    ]  # fmt: skip
    assert [path.name for path in sorted(submission.home(0).glob("said-*"))] == [
        "said-000.jsonl", "said-001.jsonl"
    ]  # fmt: skip


def test_the_configuration_of_the_documentation_is_read(folder):
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    (folder.root / "config.toml").write_text(text)

    found = configuration(folder.root)

    assert (found.executor, found.slurm.gres, found.slurm.time_minutes) == ("slurm", "gpu:1", 240)


def test_lists_go_to_the_class_of_hardware_that_they_need_in_arrays_of_their_own(folder, clock):
    desk = Desk(folder, constraint="cpu", classes={"NVIDIA H100": "h100"})
    teacher, student = orders(folder)
    desk.executor.submit([teacher])
    desk.executor.submit([replace(student, hardware="NVIDIA H100")])
    desk.executor.submit([replace(student, attempt="again", hardware="not configured")])

    desk.wait(0.0)

    scripts = [script.read_text() for script in desk.answers.sent]
    found = [(text.count("--constraint=cpu"), text.count("--constraint=h100")) for text in scripts]
    assert found == [(1, 0), (0, 1)]
    assert ["--array=0-1\n" in text for text in scripts] == [True, False]


@pytest.mark.parametrize("text", ["classes = { a = 'two words' }", "classes = { a = '' }"])
def test_a_class_that_is_no_word_of_slurm_is_refused(folder, text):
    (folder.root / "config.toml").write_text(f"[slurm]\n{text}\n")
    with pytest.raises(UsageError, match="classes: one word without spaces"):
        configuration(folder.root)


def test_the_classes_of_the_documentation_are_read(folder):
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    [text] = [b.partition("```")[0] for b in page.split("```toml\n") if b.startswith("[slurm.cl")]
    (folder.root / "config.toml").write_text(text)

    found = configuration(folder.root)

    assert found.slurm.classes["NVIDIA A100-SXM4-80GB"] == "a100"
    assert found.ray.classes == {"NVIDIA H100 80GB HBM3": "h100"}
