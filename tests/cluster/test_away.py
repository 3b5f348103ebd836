"""Nodes that do not see the state folder: what they read and write goes through storage.

A node here is everything that the kernel's namespaces can take away from a machine of its own: its
processes are a tree that one signal ends, the session's folder is not there, its disk is its own.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from icckd.journal.file import first_line, last_line, read_chunk
from icckd.journal.folder import StateFolder
from icckd.results.store import Store
from tests.cluster.test_ray import EPOCHS, causes, completed_twice, ends_well, on_ray
from tests.storage.servers import BUCKET, KEY, SECRET, server
from tests.support.desk import Desk, wait_for_epochs
from tests.support.ray_cluster import VARIABLES, need_ray, own_network, ray_cluster
from tests.support.studies import SMALL
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


class Away:
    """A desk, storage beside it, and nodes from which the desk cannot be seen."""

    def __init__(self, root, address):
        self.root, self.address = root, address
        self.storage, self.scratch = root / "storage", root / "scratch"
        self.desk = Desk(root / "desk", environment={"ICCKD_CHECKPOINT_SECONDS": "0"})
        for folder in (self.storage, self.scratch, self.desk.folder):
            folder.mkdir()
        self.nodes = []
        self.desk.write(SMALL)
        self.desk.environment |= {**CREDENTIALS, "XDG_CONFIG_HOME": str(root / "config")}
        self.configure(url=f"file://{self.storage}")

    def configure(self, more="", **settings):
        told = {"seconds": 0.2, "takeover_seconds": 5.0, "scratch": str(self.scratch), **settings}
        lines = [f"{k} = {json.dumps(v)}" for k, v in told.items()]
        folder = self.root / "config" / "icckd"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text("[storage]\n" + "\n".join(lines) + "\n" + more)

    def add_node(self, **environment):
        """Have a further node, whose end ends all that it runs."""
        hidden = " && ".join(f"mount -t tmpfs none {p}" for p in (self.desk.folder, self.scratch))
        hide = f'mount --make-rprivate / && {hidden} && exec "$@"'
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block",
               f"--address={self.address}", "--num-cpus=1", "--node-ip-address=127.0.0.1",
               "--object-store-memory=80000000"]  # fmt: skip
        variables = {**self.desk.variables(), **VARIABLES, **environment}
        node = subprocess.Popen(
            ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", hide, "sh",
             *ray],
            env={name: text for name, text in variables.items() if text is not None},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.nodes.append(node)
        return node

    def running(self, node, words):
        """Return the processes of a node that have these words in their command."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(node.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if words in " ".join(each.cmdline()):
                        found.append(each)
        return found

    def busy(self):
        """Return the nodes that carry out a task of icckd just now."""
        return [node for node in self.nodes if self.running(node, "ray::icckd")]

    def kill_a_busy_one(self, session):
        """Kill a node amid a task; between two of them a node may have none for a moment."""
        busy = []
        wait_for(lambda: busy.extend(self.busy()) or busy, process=session)
        self.kill(busy[0])

    def kill(self, node):
        self.nodes.remove(node)
        node.kill()
        node.wait(30)

    def published(self):
        """Return the SHA-256 of each file of each artifact in storage."""
        manifests = [json.loads(p.read_bytes()) for p in self.storage.glob("artifacts/*/*")]
        return files_of(manifests)

    def begins_at_once(self):
        """Let the session begin before the nodes that it is to have are there."""
        self.more = "[ray.autoscale]\nnodes = 2\ncpus = 1\n"
        return self.more


def files_of(manifests):
    return {(m["stage"], name): sha for m in manifests for name, sha in m["files"].items()}


def outcomes(desk):
    """Return the outcomes that training decides, as a report reads them."""
    with Store.in_memory(StateFolder(desk.state)) as store:
        store.ingest()
        return store.select(
            "select metric, arm, seed, value from every_outcome where metric in"
            " ('student.top1', 'teacher.top1', 'teacher.convergence') order by all"
        )


def ends(desk):
    """Return stage and end of each attempt, "" where it has none."""
    found = []
    for path in (desk.state / "attempts").glob("*/journal.jsonl"):
        header, close = first_line(path), last_line(path)
        ended = close.body["state"] if close is not None and close.kind == "z" else ""
        found.append((header.body["stage"], ended))
    return found


@pytest.fixture(scope="module")
def network():
    need_ray()
    with own_network():
        yield


@pytest.fixture(scope="module")
def cluster(network):
    with ray_cluster() as made:
        yield made


@pytest.fixture
def away(cluster, tmp_path):
    made = Away(tmp_path, cluster.address)
    made.configure(made.begins_at_once(), url=f"file://{made.storage}")
    try:
        yield made
    finally:
        for node in list(made.nodes):
            made.kill(node)


@pytest.fixture(scope="module")
def here(tmp_path_factory, fresh_process):
    """The study trained on this machine, by the local executor's workers."""
    desk = Desk(tmp_path_factory.mktemp("here"))
    desk.write(SMALL)
    desk.train("run", "small.toml", "--device", "cpu", *EPOCHS)
    manifests = (desk.state / "artifacts").glob("*/manifest.json")
    return files_of(json.loads(p.read_bytes()) for p in manifests), outcomes(desk)


def test_a_node_killed_amid_a_run_is_replaced_and_bytes_are_those_of_a_run_here(away, here):
    for _ in range(2):
        away.add_node()
    session = away.desk.start(*on_ray(away.address, *EPOCHS))
    assert wait_for_epochs(away.desk, session, 30)
    away.kill_a_busy_one(session)
    wait_for(lambda: "preempted" in causes(away.desk), process=session)
    away.add_node()
    ends_well(session)

    assert (away.published(), outcomes(away.desk)) == here
    assert not list((away.desk.state / "artifacts").iterdir())  # nothing was trained in there
    assert not list(away.scratch.iterdir())  # nodes have disks of their own
    assert completed_twice(away.desk) == []
    resumed = [p for p in away.desk.state.glob("attempts/*/journal.jsonl")
               if b'"k":"c"' in p.read_bytes()]  # fmt: skip
    assert resumed  # on another node, from what was pushed
    assert "whole: " in away.desk.run("fsck").stdout
    report = away.desk.run("report", "--format", "json").stdout
    other = Desk(away.root / "other", environment=away.desk.environment)
    other.folder.mkdir()
    assert other.run("report", "--format", "json").stdout == report


def test_a_node_that_stood_still_and_was_replaced_publishes_nothing_when_it_goes_on(away, here):
    lost = away.add_node()
    session = away.desk.start(*on_ray(away.address, *EPOCHS))
    assert wait_for_epochs(away.desk, session, 20)
    begun = {stage for stage, _ in ends(away.desk)}
    workers = away.running(lost, "icckd.run.worker")
    everything = away.running(lost, "")
    for each in everything:
        each.send_signal(signal.SIGSTOP)
    for each in everything:
        if each.name() == "raylet":
            each.kill()
    away.add_node()
    wait_for(lambda: "preempted" in causes(away.desk), process=session)
    wait_for(lambda: any(c > 1 for c in Counter(s for s, _ in ends(away.desk)).values()),
             120, process=session)  # fmt: skip
    for each in workers:  # what trains, and not what Ray has there: that would end it
        each.send_signal(signal.SIGCONT)
    ends_well(session)

    assert (away.published(), outcomes(away.desk)) == here

    def states():
        away.desk.run("status")
        return [state for stage, state in ends(away.desk) if stage in begun]

    wait_for(lambda: "superseded" in states())
    assert states().count("complete") == len(begun)
    assert completed_twice(away.desk) == []


def test_a_bucket_whose_server_is_killed_amid_a_run_of_such_nodes_loses_nothing(
    away, here, tmp_path_factory
):
    with server("weed", tmp_path_factory.mktemp("weed")) as weed:
        away.configure(away.more, url=f"s3://{BUCKET}/runs", endpoint=weed.url)
        for _ in range(2):
            away.add_node()
        session = away.desk.start(*on_ray(away.address, *EPOCHS))
        assert wait_for_epochs(away.desk, session, 30)
        weed.kill()
        weed.start()
        assert wait_for_epochs(away.desk, session, 10)
        away.kill_a_busy_one(session)
        away.add_node()
        said = ends_well(session)

        assert "stalled: storage" in said
        files = [path for path in away.desk.folder.rglob("*") if path.is_file()]
        assert len(files) > 20
        assert not [path for path in files if SECRET.encode() in path.read_bytes()]
        assert outcomes(away.desk) == here[1]
        assert completed_twice(away.desk) == []
        with pytest.MonkeyPatch.context() as patch:
            for name, text in CREDENTIALS.items():
                patch.setenv(name, text)
            from icckd.configuration import StorageSettings
            from icckd.storage.opening import open_storage

            storage = open_storage(StorageSettings(url=f"s3://{BUCKET}/runs", endpoint=weed.url))
            manifests = [json.loads(storage.get(e.key)) for e in storage.list("artifacts")]
            assert files_of(manifests) == here[0]
            for path in (away.desk.state / "attempts").glob("*/journal.jsonl"):
                key = f"journals/attempts/{first_line(path).body['ordinal']:020}/{path.parent.name}"
                stored = b"".join(storage.get(e.key) for e in storage.list(key))
                assert stored == path.read_bytes()
                assert read_chunk(path).lines


def test_a_node_that_storage_refuses_is_one_error_that_names_it_and_ends_a_beginning_run(
    away, tmp_path_factory
):
    with server("weed", tmp_path_factory.mktemp("weed")) as weed:
        away.configure(away.more, url=f"s3://{BUCKET}/runs", endpoint=weed.url)
        away.add_node(AWS_SECRET_ACCESS_KEY="wrong" * 8)
        start = time.monotonic()
        done = away.desk.run_apart(*on_ray(away.address, *EPOCHS))

    assert done.returncode == 4, done.stderr
    assert time.monotonic() - start < 40  # the node's own start, and that of Ray, are not counted
    [error] = [line for line in done.stderr.splitlines() if line.startswith("icckd: node ")]
    assert "refuses: SignatureDoesNotMatch" in error
    assert "AWS_SECRET_ACCESS_KEY" in done.stderr
    assert not list((away.desk.state / "attempts").iterdir())


def test_a_node_with_another_folder_in_the_place_of_storage_is_one_error(away):
    hidden = away.storage
    away.add_node()
    node = away.nodes[-1]
    wait_for(lambda: away.running(node, "raylet/raylet"))
    [first, *_] = away.running(node, "ray start") or away.running(node, "raylet/raylet")
    subprocess.run(
        ["nsenter", "-m", "-t", str(first.pid), "mount", "-t", "tmpfs", "none", str(hidden)],
        check=True,
    )
    done = away.desk.run_apart(*on_ray(away.address, *EPOCHS))

    assert done.returncode == 4, done.stderr
    assert "is empty here" in done.stderr
    assert done.stderr.count("icckd: node ") == 1
