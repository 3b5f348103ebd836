"""The machine, seen without torch."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from icckd import resources
from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.resources import network_file_system
from icckd.resources.host import cgroup_quota, oom_kills
from tests.support.gpus import Machine, gpu, uuid

MIB = 1024**2


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """Two devices; this process holds memory on the second, the first says little."""
    processes = [[os.getpid(), 7 * MIB], [1, 9 * MIB], [2, None]]
    first = {"uuid": uuid(1), "name": "H200", "mig": None}
    second = gpu(2, "A100", memory_used=MIB, utilisation=40, processes=processes)
    machine = Machine(tmp_path / "machine.json", first, second)
    machine.enter(monkeypatch)
    return machine


def test_gpu_memory_counts_this_process_alone(two_gpus):
    assert resources.gpu_memory_of_this_process() == 7 * MIB


def test_a_gpu_sample_has_gaps_where_nvml_cannot_say(two_gpus):
    first, second = resources.sample_gpus()

    assert (first.name, first.utilisation, first.memory_total) == ("H200", None, None)
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


MOUNTS = r"""
/dev/vda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,relatime,vers=4.2 0 0
/dev/vdb /home/me/local\040disk xfs rw 0 0
me@host: /mnt/far fuse.sshfs rw 0 0
share /mnt/host virtiofs rw 0 0
/dev/vdc /mnt/covered ext4 rw 0 0
server:/x /mnt/covered nfs rw 0 0
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/x", ""), ("/home/me/study", "nfs4"), ("/home/me/local disk/y", ""),
     ("/mnt/far", "fuse.sshfs"), ("/mnt/farther", ""), ("/mnt/host/x", "virtiofs"),
     ("/mnt/covered", "nfs")],
)  # fmt: skip
def test_a_folder_on_a_network_file_system_is_known(tmp_path, monkeypatch, folder, kind):
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert network_file_system(Path(folder)) == ""  # the system lists no mounts
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(MOUNTS)

    assert network_file_system(Path(folder)) == kind


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


def test_energy_is_what_the_counters_of_the_visible_devices_grew_by_in_joules(
    tmp_path, monkeypatch
):
    machine = Machine(tmp_path / "m", gpu(1, millijoules=1000), gpu(2, millijoules=70_000))
    machine.enter(monkeypatch)
    both = resources.EnergyMeter()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    one = resources.EnergyMeter()
    machine.change(0, millijoules=1500)
    machine.change(1, millijoules=72_000)

    assert one.joules() == 2.0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert both.joules() == 2.5


def test_energy_is_unknown_where_a_visible_device_does_not_count(two_gpus):
    assert resources.EnergyMeter().joules() is None
