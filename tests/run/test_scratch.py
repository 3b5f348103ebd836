"""A node that does not see the state folder of its session works in one of its own."""

import os
from dataclasses import replace

import pytest

from icckd.configuration import StorageSettings
from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.run import scratch
from icckd.run.scratch import Scratch, is_seen
from icckd.storage.base import StorageError
from icckd.storage.opening import identity_of, open_storage
from tests.support.executors import orders


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "storage").mkdir()
    return StorageSettings(url=f"file://{tmp_path}/storage", scratch=str(tmp_path / "node"))


def test_a_folder_is_the_sessions_by_what_one_file_of_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "PROBE_SECONDS", 0.3)
    probe = tmp_path / "state" / "tasks" / "probe"

    assert not is_seen(probe, "token")  # not even the folder is there: nothing is waited for
    probe.parent.mkdir(parents=True)
    assert not is_seen(probe, "token")
    probe.write_text("another session's")
    assert not is_seen(probe, "token")
    probe.write_text("token")
    assert is_seen(probe, "token")


def test_orders_are_carried_out_in_a_folder_that_is_found_again_and_is_ours_alone(
    settings, tmp_path
):
    identity = identity_of(open_storage(settings))
    made = Scratch(settings, identity)
    made.try_storage()
    given = [replace(o, storage=settings) for o in orders(StateFolder(tmp_path / "session"))]

    here = made.orders(given)

    root = Scratch(settings, identity).folder.root
    assert {order.state_folder for order in here} == {str(root)}
    assert [replace(o, state_folder=given[0].state_folder) for o in here] == given
    assert root.parent.stat().st_mode & 0o777 == 0o700
    assert root.parent == tmp_path / "node" / f"icckd-{os.getuid()}"


def test_a_nodes_own_data_folder_goes_before_the_sessions(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_OWN_DATA", str(tmp_path / "data of the node"))
    made = Scratch(settings, identity_of(open_storage(settings)))

    [order, *_] = made.orders(orders(StateFolder(tmp_path / "session")))

    assert order.data_root == str(tmp_path / "data of the node")


def test_storage_that_was_emptied_has_another_scratch_folder_and_another_storage_is_refused(
    settings, tmp_path
):
    first = Scratch(settings, identity_of(open_storage(settings)))
    (tmp_path / "storage" / "identity").unlink()
    with pytest.raises(StorageError, match="is empty here"):
        first.try_storage()
    second = Scratch(settings, identity_of(open_storage(settings)))

    assert first.folder.root != second.folder.root
    with pytest.raises(MachineError, match="another one here than where the session runs"):
        first.try_storage()


def test_a_scratch_folder_that_somebody_else_made_is_refused(settings, tmp_path):
    place = tmp_path / "node" / f"icckd-{os.getuid()}"
    place.mkdir(parents=True)
    place.chmod(0o777)
    with pytest.raises(MachineError, match="is not this user's own"):
        Scratch(settings, "x")
    place.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="is not this user's own"):
        Scratch(settings, "x")
    with pytest.raises(MachineError, match="cannot write the scratch folder"):
        Scratch(replace(settings, scratch="/proc/nothing"), "x")
