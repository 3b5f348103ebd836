"""Studies of the user's own code, from the file to the report, with real processes."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from icckd.run.schedule import POLICIES
from tests.support.desk import Desk, attempts_begun, epochs_recorded, journals
from tests.support.lanes import long_but
from tests.support.waiting import wait_for

SCRIPTS = Path(__file__).parents[1] / "support" / "scripts"
DESCENT = """
[study]
name = "descent"
baseline = "full"
primary = "task.distance"
metrics = ["task.loss"]
seeds = 2

[task]
entry = "descent.py:train"
steps = "steps"

[task.config]
lr = 0.1
momentum = 0.5
noise = true
steps = 4
pause = 0.0

[task.off]
momentum = 0.0

[task.metrics.distance]
unit = "m"
direction = "lower"
about = "distance from the bottom"

[task.metrics.loss]
direction = "lower"

[[arm]]
name = "full"

[[ablation]]
name = "Remove momentum"
arm = "no-momentum"
part = "task.config.momentum"
action = "REMOVE"

[[ablation]]
name = "Remove noise"
arm = "no-noise"
part = "task.config.noise"
action = "REMOVE"
"""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    for path in SCRIPTS.iterdir():
        if path.is_file():
            shutil.copy(path, desk.folder / path.name)
    desk.write(DESCENT, "descent.toml")
    return desk


@pytest.fixture
def no_pauses(monkeypatch) -> None:
    """A killed task is tried again at once; when it is else, the tests of the schedule show."""
    monkeypatch.setitem(POLICIES, "killed", replace(POLICIES["killed"], wait_seconds=0.0))


def values(desk: Desk, metric: str, study: str = "descent") -> dict[str, dict[int, float]]:
    """Return the outcomes of a study by arm and seed."""
    with open_results(StateFolder(desk.state)) as results:
        found = results.values(results.study(study), metric)
        return {arm: dict(by_seed) for arm, by_seed in found.items()}


def curve(desk: Desk, metric: str, study: str = "descent") -> dict[str, list[float]]:
    """Return the series of the first seed of each arm."""
    with open_results(StateFolder(desk.state)) as results:
        curves = results.curves(results.study(study), metric)
        return {each.arm: each.values_SE[0].tolist() for each in curves}


def descent(seed: int, *, steps: int = 4, momentum: float = 0.5, noise: bool = True) -> list[float]:
    """Compute what the script does, written down once more."""
    import random

    draw = random.Random(seed)
    place = [draw.uniform(-1, 1), draw.uniform(-1, 1)]
    speed, losses = [0.0, 0.0], []
    for step in range(1, steps + 1):
        push = random.Random(f"{seed} {step}").gauss(0, 1) if noise else 0.0
        slope = [place[0] + 0.01 * push, 2 * place[1] - 0.01 * push]
        speed = [momentum * v - 0.1 * s for v, s in zip(speed, slope, strict=True)]
        place = [p + v for p, v in zip(place, speed, strict=True)]
        losses.append(place[0] ** 2 + place[1] ** 2)
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("first", ["seeds", "arms"])
def test_seeds_are_finished_first_or_arms_are_as_asked_for(desk, first):
    if first == "arms":
        desk.state.mkdir()
        (desk.state / "config.toml").write_text('first = "arms"\n')
    desk.train("run", "descent.toml", "-j", "1", *(["--first", first] if first == "seeds" else []))

    headers = sorted(attempts_begun(desk), key=lambda header: header["ordinal"])
    seeds = [header["seed"] for header in headers]
    assert seeds == ([0, 0, 0, 1, 1, 1] if first == "seeds" else [0, 1, 0, 1, 0, 1])


def test_a_function_is_run_for_every_arm_and_seed_and_its_numbers_are_reported(desk):
    printed = desk.train("run", "descent.toml").stdout

    expected = {
        "full": {seed: descent(seed)[-1] ** 0.5 for seed in (0, 1)},
        "no-momentum": {seed: descent(seed, momentum=0.0)[-1] ** 0.5 for seed in (0, 1)},
        "no-noise": {seed: descent(seed, noise=False)[-1] ** 0.5 for seed in (0, 1)},
    }
    assert values(desk, "task.distance") == expected
    assert curve(desk, "task.loss") == {
        "full": pytest.approx(descent(0)),
        "no-momentum": pytest.approx(descent(0, momentum=0.0)),
        "no-noise": pytest.approx(descent(0, noise=False)),
    }
    assert "task.distance" in printed
    assert "task.config.momentum: 0.5 -> 0.0" in desk.run("report").stdout
    assert "teacher" not in printed
    assert "6 of 6 trials complete" in printed
    record = json.loads(desk.run("report", "--format", "json").stdout)
    assert "descent" in json.dumps(record)
    again = desk.train("run", "descent.toml")
    assert len(journals(desk)) == 6
    assert again.stdout == printed


def test_an_edited_script_runs_again_named_and_a_comment_does_not(desk):
    desk.train("run", "descent.toml", "--seeds", "0:1")
    script = desk.folder / "descent.py"

    script.write_text(script.read_text().replace("draw = ", "draw =  ") + "# a comment\n")
    assert "3 already complete" in desk.run("plan", "descent.toml", "--seeds", "0:1").stdout
    script.write_text(script.read_text().replace("0.01 * push", "0.02 * push"))
    planned = desk.run("plan", "descent.toml", "--seeds", "0:1").stdout
    assert "0 already complete" in planned
    assert "descent.py changed since it was run" in planned
    accepted = desk.run("plan", "descent.toml", "--seeds", "0:1", "--accept-code").stdout
    assert "3 already complete" in accepted
    desk.train("run", "descent.toml", "--seeds", "0:1", "--accept-code")
    assert len(journals(desk)) == 3
    desk.train("run", "descent.toml", "--seeds", "0:1")
    assert len(journals(desk)) == 6


@pytest.mark.slow
def test_modules_beside_a_script_and_declared_inputs_belong_to_it(desk):
    (desk.folder / "helper.py").write_text("STEPS = 1\n")
    (desk.folder / "data.csv").write_text("1\n")
    script = desk.folder / "descent.py"
    script.write_text(f"from helper import STEPS\n{script.read_text()}")
    desk.write(DESCENT.replace("[task]\n", '[task]\ninputs = ["*.csv"]\n'), "descent.toml")
    first = desk.run("plan", "descent.toml").stdout
    assert "descent.py, helper.py, inputs data.csv" in first
    desk.train("run", "descent.toml", "--seeds", "0:1")

    for name, text in (("data.csv", "2\n"), ("helper.py", "STEPS = 2\n")):
        before = (desk.folder / name).read_text()
        (desk.folder / name).write_text(text)
        assert "0 already complete" in desk.run("plan", "descent.toml", "--seeds", "0:1").stdout
        (desk.folder / name).write_text(before)
        assert "3 already complete" in desk.run("plan", "descent.toml", "--seeds", "0:1").stdout


def test_the_packages_around_a_module_belong_to_it(desk):
    package = desk.folder / "pkg"
    package.mkdir()
    shutil.copy(desk.folder / "descent.py", package / "descent.py")
    (package / "__init__.py").write_text("from . import more\n")
    (package / "more.py").write_text("from . import descent\n")  # a circle
    desk.write(DESCENT.replace("descent.py:train", "pkg.descent:train"), "descent.toml")

    planned = desk.run("plan", "descent.toml").stdout

    assert "pkg/__init__.py, pkg/descent.py, pkg/more.py" in planned


COMMANDS = """
[study]
name = "script"
baseline = "full"
primary = "task.{metric}"
seeds = 2

[task]
{task}

[[arm]]
name = "full"

[[ablation]]
name = "Replace a setting"
arm = "other"
part = "{part}"
action = "REPLACE"
replacement = [{value}]
"""
SHELL = """
command = ["./shell.sh", "{seed}", "{epochs}"]
[task.config]
epochs = 3
[task.env]
MODE = "fast"
[task.metrics.score]
direction = "higher"
stdout = 'epoch (?P<step>[0-9]+): score=(?P<value>[0-9]+)'
"""
BOARD = """
command = ["python", "tensorboard_overrides.py", "{overrides}", "seed={seed}"]
[task.config]
epochs = 3
[task.config.optimizer]
lr = 0.1
[task.config.model]
depth = 1
[task.metrics.loss]
direction = "lower"
tensorboard = "runs"
key = "train/loss"
take = "min"
"""


def test_a_shell_script_is_read_by_what_it_prints(desk):
    text = COMMANDS.format(metric="score", task=SHELL, part="task.env.MODE", value='"slow"')
    desk.train("run", desk.write(text))

    assert values(desk, "task.score", "script") == {
        "full": {0: 9.0, 1: 10.0}, "other": {0: 3.0, 1: 4.0}
    }  # fmt: skip
    assert curve(desk, "task.score", "script") == {"full": [3, 6, 9], "other": [1, 2, 3]}
    logged = desk.run("logs", "full/0").stdout
    assert "epoch 3: score=9" in logged
    assert "a warning" in logged


@pytest.mark.slow
def test_a_script_with_overrides_is_read_by_its_event_files(desk):
    text = COMMANDS.format(metric="loss", task=BOARD, part="task.config.model.depth", value="2")
    desk.train("run", desk.write(text))

    found = values(desk, "task.loss", "script")
    assert found["other"] == pytest.approx({s: v / 2 for s, v in found["full"].items()})
    [full, other] = curve(desk, "task.loss", "script").values()
    assert len(full) == len(other) == 3
    assert full[-1] == pytest.approx(found["full"][0])


CHAIN = """
[study]
name = "chain"
baseline = "full"
primary = "evaluate.score"
seeds = 2

[task.evaluate]
needs = ["pretrain"]
command = ["python", "-c", "import json,sys; s=json.load(open(sys.argv[1]+'/out.json'))['w']; json.dump({{'score': s*float(sys.argv[2])}}, open('r.json','w'))", "{needs.pretrain}", "{scale}"]
[task.evaluate.config]
scale = 2.0
[task.evaluate.metrics.score]
direction = "higher"
json = "r.json"

[task.pretrain]
command = ["python", "-c", "import json,sys; json.dump({{'w': 1+int(sys.argv[1])}}, open('out.json','w'))", "{seed}"]
[task.pretrain.metrics.w]
json = "out.json"

[[arm]]
name = "full"

[[ablation]]
name = "Replace the scale"
arm = "small"
part = "task.evaluate.config.scale"
action = "REPLACE"
replacement = [1.0]
"""  # noqa: E501


def test_tasks_that_need_each_other_run_in_order_and_shared_ones_once(desk):
    desk.train("run", desk.write(CHAIN))

    assert values(desk, "evaluate.score", "chain") == {
        "full": {0: 2.0, 1: 4.0}, "small": {0: 1.0, 1: 2.0}
    }  # fmt: skip
    kinds = sorted(each["kind"] for each in attempts_begun(desk))
    assert kinds == ["evaluate"] * 4 + ["pretrain"] * 2
    planned = desk.run("plan", "small.toml").stdout
    assert "2 pretrain stages, 2 of them shared by several trials; 2 already" in planned


FAILING = {
    "exit": ("import sys\nprint('no such thing', file=sys.stderr)\nsys.exit(3)",
             "exit-code", "exit code 3: no such thing"),
    "signal": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
               "killed", "killed by signal 11"),
    "memory": ("raise MemoryError('too large')", "out-of-memory", "out of memory"),
    "silent": ("print('nothing')", "no-metric", "it gave no value of loss"),
    "nan": ("print('loss=nan')", "non-finite", "loss is nan at the end"),
    "slow": ("import time\ntime.sleep(60)", "time-limit", "longer than its limit of 1 s"),
}  # fmt: skip
HALF = """
import signal, sys, time
open('r.json', 'w').write('{"loss": ')
print('begun', flush=True)
sys.exit(7)
"""


def test_a_result_left_half_written_does_not_hide_how_the_task_ended(desk):
    (desk.folder / "script.py").write_text(HALF)
    desk.write(ONE.replace("stdout = 'loss=(\\S+)'", 'json = "r.json"').replace("1 s", "60 s"))

    desk.train("run", "small.toml", code=1)

    assert "exit code 7" in desk.run("show", "full/0").stdout


def test_a_value_that_is_nan_on_the_way_is_no_divergence(desk):
    (desk.folder / "script.py").write_text("print('loss=nan')\nprint('loss=2')\n")
    desk.write(ONE.replace("1 s", "60 s"))

    desk.train("run", "small.toml")

    assert values(desk, "task.loss", "one") == {"full": {0: 2.0}}
    assert values(desk, "task.nonfinite_steps", "one") == {"full": {0: 0.0}}


ONE = """
[study]
name = "one"
baseline = "full"
primary = "task.loss"
seeds = 1
[task]
command = ["python", "script.py"]
limit = "1 s"
[task.metrics.loss]
direction = "lower"
stdout = 'loss=(\\S+)'
[[arm]]
name = "full"
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAILING)
def test_a_task_that_fails_says_how_with_its_last_lines(desk, no_pauses, kind):
    script, cause, words = FAILING[kind]
    limit = "1 s" if kind == "slow" else "60 s"
    (desk.folder / "script.py").write_text(f"open('left.txt', 'w').write('x')\n{script}\n")
    desk.write(ONE.replace('limit = "1 s"', f'limit = "{limit}"'))

    desk.train("run", "small.toml", code=1)

    told = desk.run("status").stdout
    assert cause in told
    assert words in desk.run("show", "full/0").stdout
    tries = {"killed": 3, "out-of-memory": 2}.get(cause, 1)
    assert len(journals(desk)) == tries
    aside = list((desk.state / "attempts").glob("*/folder/left.txt"))
    assert len(aside) == tries
    assert "folder" in desk.run_apart("clean").stdout
    desk.run_apart("clean", "--yes")
    assert not any(path.exists() for path in aside)
    assert desk.run_apart("fsck").returncode == 0


WRONG = {
    ("descent.py:train", "descent.py:trian"): "has no function 'trian'",
    ("descent.py:train", "decent.py:train"): "there is no file",
    ("descent.py:train", "nosuch:train"): "there is no module 'nosuch'",
    ("[task]\n", '[task]\npython = "./no/python"\n'): "cannot run",
    ("[task]\n", '[task]\ninputs = ["*.parquet"]\n'): "matches no file",
    ('"task.config.noise"', '"task.config.niose"'): "no setting 'task.config.niose'",
    ("momentum = 0.0\n", ""): "has no off-state",
    ("[task.off]\nmomentum = 0.0", "[teacher]\nviews = 2"): "[teacher] is read by nothing",
    ("[task.off]", '[task.env]\nSPEED = "{speed}"\n[task.off]'): "unknown placeholder {speed}",
    ('unit = "m"', 'unit = "\\u001b[1m"'): "without control characters",
    ("[task.off]", '[task.env]\n"A=B" = "x"\n[task.off]'): "a variable's name",
    ("[task.off]", '[task.env]\nA = "\\u0000"\n[task.off]'): "a text without NUL",
    ('entry = "descent.py:train"', 'command = ["no-such-program"]'): "says not where it comes from",
}  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_task_is_told_before_anything_runs(desk, change):
    text = DESCENT.replace(*change)
    assert text != DESCENT
    desk.write(text, "wrong.toml")

    told = desk.run("plan", "wrong.toml", code=3).stderr

    assert WRONG[change] in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("task.config.lrr=0.2", "no setting 'task.config.lrr'"),
        ("task.config.lr=0,2", '"0,2" is of another type than 0.1 in the study'),
        ("task.config.noise=1", "1 is of another type than true in the study"),
    ],
)
def test_an_override_of_config_names_an_entry_and_has_its_type(desk, override, told):
    assert told in desk.run("plan", "descent.toml", override, code=3).stderr
    assert "6 task stages" in desk.run("plan", "descent.toml", "task.config.lr=1").stdout


def slow_study(desk: Desk, *, resume: bool) -> str:
    """Write a study whose runs take three seconds until `hurry`; return its name."""
    text = DESCENT.replace("pause = 0.0", "pause = 0.25").replace("steps = 4", "steps = 12")
    text = text.replace("seeds = 2", "seeds = 1")
    if resume:
        text = text.replace("[task]\n", "[task]\nresume = true\n")
    return desk.write(text, "slow.toml")


def hurry(desk: Desk) -> None:
    """Have no task pause from now on: what was to be seen amid one has been seen."""
    (desk.folder / "hurry").touch()


def tasks_running(desk: Desk) -> list[psutil.Process]:
    """Return the processes of tasks that run below the state folder of a desk."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if "task_entry.py" in words and str(desk.folder) in words and "task_host" not in words:
            found.append(process)
    return found


def workers_running(session: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(session).children(recursive=True)
        if "icckd.run.worker" in " ".join(process.cmdline())
    ]


@pytest.mark.parametrize("resume", long_but([True, False], True))
def test_a_worker_killed_amid_a_task_changes_no_number(desk, resume):
    name = slow_study(desk, resume=resume)
    session = desk.start("run", name, "--no-tui", "-j", "1")
    wait_for(lambda: epochs_recorded(desk), process=session)
    [task] = tasks_running(desk)
    for worker in workers_running(session.pid):
        worker.kill()
    wait_for(lambda: not task.is_running() or task.status() == psutil.STATUS_ZOMBIE, 20)
    hurry(desk)
    out, err = session.communicate(timeout=120)
    assert session.returncode == 0, (out, err)

    changes = {"full": {}, "no-momentum": {"momentum": 0.0}, "no-noise": {"noise": False}}
    assert values(desk, "task.distance") == {
        arm: {0: descent(0, steps=12, **changed)[-1] ** 0.5} for arm, changed in changes.items()
    }
    assert curve(desk, "task.loss")["full"] == pytest.approx(descent(0, steps=12))
    assert len(journals(desk)) == 4
    told = (desk.run("logs", "-n", "400").stdout, sorted(p.read_text() for p in journals(desk)))
    assert any('"k":"c"' in text for text in told[1]) == resume
    printed = report_without_times(desk)
    desk.environment["ICCKD_HOME"] = str(desk.folder / "undisturbed")
    desk.train("run", name)
    assert report_without_times(desk) == printed


def report_without_times(desk: Desk) -> str:
    """Return the report, whose advice has a price in seconds, in one line without it."""
    text = " ".join(desk.run("report").stdout.split())
    return re.sub(r"about [\w. ]+? of training", "some training", text)


@pytest.mark.slow
def test_a_task_that_can_stop_is_saved_when_the_session_is_told_to_leave(desk):
    name = slow_study(desk, resume=True)
    session = desk.start("run", name, "--no-tui", "-j", "1")
    wait_for(lambda: any("task.loss" in p.read_text() for p in journals(desk)), process=session)
    session.send_signal(signal.SIGTERM)
    session.communicate(timeout=60)
    assert session.returncode == 130
    hurry(desk)

    desk.train("run", name)

    assert curve(desk, "task.loss")["full"] == pytest.approx(descent(0, steps=12))
    resumed = [p for p in journals(desk) if '"k":"c"' in p.read_text()]
    assert len(resumed) == 1


LEAVING = """
import os, subprocess, sys, time
from pathlib import Path
flag = Path(os.environ["FLAG"])
if not flag.exists():
    flag.touch()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(4)"],
                            start_new_session=True, close_fds=False)
    os.kill(os.getpid(), 9)
print("loss=1.5")
"""


@pytest.mark.slow
def test_what_a_task_left_running_is_waited_for_and_named(desk):
    (desk.folder / "script.py").write_text(LEAVING)
    flag = f'[task.env]\nFLAG = "{desk.folder}/flag"\n[task.metrics.loss]'
    desk.write(ONE.replace("[task.metrics.loss]", flag).replace('"1 s"', '"60 s"'))

    session = desk.start("run", "small.toml", "--no-tui")
    out, err = session.communicate(timeout=60)

    assert session.returncode == 0, (out, err)
    assert "waits for processes of an earlier attempt to end: pid" in err
    assert values(desk, "task.loss", "one") == {"full": {0: 1.5}}


ENDLESS = """
import subprocess, sys, time
for _ in range(60):
    sys.stdout.write("x" * 1_000_000)
sys.stdout.write("\\n\\x00\\x1b[31m\\udcff\\nloss=1.5\\n")
subprocess.Popen(["yes"], start_new_session=True)
open(sys.argv[1], "w").write("x")
"""


@pytest.mark.slow
def test_output_without_an_end_holds_up_neither_memory_nor_the_end_of_a_run(desk):
    (desk.folder / "script.py").write_text(ENDLESS.replace("sys.stdout.write", "out"))
    script = (desk.folder / "script.py").read_text()
    out = "out = lambda text: sys.stdout.buffer.write(text.encode('utf-8', 'surrogateescape'))"
    (desk.folder / "script.py").write_text(script.replace("time\n", f"time\n{out}\n", 1))
    text = ONE.replace('"script.py"]', '"script.py", "{folder}/x"]').replace('"1 s"', '"60 s"')

    session = desk.start("run", desk.write(text), "--no-tui", "-j", "1")
    peak = 0
    try:
        while session.poll() is None:
            with contextlib.suppress(psutil.Error):
                for worker in workers_running(session.pid):
                    peak = max(peak, worker.memory_info().rss)
            time.sleep(0.05)
        told = session.communicate(timeout=60)
        assert session.returncode == 0, told
    finally:
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                if process.info["name"] == "yes" and str(desk.folder) in process.cwd():
                    process.kill()

    assert 0 < peak < 200 << 20
    assert values(desk, "task.loss", "one") == {"full": {0: 1.5}}
    [output] = desk.state.glob("attempts/*/output.log")
    assert output.read_bytes().count(b"x") == 60_000_000


@pytest.mark.slow
def test_a_task_whose_keeper_is_killed_ends_with_it_and_is_tried_again(desk):
    session = desk.start("run", slow_study(desk, resume=False), "--no-tui", "-j", "1")
    wait_for(lambda: tasks_running(desk), process=session)
    [task] = tasks_running(desk)
    task.parent().kill()
    wait_for(lambda: not task.is_running() or task.status() == psutil.STATUS_ZOMBIE, 5)
    hurry(desk)
    out, err = session.communicate(timeout=120)
    assert "the process that keeps the task was killed" in out + err


POOLED = """
import multiprocessing, time
from pathlib import Path

HURRY = Path(__file__).with_name("hurry")

def work(n):
    time.sleep(0.01)
    return n

def train(config, run):
    with multiprocessing.get_context("fork").Pool(2) as pool:  # leaving it terminates the workers
        for step in range(1, config.steps + 1):
            run.log(step=step, loss=sum(pool.map(work, [step, step])))
            (run.folder / "state").write_text(str(step))
            time.sleep(0.0 if HURRY.exists() else config.pause)
            if run.should_stop:
                (run.folder / "saved").write_text(str(sum(pool.map(work, [1, 2]))))
                return
    run.summary(distance=1.0)
"""


@pytest.mark.slow
def test_a_function_with_a_pool_of_processes_ends_and_can_save_itself_with_their_help(desk):
    (desk.folder / "descent.py").write_text(POOLED)
    name = slow_study(desk, resume=True)
    session = desk.start("run", name, "--no-tui", "-j", "1")
    wait_for(lambda: any("task.loss" in p.read_text() for p in journals(desk)), process=session)
    session.send_signal(signal.SIGTERM)
    session.communicate(timeout=60)
    [saved] = desk.state.glob("checkpoints/*/folder/saved")
    assert saved.read_text() == "3"
    hurry(desk)

    desk.train("run", name)

    assert values(desk, "task.distance")["full"] == {0: 1.0}


@pytest.mark.slow
def test_a_half_written_file_of_a_killed_run_does_not_hide_how_it_ended(desk, no_pauses):
    (desk.folder / "script.py").write_text(
        "import os\nopen('r.json', 'w').write('{')\nos.kill(os.getpid(), 15)\n"
    )
    text = ONE.replace("stdout = 'loss=(\\S+)'", 'json = "r.json"').replace('"1 s"', '"60 s"')
    desk.train("run", desk.write(text), code=1)
    assert "killed by signal 15" in desk.run("show", "full/0").stdout


@pytest.mark.slow
def test_an_interpreter_of_its_own_runs_a_task(desk):
    link = desk.folder / "own-python"
    link.write_text(f'#!/bin/sh\nexport WHO=own\nexec "{sys.executable}" "$@"\n')
    link.chmod(0o755)
    (desk.folder / "script.py").write_text("import os\nprint('loss=2' if os.environ['WHO'] else 0)")
    desk.write(ONE.replace("[task]\n", '[task]\npython = "./own-python"\n').replace("1 s", "60 s"))

    desk.train("run", "small.toml")

    assert values(desk, "task.loss", "one") == {"full": {0: 2.0}}
    assert os.environ.get("WHO") is None


def test_check_says_what_the_code_keeps_of_what_the_study_rests_on(desk):
    desk.write(DESCENT.replace("seeds = 2", "seeds = 1"), "descent.toml")
    unchecked = desk.run("plan", "descent.toml").stdout
    assert "claims of the study's code, not verified" in unchecked

    told = desk.run_apart("check", "descent.toml")

    assert told.returncode == 0, told.stderr
    assert "two runs under one seed agree in all 7 values" in told.stdout
    assert "start is the same in all arms under one seed" in told.stdout
    assert "a trial takes" in told.stdout
    assert "nothing contradicted them" in desk.run("plan", "descent.toml").stdout
    desk.train("run", "descent.toml")
    assert "nothing contradicted them" in desk.run("report", "--section", "methods").stdout
    assert journals(desk) != []


@pytest.mark.slow
def test_check_finds_code_that_the_seed_does_not_decide(desk):
    script = desk.folder / "descent.py"
    script.write_text(script.read_text().replace("random.Random(run.seed)", "random.Random()"))

    told = desk.run_apart("check", "descent.toml", "--seconds", "20")

    assert told.returncode == 1
    assert "the seed does not decide all randomness: task.loss at step 1 is" in told.stdout
    assert "not all of them held" in desk.run("plan", "descent.toml").stdout


SAME = """
def train(config, run):
    run.log(step=0, loss=config.lr)
    run.summary(distance=50.0, right=[True, False] * config.steps)
"""


@pytest.mark.slow
def test_a_report_warns_of_seeds_that_change_nothing_and_quotes_what_a_check_found(desk):
    (desk.folder / "descent.py").write_text(SAME)
    unit = 'unit = "%"\ndirection = "lower"\nabout = "share"\ntest_images = 10'
    text = DESCENT.replace(
        'unit = "m"\ndirection = "lower"\nabout = "distance from the bottom"', unit
    )
    desk.write(text, "descent.toml")
    assert desk.run_apart("check", "descent.toml").returncode == 1

    desk.train("run", "descent.toml")

    told = desk.run("report").stdout.replace("\n", " ")
    assert "every run of full gave the same numbers, whatever its seed" in told
    assert "not all of them held" in " ".join(told.split())
    assert "not verified" not in told
    logged = desk.run("logs", "full/0").stdout
    assert "right speaks of 8 test cases and test_images of 10: it is left out" in logged
    assert "has no [data]: its tasks" in desk.run("data", "check", "descent.toml", code=2).stderr


FAR = """
def train(config, run):
    for step in (0, 2**33, 2**53):
        run.log(step=step, loss=step % 7)
    run.summary(distance=float(run.seed))
"""


def test_steps_far_out_are_drawn_where_they_are(desk):
    (desk.folder / "descent.py").write_text(FAR)
    desk.train("run", "descent.toml", "--seeds", "0:1")

    with open_results(StateFolder(desk.state)) as results:
        [full, *_] = results.curves(results.study("descent"), "task.loss")
    assert full.epochs_E.tolist() == [0, 2**33, 2**53]
    assert full.values_SE[0].tolist() == [0, 2**33 % 7, 2**53 % 7]


@pytest.mark.slow
def test_check_finds_a_seed_that_nothing_reads(desk):
    script = desk.folder / "descent.py"
    text = script.read_text().replace("random.Random(run.seed)", "random.Random(7)")
    script.write_text(text.replace('f"{run.seed} {step}"', "step"))

    told = desk.run_apart("check", "descent.toml")

    assert told.returncode == 1
    assert "another seed changes nothing" in told.stdout


def test_check_is_about_tasks(desk):
    desk.write(desk.small)
    assert "icckd's own engine keeps" in desk.run("check", "small.toml", code=2).stderr


@pytest.mark.slow
def test_a_script_of_scikit_learn_becomes_a_study_that_runs(desk):
    shutil.copy(Path(__file__).parents[1] / "tasks" / "argparse_csv.py", desk.folder)
    desk.run_apart("init", "--from", "argparse_csv.py", "--out", "made.toml")
    short = ("task.config.epochs=2", "--seeds", "0:1")

    desk.train("run", "made.toml", *short)

    found = values(desk, "task.test_acc", "argparse_csv")
    assert set(found) == {"full", "no-shuffle", "no-center"}
    assert all(0 < by_seed[0] <= 100 for by_seed in found.values())
    assert len(set(map(str, found.values()))) > 1


def test_an_interpreter_that_is_too_old_for_a_function_is_refused(desk):
    old = desk.folder / "old-python"
    old.write_text("#!/bin/sh\necho 3.8.18\n")
    old.chmod(0o755)
    desk.write(DESCENT.replace("[task]\n", '[task]\npython = "./old-python"\n'), "old.toml")

    told = desk.run("plan", "old.toml", code=3).stderr

    assert "an entry needs Python 3.9, and ./old-python is 3.8.18" in told
