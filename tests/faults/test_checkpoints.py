"""Deaths while a checkpoint is saved: it is whole or not there, and the stage ends alike (P8)."""

import random
import time

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from icckd.journal.folder import StateFolder
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import JobContext
from tests.faults.storm import Nursery

# A call, on which file, and before it, half-way or after it. The first checkpoint that a process
# saves makes these calls in this order; an older one goes last.
POINTS = [
    ("write", "state.safetensors", 0, "before"),
    ("write", "state.safetensors", 0, "torn"),
    ("write", "state.safetensors", 0, "after"),
    ("sync", "state.safetensors", 0, "before"),
    ("sync", "state.safetensors", 0, "after"),
    ("write", "checkpoint.json", 0, "before"),
    ("write", "checkpoint.json", 0, "torn"),
    ("write", "checkpoint.json", 0, "after"),
    ("sync", "checkpoint.json", 0, "before"),
    ("sync", "checkpoint.json", 0, "after"),
    ("sync", ".attempt-", 2, "before"),
    ("sync", ".attempt-", 2, "after"),
    ("rename", "epoch-", 0, "before"),
    ("rename", "epoch-", 0, "after"),
    ("sync", "/teacher", 3, "before"),
    ("sync", "/teacher", 3, "after"),
    ("unlinkat", "checkpoint.json", 0, "before"),
    ("unlinkat", "checkpoint.json", 0, "after"),
    ("unlinkat", "state.safetensors", 0, "after"),
    ("rmdir", "epoch-", 0, "before"),
]


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """A nursery for all tests here: importing torch takes seconds."""
    root = tmp_path_factory.mktemp("forks")
    with Nursery(StateFolder(root), root / "acks", faults=True, script="trainer") as nursery:
        yield nursery


@pytest.fixture
def nursery(forks, tmp_path):
    return settled(forks, tmp_path / "disturbed")


def settled(nursery, root):
    """Have a nursery's next children work in a state folder of their own."""
    nursery.folder, nursery.acks = StateFolder(root), root / "acks"
    nursery.folder.create()
    nursery.acks.mkdir()
    return nursery


class Silent:
    def log(self, message):
        raise AssertionError(message)


def saved(folder) -> int:
    """Read the newest checkpoint as the next attempt will; it is whole. Return its epoch."""
    kept = folder.checkpoints / "teacher"
    there = sorted(kept.glob("epoch-*")) if kept.is_dir() else []
    if not there:
        return 0
    expected = load_file(there[-1] / "state.safetensors")
    place = JobContext(
        device="cpu", data_root=folder.root, artifact_folder=folder.root, checkpoint_folder=kept,
        stage="teacher",
    )  # fmt: skip
    return Checkpoints(place, Silent()).newest(lambda epoch: expected).epoch


def acknowledged(acks) -> int:
    return max((int(path.name.partition("-")[2]) for path in acks.glob("saved-*")), default=0)


def train(nursery, epochs, *, fault=None) -> int:
    (nursery.acks / "finished").unlink(missing_ok=True)
    return nursery.start("train", str(nursery.acks), epochs, fault=fault)


def finish(nursery, epochs) -> bytes:
    """Train to the end, undisturbed; return the weights."""
    nursery.wait(train(nursery, epochs), seconds=120)
    assert (nursery.acks / "finished").exists()
    kept = list((nursery.folder.checkpoints / "teacher").iterdir())
    assert [path.name for path in kept] == [f"epoch-{epochs - 1:06}"], "nothing half-written stays"
    return (nursery.folder.artifacts / "teacher" / "model.safetensors").read_bytes()


def undisturbed(nursery, root, epochs) -> bytes:
    return finish(settled(nursery, root), epochs)


def look(nursery) -> None:
    """What a process left is whole, and no older than what it went on after."""
    assert saved(nursery.folder) >= acknowledged(nursery.acks)
    assert not (nursery.acks / "log").exists(), "a checkpoint was refused, or not saved"


def die_at(nursery, points, epochs) -> None:
    for call, path, nth, action in points:
        nursery.wait(train(nursery, epochs, fault=[call, path, nth, action, 1]))
        assert not (nursery.acks / "finished").exists(), "its fault never came"
        look(nursery)


def die_at_random(nursery, kills, epochs, *, seed) -> int:
    """Kill a stage again and again while it saves; return how often it died in the middle."""
    chance, in_the_middle = random.Random(seed), 0
    kept = nursery.folder.checkpoints / "teacher"
    for _ in range(kills):
        pid = train(nursery, epochs)
        aside = kept / f".attempt-{pid}"
        while not aside.exists() and not (nursery.acks / "finished").exists():
            time.sleep(0)
        assert not (nursery.acks / "finished").exists(), "it ended before the kills did"
        end = time.perf_counter() + chance.uniform(0.0, 0.006)
        while time.perf_counter() < end:
            pass
        nursery.kill(pid)
        in_the_middle += aside.exists()
        look(nursery)
    return in_the_middle


@pytest.mark.slow
def test_a_death_at_every_point_of_saving_leaves_a_whole_checkpoint_or_none(nursery, tmp_path):
    epochs = 18
    die_at(nursery, POINTS, epochs)

    weights = finish(nursery, epochs)

    assert weights == undisturbed(nursery, tmp_path / "quiet", epochs)


@pytest.mark.slow
def test_kills_while_a_checkpoint_is_saved_leave_a_whole_checkpoint_or_none(nursery, tmp_path):
    epochs = 30
    assert die_at_random(nursery, 8, epochs, seed=1) > 0

    weights = finish(nursery, epochs)

    assert weights == undisturbed(nursery, tmp_path / "quiet", epochs)


@pytest.mark.slow
def test_the_checks_above_see_half_a_checkpoint_under_its_final_name(nursery):
    nursery.wait(train(nursery, 3, fault=["write", "state.safetensors", 1, "torn", 1]))
    assert saved(nursery.folder) == 1
    [aside] = (nursery.folder.checkpoints / "teacher").glob(".attempt-*")
    aside.rename(aside.with_name("epoch-000002"))

    with pytest.raises(SafetensorError):
        saved(nursery.folder)


@pytest.mark.long
def test_two_hundred_deaths_while_checkpoints_are_saved(forks, tmp_path):
    """Prints what it saw: a hundred at chosen points, a hundred at random moments."""
    epochs, deaths, in_the_middle = 120, 0, 0
    weights = undisturbed(forks, tmp_path / "quiet", epochs)
    for part in range(5):
        nursery, chance = settled(forks, tmp_path / str(part)), random.Random(part)
        points = [
            (call, path, nth if path in (".attempt-", "/teacher") else chance.randrange(4), how)
            for call, path, nth, how in POINTS
        ]
        chance.shuffle(points)
        die_at(nursery, points, epochs)
        in_the_middle += die_at_random(nursery, 20, epochs, seed=part)
        deaths += len(points) + 20
        assert finish(nursery, epochs) == weights
        print(f"{deaths} deaths, {in_the_middle} of the random ones in the middle of saving")
