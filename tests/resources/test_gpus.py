"""Which GPUs a machine has, which of them CUDA may use, and which device is chosen."""

import os
import subprocess
import sys

import pytest

from icckd import resources
from icckd.errors import MachineError
from icckd.resources import devices
from tests.support.gpus import (
    A100,
    H100,
    NOT_COMPILED,
    TOO_OLD,
    Machine,
    gpu,
    instance,
    stand_in,
    uuid,
)

NVML = stand_in()


@pytest.fixture(autouse=True)
def asked_anew():
    resources.ask_torch.cache_clear()
    yield
    resources.ask_torch.cache_clear()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make a machine of these GPUs and let this process and its children see it."""

    def make(*gpus, visible=None, **more):
        made = Machine(tmp_path / "machine.json", *gpus, **more)
        made.enter(monkeypatch, visible)
        return made

    return make


def seen():
    return [device.uuid for device in resources.visible_gpus()]


ONE, TWO, THREE = (gpu(n, name) for n, name in ((0xA1, H100), (0xA2, A100), (0xB3, H100)))
U1, U2, U3 = (each["uuid"] for each in (ONE, TWO, THREE))


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, [U1, U2, U3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", [U1]),
        ("2,0", [U3, U1]),
        (" 1 , 2 ", [U2, U3]),
        ("0,-1,1", [U1]),
        ("0,7,1", [U1]),
        ("7", []),
        ("1gpu,2", [U2, U3]),  # CUDA reads a number and ignores what follows it
        ("0,,1", [U1]),
        ("0,1,0", []),  # a repeated entry leaves none
        ("0,7,0", []),
        (U2, [U2]),
        (f"{U3},{U1}", [U3, U1]),
        (f"{U3}, {U1}", [U3, U1]),
        ("GPU-000000b", [U3]),
        ("GPU-000000a", []),  # names two
        (f"{U1},GPU-000000a,{U2}", [U1]),
        (f"{U1},{U1}", []),
        ("GPU-000000b,GPU-000000b3", []),
        ("GPU-ffffffff", []),
        (f"{U1},1", [U1]),  # a list is of one kind
        (f"0,{U2}", [U1]),
        ("MIG-0", []),
        ("NVIDIA H100 80GB HBM3", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(machine, variable, expected):
    machine(ONE, TWO, THREE, visible=variable)

    assert seen() == expected


def test_torch_reads_index_and_uuid_lists_the_same_way(monkeypatch):
    """torch has a reader of its own, held against the driver by its tests."""
    from torch import cuda

    uuids = [U1, U2, U3]
    monkeypatch.setattr(cuda, "_raw_device_count_nvml", lambda: len(uuids))
    monkeypatch.setattr(cuda, "_raw_device_uuid_nvml", lambda: uuids)
    described = [
        resources.Gpu(index=index, uuid=uuid, name="", memory=None)
        for index, uuid in enumerate(uuids)
    ]
    for variable in ("", "-1", "0", "2,0", "0,-1,1", "0,7,1", "7", "1gpu,2", "0,,1", "0,1,0",
                     "0,7,0", U2, f"{U3},{U1}", "GPU-000000b", "GPU-000000a", f"{U1},{U1}",
                     f"{U1},1", f"0,{U2}", "GPU-ffffffff", "NoDevFiles"):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
        ours = resources.visible_of(described, variable)
        assert cuda._device_count_nvml() == len(ours), variable


def test_a_gpu_is_one_record_with_what_nvml_knows(machine):
    machine(ONE, TWO)

    _, second = resources.visible_gpus()

    assert (second.index, second.uuid, second.name) == (1, U2, A100)
    assert (second.memory, second.capability) == (80 * 1024**3, (8, 0))
    assert str(second) == f"{A100} ({U2})"
    assert resources.cuda_device_names() == (H100, A100)


def test_a_divided_gpu_stands_for_its_instances(machine):
    parts = [instance(n) for n in (1, 2, 3)]
    machine(gpu(0xA1, mig=parts), gpu(0xA2), gpu(0xA3, mig=[]))
    p1, p2, p3 = (part["uuid"] for part in parts)

    assert seen() == [p1, p2, p3, uuid(0xA2)]  # the third is divided into nothing
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    assert seen() == [p1, p2, p3]
    os.environ["CUDA_VISIBLE_DEVICES"] = f"{p3},{p1}"
    assert seen() == [p3, p1]
    os.environ["CUDA_VISIBLE_DEVICES"] = f"{p3},{uuid(0xA2)}"
    assert seen() == [p3]
    os.environ["CUDA_VISIBLE_DEVICES"] = "2"
    assert seen() == []


def test_a_lost_gpu_keeps_its_index_and_is_left_out(machine):
    made = machine(ONE, TWO, THREE)
    first, second, _ = resources.visible_gpus()
    made.change(1, lost=True)

    assert seen() == [U1, U3]
    assert resources.view_gpus().gpus[1].lost == "GPU is lost"
    assert resources.why_gone(second) == "GPU is lost"
    assert resources.why_gone(first) == ""
    assert len(resources.sample_gpus()) == 2
    os.environ["CUDA_VISIBLE_DEVICES"] = "2"
    assert seen() == [U3]


REFUSALS = {
    "missing": NVML.NVML_ERROR_LIBRARY_NOT_FOUND,
    "no driver": NVML.NVML_ERROR_DRIVER_NOT_LOADED,
    "denied": NVML.NVML_ERROR_NO_PERMISSION,
    "driver mismatch": NVML.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    "library mismatch": "mismatch",
    "unknown": NVML.NVML_ERROR_UNKNOWN,
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_library_that_cannot_start_is_no_error(machine, how):
    machine(ONE, nvml=REFUSALS[how])

    assert seen() == []
    assert resources.view_gpus().failure
    assert resources.sample_gpus() == ()
    assert resources.gpu_memory_of_this_process() is None
    assert resources.EnergyMeter().joules() is None
    assert resources.why_gone(resources.Gpu(index=0, uuid=U1, name="")) == ""
    assert resources.resolve_device("auto") == "cpu"
    # Whoever has a driver should learn why it is not used; whoever has none, not.
    notices = resources.choose_device("auto").notices
    assert len(notices) == (0 if how in ("missing", "no driver") else 1)
    with pytest.raises(MachineError, match="device 'cuda' is asked for, but "):
        resources.resolve_device("cuda")


def test_a_broken_package_is_no_error(machine, monkeypatch):
    machine(ONE)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises ImportError

    assert seen() == []
    assert "pynvml" in resources.view_gpus().failure


@pytest.mark.parametrize("error", [NVML.NVML_ERROR_FUNCTION_NOT_FOUND, "mismatch",
                                   NVML.NVML_ERROR_NO_PERMISSION])  # fmt: skip
def test_any_single_function_may_be_refused(machine, error):
    names = [name for name in vars(NVML) if name.startswith("nvml") and name != "nvmlInit"]
    for name in names:
        machine(ONE, TWO, functions={name: error})
        resources.sample_gpus()
        resources.gpu_memory_of_this_process()
        resources.EnergyMeter().joules()
        resources.view_gpus()
        resources.why_gone(resources.Gpu(index=0, uuid=U1, name=""))
        if "Count" not in name and "HandleByIndex" not in name and "UUID" not in name:
            assert seen() == [U1, U2], name


def test_no_child_is_started_where_nvml_sees_no_device(machine, monkeypatch):
    def never(*arguments, **more):
        raise AssertionError("a child was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    for gpus, more in (((), {}), ((ONE,), {"nvml": 12}), ((ONE,), {"visible": ""})):
        machine(*gpus, **more)
        assert resources.resolve_device("auto") == "cpu"
        assert resources.choose_device("auto").notices == ()
        with pytest.raises(MachineError):
            resources.resolve_device("cuda")
    machine(ONE)
    assert resources.resolve_device("cpu") == "cpu"


def test_a_list_that_names_no_gpu_is_told(machine):
    machine(ONE, visible="NVIDIA H100 80GB HBM3")

    [notice] = resources.choose_device("auto").notices
    assert "CUDA_VISIBLE_DEVICES='NVIDIA H100 80GB HBM3' leaves no GPU of 1" in notice


@pytest.mark.slow
def test_torch_is_asked_once_for_each_model_and_what_it_cannot_use_is_left_out(machine):
    no_kernel = "CUDA error: no kernel image is available for execution on the device"
    old = gpu(0xC4, "Tesla T4", torch=no_kernel)
    machine(old, ONE, THREE, gpu(0xC5, "Tesla T4", torch=no_kernel))

    choice = resources.choose_device("cuda")

    assert choice.device == "cuda"
    assert [each.uuid for each in choice.gpus] == [U1, U3]
    assert choice.notices == (f"torch cannot use Tesla T4: {no_kernel}; it is left out",)
    assert resources.ask_torch.cache_info().misses == 2
    assert resources.usable_gpus() == choice.gpus
    assert resources.ask_torch.cache_info().misses == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "more", "hint"),
    [
        (TOO_OLD, {"driver": "470.82.01", "cuda": 11040, "torch_cuda": "13.2"},
         "driver 470.82.01 supports CUDA 11.4, torch was built for CUDA 13.2"),
        (NOT_COMPILED, {"torch_cuda": ""}, "was built for CPUs: install a CUDA build"),
    ],
)  # fmt: skip
def test_where_torch_cannot_use_the_gpu_auto_takes_the_cpu_and_cuda_is_an_error(
    machine, error, more, hint
):
    machine(ONE, torch=error, **more)

    choice = resources.choose_device("auto")

    assert (choice.device, choice.gpus) == ("cpu", ())
    [notice] = choice.notices
    assert error in notice
    assert hint in notice
    with pytest.raises(MachineError, match="torch cannot use NVIDIA H100") as caught:
        resources.choose_device("cuda")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("torch", "answer"),
    [
        ("import os; os.abort()", "torch ended with signal 6: "),
        ("raise ImportError('libcudart.so.13 is missing')",
         "torch ended with exit 1: ImportError: libcudart.so.13 is missing"),
        ("import time; time.sleep(60)", "torch gave no answer within 0.5 s"),
        ("print('hello'); raise SystemExit", "torch ended with exit 0: it said nothing"),
    ],
)  # fmt: skip
def test_a_torch_that_crashes_or_hangs_is_an_answer_too(
    machine, monkeypatch, tmp_path, torch, answer
):
    machine(ONE)
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(devices, "TORCH_SECONDS", 0.5 if "sleep" in torch else 60)

    choice = resources.choose_device("auto")

    assert choice.device == "cpu"
    assert answer in choice.why
