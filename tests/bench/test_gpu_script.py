"""bench/gpu.py: what it finds decides its exit code, and whatever a step does, the others go on."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import gpu
import gpu_stages
import gpu_steps
import pytest
import torch
from gpu_stages import Findings, NotRunError, Setting, per_step
from gpu_steps import STEPS, Step

from icckd.train.teacher import TeacherStep
from tests.support.gpus import H100, Machine
from tests.support.gpus import gpu as described_gpu

ROOT = Path(__file__).parents[2]
ABOUT = {
    "date": "2026-11-29 08:00 UTC", "commit": "abc", "command": ["python"], "device": "cuda",
    "tiny": False, "asked": ["study", "waits"],
    "machine": {"gpus": [], "driver": "", "torch": "2.15", "torch_cuda": None, "python": "3.12"},
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path):
    return Setting(device="cpu", tiny=True, folder=tmp_path)


@pytest.fixture
def ran(monkeypatch, tiny):
    """Run some function as a step, and return what is reported of it."""

    def run(function):
        monkeypatch.setitem(STEPS, "waits", Step(number=3, run=function, seconds=60))
        return gpu.run_step("waits", tiny)

    return run


def report(*steps):
    return gpu.report_of(steps, ABOUT)


def passed(setting, found):
    found.check("something", True)


def test_a_step_passes_by_its_checks_and_only_by_them(ran):
    def broken(setting, found):
        found.check("equal bits", True)
        found.check("one wait", False, "two")

    def crashed(setting, found):
        found.check("equal bits", True)
        raise RuntimeError("CUDA error: unspecified launch failure\nand more")

    def absent(setting, found):
        raise NotRunError("not run: one GPU")

    def partly(setting, found):
        passed(setting, found)
        with found.part():
            absent(setting, found)

    functions = (passed, partly, broken, crashed, lambda *_: None, absent)
    seen = [ran(function) for function in functions]

    states = ["passed", "passed", "failed", "failed", "failed", "not run"]
    assert [step["state"] for step in seen] == states
    assert [step["reason"] for step in seen] == [
        "", "", "one wait: two", "RuntimeError: CUDA error: unspecified launch failure",
        "nothing was checked", "not run: one GPU",
    ]  # fmt: skip
    assert seen[1]["left_out"] == ["not run: one GPU"]


def test_the_exit_code_is_1_if_a_step_failed_or_is_missing(ran):
    good, bad = ran(passed), ran(lambda *_: None)
    study = {**good, "step": "study", "number": 1}

    assert gpu.exit_code(report(good, study)) == 0
    assert gpu.exit_code(report({**study, "state": "not run"}, good)) == 0
    assert gpu.exit_code(report(study, bad)) == 1
    assert gpu.exit_code(report(good)) == 1
    assert [step["step"] for step in report(good, study)["steps"]] == ["study", "waits"]


def child(*lines):
    return lambda setting: [sys.executable, "-c", "\n".join(lines)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["import os", "os.abort()"], "it ended with exit -6: it said nothing"),
        (["print('a device-side assert')", "raise SystemExit(3)"],
         "it ended with exit 3: a device-side assert"),
        pytest.param(["import time", "time.sleep(600)"], "no end within 3 s: it said nothing",
                     marks=pytest.mark.slow),
    ],
    ids=["aborts", "exits", "hangs"],
)  # fmt: skip
def test_a_step_that_crashes_or_hangs_fails_with_its_last_words(lines, reason, tiny, monkeypatch):
    monkeypatch.setitem(STEPS, "waits", Step(number=3, run=passed, seconds=1))
    monkeypatch.setattr(gpu, "own_command", child(*lines))

    step = gpu.in_own_process("waits", tiny, gpu=None)

    assert (step["state"], step["reason"]) == ("failed", reason)
    assert "log" in step
    assert not gpu.CHILDREN


@pytest.mark.slow
def test_what_a_hanging_step_started_ends_with_it_in_sessions_of_its_own_too(tiny, monkeypatch):
    monkeypatch.setitem(STEPS, "waits", Step(number=3, run=passed, seconds=1))
    file = tiny.folder / "pid"
    monkeypatch.setattr(gpu, "own_command", child(
        "import subprocess, sys, time",
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True)",
        f"open({str(file)!r}, 'w').write(str(worker.pid))",
        "time.sleep(600)",
    ))  # fmt: skip

    gpu.in_own_process("waits", tiny, gpu=None)

    deadline = time.monotonic() + 10
    while is_running(int(file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_each_step_sees_the_first_gpu_but_those_about_several(tiny, monkeypatch):
    look = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all')); raise SystemExit(3)"
    monkeypatch.setattr(gpu, "own_command", child(look))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    seen = {name: gpu.in_own_process(name, tiny, gpu="GPU-1")["log"].strip() for name in STEPS}

    assert {name for name, visible in seen.items() if visible == "all"} == {"study", "tests"}
    assert set(seen.values()) == {"all", "GPU-1"}


@pytest.mark.long  # `.ci/run` runs the same command in a step of its own
def test_one_command_prints_a_table_and_writes_a_file(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "bench/gpu.py", "--device=cpu", "--tiny", f"--out={out}"]
    done = subprocess.run(
        [*command, "--only=repeats", "--only=memory"], cwd=ROOT, capture_output=True, text=True
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert told["format"] == gpu.FORMAT
    assert told["failed"] == []
    states = {step["step"]: (step["number"], step["state"]) for step in told["steps"]}
    assert states == {"repeats": (4, "passed"), "memory": (9, "not run")}
    assert told["machine"]["torch"] == torch.__version__
    assert {"date", "commit", "command", "seconds"} <= told.keys()
    assert all(check["met"] is True for check in told["steps"][0]["checks"])
    assert "| 4 | repeats | passed |" in done.stdout
    assert "not run on cpu: the peak of allocated memory" in done.stdout


@pytest.mark.slow
def test_it_ends_at_once_without_a_gpu(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/gpu.py"), "--only=memory"], cwd=tmp_path,
        capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip

    assert (done.returncode, "torch cannot use a GPU here" in done.stderr) == (4, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_it_ends_at_once_where_it_is_asked_for_what_is_not_possible(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for arguments, words in (
        (["--device=cpu", "--out=/no/such/folder/file"], "cannot write --out"),
        (["--only=everything"], "invalid choice"),
    ):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
        try:
            code = gpu.main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr().err

        assert (code, words in said) == (2, True), said
        assert not list(tmp_path.iterdir())


def test_counts_per_step_are_what_the_longer_stage_has_more():
    short, long = Counter(once=7, each=32, seldom=1), Counter(once=7, each=64, seldom=2)

    assert per_step(short, long, 32) == {"each": 1.0, "seldom": 1 / 32}


def test_a_step_that_reads_a_loss_on_the_host_is_found_with_its_place(tiny, monkeypatch):
    monkeypatch.setattr(gpu_steps, "WAITING", {"teacher with cache": "fp32"})
    original = TeacherStep._cross_entropy

    def reads(self, *arguments):
        optimised, ce = original(self, *arguments)
        ce.item()
        return optimised, ce

    assert gpu.run_step("waits", tiny)["state"] == "passed"
    monkeypatch.setattr(TeacherStep, "_cross_entropy", reads)
    step = gpu.run_step("waits", Setting(device="cpu", tiny=True, folder=tiny.folder / "again"))

    assert step["state"] == "failed"
    assert "train/teacher.py" in step["reason"]
    assert gpu.exit_code(report(step)) == 1


def test_waits_on_cuda_are_those_of_torchs_sync_debug_mode(monkeypatch):
    """As torch 2.15 words them: a note when the mode is first set, then a warning for each."""
    modes = []

    def set_mode(mode):
        modes.append(mode)
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    counts = Counter()
    with gpu_stages._waits_on_cuda(counts):
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation (Triggered at)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert modes == ["warn", "default"]
    assert counts == {"outside icckd": 3}


@pytest.mark.parametrize("prefix", ["GPU-", "MIG-"])
def test_the_machine_is_told_by_torch_and_nvml(prefix, monkeypatch, tmp_path):
    machine = Machine(tmp_path / "machine.json", described_gpu(1), described_gpu(2))
    machine.enter(monkeypatch, None)
    import pynvml

    asked = []

    def by_uuid(uuid):
        asked.append(uuid)
        if uuid != f"{prefix}0001":
            raise pynvml.NVMLError_NotFound
        return object()

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", by_uuid)
    about = SimpleNamespace(name=H100, total_memory=80 << 30, major=9, minor=0, uuid="0001")
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)

    told = gpu.machine("cuda")

    assert told["gpu"] == f"{prefix}0001"
    assert told["driver"] == "580.95.05"
    assert [found["capability"] for found in told["gpus"]] == ["9.0", "9.0"]
    json.dumps(told)


def test_without_a_usable_gpu_the_machine_says_why(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch, "ones", fails)

    assert gpu.machine("cuda")["error"] == "No CUDA GPUs are available"


MIB = 2**20


@pytest.mark.parametrize(("more", "is_met"), [(0, True), (1, True), (30, False), (-30, False)])
def test_a_peak_that_depends_on_validation_is_found(more, is_met, tmp_path, monkeypatch):
    def fresh(name, stages, setting):
        [stage] = stages
        peak = 100 * MIB + more * MIB * (stage["data"]["validation"] > 256)
        values = {"teacher.memory_allocated": peak, "teacher.memory_reserved": 2 * peak}
        return SimpleNamespace(results=lambda: [{"values": values}])

    def no_counter():
        raise NotRunError("energy not compared")

    monkeypatch.setattr(gpu_steps, "Fresh", fresh)
    monkeypatch.setattr(gpu_steps, "_energy_counter", no_counter)
    step = gpu.run_step("memory", Setting(device="cuda", tiny=True, folder=tmp_path))

    assert step["state"] == ("passed" if is_met else "failed")
    assert step["left_out"] == ["energy not compared"]


@pytest.mark.parametrize(
    ("inner", "is_met"), [(80.0, True), (100.0, True), (130.0, False), (20.0, False)]
)
def test_energy_of_other_gpus_or_of_a_part_of_the_stage_is_found(
    inner, is_met, tmp_path, monkeypatch
):
    counter = iter([1000.0, 1100.0])
    monkeypatch.setattr(gpu_steps, "_energy_counter", lambda: lambda: next(counter))
    monkeypatch.setattr(gpu_steps, "train", lambda *_: {"values": {"teacher.energy": inner}})
    found = Findings()
    gpu_steps._energy(Setting(device="cuda", tiny=True, folder=tmp_path), found)

    assert [check["met"] for check in found.checks] == [is_met]


@pytest.mark.long
def test_a_study_over_two_gpus_gives_each_worker_its_own(tmp_path, monkeypatch):
    """With described GPUs and a CPU that trains: all but the memory of a GPU is there."""
    Machine(tmp_path / "m.json", described_gpu(1), described_gpu(2)).enter(monkeypatch, None)
    monkeypatch.setattr(gpu_steps, "_cuda_devices", lambda: 2)

    step = gpu.run_step("study", Setting(device="cuda", tiny=True, folder=tmp_path))

    broken = [check["check"] for check in step["checks"] if not check["met"]]
    assert broken == ["teachers and students allocated memory on it"]
    met = {check["check"] for check in step["checks"] if check["met"]}
    assert {"two workers see a GPU each", "two GPUs give the weights of one"} <= met


@pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.long), pytest.param("cuda", marks=pytest.mark.gpu)],
)
@pytest.mark.parametrize("name", [name for name in STEPS if name != "tests"])
def test_each_step_passes(name, device, tmp_path):
    """In a process of its own, as the command runs it; `.ci/run` runs the command itself."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    setting = Setting(device=device, tiny=True, folder=tmp_path)
    told = gpu.machine(device)
    step = gpu.in_own_process(name, setting, told["gpu"])

    has_form = device == "cuda" or name != "memory"
    assert step["state"] == ("passed" if has_form else "not run"), step
