"""`icckd clean` removes what no run goes on from, and nothing else."""

import pytest

from icckd.errors import MachineError
from icckd.journal.checkpoints import sweep_checkpoints
from icckd.journal.events import StageState
from icckd.journal.locks import stage_lock
from icckd.journal.owner import owner_lock
from icckd.results.fsck import clean
from tests.support.lab import planned


def checkpoint(folder, stage, epoch, size=1000):
    path = folder.checkpoints / stage.digest / f"epoch-{epoch:06}"
    path.mkdir(parents=True)
    (path / "state.safetensors").write_bytes(bytes(size))
    return path.parent


@pytest.fixture
def crowded(lab):
    """A study whose plan changed, another study, and one of everything that can lie about."""
    with lab.finished("s1", planned(seeds=(0,), salt="old"), revision="r1", ordinal=1) as old:
        given_up = old.stage("full", 0)
        complete = old.stage("no-cache", 0)
        lab.artifact = lab.folder.artifacts / complete.digest
        lab.artifact.mkdir()
        (lab.artifact / "manifest.json").write_text("{}")
        old.train(complete)
    with lab.finished("s2", planned(seeds=(0,)), revision="r2", ordinal=2) as new:
        going_on = new.stage("full", 0)
        new.journal.append(StageState(stage=going_on.digest, state="cancelled"))
    with lab.finished("s3", planned(seeds=(5,)), study="other", ordinal=3) as other:
        elsewhere = other.stage("full", 5)
    lab.folder.quarantine.mkdir()
    (lab.folder.quarantine / "icckd-1.duckdb").write_bytes(bytes(10))
    (lab.folder.artifacts / ".tmp-0123").mkdir()
    lab.stays = [checkpoint(lab.folder, going_on, 3), checkpoint(lab.folder, elsewhere, 1)]
    lab.goes = [checkpoint(lab.folder, given_up, 12), checkpoint(lab.folder, complete, 2)]
    lab.aside = lab.stays[0] / ".dead"
    lab.aside.mkdir()
    return lab


def test_what_can_go_is_shown_with_its_bytes_and_nothing_is_touched(crowded):
    before = sorted(crowded.folder.root.rglob("*"))

    found = {spare.path: spare for spare in clean(crowded.folder, remove=False)}

    assert {path for path in found if path.parent == crowded.folder.checkpoints} == {*crowded.goes}
    given_up, complete = (found[path] for path in crowded.goes)
    assert given_up.text == ("checkpoint of icc-ablations, full/0 after 12 epochs, planned no more")
    assert complete.text.endswith("after 2 epochs, complete since")
    assert given_up.bytes == 1000
    assert len(found) == 5
    after = set(crowded.folder.root.rglob("*"))
    assert after - {crowded.folder.database} == set(before)


def test_what_no_run_goes_on_from_is_removed_and_all_else_stays(crowded):
    folder = crowded.folder
    journals = {path: path.read_bytes() for path in folder.journals()}

    assert len(clean(folder, remove=True)) == 5

    assert sorted(folder.checkpoints.iterdir()) == sorted(crowded.stays)
    assert all(
        (path / name).is_dir()
        for path, name in zip(crowded.stays, ("epoch-000003", "epoch-000001"), strict=True)
    )
    assert not crowded.aside.exists()
    assert list(folder.quarantine.iterdir()) == []
    assert list(folder.artifacts.iterdir()) == [crowded.artifact]
    assert {path: path.read_bytes() for path in folder.journals()} == journals
    assert clean(folder, remove=True) == ()


def test_a_stage_that_a_process_works_on_keeps_its_checkpoints(crowded):
    given_up = crowded.goes[0]
    with stage_lock(crowded.folder, given_up.name, waiting=bool, give_up=lambda: True) as held:
        assert held
        clean(crowded.folder, remove=True)
        sweep_checkpoints(crowded.folder)

    assert (given_up / "epoch-000012").is_dir()


def test_nothing_is_cleaned_under_a_running_session(crowded):
    with owner_lock(crowded.folder), pytest.raises(MachineError, match="in use"):
        clean(crowded.folder, remove=True)

    assert all(path.is_dir() for path in crowded.goes)


def test_a_session_sweeps_what_is_complete_or_half_written_and_keeps_the_rest(crowded):
    sweep_checkpoints(crowded.folder)

    given_up, complete = crowded.goes
    assert given_up.is_dir()
    assert not complete.exists()
    assert not crowded.aside.exists()
