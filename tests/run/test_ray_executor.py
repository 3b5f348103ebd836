"""The executor `ray` where no Ray is needed to see what it does."""

import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.api.running import TrainOptions, settled
from icckd.configuration import configuration
from icckd.errors import MachineError, UsageError
from icckd.run import ray_executor
from icckd.run.executors import ExecutorContext, make_executor
from icckd.run.ray_messages import CPU, GPU, LINGER_SECONDS, MEMORY, DriverJob, amounts, room
from tests.support.executors import orders, plan_of


@pytest.fixture
def context(folder, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_executor, "find_spec", lambda name: object())

    def made(address=""):
        plan = plan_of(folder)
        return ExecutorContext(folder=folder, plan=plan, jobs=1, notice=print, address=address)

    return made


def test_without_ray_the_error_says_what_to_install(context, monkeypatch):
    monkeypatch.setattr(ray_executor, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="needs Ray, which is not installed") as error:
        make_executor("ray", context())
    assert "icckd[ray]" in error.value.hint


def test_an_address_of_rays_client_is_refused_with_what_to_do_instead(context):
    with pytest.raises(UsageError, match="is one of Ray's client") as error:
        make_executor("ray", context("ray://10.0.0.1:10001"))
    assert "on a node of the cluster" in error.value.hint


@pytest.mark.parametrize("where", ["option", "state folder", "variable"])
def test_an_address_that_nobody_answers_is_an_error_at_once(context, folder, monkeypatch, where):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    if where == "state folder":
        (folder.root / "config.toml").write_text(f'[ray]\naddress = "{address}"\n')
    if where == "variable":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(MachineError, match=f"nobody answers at the Ray address {address}"):
        make_executor("ray", context(address if where == "option" else ""))


@pytest.mark.parametrize(
    "text",
    [
        "[ray]\nmemory_gib = -1\n",
        "[ray.autoscale]\ncpus = -2\n",
        "[ray]\nadress = 'x'\n",
        "[ray.classes]\nH100 = 'GPU'\n",
    ],
)
def test_a_wrong_setting_of_ray_is_refused(folder, text):
    (folder.root / "config.toml").write_text(text)
    with pytest.raises(UsageError, match="ray"):
        configuration(folder.root)


def test_a_task_asks_for_the_memory_that_its_largest_stage_took_and_for_its_class_of_hardware(
    folder, tmp_path
):
    teacher, student = orders(folder)
    told = []
    made = ray_executor.RayExecutor(
        job=DriverJob(address="", cpus=1, needs={CPU: 1}, task={"probe": "tasks/ray/probe"}),
        jobs=1, logs=tmp_path, notice=print, memory_of={teacher.stage.shape: 3e8}.get,
        classes={"NVIDIA H100": "h100"},
    )  # fmt: skip
    made._tell = lambda **words: told.append(words)
    made.submit([student, teacher])
    made.submit([replace(student, hardware="NVIDIA H100")])
    made.kill()
    assert [words["memory"] for words in told] == [3e8, 0.0]
    assert [words["resource"] for words in told] == ["", "h100"]


def test_a_pack_whose_driver_dies_is_preempted_so_that_it_goes_on_as_a_pack(
    folder, tmp_path, monkeypatch
):
    teacher, student = orders(folder)
    told, said = [], []
    made = ray_executor.RayExecutor(
        job=DriverJob(address="", cpus=1, needs={CPU: 1}, task={"probe": "tasks/ray/probe"}),
        jobs=1, logs=tmp_path, notice=said.append, memory_of={}.get,
    )  # fmt: skip
    monkeypatch.setattr(made, "_tell", lambda **words: told.append(words))
    monkeypatch.setattr(made, "_start_driver", lambda: None)
    monkeypatch.setattr(made, "_end_driver", lambda **words: -9)
    made.submit([teacher, student])
    [name] = [words["submit"] for words in told]
    for order in (teacher, student):
        made._heard({"list": name, "attempt": order.attempt, "what": "started"})

    reports = made._driver_ended()

    assert [(r.order, r.what, r.cause) for r in reports] == [
        (teacher, "lost", "preempted"),
        (student, "lost", "preempted"),
    ]
    assert said == ["Ray's driver was killed by signal 9; connecting again"]


def test_retiring_waits_until_the_worker_of_the_last_task_cannot_be_there_any_more(
    folder, tmp_path, monkeypatch
):
    slept = []
    clock = 100.0
    monkeypatch.setattr(ray_executor.time, "monotonic", lambda: clock)
    monkeypatch.setattr(ray_executor.time, "sleep", slept.append)
    made = ray_executor.RayExecutor(
        job=DriverJob(address="", cpus=1, needs={CPU: 1}, task={"probe": "tasks/ray/probe"}),
        jobs=1, logs=tmp_path, notice=print, memory_of={}.get,
    )  # fmt: skip
    monkeypatch.setattr(made, "_tell", lambda **words: slept.append(words["submit"]))
    made.retire()
    made.submit(orders(folder))
    made._heard({"list": slept.pop(), "over": "", "reason": ""})
    clock += LINGER_SECONDS / 4
    made.retire()
    clock += 5
    made.retire()
    assert slept == [0.0, 0.75 * LINGER_SECONDS, 0.0]


def test_an_address_for_an_executor_without_a_cluster_is_refused(folder):
    options = TrainOptions(device="cpu", jobs=None, executor="local", address="10.0.0.1:6379")
    with pytest.raises(UsageError, match="--address is that of a cluster, and 'local' uses none"):
        settled(options, folder, print)


@given(
    st.fixed_dictionaries({CPU: st.integers(1, 64), GPU: st.integers(0, 8)}),
    st.fixed_dictionaries({CPU: st.integers(0, 256), GPU: st.integers(0, 16)}),
)
def test_as_many_tasks_fit_as_can_be_taken_from_a_node_one_by_one(needs, node):
    left, count = dict(node), 0
    while all(left[what] >= needs[what] for what in needs):
        left = {what: left[what] - needs[what] for what in needs}
        count += 1
    assert room(node, needs) == count


def test_resources_are_told_in_words():
    told = amounts({CPU: 2.0, GPU: 1, MEMORY: 3 * 2**30, "node:127.0.0.1": 1.0})
    assert told == "2 CPUs, 1 GPU, 3.0 GiB of memory"
    assert amounts({MEMORY: 0}) == "nothing"
