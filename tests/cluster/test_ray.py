"""The executor `ray` on a cluster of a head and two nodes, in a network of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from icckd.journal.file import read_chunk
from icckd.resources.host import cpu_model
from tests.support.blocks import ROOT, blocks_of
from tests.support.desk import Desk, attempts_begun, wait_for_epochs
from tests.support.ray_cluster import VARIABLES, need_ray, own_network, ray_cluster
from tests.support.studies import BY_ITSELF, FEW_IMAGES, SMALL, TWO_STAGES, two_stages
from tests.support.waiting import wait_for

STUDY = SMALL + FEW_IMAGES + BY_ITSELF
EPOCHS = ("teacher.training.epochs=80", "student.training.epochs=20")
"""Eight stages one after the other: seconds are left when ten epochs have been recorded."""
PACKED = two_stages(seeds=4, teacher=400, student=20) + FEW_IMAGES
AT_ONCE = 15.0
"""Seconds within which an error is said where nothing can go on."""


@pytest.fixture(scope="module")
def network():
    need_ray()
    with own_network():
        yield


@pytest.fixture(scope="module")
def cluster(network):
    with ray_cluster(1, 1) as made:
        yield made


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path, environment={"ICCKD_CHECKPOINT_SECONDS": "0"})
    made.write(STUDY)
    return made


@pytest.fixture(scope="module")
def here(tmp_path_factory, fresh_process):
    """The study trained on this machine: what its artifacts hold."""
    desk = Desk(tmp_path_factory.mktemp("here"))
    desk.write(STUDY)
    desk.train("run", "small.toml", "--device", "cpu", *EPOCHS)
    return digests(desk)


def digests(desk):
    """Return the SHA-256 of each file of each artifact."""
    return {
        (path.parent.name, name): sha256
        for path in (desk.state / "artifacts").glob("*/manifest.json")
        for name, sha256 in json.loads(path.read_text())["files"].items()
    }


def on_ray(address, *more):
    return (
        "run",
        "small.toml",
        "--device",
        "cpu",
        "--executor",
        "ray",
        *more,
        "--address",
        address,
    )


def causes(desk):
    """Return why attempts ended without a result, as the sessions' journals say."""
    journals = sorted((desk.state / "sessions").glob("*/journal.jsonl"))
    lines = [line.body for path in journals for line in read_chunk(path).lines]
    return [line["cause"] for line in lines if line.get("cause")]


def completed_twice(desk):
    """Return the stages of which more than one attempt was carried to its end."""
    done = []
    for path in (desk.state / "attempts").glob("*/journal.jsonl"):
        lines = read_chunk(path).lines
        if lines and lines[-1].body.get("state") == "complete":  # one killed at once has none
            done.append(lines[0].body["stage"])
    return [stage for stage in done if done.count(stage) > 1]


def ends_well(session, seconds=300):
    out, err = session.communicate(timeout=seconds)
    assert session.returncode == 0, (session.returncode, out, err)
    return err


@pytest.mark.slow
def test_a_study_trained_on_ray_has_the_bytes_of_one_trained_here(cluster, tmp_path, fresh_process):
    (tmp_path / "ray").mkdir()
    (tmp_path / "here").mkdir()
    ray, here = Desk(tmp_path / "ray"), Desk(tmp_path / "here")
    for desk in (ray, here):
        desk.write(TWO_STAGES)
    here.train("run", "small.toml", "--device", "cpu")

    done = ray.run(*on_ray(cluster.address))

    assert "error" not in done.stderr
    assert digests(ray) == digests(here) != {}
    assert ray.run_apart("fsck").returncode == 0


@pytest.mark.long
def test_a_killed_worker_and_a_node_lost_and_added_amid_a_run_change_no_byte(cluster, desk, here):
    session = desk.start(*on_ray(cluster.address, *EPOCHS))
    assert wait_for_epochs(desk, session, 10)
    [victim, *_] = cluster.busy().values()
    victim.kill()
    wait_for(lambda: causes(desk), process=session)
    wait_for_epochs(desk, session, 10)

    cluster.remove_node(next(iter(cluster.busy())))
    wait_for(lambda: "preempted" in causes(desk), process=session)
    cluster.add_node()
    ends_well(session)

    assert {"killed", "preempted"} <= set(causes(desk))
    assert digests(desk) == here
    assert completed_twice(desk) == []


@pytest.mark.long
def test_a_run_whose_session_is_killed_leaves_nothing_and_the_next_one_resumes(cluster, desk, here):
    for victim in ("session", "driver"):
        session = desk.start(*on_ray(cluster.address, *EPOCHS))
        assert wait_for_epochs(desk, session, 10)
        [driver] = [
            child
            for child in psutil.Process(session.pid).children()
            if "icckd.run.ray_driver" in child.cmdline()
        ]
        if victim == "session":
            session.kill()
            session.communicate()
            driver.wait(60)
            wait_for(lambda: not cluster.busy())
        else:
            driver.kill()
            said = ends_well(session)
            assert "Ray's driver was killed by signal 9; connecting again" in said

    assert digests(desk) == here
    assert completed_twice(desk) == []


@pytest.mark.long
def test_a_pack_whose_driver_or_session_is_killed_goes_on_as_a_pack_from_its_checkpoints(
    cluster, desk, tmp_path, fresh_process
):
    desk.write(PACKED)
    here = Desk(tmp_path / "here")
    here.folder.mkdir()
    here.write(PACKED)
    here.train("run", "small.toml", "--device", "cpu")

    session = desk.start(*on_ray(cluster.address, "-j", "1"))
    assert wait_for_epochs(desk, session, 40)
    [driver] = [
        child
        for child in psutil.Process(session.pid).children()
        if "icckd.run.ray_driver" in child.cmdline()
    ]
    driver.kill()
    assert wait_for_epochs(desk, session, 40)
    session.kill()
    session.communicate()
    ends_well(desk.start(*on_ray(cluster.address, "-j", "1")))

    assert digests(desk) == digests(here)
    assert completed_twice(desk) == []
    teachers = [header for header in attempts_begun(desk) if header["kind"] == "teacher"]
    assert {header["members"] for header in teachers} == {4}
    packs = [[h for h in teachers if h["pack"] == pack] for pack in {h["pack"] for h in teachers}]
    assert sorted(len(pack) for pack in packs) == [4, 4, 4]
    resumed = [h for h in teachers if b'"k":"c"' in journal_of(desk, h["attempt"])]
    assert len(resumed) == 8


def journal_of(desk, attempt):
    return (desk.state / "attempts" / attempt / "journal.jsonl").read_bytes()


@pytest.mark.long
def test_tasks_that_follow_each_other_share_a_worker_which_ends_soon_after_the_last(network, desk):
    desk.write(two_stages(seeds=3) + BY_ITSELF)
    with ray_cluster(1) as cluster:
        ends_well(desk.start(*on_ray(cluster.address)))
        wait_for(lambda: not cluster.workers(), 15)

    begun = attempts_begun(desk)
    assert len(begun) == 6
    assert len({header["pid"] for header in begun}) == 1


@pytest.mark.long
def test_the_commands_of_the_documentation_make_a_cluster_that_trains(network, desk):
    desk.write(TWO_STAGES)
    [block] = [
        block
        for block in blocks_of(ROOT / "docs" / "cluster.md", "sh")
        if "ray start" in block.text
    ]
    for address in ("10.0.0.1", "10.0.0.2"):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    path = f"{Path(sys.executable).parent}:{desk.variables()['PATH']}"
    as_quick = {"RAY_worker_niceness": "0"}  # beside other work its tasks would wait for minutes
    variables = {**desk.variables(), **as_quick, "PATH": path, "HOME": str(desk.folder)}
    try:
        done = subprocess.run(
            ["sh", "-ec", block.text],
            cwd=desk.folder, env=variables, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert "every planned trial is complete" in done.stderr
    finally:
        for process in psutil.process_iter(["cmdline", "name"]):
            if any("10.0.0.1:6379" in word or "10.0.0.2" in word or "--gcs_server_port=6379" in word
                   for word in process.info["cmdline"] or ()):  # fmt: skip
                process.kill()


def configure(desk, text):
    """Give the user of a desk a configuration."""
    folder = desk.folder / "config" / "icckd"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)
    desk.environment["XDG_CONFIG_HOME"] = str(folder.parent)


@pytest.mark.long
def test_what_no_node_can_take_waits_where_the_autoscaler_may_add_one(cluster, desk):
    done = desk.run_apart(*on_ray(cluster.address, "numerics.threads=2"))
    assert done.returncode == 4
    assert "a stage needs 2 CPUs, and no node of the Ray cluster has that" in done.stderr
    assert "has 1 CPU" in done.stderr

    configure(desk, "[ray.autoscale]\nnodes = 1\ncpus = 2\n")
    session = desk.start(*on_ray(cluster.address, "numerics.threads=2"))
    why = "waits for a node with 2 CPUs: the Ray cluster has none now"
    wait_for(lambda: list(desk.state.glob("sessions/*/journal.jsonl")), process=session)
    wait_for(lambda: why in desk.run("status", "small").stdout, process=session)

    cluster.add_node(cpus=2)
    ends_well(session)
    assert why not in desk.run("status", "small").stdout


@pytest.mark.long
def test_an_address_that_nobody_answers_is_one_error_within_seconds(network, desk):
    start = time.monotonic()
    done = desk.run_apart(*on_ray("127.0.0.1:1"))

    assert time.monotonic() - start < AT_ONCE + 5  # starting the command is not counted
    assert done.returncode == 4
    assert "nobody answers at the Ray address 127.0.0.1:1: [Errno 111]" in done.stderr
    assert not list((desk.state / "attempts").iterdir())


@pytest.mark.long
def test_a_head_node_that_is_gone_ends_the_run_with_an_error_and_loses_nothing(network, desk, here):
    with ray_cluster(1) as cluster:
        session = desk.start(*on_ray(cluster.address, *EPOCHS))
        assert wait_for_epochs(desk, session, 10)
        for worker in cluster.workers():
            worker.suspend()  # so that the run is not over before that is noticed
        cluster.kill_head()
        start = time.monotonic()
        _, err = session.communicate(timeout=120)
        took = time.monotonic() - start
    assert session.returncode == 4, err
    assert "the head node of the Ray cluster does not answer any more" in err
    assert took < AT_ONCE + 5
    with ray_cluster(1) as cluster:
        ends_well(desk.start(*on_ray(cluster.address, *EPOCHS)))

    assert digests(desk) == here
    assert completed_twice(desk) == []


@pytest.mark.long
def test_a_node_that_does_not_see_the_state_folder_is_named_with_what_to_do(network, desk):
    hidden = desk.state
    hidden.mkdir()
    with ray_cluster() as cluster:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block",
                   f"--address={cluster.address}", "--num-cpus=1", "--node-ip-address=127.0.0.1",
                   "--object-store-memory=80000000"]  # fmt: skip
        hide = f'mount --make-rprivate / && mount -t tmpfs none {hidden} && exec "$@"'
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", hide, "sh", *command],
            env={**desk.variables(), **VARIABLES}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            configure(desk, "[ray.autoscale]\nnodes = 1\ncpus = 1\n")
            done = desk.run_apart(*on_ray(cluster.address))
        finally:
            node.terminate()
            node.wait(30)
    assert done.returncode == 4
    assert f"the state folder {hidden} is not the session's here" in done.stderr
    assert "mount the same folder under the same path on every node" in done.stderr
    assert not list((desk.state / "attempts").iterdir())


@pytest.mark.long
def test_stages_whose_seed_has_begun_wait_for_a_node_of_its_class_of_hardware(cluster, desk):
    """A teacher may run anywhere; its student asks for the class on which that was computed."""
    desk.write(TWO_STAGES)
    configure(desk, f'[ray.classes]\n{json.dumps(cpu_model())} = "this-class"\n')
    session = desk.start(*on_ray(cluster.address))
    why = "waits for a node with 1 CPU and the resource 'this-class': the Ray cluster has none now"
    wait_for(lambda: list(desk.state.glob("sessions/*/journal.jsonl")), process=session)
    wait_for(lambda: why in desk.run("status", "s").stdout, process=session)
    assert [header["kind"] for header in attempts_begun(desk)] == ["teacher"]

    node = cluster.add_node(resource="this-class")
    wait_for(lambda: node in cluster.busy(), process=session)
    ends_well(session)
    assert len(completed(desk)) == 2


def completed(desk):
    return list((desk.state / "artifacts").glob("*/manifest.json"))
