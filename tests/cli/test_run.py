"""`icckd run`, end to end, with real processes on real data."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from icckd.api.signals import Signals
from icckd.journal.file import encode, first_line
from icckd.journal.folder import StateFolder
from icckd.journal.requests import Wanted, submit
from tests.support.desk import SIGNALS, attempts_begun, epochs_recorded, journals
from tests.support.studies import BY_ITSELF, ONE_ARM
from tests.support.waiting import wait_for


def stages(desk, where="true"):
    done = desk.run(
        "report", "--format", "json", "--sql",
        f"select kind, state, attempts, reason from stage_state where {where} order by all",
    )  # fmt: skip
    return json.loads(done.stdout)


def session_journal(desk) -> bytes:
    """Return what the only session has recorded so far, which is what it knows."""
    return b"".join(p.read_bytes() for p in (desk.state / "sessions").glob("*/journal.jsonl"))


def test_a_run_trains_every_stage_and_ends_with_the_answer_in_about_ten_lines(finished):
    out = finished.first_run.stdout

    assert out.splitlines()[0] == "Does the cache matter?"
    assert "What removing the cache does to student.top1 is not known" in out
    assert "study small: 2 arms x 2 seeds, 4 of 4 trials complete" in out
    assert re.search(r"no-cache +\d+\.\d+ ± \d+\.\d+ \(2\)   [+-]?\d", out)
    assert len(out.splitlines()) <= 10
    assert max(map(len, out.splitlines())) < 80
    assert "teacher.intra.cache" in finished.run("report").stdout
    assert len(stages(finished)) == 8
    assert {row["state"] for row in stages(finished)} == {"complete"}


def test_state_changes_are_plain_lines_on_standard_error(finished):
    lines = finished.first_run.stderr.splitlines()

    assert lines[0] == "study small: 8 of 8 stages to train"
    assert lines[1] == "live view: icckd watch small"
    assert sum(" complete " in line for line in lines) == 8
    assert "(0 left)" in lines[-5]
    assert lines[-4] == "icckd: every planned trial is complete"
    assert [line[6:].split("   ")[0] for line in lines[-3:]] == [
        "icckd run small.toml --add-seeds 4",
        "icckd report small",
        "icckd watch small",
    ]
    assert "\x1b" not in finished.first_run.stdout + finished.first_run.stderr


def test_a_second_run_trains_nothing_and_prints_the_same_table(finished):
    again = finished.run("run", "small.toml")

    assert "0 of 8 stages to train" in again.stderr
    assert again.stdout == finished.first_run.stdout


def test_the_report_is_the_same_after_the_database_is_deleted(finished):
    before = finished.run("report").stdout
    (finished.state / "icckd.duckdb").unlink()

    assert finished.run("report").stdout == before


@pytest.mark.slow
def test_more_seeds_train_only_what_is_missing(desk, finished):
    shutil.copytree(finished.state, desk.state)

    done = desk.train("run", "small.toml", "--seeds", "0:3")

    assert "4 of 12 stages to train" in done.stderr
    assert len(stages(desk)) == 12


@pytest.mark.slow
def test_force_trains_again_and_yields_the_same_bytes(desk, finished):
    shutil.copytree(finished.state, desk.state)
    models = sorted((desk.state / "artifacts").glob("*/model.safetensors"))
    before = {path: path.read_bytes() for path in models}
    assert len(before) == 8

    done = desk.train("run", "small.toml", "--seeds", "0:1", "--force")

    assert "4 of 4 stages to train" in done.stderr
    assert len(list((desk.state / "attempts").iterdir())) == 8 + 4
    assert {path: path.read_bytes() for path in models} == before


@pytest.mark.slow
def test_stages_of_another_torch_are_reused_told_of_and_trained_again_on_request(desk, finished):
    shutil.copytree(finished.state, desk.state)
    (desk.state / "icckd.duckdb").unlink()
    journal, header = min(
        ((path, first_line(path)) for path in desk.state.glob("attempts/*/journal.jsonl")),
        key=lambda pair: pair[1].body["ordinal"],
    )
    assert header.body["kind"] == "teacher"
    old = {**header.body, "environment": {**header.body["environment"], "torch": "2.11.0"}}
    _, rest = journal.read_bytes().split(b"\n", 1)
    journal.write_bytes(encode(header.kind, header.sequence, header.time, old) + rest)

    told = [desk.run("report").stdout, desk.run("plan", "small.toml").stdout]
    assert all("1 stage by torch 2.11.0" in " ".join(text.split()) for text in told)
    assert "0 of 8 stages to train" in desk.train("run", "small.toml").stderr

    again = desk.train("run", "small.toml", "--retrain-mixed")
    assert "2 of 8 stages to train" in again.stderr  # the teacher, and the student that reads it
    assert "2.11.0" not in desk.run("report").stdout


def computed_elsewhere(desk, device):
    """Have the journals say that another model of device computed what is complete."""
    (desk.state / "icckd.duckdb").unlink()
    for journal in desk.state.glob("attempts/*/journal.jsonl"):
        header, (_, rest) = first_line(journal), journal.read_bytes().split(b"\n", 1)
        told = {**header.body, "environment": {**header.body["environment"], "device": device}}
        journal.write_bytes(encode(header.kind, header.sequence, header.time, told) + rest)


@pytest.mark.long
def test_seeds_that_began_on_other_hardware_are_refused_unless_a_mixture_is_allowed(desk):
    desk.write(desk.small.split("[[ablation]]")[0])
    desk.train("run", "small.toml", "--seeds", "0:1")
    computed_elsewhere(desk, "Another CPU")

    assert "2 of 4 stages to train" in desk.train("run", "small.toml").stderr  # of a new seed
    desk.write(desk.small)
    planned = " ".join(desk.run("plan", "small.toml").stdout.split())
    assert "icckd run refuses: seed 0 began on hardware of class 'Another CPU'" in planned
    refused = desk.run("run", "small.toml", code=4).stderr
    assert "seed 0 began on hardware of class 'Another CPU', and this machine has '" in refused
    assert "hint: --mix allow" in refused
    before = shutil.copytree(desk.state, desk.folder / "before")
    again = desk.train("run", "small.toml", "--retrain-mixed", "--seeds", "0:1").stderr
    assert "4 of 4 stages to train" in again
    assert "computed alike" not in " ".join(desk.run("report").stdout.split())
    shutil.rmtree(desk.state)
    before.rename(desk.state)
    (desk.state / "config.toml").write_text('mix = "allow"\n')
    assert desk.run("run", "small.toml", "--mix", "refuse", code=4).stderr == refused
    assert "4 of 8 stages to train" in desk.train("run", "small.toml").stderr

    text = " ".join(desk.run("report").stdout.split())
    assert "Pairs that were not computed alike" in text
    assert "no-cache under seed 0." in text


@pytest.mark.slow
def test_a_checkpoint_of_other_hardware_is_not_gone_on_with_and_show_says_so(desk):
    desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"
    desk.write(ONE_ARM.replace("epochs = 2", "epochs = 100000", 1) + BY_ITSELF)
    session = desk.start_forked("run", "small.toml", "-j", "1", "--seeds", "0:1")
    wait_for(lambda: list((desk.state / "checkpoints").glob("*/epoch-*")))
    session.send_signal(signal.SIGTERM)
    assert session.wait(timeout=25) == 130
    [about] = (desk.state / "checkpoints").glob("*/epoch-*/checkpoint.json")
    told = json.loads(about.read_text())
    about.write_text(json.dumps({**told, "device": "Another CPU"}))

    session = desk.start_forked("run", "small.toml", "-j", "1", "--seeds", "0:1")
    wait_for(lambda: len(attempts_begun(desk)) == 2)
    newest = max(desk.state.glob("attempts/*"), key=lambda path: path.stat().st_mtime_ns)
    wait_for(lambda: b'"k":"m"' in (newest / "journal.jsonl").read_bytes())
    session.send_signal(signal.SIGTERM)
    assert session.wait(timeout=25) == 130

    lines = (newest / "journal.jsonl").read_bytes()
    assert b'"k":"c"' not in lines, "it began anew"
    shown = desk.run("show", "full/0").stdout
    assert f"checkpoint {about.parent.name} is not used: its device is 'Another CPU', not" in shown


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_the_bytes(desk, finished):
    desk.run("run", "small.toml", "-j", "1", "--seeds", "0:1")

    def digests(folder: Path):
        return {
            path.parent.name: json.loads(path.read_text())["files"]
            for path in (folder / "artifacts").glob("*/manifest.json")
        }

    alone, together = digests(desk.state), digests(finished.state)
    assert len(alone) == 4
    assert alone.items() <= together.items()


@pytest.mark.slow
def test_an_executor_of_another_package_trains_a_study_to_the_same_bytes(desk, finished):
    desk.write(ONE_ARM)

    done = desk.train("run", "small.toml", "--seeds", "0:1")

    assert "every stage has a process of its own" in done.stderr
    assert "2 of 2 stages to train" in done.stderr
    for model in (desk.state / "artifacts").glob("*/model.safetensors"):
        same = finished.state / "artifacts" / model.parent.name / model.name
        assert model.read_bytes() == same.read_bytes()
    assert len(stages(desk, "state = 'complete'")) == 2


def test_an_executor_that_is_not_there_is_an_error_before_anything_is_made(desk):
    done = desk.run("run", "small.toml", "--executor", "cloud", code=2)

    assert "no executor is called 'cloud'" in done.stderr
    assert "hint: installed: local" in done.stderr
    assert not desk.state.exists()


@pytest.mark.slow
def test_a_failed_stage_blocks_its_student_and_the_others_go_on(desk):
    hot = '[[arm]]\nname = "hot"\nset = { "teacher.training.lr" = 1e30 }\n'
    desk.write(desk.small + hot)

    done = desk.train("run", "small.toml", "--seeds", "0:1", code=1)

    assert "NonFiniteError: loss term" in done.stdout
    found = {(row["kind"], row["state"]) for row in stages(desk)}
    assert found == {
        ("teacher", "complete"), ("student", "complete"),
        ("teacher", "failed"), ("student", "blocked"),
    }  # fmt: skip
    assert len(stages(desk, "state = 'complete'")) == 4
    status = desk.run("status").stdout
    assert "non-finite: " in status
    assert "hint: lower the teacher's learning rate" in status


def process_ids(desk):
    return [header["pid"] for header in attempts_begun(desk)]


def are_gone(pids):
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_a_killed_worker_costs_one_attempt_and_no_result(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 20", 1))  # of teachers
    session = desk.start_forked("run", "small.toml", "--seeds", "0:1", "-j", "1")
    wait_for(lambda: epochs_recorded(desk))

    os.kill(process_ids(desk)[0], signal.SIGKILL)

    out, err = session.communicate(timeout=120)
    assert session.returncode == 0, err
    assert "killed by signal 9; trying again in 1 s" in err
    assert sorted(row["attempts"] for row in stages(desk)) == [1, 1, 1, 2]
    assert "no-cache" in out


@pytest.mark.slow
def test_ctrl_c_finishes_running_stages_and_the_next_run_trains_the_rest(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 8"))
    session = desk.start_forked("run", "small.toml", "--seeds", "0:1", "-j", "1")
    wait_for(lambda: journals(desk))

    session.send_signal(signal.SIGINT)

    _, err = session.communicate(timeout=120)
    assert session.returncode == 130
    assert "finishing the running stages" in err
    complete = stages(desk, "state = 'complete'")
    assert 0 < len(complete) < 4
    assert {row["state"] for row in stages(desk, "state <> 'complete'")} == {"cancelled"}

    done = desk.train("run", "small.toml", "--seeds", "0:1", "-j", "1")

    assert f"{4 - len(complete)} of 4 stages to train" in done.stderr


def test_a_second_ctrl_c_saves_what_runs_and_leaves(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 100000"))
    session = desk.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: attempts_begun(desk))

    session.send_signal(signal.SIGINT)
    wait_for(lambda: "finishing the running stages" in session.said())
    session.send_signal(signal.SIGINT)

    _, err = session.communicate(timeout=30)
    assert session.returncode == 130
    assert "interrupted" in err
    assert list((desk.state / "checkpoints").glob("*/epoch-*"))
    wait_for(lambda: are_gone(process_ids(desk)), seconds=10)


def test_sigterm_saves_what_runs_and_says_how_to_resume(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 100000"))
    session = desk.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: epochs_recorded(desk))

    session.send_signal(signal.SIGTERM)

    out, err = session.communicate(timeout=25)
    assert (session.returncode, out) == (130, "")
    assert "interrupted: saving the running stages, leaving within 25 s" in err
    *_, last, hint = err.splitlines()
    assert last == "icckd: interrupted"
    assert hint.startswith(
        "  hint: the same command resumes where it stopped: icckd run small.toml"
    )
    assert list((desk.state / "checkpoints").glob("*/epoch-*"))
    assert {row["state"] for row in stages(desk)} == {"cancelled"}
    reasons = {row["reason"] for row in stages(desk)}
    assert all(reason.startswith("interrupted") for reason in reasons), reasons


@pytest.mark.slow
def test_a_third_ctrl_c_leaves_at_once_and_says_what_is_lost(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 100000") + BY_ITSELF)
    session = desk.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: epochs_recorded(desk))
    [header] = attempts_begun(desk)
    os.kill(header["pid"], signal.SIGSTOP)  # its epoch lasts: nothing is saved in time

    session.send_signal(signal.SIGINT)
    wait_for(lambda: "finishing the running stages" in session.said())
    session.send_signal(signal.SIGINT)
    wait_for(lambda: "saving the running stages" in session.said())
    session.send_signal(signal.SIGINT)

    _, err = session.communicate(timeout=20)
    assert session.returncode == 130
    assert re.search(
        r"full/0 teacher: left at once.*; \d+ s of work since its last checkpoint are lost", err
    ), err


def test_each_ctrl_c_asks_for_more_and_sigterm_saves():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:  # as at the start of a command that nobody told to ignore them
            signal.signal(number, signal.SIG_DFL)
        signals = Signals(print)
        asked = [signals.stopping()]
        for number in (signal.SIGINT,) * 3 + (signal.SIGTERM,):
            os.kill(os.getpid(), number)
            asked.append(signals.stopping())
        assert asked == ["", "finish", "save", "kill", "kill"]
        for number in (signal.SIGTERM, signal.SIGHUP):
            signals = Signals(print)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert signals.stopping() == "save"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_signals_that_were_ignored_when_the_command_began_stay_ignored():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signals = Signals(print)
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        assert signals.stopping() == ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
def test_a_killed_session_leaves_a_state_that_the_next_run_completes(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 8"))
    session = desk.start_forked("run", "small.toml", "--seeds", "0:1", "-j", "2")
    wait_for(lambda: len(attempts_begun(desk)) >= 3)
    started = process_ids(desk)

    session.kill()
    session.communicate()

    wait_for(lambda: are_gone(started))  # they stop by themselves when their session is gone
    assert "interrupted" in desk.run("status").stdout
    done = desk.train("run", "small.toml", "--seeds", "0:1")
    assert " of 4 stages" in done.stderr
    assert "4 of 4 stages" not in done.stderr
    assert {row["state"] for row in stages(desk)} == {"complete"}
    assert not list((desk.state / "artifacts").glob(".tmp-*"))


@pytest.mark.slow
def test_a_second_run_of_the_same_study_waits_and_trains_nothing_twice(desk):
    desk.write(ONE_ARM)
    first = desk.start_forked("run", "small.toml")
    wait_for(lambda: journals(desk))

    second = desk.train("run", "small.toml")

    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert "waiting" in second.stderr
    assert "0 of 4 stages to train" in second.stderr
    assert second.stdout == out
    assert len(list((desk.state / "attempts").iterdir())) == 4


@pytest.mark.slow
def test_reports_and_status_work_while_a_run_goes_on(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 100000"))
    session = desk.start_forked("run", "small.toml", "--seeds", "0:1", "-j", "1")
    wait_for(lambda: epochs_recorded(desk))

    assert "running" in desk.run("status").stdout
    desk.run("report")
    desk.run("ls")

    assert session.poll() is None
    session.kill()
    session.communicate()
    wait_for(lambda: are_gone(process_ids(desk)))


@pytest.mark.slow
def test_icckd_home_moves_the_state_folder(desk, tmp_path):
    home = tmp_path / "elsewhere"
    desk.environment["ICCKD_HOME"] = str(home)
    desk.write(ONE_ARM)

    desk.train("run", "small.toml", "--seeds", "0:1")

    assert (home / "icckd.duckdb").is_file()
    assert not desk.state.exists()


@pytest.mark.slow
def test_a_damaged_teacher_is_noticed_before_a_student_reads_it(desk, finished):
    shutil.copytree(finished.state, desk.state)
    for model in (desk.state / "artifacts").glob("*/model.safetensors"):
        data = bytearray(model.read_bytes())
        data[-1] ^= 1
        model.write_bytes(data)

    done = desk.train(
        "run", "small.toml", "--seeds", "0:1", "student.distiller.temperature=8.0",
        code=1,
    )  # fmt: skip

    assert "damaged" in done.stderr + done.stdout + desk.run("logs").stdout


@pytest.mark.slow
def test_students_of_one_teacher_are_averaged_and_n_counts_seeds(desk, finished):
    shutil.copytree(finished.state, desk.state)
    done = desk.train("run", "small.toml", "study.students_per_teacher=2")
    assert "4 of 12 stages to train" in done.stderr

    rows = json.loads(desk.run("report", "--format", "json").stdout)["comparisons"]
    comparison = next(
        row for row in rows if row["arm"] == "full" and row["metric"] == "student.top1"
    )
    assert comparison["n"] == 2
    assert len(stages(desk, "kind = 'student'")) == 8


def test_an_unwritable_state_folder_is_one_clear_error(desk):
    blocked = desk.folder / "file"
    blocked.write_text("")
    desk.environment["ICCKD_HOME"] = str(blocked / "state")

    done = desk.run("run", "small.toml", code=4)

    assert done.stderr.startswith("icckd: cannot write the state folder")
    assert done.stderr.count("\n") == 2


def test_state_survives_a_move_of_the_folder(finished, tmp_path):
    shutil.copytree(finished.state, tmp_path / ".icckd")
    moved = type(finished)(tmp_path)

    assert moved.run("report").stdout == finished.run("report").stdout


def answers(desk):
    done = desk.run(
        "report", "--format", "json", "--sql",
        "select kind, answer from request order by time, sequence",
    )  # fmt: skip
    return [(row["kind"], row["answer"]) for row in json.loads(done.stdout)]


def ask(desk, kind, **more):
    submit(StateFolder(desk.state), Wanted(kind=kind, study="small", **more))


@pytest.mark.slow
def test_a_paused_session_starts_nothing_until_it_is_resumed(desk):
    desk.write(ONE_ARM.replace("epochs = 2", "epochs = 6") + BY_ITSELF)
    session = desk.start_forked("run", "small.toml", "-j", "1")
    attempts = desk.state / "attempts"
    wait_for(lambda: journals(desk))

    ask(desk, "pause")
    wait_for(lambda: "paused" in desk.run("status").stdout.splitlines()[0])
    wait_for(lambda: all(b'"k":"z"' in p.read_bytes() for p in journals(desk)))
    begun = len(list(attempts.iterdir()))
    time.sleep(1.0)
    assert len(list(attempts.iterdir())) == begun < 4
    ask(desk, "resume")

    _, err = session.communicate(timeout=120)
    assert session.returncode == 0, err
    assert [kind for kind, _ in answers(desk)] == ["pause", "resume"]
    assert {row["state"] for row in stages(desk)} == {"complete"}
    assert len(list(attempts.iterdir())) in (4, 5), "only a stage saved half-way began twice"


@pytest.mark.slow
def test_an_arm_is_cancelled_on_request_its_running_stage_included(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 8"))
    session = desk.start_forked(
        "run", "small.toml", "--seeds", "0:1", "-j", "2", "teacher.training.epochs=3000"
    )
    wait_for(lambda: len(journals(desk)) == 2)

    ask(desk, "cancel", arm="nonsense")
    ask(desk, "cancel", arm="no-cache")
    ask(desk, "cancel", arm="full", seed=0)

    _, err = session.communicate(timeout=120)
    assert session.returncode == 1, err
    assert answers(desk) == [
        ("cancel", "nonsense: no such trial in this run"),
        ("cancel", "no-cache: 2 stages cancelled"), ("cancel", "full/0: 2 stages cancelled"),
    ]  # fmt: skip
    assert {row["state"] for row in stages(desk)} == {"cancelled"}
    assert "cancelled on request" in desk.run("status").stdout


@pytest.mark.slow
def test_a_failed_trial_is_tried_again_on_request(desk):
    hot = '[[arm]]\nname = "hot"\nset = { "teacher.training.lr" = 1e30 }\n'
    desk.write(ONE_ARM + hot)
    session = desk.start_forked("run", "small.toml", "-j", "1", "student.training.epochs=6")
    wait_for(lambda: b'"failed"' in session_journal(desk), process=session)

    ask(desk, "retry", arm="hot", seed=0)

    _, err = session.communicate(timeout=120)
    assert session.returncode == 1, err
    assert answers(desk) == [("retry", "hot/0: 2 stages pending again")]
    failed = stages(desk, "state = 'failed'")
    assert sorted(row["attempts"] for row in failed) == [1, 2]


@pytest.mark.slow
def test_more_seeds_follow_in_the_same_run(desk):
    desk.write(ONE_ARM)
    session = desk.start_forked("run", "small.toml", "--seeds", "0:1", "-j", "2")
    wait_for(lambda: journals(desk))

    ask(desk, "more-seeds", count=1)

    out, err = session.communicate(timeout=120)
    assert session.returncode == 0, err
    assert answers(desk) == [("more-seeds", "seeds 1 to 1 follow when the present ones are done")]
    assert len(stages(desk)) == 4
    assert "2 seeds" in out or "(2)" in out


@pytest.mark.slow
def test_a_request_for_an_earlier_session_is_answered_and_not_carried_out(desk):
    desk.write(ONE_ARM)
    StateFolder(desk.state).create()
    ask(desk, "stop")
    (desk.state / "requests" / "junk.json").write_text('{"kind": "format the disk"}')
    time.sleep(0.05)

    desk.train("run", "small.toml", "--seeds", "0:1")

    assert answers(desk) == [("stop", "the session that it was meant for has ended")]
    assert list((desk.state / "requests").iterdir()) == []
