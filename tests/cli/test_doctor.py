"""`icckd doctor`: what is there, what would train, and what to do."""

import doctest
import json
from importlib.metadata import version

import pytest

from icckd.cli import doctor
from icckd.resources import ask_torch, devices
from tests.support.gpus import A100, H100, Machine, gpu, instance, stand_in, uuid

NVML = stand_in()
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.fixture(autouse=True)
def asked_anew():
    ask_torch.cache_clear()
    yield
    ask_torch.cache_clear()


@pytest.fixture
def doctor_on(desk, tmp_path, monkeypatch):
    """Run the command on a machine; torch answers as told, without a process for each."""

    def run(*gpus, device="auto", visible=None, errors=None, code=0, output="table", **more):
        machine = Machine(tmp_path / "machine.json", *gpus, **more)
        machine.enter(monkeypatch, visible)
        if errors is not None:
            by_uuid = {each["uuid"]: errors.get(each["name"], "") for each in gpus}
            monkeypatch.setattr("icckd.resources.ask_torch", lambda uuid: answer(by_uuid.get(uuid)))
            monkeypatch.setattr(devices, "ask_torch", lambda uuid: answer(by_uuid.get(uuid)))
        return desk.run("doctor", "--device", device, "--format", output, code=code)

    def answer(error):
        return devices.TorchAnswer(
            error=error or "", version="2.11.0", cuda="13.0", archs=("sm_80", "sm_90")
        )

    return run


def test_every_gpu_is_shown_with_what_becomes_of_it(doctor_on):
    done = doctor_on(
        gpu(1), gpu(2, A100), gpu(3, mig=[instance(4)]), gpu(5, lost=True), gpu(6, "Tesla K80"),
        visible="0,2,3,4", errors={"Tesla K80": NO_KERNEL},
    )  # fmt: skip
    lines = done.stdout.splitlines()

    assert lines[0] == "GPUs, by NVML: driver 580.95.05, for CUDA up to 13.0"
    uses = {line.split("  ")[-1].strip() for line in lines[2:8]}
    ends = [next(line for line in lines if name in line) for name in (
        uuid(1), uuid(2), uuid(3), uuid(4, "MIG"), "unknown GPU", uuid(6))]  # fmt: skip
    for line, end in zip(
        ends,
        ("usable", "hidden", "MIG: 1 instances", "usable", "lost: GPU is lost",
         "torch cannot use it"), strict=True,
    ):  # fmt: skip
        assert line.endswith(end), line
    assert len(uses) == 5
    assert "  CUDA_VISIBLE_DEVICES='0,2,3,4' leaves 3 visible" in lines
    assert f"  cuda: torch can use {H100}, {H100} MIG 1g.10gb" in lines
    assert "  2 workers, one a GPU, unless -j says otherwise" in lines
    assert f"  Tesla K80: {NO_KERNEL}" in lines
    assert any("the present one has sm_80, sm_90" in line for line in lines)
    assert any("indices in CUDA_VISIBLE_DEVICES are read in PCI bus order" in s for s in lines)


def test_json_says_the_same(doctor_on):
    done = doctor_on(gpu(1), gpu(2), errors={}, output="json")
    said = json.loads(done.stdout)

    assert (said["device"], said["gpus"]) == ("cuda", [uuid(1), uuid(2)])
    assert said["nvml"]["gpus"][1]["memory"] == 80 * 1024**3
    assert said["torch"][H100]["version"] == "2.11.0"
    assert said["cpus"]["usable"] >= 1
    assert said["advice"] == []


def test_an_old_driver_is_told_and_ends_with_exit_4_under_device_cuda(doctor_on):
    old = {"driver": "535.104", "cuda": 12020, "errors": {H100: "The NVIDIA driver is too old"}}

    shown = doctor_on(gpu(1), **old)
    refused = doctor_on(gpu(1), **old, device="cuda", code=4)

    for done in (shown, refused):
        assert "too old: CUDA 13 needs a driver for CUDA 13.0 or newer" in done.stdout
        assert "update the driver" in done.stdout
    assert "  cpu: torch cannot use NVIDIA H100" in shown.stdout
    assert refused.stderr.startswith("icckd: device 'cuda' is asked for, but torch cannot use")


def test_a_library_that_refuses_is_named(doctor_on):
    done = doctor_on(gpu(1), nvml=NVML.NVML_ERROR_LIB_RM_VERSION_MISMATCH, errors={})

    assert "NVML cannot be asked: RM has detected an NVML/RM version mismatch." in done.stdout
    assert "after an update of the driver a reboot helps" in done.stdout


@pytest.mark.slow
def test_the_real_torch_of_this_environment_is_shown(doctor_on):
    done = doctor_on()

    assert f"torch {version('torch').partition('+')[0]}" in done.stdout
    assert "  cpu: no CUDA device is there" in done.stdout


def test_the_examples_in_docstrings_hold():
    for module in (doctor, devices):
        assert doctest.testmod(module).attempted
        assert doctest.testmod(module).failed == 0
