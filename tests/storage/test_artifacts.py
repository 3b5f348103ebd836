"""Artifacts in storage are whole, count once, and are taken from where they may come."""

import hashlib
import json

import pytest

from icckd.errors import MachineError
from icckd.journal.artifacts import publish, read_manifest, workspace
from icckd.journal.folder import StateFolder
from icckd.storage.artifacts import (
    Published,
    bring_artifacts,
    fetch_artifact,
    fetch_checkpoint,
    find_published,
    publish_in,
    published_stages,
    push_checkpoint,
    remove_checkpoints,
    upload_files,
)
from icckd.storage.base import StorageError
from icckd.storage.folder import FolderStorage

STAGE = "d" * 64


@pytest.fixture
def storage(tmp_path):
    return FolderStorage(tmp_path / "storage")


@pytest.fixture
def machine(tmp_path):
    def made(name):
        folder = StateFolder(tmp_path / name)
        folder.create()
        return folder

    return made


def artifact(folder, content, attempt="one"):
    prepared = workspace(folder, attempt)
    (prepared / "model").write_bytes(content)
    (prepared / "inner").mkdir()
    (prepared / "inner" / "log.txt").write_bytes(b"log")
    return publish(folder, STAGE, prepared)


def share(storage, folder, manifest, attempt, generation=0):
    upload_files(storage, folder.artifacts / STAGE, manifest.files)
    said = Published(stage=STAGE, files=manifest.files, size=manifest.bytes, attempt=attempt)
    return publish_in(storage, said, generation)


def test_what_is_published_first_counts_and_is_what_other_machines_fetch(storage, machine):
    a, b, c = machine("a"), machine("b"), machine("c")
    first = share(storage, a, artifact(a, b"weights"), "one")
    second = share(storage, b, artifact(b, b"other weights"), "two")

    assert first.attempt == second.attempt == "one"
    assert fetch_artifact(storage, c, STAGE)
    assert (c.artifacts / STAGE / "model").read_bytes() == b"weights"
    assert (c.artifacts / STAGE / "inner" / "log.txt").read_bytes() == b"log"
    assert published_stages(storage) == {STAGE}


def test_what_is_trained_again_on_purpose_takes_the_place_of_what_was_published(storage, machine):
    a, b = machine("a"), machine("b")
    share(storage, a, artifact(a, b"weights"), "one")
    fetch_artifact(storage, b, STAGE)
    again = machine("again")
    share(storage, again, artifact(again, b"better"), "two", generation=7)

    fetch_artifact(storage, b, STAGE)

    assert find_published(storage, STAGE).attempt == "two"
    assert (b.artifacts / STAGE / "model").read_bytes() == b"better"


def test_an_artifact_that_is_not_published_is_not_there(storage, machine):
    a, b = machine("a"), machine("b")
    manifest = artifact(a, b"weights")
    upload_files(storage, a.artifacts / STAGE, manifest.files)  # and then it died

    assert not fetch_artifact(storage, b, STAGE)
    assert published_stages(storage) == set()


def test_a_file_with_other_bytes_is_refused_and_nothing_of_it_is_kept(storage, machine):
    a, b = machine("a"), machine("b")
    manifest = artifact(a, b"weights")
    share(storage, a, manifest, "one")
    storage.put(f"blobs/{manifest.files['model']}", b"weightz")

    with pytest.raises(MachineError, match="damaged in storage"):
        fetch_artifact(storage, b, STAGE)

    assert list(b.artifacts.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(storage, machine, name):
    sha = hashlib.sha256(b"x").hexdigest()
    said = {"stage": STAGE, "files": {name: sha}, "size": 1, "attempt": "one"}
    storage.put(f"artifacts/{STAGE}/{0:020}", json.dumps(said).encode())

    with pytest.raises(StorageError, match="not a manifest"):
        fetch_artifact(storage, machine("b"), STAGE)


def test_what_a_state_folder_had_before_it_was_shared_is_brought(storage, machine):
    a, b = machine("a"), machine("b")
    artifact(a, b"weights")

    bring_artifacts(storage, a, [STAGE])
    fetch_artifact(storage, b, STAGE)

    assert read_manifest(b, STAGE) == read_manifest(a, STAGE)


def checkpoint(folder, epoch, content):
    path = folder.checkpoints / STAGE / f"epoch-{epoch:06}"
    path.mkdir(parents=True)
    (path / "state.safetensors").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    (path / "checkpoint.json").write_text(json.dumps({"sha256": sha}))
    return path


def test_the_newest_whole_checkpoint_is_where_a_stage_resumes_elsewhere(storage, machine):
    a, b = machine("a"), machine("b")
    checkpoint(a, 3, b"three")
    assert push_checkpoint(storage, a.checkpoints / STAGE, "one", 0) == 3
    checkpoint(a, 5, b"five")
    assert push_checkpoint(storage, a.checkpoints / STAGE, "one", 3) == 5
    storage.put(f"checkpoints/{STAGE}/{9:020}-dead/state.safetensors", b"half of nine")

    assert fetch_checkpoint(storage, b, STAGE) == 5
    found = b.checkpoints / STAGE / "epoch-000005" / "state.safetensors"
    assert found.read_bytes() == b"five"
    kept = [entry.key for entry in storage.list(f"checkpoints/{STAGE}") if "-one" in entry.key]
    assert len(kept) == 2  # the older one is gone
    assert [path.name for path in (a.checkpoints / STAGE).glob(".*")] == []


def test_a_checkpoint_that_is_no_newer_or_damaged_is_not_taken(storage, machine):
    a, b = machine("a"), machine("b")
    checkpoint(a, 3, b"three")
    push_checkpoint(storage, a.checkpoints / STAGE, "one", 0)
    [state] = [e.key for e in storage.list("checkpoints") if e.key.endswith("state.safetensors")]
    storage.put(state, b"thr")

    assert fetch_checkpoint(storage, b, STAGE) == 0
    checkpoint(b, 4, b"four")
    assert fetch_checkpoint(storage, b, STAGE) == 4
    remove_checkpoints(storage, STAGE)
    assert not storage.list("checkpoints")
