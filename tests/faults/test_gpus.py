"""Whole runs on described GPUs: each worker has its own; one is lost, the last is, none is there.

The stand-in of `tests/support` says which GPUs there are; the CPU trains beneath it.
"""

import json
from pathlib import Path

import pytest

from icckd.journal.file import read_chunk
from icckd.resources import ask_torch
from tests.support.desk import Desk, journals
from tests.support.gpus import H100, TOO_OLD, Machine, gpu
from tests.support.waiting import wait_for

SHIPPED = Path(__file__).parents[2] / "studies" / "ablations.toml"
SHORT = ("teacher.training.epochs=2", "student.training.epochs=2")
TINY = """
[study]
name = "small"
baseline = "full"
primary = "teacher.top1"
seeds = { count = 2 }
[data]
kind = "digits"
train = 200
validation = 50
[teacher]
model = { kind = "cnn", widths = [4, 4, 4] }
intra = "off"
[teacher.training]
epochs = 3
[student]
model = { kind = "cnn", widths = [4, 4, 4] }
[student.training]
epochs = 3
[[arm]]
name = "full"
"""


def desk_with(folder: Path, *gpus, visible=None, **more) -> tuple[Desk, Machine]:
    machine = Machine(folder / "machine.json", *gpus, **more)
    desk = Desk(folder, environment=machine.variables(visible))
    desk.write(TINY)
    return desk, machine


def rows(desk: Desk, query: str) -> list[dict]:
    return json.loads(desk.run("report", "--format", "json", "--sql", query).stdout)


def gpus_used(desk: Desk) -> list[dict]:
    environment = "environment::json"
    return rows(
        desk,
        f"select pid, numerics::json->>'device' as device, {environment}->>'gpus' as name,"
        f" {environment}->>'gpu_uuids' as uuid from attempt order by all",
    )


def run_shipped(tmp_path, *gpus, seeds: str, settings=SHORT) -> tuple[Desk, str]:
    desk, _ = desk_with(tmp_path, *gpus)
    session = desk.start("run", str(SHIPPED), "--seeds", seeds, *settings)
    _, said = session.communicate(timeout=3000)
    assert session.returncode == 0, said
    return desk, said


def each_worker_had_its_own_gpu(desk: Desk, stages: int) -> None:
    used = gpus_used(desk)
    assert len(used) == stages
    by_process = {each["pid"]: each["uuid"] for each in used}
    assert sorted(by_process.values()) == [gpu(1)["uuid"], gpu(2)["uuid"]]
    assert {(each["pid"], each["uuid"]) for each in used} == set(by_process.items())
    assert {(each["device"], each["name"]) for each in used} == {("cuda", H100)}


@pytest.mark.long
def test_the_shipped_study_on_two_gpus_gives_each_worker_another(tmp_path):
    desk, said = run_shipped(tmp_path, gpu(1), gpu(2), seeds="0:1")

    each_worker_had_its_own_gpu(desk, stages=12)
    assert said.startswith("study icc-ablations: 12 of 12 stages to train\n")


@pytest.mark.long
def test_the_whole_shipped_study_on_two_gpus(tmp_path):
    desk, _ = run_shipped(tmp_path, gpu(1), gpu(2), seeds="0:8", settings=())

    each_worker_had_its_own_gpu(desk, stages=96)


@pytest.mark.long
def test_the_shipped_study_without_a_gpu_trains_on_the_cpu_without_a_word(tmp_path):
    desk, said = run_shipped(tmp_path, seeds="0:1")

    used = {(each["device"], each["name"], each["uuid"]) for each in gpus_used(desk)}
    assert used == {("cpu", "", "")}
    assert said.startswith("study icc-ablations: 12 of 12 stages to train\n")


def test_an_old_driver_means_the_cpu_with_one_notice_or_one_error_before_anything(
    tmp_path, monkeypatch
):
    desk, machine = desk_with(tmp_path, gpu(1), torch=TOO_OLD, driver="470.82.01", cuda=11040)
    machine.enter(monkeypatch)
    ask_torch.cache_clear()

    refused = desk.run("run", "small.toml", "--device", "cuda", code=4)
    planned = desk.run("plan", "small.toml")

    message, hint = refused.stderr.splitlines()
    assert message.startswith("icckd: device 'cuda' is asked for, but torch cannot use NVIDIA H100")
    assert "too old (found version 11040)" in message
    assert "hint: driver 470.82.01 supports CUDA 11.4, torch was built for CUDA" in hint
    assert not desk.state.exists()
    [notice] = planned.stderr.splitlines()
    assert notice.startswith("icckd: training on the CPU: torch cannot use NVIDIA H100")
    assert "to train: 4 stages on cpu" in planned.stdout
    assert ask_torch.cache_info().misses == 1
    ask_torch.cache_clear()


def uuids_training(desk: Desk) -> set[str]:
    """Return the GPUs on which an attempt has recorded an epoch."""
    lines = (read_chunk(path).lines for path in journals(desk))
    return {
        each[0].body["environment"]["gpu_uuids"]
        for each in lines
        if any(line.kind == "m" for line in each)
    }


@pytest.mark.slow
def test_a_lost_gpu_costs_one_attempt_and_the_run_ends_complete_on_the_other(tmp_path):
    desk, machine = desk_with(tmp_path, gpu(1), gpu(2))
    session = desk.start("run", "small.toml", "teacher.training.epochs=60")
    wait_for(lambda: gpu(1)["uuid"] in uuids_training(desk), process=session)
    machine.change(0, lost=True)
    _, said = session.communicate(timeout=300)

    label = f"{H100} ({gpu(1)['uuid']})"
    assert session.returncode == 0, said
    assert f"{label} is left out from now on: GPU is lost" in said
    assert f"{label}: CUDA error: unspecified launch failure; trying again in 1 s" in said
    ended = rows(
        desk, "select state, cause, count(*) as n from attempt_state group by all order by 1"
    )
    assert [(each["state"], each["cause"], each["n"]) for each in ended] == [
        ("complete", "", 4), ("failed", "device", 1),
    ]  # fmt: skip


@pytest.mark.long
def test_without_the_last_gpu_a_run_ends_with_exit_4_and_keeps_what_is_finished(tmp_path):
    desk, machine = desk_with(tmp_path, gpu(1))
    session = desk.start("run", "small.toml", "student.training.epochs=4000", "--seeds", "0:1")
    wait_for(lambda: any((desk.state / "artifacts").glob("*/manifest.json")), process=session)
    machine.change(0, lost=True)
    _, said = session.communicate(timeout=300)

    assert session.returncode == 4, said
    *_, message, hint = said.splitlines()
    assert message == f"icckd: no GPU is left; {H100} ({gpu(1)['uuid']}): GPU is lost"
    assert "what is finished is kept" in hint
    states = rows(desk, "select kind, state from stage_state order by all")
    assert states == [
        {"kind": "student", "state": "cancelled"}, {"kind": "teacher", "state": "complete"},
    ]  # fmt: skip
