"""Memory that runs out, for real: its cause is told, and the stage is tried again alone."""

import contextlib
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL
from tests.support.desk import Desk, wait_for_epochs, workers_of

HUNGRY = """
[study]
name = "hungry"
baseline = "full"
primary = "teacher.top1"
seeds = {{ count = {seeds} }}
[data]
kind = "digits"
train = 1100
validation = 100
[teacher]
model = {{ kind = "cnn", widths = [{width}, 4, 4] }}
intra = "off"
[teacher.training]
epochs = {epochs}
batch_size = 1024
[student]
model = {{ kind = "cnn", widths = [4, 4, 4] }}
[student.training]
epochs = 1
[[arm]]
name = "full"
"""


def ends(desk) -> list[tuple[str, str | None]]:
    """What the session said of stages that began and ended: state and cause."""
    [home] = (desk.state / "sessions").glob(f"*/{JOURNAL}")
    said = [line.body for line in read_chunk(home).lines if line.kind == "s"]
    return [(word["state"], word.get("cause")) for word in said if word["attempt"]]


@pytest.mark.slow
def test_a_worker_without_address_space_fails_for_memory_and_its_stage_is_tried_again(tmp_path):
    """The limit is on its process; the second attempt has a fresh one."""
    desk = Desk(tmp_path)
    desk.write(HUNGRY.format(seeds=1, width=128, epochs=3))
    session = desk.start("run", "small.toml", "-j", "1")
    assert wait_for_epochs(desk, session, 1)
    [worker] = workers_of(session)
    limit = worker.memory_info().vms + (4 << 20)
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, limit))
    _, err = session.communicate(timeout=300)

    assert session.returncode == 0, err
    assert ends(desk)[:4] == [
        ("running", None), ("pending", "out-of-memory"), ("running", None), ("complete", None),
    ]  # fmt: skip
    assert "out of memory" in err
    shown = desk.run("show", "full/0").stdout
    assert "out of memory" in shown or "can't allocate memory" in shown or "MemoryError" in shown


def memory_group() -> tuple[Path, str]:
    """Return a new control group and its file for a limit; skip where none can be made."""
    kinds = {"cgroup.controllers": "memory.max", "memory.limit_in_bytes": "memory.limit_in_bytes"}
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
        for mark, limit in kinds.items():
            group = root / f"icckd-test-{os.getpid()}"
            if (root / mark).exists() and os.access(root, os.W_OK):
                with contextlib.suppress(OSError):
                    group.mkdir()
                    if (group / limit).exists():
                        return group, limit
                    group.rmdir()
    pytest.skip("no control group with a memory limit can be made under /sys/fs/cgroup")


@contextlib.contextmanager
def control_group(megabytes: int):
    """A control group with so much memory and no swap."""
    group, limit = memory_group()
    try:
        (group / limit).write_text(f"{megabytes << 20}")
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        empty(group)
        group.rmdir()


def empty(group: Path) -> None:
    """Wait until the last process of a group is gone."""
    end = time.monotonic() + 30
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.long
def test_a_worker_that_the_kernel_kills_for_memory_is_tried_again_alone(tmp_path):
    """Two workers have no room together; each has room alone. Forked ones would share much."""
    desk = Desk(tmp_path, environment={"ICCKD_WORKERS": "spawn"})
    desk.write(HUNGRY.format(seeds=2, width=256, epochs=4))
    with control_group(megabytes=1400) as group:
        inside = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        done = subprocess.run(
            [*inside, *desk.command("run", "small.toml", "-j", "2")], cwd=tmp_path,
            env=desk.variables(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    said = ends(desk)
    assert ("pending", "out-of-memory") in said
    assert ("pending", "killed") not in said
    assert said.count(("complete", None)) == 4
    assert "out of memory" in done.stderr
    print(f"{said.count(('pending', 'out-of-memory'))} killed by the kernel")
