"""The machine, seen without torch."""

import mmap
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from icckd import resources
from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.resources import gpus, network_file_system
from icckd.resources.cpus import cgroup_quota
from icckd.resources.memory import oom_kills

MIB = 1024**2


def refuse(*arguments):
    raise RuntimeError("not supported")


def only_of_the_second(value):
    return lambda handle: value if handle == 1 else refuse()


def fake_nvml():
    """Two devices; this process holds memory on the second, the first says little."""
    ours = SimpleNamespace(pid=os.getpid(), usedGpuMemory=7 * MIB)
    others = SimpleNamespace(pid=1, usedGpuMemory=9 * MIB)
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: ("H200", "A100")[handle],
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}abc",
        nvmlDeviceGetHandleByUUID=refuse,
        nvmlDeviceGetComputeRunningProcesses=only_of_the_second([ours, others]),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=handle * MIB, total=9 * MIB),
        nvmlDeviceGetUtilizationRates=only_of_the_second(SimpleNamespace(gpu=40)),
    )


@pytest.fixture
def two_gpus(monkeypatch):
    @contextmanager
    def nvml():
        yield fake_nvml()

    monkeypatch.setattr(gpus, "_nvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_driver(monkeypatch):
    import pynvml

    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ("H200", "A100")),
        ("", ()),
        ("-1", ()),
        ("1", ("A100",)),
        ("1,0", ("A100", "H200")),
        ("0,-1,1", ("H200",)),
        ("0,5,1", ("H200",)),
        ("GPU-1a", ("A100",)),
        ("GPU-", ()),
        ("MIG-x", ()),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(two_gpus, monkeypatch, visible, expected):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert resources.cuda_device_names() == expected


def test_without_a_driver_there_is_no_device_and_no_error(no_driver):
    assert resources.cuda_device_names() == ()
    assert resources.gpu_memory_of_this_process() is None
    assert resources.sample_gpus() == ()


def test_auto_takes_a_device_where_there_is_one(two_gpus, monkeypatch):
    assert resources.resolve_device("auto") == "cuda"
    assert resources.resolve_device("cpu") == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources.resolve_device("auto") == "cpu"


def test_asking_for_a_missing_device_is_an_error_with_a_hint(no_driver):
    with pytest.raises(MachineError) as caught:
        resources.resolve_device("cuda")

    assert "--device cpu" in caught.value.hint


def test_gpu_memory_counts_this_process_alone(two_gpus):
    assert resources.gpu_memory_of_this_process() == 7 * MIB


def test_a_gpu_sample_has_gaps_where_nvml_cannot_say(two_gpus):
    first, second = resources.sample_gpus()

    assert first.utilisation is None
    assert (second.name, second.utilisation, second.memory_used) == ("A100", 40.0, MIB)


def test_a_host_sample_is_plausible(tmp_path):
    sample = resources.sample_host(tmp_path)

    assert 0 <= sample.cpu <= 100
    assert 0 < sample.memory_used < sample.memory_total
    assert sample.disk_free > 0
    assert sample.load >= 0


def test_available_cpus_are_at_least_one_and_no_more_than_the_affinity():
    assert 1 <= resources.available_cpus() <= len(os.sched_getaffinity(0))


def test_a_quota_of_an_enclosing_unified_cgroup_counts(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/a/b\n")

    assert cgroup_quota(tmp_path, membership) == 1.5


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_a_version_1_cgroup_counts(tmp_path, mount):
    folder = tmp_path / mount / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / mount / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / mount / "cpu.cfs_period_us").write_text("100000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("5:memory:/x\n4:cpu,cpuacct:/job\n")

    assert cgroup_quota(tmp_path, membership) == 2


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert cgroup_quota(tmp_path, tmp_path / "nothing") is None


def test_peak_memory_rises_with_an_allocation_and_is_reset_by_the_next():
    first = resources.PeakMemory()
    before = first.peak_bytes()
    with mmap.mmap(-1, 64 * MIB) as block:  # a bytearray may stay with the allocator
        block.write(b"x" * 64 * MIB)
        risen = first.peak_bytes()
    second = resources.PeakMemory()
    if not (first.is_exact and second.is_exact):
        pytest.skip("the kernel does not let this process reset its mark")

    assert risen - before >= 60 * MIB
    assert second.peak_bytes() <= risen - 60 * MIB


def test_where_the_mark_cannot_be_reset_the_peak_of_the_process_is_given(tmp_path):
    peak = resources.PeakMemory(proc=tmp_path / "nothing")

    assert peak.peak_bytes() >= 0.9 * resources.PeakMemory().peak_bytes() > 0
    assert not peak.is_exact


def test_importing_resources_is_torch_free_and_light():
    heavy = {"torch", "psutil", "pynvml", "numpy"}
    code = f"import icckd.resources, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


MOUNTINFO = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 22 0:40 / /home rw,relatime shared:9 - nfs4 server:/home rw,vers=4.2
41 40 254:2 / /home/me/local\040disk rw - xfs /dev/vdb rw
42 22 0:50 / /mnt/far rw - fuse.sshfs me@host: rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/x", ""), ("/home/me/study", "nfs4"), ("/home/me/local disk/y", ""),
     ("/mnt/far", "fuse.sshfs"), ("/mnt/farther", "")],
)  # fmt: skip
def test_a_folder_on_a_network_file_system_is_known(tmp_path, folder, kind):
    (tmp_path / "mountinfo").write_text(MOUNTINFO)

    assert network_file_system(Path(folder), tmp_path / "mountinfo") == kind
    assert network_file_system(Path(folder), tmp_path / "none") == ""


def test_a_state_folder_on_a_network_is_refused_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("icckd.journal.folder.network_file_system", lambda folder: "nfs4")
    folder = StateFolder(tmp_path / "state")

    with pytest.raises(MachineError, match="lies on nfs4"):
        folder.create()
    assert not folder.root.exists()
    monkeypatch.setenv("ICCKD_ALLOW_NETWORK_HOME", "1")
    folder.create()


def test_kills_for_memory_are_counted(tmp_path):
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")

    assert oom_kills(tmp_path / "vmstat") == 3
    assert oom_kills(tmp_path / "none") == 0


def meter_on(monkeypatch, visible, counts):
    """Return a meter on the two devices, whose counters read `counts` one after another."""
    nvml = fake_nvml()
    readings = {device: iter(values) for device, values in counts.items()}
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(readings[handle])

    @contextmanager
    def initialised():
        yield nvml

    monkeypatch.setattr(gpus, "_nvml", initialised)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return resources.EnergyMeter()


def test_energy_is_what_the_counters_of_the_visible_devices_grew_by_in_joules(monkeypatch):
    both = meter_on(monkeypatch, "0,1", {0: [1000, 1500], 1: [70_000, 72_000]})
    assert both.joules() == 2.5
    one = meter_on(monkeypatch, "1", {1: [70_000, 72_000]})
    assert one.joules() == 2.0


def test_energy_is_unknown_where_a_visible_device_does_not_count(monkeypatch):
    def counter(number):
        yield from [number] if number else []
        raise RuntimeError("not supported")

    mixed = meter_on(monkeypatch, "0,1", {0: counter(5), 1: counter(None)})

    assert mixed.joules() is None


def test_energy_is_unknown_without_a_driver(no_driver):
    assert resources.EnergyMeter().joules() is None
