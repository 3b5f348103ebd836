"""Studies on a real Slurm: what fails, is preempted, killed or unreachable changes no number.

Every test holds what comes out against the local executor, by SHA-256 of the artifacts.
"""

import contextlib
import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from icckd.journal.folder import StateFolder
from icckd.journal.requests import Wanted, submit
from icckd.resources.host import cpu_model
from icckd.run.slurm import SlurmExecutor
from icckd.testing.executors import case_of, laws_of
from tests.cluster.outcomes import artifacts, attempts_by_stage, complete_once
from tests.support.desk import Desk, attempts_begun, epochs_recorded
from tests.support.studies import BY_ITSELF, FEW_IMAGES, two_stages
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

ON_SLURM = ("--executor", "slurm", "--device", "cpu")
STUDY = two_stages(seeds=2, teacher=40, student=3) + BY_ITSELF
"""Two teachers of some seconds, each with a student."""
PACKED = two_stages(seeds=4, teacher=400, student=20) + FEW_IMAGES
"""Four teachers of some seconds in one pack, then their students in another."""
OTHER_ARMS = """
[[arm]]
name = "wide"
set = { "teacher.intra.weight" = 0.5 }
[[arm]]
name = "narrow"
set = { "teacher.intra.weight" = 0.05 }
[[arm]]
name = "wild"
set = { "teacher.training.lr" = 1e30 }
"""
FOUR = two_stages("four") + OTHER_ARMS + BY_ITSELF
"""Four teachers, of which one diverges."""


@pytest.fixture(scope="module")
def local(tmp_path_factory, fresh_process):
    """Return the artifacts of a study as this machine trains it."""
    known = {}

    def of(text):
        if text not in known:
            desk = Desk(tmp_path_factory.mktemp("local"))
            name = desk.write(text)
            code = 1 if "wild" in text else 0
            desk.train("run", name, "--device", "cpu", code=code)
            known[text] = artifacts(desk.state)
        return known[text]

    return of


def run(desk, text=STUDY, *more):
    return desk.run_apart("run", desk.write(text), *ON_SLURM, *more)


def start(desk, text=STUDY, *more):
    return desk.start("run", desk.write(text), *ON_SLURM, *more)


def finished(started, code=0, seconds=300):
    out, err = started.communicate(timeout=seconds)
    assert started.returncode == code, (started.returncode, out, err)
    return err


def resumed(desk):
    journals = (desk.state / "attempts").glob("*/journal.jsonl")
    return sum(path.read_bytes().count(b'"k":"c"') for path in journals)


@pytest.mark.parametrize("law", laws_of(SlurmExecutor.capabilities), ids=lambda law: law.__name__)
def test_slurm_keeps_the_laws_of_what_it_declares(law, slurm_desk, tmp_path, monkeypatch):
    for name, value in slurm_desk.variables().items():
        monkeypatch.setenv(name, value)
    with case_of("slurm", tmp_path / "case") as case:
        law(case)


def test_of_four_students_three_complete_when_one_teacher_fails(slurm_desk, local):
    done = run(slurm_desk, FOUR)

    assert done.returncode == 1, done.stderr
    assert artifacts(slurm_desk.state) == local(FOUR)
    assert len(local(FOUR)) == 6
    ends = sorted(attempts_by_stage(slurm_desk.state).values())
    assert ends == [("complete",)] * 6 + [("failed",)]
    assert "its teacher failed" in slurm_desk.run("logs", "wild").stdout


def test_a_requeued_task_resumes_and_one_that_is_complete_trains_nothing(slurm_desk, slurm, local):
    slurm_desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
    started = start(slurm_desk)
    wait_for(lambda: epochs_recorded(slurm_desk) >= 5, 120, started)
    [first, *_] = slurm.running()
    slurm.call("scontrol", "requeue", first)

    finished(started)

    assert slurm.restarts() >= 1
    assert artifacts(slurm_desk.state) == local(STUDY)
    assert complete_once(slurm_desk.state)
    assert resumed(slurm_desk) >= 1
    before = attempts_by_stage(slurm_desk.state)
    slurm.call("scontrol", "requeue", first)  # it is complete: Slurm runs it again all the same
    wait_for(lambda: not {"PENDING", "RUNNING", "COMPLETING", "REQUEUED"} & {*slurm.states()}, 60)
    assert attempts_by_stage(slurm_desk.state) == before


def configure(desk, text):
    """Add to what is configured, for the state folder."""
    desk.state.mkdir(exist_ok=True)
    (desk.state / "config.toml").write_text(text)


def test_stages_are_led_to_the_class_of_hardware_that_computed_their_seeds_first(slurm_desk, slurm):
    """Students ask for the feature of their teacher's class; one that no node has is refused."""
    feature = ("scontrol", "update", "nodename=n1")
    slurm.call(*feature, "availablefeatures=here", "activefeatures=here")
    try:
        configure(slurm_desk, f'[slurm.classes]\n{json.dumps(cpu_model())} = "here"\n')
        done = run(slurm_desk)
        assert done.returncode == 0, done.stderr
        scripts = [path.read_text() for path in slurm_desk.state.glob("tasks/*/script.sh")]
        asked = ["--constraint=here" in text for text in scripts]
        assert set(asked) == {True, False}
        assert complete_once(slurm_desk.state)

        configure(slurm_desk, f'[slurm.classes]\n{json.dumps(cpu_model())} = "elsewhere"\n')
        refused = run(slurm_desk, STUDY.replace("epochs = 3", "epochs = 4"))
        assert refused.returncode == 4
        assert "Slurm's sbatch failed" in refused.stderr
        assert "feature" in refused.stderr.lower()
    finally:
        slurm.call(*feature, "availablefeatures=", "activefeatures=")


def test_a_preempted_task_resumes_from_its_checkpoint(slurm_desk, slurm, local):
    slurm_desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
    started = start(slurm_desk)
    wait_for(lambda: epochs_recorded(slurm_desk) >= 5, 120, started)
    slurm.call("sbatch", "-p", "high", "-n2", "-o", "/dev/null", "--wrap", "sleep 2")

    finished(started)

    assert slurm.restarts() >= 1
    assert resumed(slurm_desk) >= 1
    assert artifacts(slurm_desk.state) == local(STUDY)
    assert complete_once(slurm_desk.state)


@pytest.mark.parametrize("dies", [False, True], ids=["goes-on", "dies-later"])
def test_a_pack_whose_driver_is_killed_is_taken_over_as_one_task(slurm_desk, local, dies):
    slurm_desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
    one_task = ("-j", "1")
    started = start(slurm_desk, PACKED, *one_task)
    wait_for(lambda: epochs_recorded(slurm_desk) >= 40, 120, started)
    started.kill()
    started.communicate()
    before = epochs_recorded(slurm_desk)

    started = start(slurm_desk, PACKED, *one_task)
    if dies:
        wait_for(lambda: len(sessions(slurm_desk)) == 2, 60, started)
        wait_for(lambda: epochs_recorded(slurm_desk) >= before + 40, 60, started)
        [task] = [p for p in psutil.process_iter() if is_task_of(p, slurm_desk)]
        task.kill()
    told = finished(started)

    assert "4 stages that an earlier session submitted are taken over" in told
    assert artifacts(slurm_desk.state) == local(PACKED)
    assert complete_once(slurm_desk.state)
    teachers = [header for header in attempts_begun(slurm_desk) if header["kind"] == "teacher"]
    halves = [2] * 4 if dies else []  # a pack that was killed is tried again in two
    assert sorted(header["members"] for header in teachers) == [*halves, *[4] * 4]
    assert resumed(slurm_desk) == (4 if dies else 0)


def sessions(desk):
    return list((desk.state / "sessions").glob("*/journal.jsonl"))


def is_task_of(process, desk):
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "icckd.run.task_bundle" in words and any(str(desk.state) in w for w in words)
    return False


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_killed_around_its_submission_loses_nothing_and_trains_nothing_twice(
    slurm_desk, slurm, local, tmp_path, when
):
    tools = tmp_path / "tools"
    tools.mkdir()
    real = shutil.which("sbatch")
    submits = f'{real} "$@"\n' if when == "after" else ""
    (tools / "sbatch").write_text(f"#!/bin/sh\n{submits}kill -9 $PPID\n")
    (tools / "sbatch").chmod(0o755)
    path = slurm_desk.environment["PATH"]
    slurm_desk.environment["PATH"] = f"{tools}:{path}"
    killed = run(slurm_desk)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((slurm_desk.state / "tasks").glob("icckd-*/orders.json"))) == 1

    slurm_desk.environment["PATH"] = path
    done = run(slurm_desk)

    assert done.returncode == 0, done.stderr
    assert ("taken over" in done.stderr) is (when == "after")
    assert artifacts(slurm_desk.state) == local(STUDY)
    assert set(attempts_by_stage(slurm_desk.state).values()) == {("complete",)}


def test_a_driver_that_is_interrupted_leaves_its_tasks_and_the_next_takes_them_over(
    slurm_desk, slurm, local
):
    started = start(slurm_desk)
    wait_for(lambda: epochs_recorded(slurm_desk) >= 2, 120, started)
    started.send_signal(signal.SIGTERM)
    told = finished(started, code=130, seconds=15)
    assert "ordered stages go on in their jobs" in told
    assert slurm.running()
    assert "s" in slurm_desk.run("status").stdout

    done = run(slurm_desk)

    assert "stages that an earlier session submitted are taken over" in done.stderr
    assert artifacts(slurm_desk.state) == local(STUDY)
    assert set(attempts_by_stage(slurm_desk.state).values()) == {("complete",)}


def test_a_controller_killed_two_seconds_after_the_start_is_harmless(slurm_desk, slurm, local):
    started = start(slurm_desk)
    wait_for(lambda: slurm.running(), 60, started)
    time.sleep(2)
    slurm.kill_controller()
    time.sleep(20)
    slurm.start_controller()
    wait_for(lambda: slurm.call("sinfo", "-h", check=False), 30)
    slurm.resume_node()
    end = time.monotonic() + 240
    while started.poll() is None and time.monotonic() < end:
        slurm.resume_node()  # it is drained each time a task is "duplicate"
        time.sleep(2)

    told = finished(started)

    assert "Slurm's controller answers again" in told
    assert artifacts(slurm_desk.state) == local(STUDY)
    assert complete_once(slurm_desk.state)


def test_a_cancel_request_ends_a_running_trial(slurm_desk, slurm):
    started = start(slurm_desk, STUDY.replace("epochs = 40", "epochs = 4000"))
    wait_for(lambda: epochs_recorded(slurm_desk) >= 2, 120, started)

    submit(StateFolder(slurm_desk.state), Wanted(kind="cancel", study="s", arm="full"))

    finished(started, code=1, seconds=60)
    wait_for(lambda: not slurm.running(), 30)


def test_a_controller_that_is_away_at_the_start_is_one_error_within_15_seconds(slurm_desk, slurm):
    slurm.kill_controller()
    try:
        start_time = time.monotonic()
        done = run(slurm_desk)
        assert time.monotonic() - start_time < 15 + 10  # the command takes seconds to start here
        assert done.returncode == 4
        lines = [line for line in done.stderr.splitlines() if "Slurm" in line]
        assert len(lines) == 1
    finally:
        slurm.start_controller()
        wait_for(lambda: slurm.call("sinfo", "-h", check=False), 30)


def test_a_wrong_partition_is_one_error_that_names_the_right_ones(slurm_desk):
    config = Path(slurm_desk.environment["XDG_CONFIG_HOME"]) / "icckd" / "config.toml"
    config.write_text(config.read_text() + 'partition = "nope"\n')

    done = run(slurm_desk)

    assert done.returncode == 4
    assert "Slurm has no partition 'nope'" in done.stderr
    assert "it has low, high" in done.stderr


def commands_of(page, after):
    """Return the commands of the first block of a page after some words, without comments."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text().partition(after)[2]
    lines = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    return [line.partition("#")[0].split() for line in lines]


def test_the_commands_of_the_documentation_train_and_report(slurm_desk):
    (slurm_desk.folder / ".icckd").mkdir()
    (slurm_desk.folder / ".icckd" / "config.toml").write_text('executor = "slurm"\n')
    slurm_desk.write(STUDY.replace("epochs = 40", "epochs = 2"))

    for _, *words in commands_of("cluster.md", "### Run, watch, report"):
        done = slurm_desk.run_apart(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    assert (slurm_desk.folder / "report.html").is_file()
    assert (slurm_desk.state / "tasks").is_dir()


def test_a_dry_run_prints_scripts_that_sbatch_takes_and_submits_none(slurm_desk, slurm, tmp_path):
    before = slurm.states()
    slurm_desk.write(STUDY)
    [[_, *words]] = commands_of("cluster.md", "prologue = ")
    done = slurm_desk.run_apart(*words, "--executor", "slurm")

    assert done.returncode == 0, done.stderr
    assert slurm.states() == before
    script = tmp_path / "script.sh"
    script.write_text(done.stdout[done.stdout.index("#!/bin/bash") :])
    slurm.call("sbatch", "--test-only", str(script))
    assert "#SBATCH --array=0-1" in script.read_text()
    assert "2 further stages follow" in done.stderr


def test_a_task_is_told_before_its_time_limit_saves_and_goes_on_in_another(slurm_desk):
    """Slurm tells it up to a minute early: with a limit of 2 minutes after 78 s and not 90."""
    config = Path(slurm_desk.environment["XDG_CONFIG_HOME"]) / "icckd" / "config.toml"
    config.write_text(config.read_text() + "time_minutes = 2\nsignal_seconds = 30\n")
    text = STUDY.replace("epochs = 40", "epochs = 60000").replace("count = 2", "count = 1")
    started = start(slurm_desk, text)
    begun = time.monotonic()

    def ends():
        return [end for each in attempts_by_stage(slurm_desk.state).values() for end in each]

    wait_for(lambda: "cancelled" in ends(), 150)

    assert time.monotonic() - begun > 30
    wait_for(lambda: resumed(slurm_desk) >= 1, 90, started)
