"""Several small trials on one GPU or in one memory, admitted by what earlier ones took.

GPUs are described (`tests/support`); the memory of the host is real, and so are the runs.
"""

import itertools
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from icckd.configuration import Local, configuration
from icckd.errors import UsageError
from icckd.journal.file import first_line, last_line, read_chunk
from icckd.resources import available_cpus, visible_gpus
from icckd.resources.host import memory_left, resident_bytes
from icckd.run.admission import SAMPLES, Claim
from icckd.run.local import LocalExecutor
from icckd.run.room import SHARED_CPU, SHARED_GPU, Busy, Room
from tests.run.test_gpu_workers import environment, on_cuda
from tests.support.desk import Desk, attempts_begun, journals
from tests.support.executors import orders, reports_until
from tests.support.gpus import A100, GIB, H100, Machine, gpu, uuid
from tests.support.waiting import wait_for

ONE, TWO = uuid(1), uuid(2)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path / "machine.json", gpu(1), gpu(2))
    made.enter(monkeypatch)
    return made


def room_of(peak=None, *, jobs=None, shares_gpus=True, **settings):
    return Room(
        settings=Local(**settings), threads=1, jobs=jobs, share=None,
        memory_of=lambda shape: peak, shares_gpus=shares_gpus,
    )  # fmt: skip


def gains(room, shape, company, pace=lambda n: n):
    """Have it measured that so many stages at once on a GPU gain."""
    names = (f"before-{n}" for n in itertools.count())
    for n in range(1, company):
        for round_ in range(SAMPLES):
            attempts = [next(names) for _ in range(n)]
            now = 1000.0 * n + 100.0 * round_
            for attempt in attempts:
                room.sharing.begins(attempt, shape, "GPU", now)
            for attempt in attempts:
                room.sharing.ends(attempt, now + n / pace(n), is_complete=True)
    return room


def busy(device, pid=0, needs=12 * GIB):
    return Busy(pid=pid, claim=Claim(pool="cuda", device=device, needs=needs, pid=pid))


def stages(folder):
    return [on_cuda(folder)[0].stage]


def device(answer):
    return answer.device if isinstance(answer, Claim) else answer


def test_stages_are_spread_over_gpus_first_and_then_put_beside_each_other(folder, machine):
    [stage] = stages(folder)
    room, gpus = gains(room_of(10 * GIB), stage.shape, 2), visible_gpus()

    assert device(room.ask_gpu([stage], gpus, [], {})) == ONE
    assert device(room.ask_gpu([stage], gpus, [busy(ONE)], {})) == TWO
    both = [busy(ONE), busy(TWO)]
    assert device(room.ask_gpu([stage], gpus, both, {})) == ONE
    assert room.ask_gpu([stage], gpus, [*both, busy(ONE), busy(TWO)], {}) == SHARED_GPU


def test_a_gpu_takes_another_stage_only_where_its_memory_has_room(folder, machine):
    [stage] = stages(folder)
    room, gpus = gains(room_of(10 * GIB), stage.shape, 2), visible_gpus()[:1]
    needs = room.ask_gpu([stage], gpus, [], {}).needs
    assert needs == 1.2 * 10 * GIB + 0.75 * GIB

    machine.change(0, memory_used=60 * GIB, processes=[[os.getpid(), 11 * GIB]])
    running = [busy(ONE, os.getpid(), needs)]  # it holds 11 GiB of the nearly 13 it may take
    assert device(room.ask_gpu([stage], gpus, running, {})) == ONE
    machine.change(0, memory_used=66 * GIB)
    assert room.ask_gpu([stage], gpus, running, {}) == SHARED_GPU
    assert device(room.ask_gpu([stage], gpus, [], {})) == ONE, "where nothing runs it is tried"


def test_a_shape_that_nobody_measured_has_a_gpu_to_itself(folder, machine):
    [stage] = stages(folder)
    gpus = visible_gpus()[:1]
    unknown = gains(room_of(None), stage.shape, 2)

    assert unknown.ask_gpu([stage], gpus, [busy(ONE)], {}) == SHARED_GPU
    known = gains(room_of(1 * GIB), stage.shape, 2)
    assert known.ask_gpu([stage], gpus, [busy(ONE, needs=None)], {}) == SHARED_GPU
    unmeasured_time = room_of(1 * GIB)
    assert unmeasured_time.ask_gpu([stage], gpus, [busy(ONE)], {}) == SHARED_GPU


def test_a_gpu_that_serves_one_process_or_a_study_about_time_is_not_shared(folder, machine):
    [stage] = stages(folder)
    gpus = visible_gpus()[:1]
    room = gains(room_of(1 * GIB), stage.shape, 2)
    room.only_one_on(gpus[0])
    assert room.ask_gpu([stage], gpus, [busy(ONE)], {}) == SHARED_GPU
    timed = gains(room_of(1 * GIB, shares_gpus=False), stage.shape, 2)
    assert timed.ask_gpu([stage], gpus, [busy(ONE)], {}) == SHARED_GPU
    asked_for = room_of(None, jobs=2)  # `-j 2` on one GPU is the user's word
    assert device(asked_for.ask_gpu([stage], gpus, [busy(ONE)], {})) == ONE


def test_a_gpu_whose_memory_nvml_does_not_tell_takes_one_stage(folder, machine):
    [stage] = stages(folder)
    room, gpus = gains(room_of(1 * GIB), stage.shape, 2), visible_gpus()[:1]
    machine.more["functions"] = {"nvmlDeviceGetMemoryInfo": 3}  # not supported
    machine.write()
    assert room.ask_gpu([stage], gpus, [busy(ONE)], {}) == SHARED_GPU
    assert device(room.ask_gpu([stage], gpus, [], {})) == ONE


def test_what_a_stage_took_is_learned_from_its_journal(folder, machine):
    order = orders(folder)[0]
    room = room_of(None)
    home = folder.attempts / order.attempt
    home.mkdir()
    lines = [SimpleNamespace(kind="o", body={"values": {"teacher.memory_rss": 3e8, "x": 9e9}})]
    from icckd.run import room as module

    original, module.read_chunk = module.read_chunk, lambda path: SimpleNamespace(lines=lines)
    try:
        room.learn(order, 0)
    finally:
        module.read_chunk = original
    assert room.ask_cpu([order.stage], [], []).needs == 1.2 * 3e8
    room.learn(replace(order, attempt="without a journal"), 0)
    assert room.ask_cpu([order.stage], [], []).needs == 1.2 * 3e8


def test_a_machine_of_two_models_of_gpu_gives_each_stage_the_one_that_it_is_bound_to(
    folder, tmp_path, monkeypatch
):
    Machine(tmp_path / "two.json", gpu(1), gpu(2, A100)).enter(monkeypatch)
    [stage] = stages(folder)
    made = LocalExecutor(
        capacity=2, device="cuda", gpus=visible_gpus(), threads=1, logs=folder.sessions,
        room=room_of(1 * GIB),
    )  # fmt: skip
    try:
        assert made.hardware() == {H100: 1, A100: 1}
        for model, wanted in ((A100, TWO), (H100, ONE)):
            assert made.admits([stage], model)
            assert made._claim.device == wanted
        assert not made.admits([stage], "another")
    finally:
        made.kill()


@pytest.mark.slow
def test_two_small_trials_really_run_on_one_gpu(folder, machine):
    first, second = on_cuda(folder, "teacher.training.epochs=20000")
    second = replace(first, attempt="second", stage=replace(first.stage, digest="f" * 64, seed=9))
    told = []
    room = gains(room_of(10 * GIB), first.stage.shape, 2)
    made = LocalExecutor(
        capacity=2, device="cuda", gpus=visible_gpus()[:1], threads=1, logs=folder.sessions,
        notice=told.append, room=room,
    )  # fmt: skip
    try:
        assert made.admits([first.stage], "")
        made.submit([first])
        machine.change(0, memory_used=79 * GIB)
        assert not made.admits([second.stage], "")
        assert not made.admits([second.stage], "")
        assert told == [SHARED_GPU]
        machine.change(0, memory_used=11 * GIB)
        assert made.admits([second.stage], "")
        made.submit([second])
        found = reports_until(made, lambda reports: len(reports) >= 2)
        assert [report.what for report in found] == ["started", "started"]
        seen = [environment(w)["CUDA_VISIBLE_DEVICES"] for w in made._workers.values()]
        assert seen == [ONE, ONE]
    finally:
        made.kill()


# The memory of the host.


def test_what_is_free_is_what_control_groups_leave(tmp_path):
    machine_left = memory_left(tmp_path, tmp_path / "none")
    assert 0 < machine_left.free <= machine_left.total
    (tmp_path / "groups").write_text("0::/job\n")
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "memory.max").write_text("1000000\n")
    (folder / "memory.current").write_text("700000\n")
    (folder / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    left = memory_left(tmp_path, tmp_path / "groups")
    assert (left.free, left.total) == (350_000, 1_000_000)
    (folder / "memory.max").write_text("max\n")
    assert memory_left(tmp_path, tmp_path / "groups").total == machine_left.total


def test_a_process_counts_with_its_children():
    assert resident_bytes(os.getpid()) > 10e6
    assert resident_bytes(0) == resident_bytes(2**22 + 5) == 0


@pytest.mark.parametrize("text", ["memory_gib = -1", "gpu_workers = 0", "memory = 3"])
def test_wrong_settings_are_refused(folder, text):
    (folder.root / "config.toml").write_text(f"[local]\n{text}\n")
    with pytest.raises(UsageError, match="local"):
        configuration(folder.root)


HUNGRY = """
import time

def run(config, run):
    held = b"x" * (config.mebibytes << 20)
    time.sleep(config.seconds)
    run.summary(score=float(run.seed + len(held) % 2))
"""
STUDY = """
[study]
name = "hungry"
baseline = "full"
primary = "task.score"
seeds = {seeds}
[task]
entry = "hungry.py:run"
[task.config]
mebibytes = {mebibytes}
seconds = {seconds}
[task.metrics.score]
direction = "higher"
[[arm]]
name = "full"
"""


def hungry(folder, *, seeds, mebibytes, seconds):
    made = Desk(folder)
    folder.mkdir(exist_ok=True)
    made.write(HUNGRY, "hungry.py")
    made.write(STUDY.format(seeds=seeds, mebibytes=mebibytes, seconds=seconds), "hungry.toml")
    return made


def spans(desk):
    """Return when each attempt began and ended."""
    return sorted((first_line(path).time, last_line(path).time) for path in journals(desk))


def most_at_once(spans):
    return max(sum(begun <= at < end for begun, end in spans) for at, _ in spans)


@pytest.mark.slow
def test_stages_that_want_much_memory_run_beside_each_other_as_far_as_it_reaches(tmp_path):
    """The first runs alone, as nobody knows what it takes; then as many as the budget holds."""
    desk = hungry(tmp_path / "desk", seeds=6, mebibytes=300, seconds=0.4)
    desk.state.mkdir()
    (desk.state / "config.toml").write_text("[local]\nmemory_gib = 1.0\n")

    done = desk.run("run", "hungry.toml", "-j", "3")

    found = spans(desk)
    assert len(found) == 6
    assert found[1][0] >= found[0][1], "the first was measured alone"
    assert most_at_once(found) == 2  # 300 MiB and Python, a fifth more, is twice in 1 GiB
    assert "waiting for memory: a task is expected to take 2.0 GiB" in done.stderr
    for path in journals(desk):
        [values] = [line.body["values"] for line in read_chunk(path).lines if line.kind == "o"]
        assert values["task.memory_rss"] > 300 << 20


# Runs beside each other.


@pytest.mark.long
def test_two_runs_at_once_share_the_machine_and_both_advance(tmp_path):
    cpus = available_cpus()
    if cpus < 2:
        pytest.skip("a machine with one CPU cannot be shared evenly")
    desks = [
        hungry(tmp_path / name, seeds=8 * cpus, mebibytes=1, seconds=1.0) for name in ("a", "b")
    ]
    for desk in desks:
        desk.environment["ICCKD_MACHINE_DIR"] = str(tmp_path / "machine")
    first = desks[0].start("run", "hungry.toml")
    try:
        wait_for(lambda: len(attempts_begun(desks[0])) > cpus, process=first)
        second = desks[1].start("run", "hungry.toml")
        wait_for(lambda: SHARED_CPU in desks[1]._run_here(("status",)).stdout, process=second)
        _, told = second.communicate(timeout=240)
        first.communicate(timeout=240)
    finally:
        first.kill()
    assert (first.returncode, second.returncode) == (0, 0), told

    one, two = map(spans, desks)
    alone = [span for span in one if span[0] < two[0][0]]
    assert most_at_once(alone) == cpus, "a lone run has all"
    assert most_at_once([*one, *two]) <= cpus
    start, end = max(one[0][0], two[0][0]), min(one[-1][1], two[-1][1])
    both = [sum(start <= begun < end for begun, _ in each) for each in (one, two)]
    assert min(both) >= 0.6 * max(both) > 2, f"each had its share: {both}"
    assert SHARED_CPU in told
