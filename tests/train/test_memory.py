"""GPU memory of a stage, with an account of every tensor in place of torch's allocator.

tests/train/test_devices.py has the allocator itself.
"""

import weakref
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from icckd.errors import StagePaused
from icckd.study.training import Training
from icckd.train import stage, trainer
from icckd.train.data import dataset
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.metrics import base
from icckd.train.trainer import StageMemory

BRIEF = Training(epochs=3, batch_size=8, diagnose_epochs=(2,))


class Account(TorchDispatchMode):
    """Bytes of all storages alive that operations inside made, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = self.highest = 0
        self.known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage):
        at = storage.data_ptr()
        if not at or at in self.known:
            return
        self.known[at] = size = storage.nbytes()
        self.now += size
        self.peak, self.highest = max(self.peak, self.now), max(self.highest, self.now)
        weakref.finalize(storage, self._remove, at)

    def _remove(self, at):
        self.now -= self.known.pop(at)

    def reset(self):
        self.peak = self.now


@pytest.fixture
def account(monkeypatch):
    """An account that stands for the GPU's allocator; stages on the CPU ask it."""
    found = Account()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", found.reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: found.peak)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: found.peak)
    monkeypatch.setattr(stage, "StageMemory", lambda device: StageMemory("cuda"))
    monkeypatch.setattr("icckd.train.trainer.gpu_memory_of_this_process", lambda: None)
    monkeypatch.setattr(dataset, "LARGEST_KEPT", -1)  # every stage has its own copy on a GPU
    monkeypatch.setattr(dataset, "_KEPT", dataset._Kept())
    return found


def peaks(notes, kind="teacher"):
    return {n: notes.values[f"{kind}.memory_{n}"] for n in ("allocated", "reserved")}


@pytest.mark.slow
def test_allocated_memory_is_that_of_training_alone(account, run_teacher, monkeypatch):
    """However many images evaluation looks at, and however little it keeps of them."""
    train = partial(run_teacher, training=BRIEF, intra=IntraLoss())
    with account:
        found = []
        for at_once in (4, 40):
            monkeypatch.setattr(base, "IMAGES_AT_ONCE", at_once)
            account.highest = account.now
            notes = train()
            found.append({**peaks(notes), "any": account.highest})

    few, many = found
    assert few["allocated"] == many["allocated"] > 0
    assert many["any"] > many["allocated"] * 1.1, "evaluation should be what takes most here"
    assert many["reserved"] > many["allocated"]


@pytest.mark.slow
def test_allocated_memory_of_a_student_counts_its_teachers_forward_pass(
    account, run_teacher, run_student
):
    teacher = run_teacher(training=BRIEF)
    with account:
        taught = run_student(teacher.folder, training=BRIEF)
        alone = run_student(None, training=BRIEF, distiller="off")

    assert peaks(taught, "student")["allocated"] > peaks(alone, "student")["allocated"]


@pytest.mark.slow
def test_a_larger_batch_takes_more_and_parts_of_one_less(account, run_teacher):
    with account:
        small, large, parts = (
            peaks(run_teacher(training=Training(epochs=1, batch_size=size, accumulate=a)))
            for size, a in ((16, 1), (64, 1), (64, 4))
        )

    assert small["allocated"] < large["allocated"]
    assert parts["allocated"] < large["allocated"]


@pytest.mark.slow
def test_the_peak_of_an_earlier_attempt_counts(account, run_teacher, tmp_path, monkeypatch):
    """Here the first attempt takes much, and the second goes on with less."""
    place = {"checkpoint_folder": tmp_path / "kept", "stage": "a"}
    original = trainer._run_epoch

    def greedy(*arguments, **named):
        taken = torch.zeros(1 << 20).clone()
        original(*arguments, **named)
        del taken

    with account:
        monkeypatch.setattr(trainer, "_run_epoch", greedy)
        with pytest.raises(StagePaused):
            run_teacher(training=BRIEF, place={**place, "should_stop": lambda: True})
        monkeypatch.setattr(trainer, "_run_epoch", original)
        resumed = run_teacher(training=BRIEF, place=place)
        whole = run_teacher(training=BRIEF)

    assert resumed.resumed_after == 1
    assert peaks(resumed)["allocated"] > 4 << 20 > peaks(whole)["allocated"]


def test_evaluation_keeps_no_maps(account, run_teacher):
    """Only features and logits of earlier images are left when the next ones come."""
    from icckd.train.data.splits import Normaliser, Split
    from icckd.train.metrics.base import IMAGES_AT_ONCE, predict
    from icckd.train.networks import build_model
    from icckd.train.networks.cnn import CnnModel

    images = torch.randint(0, 256, (3 * IMAGES_AT_ONCE, 8, 8, 1), dtype=torch.uint8)
    split = Split(images=images, labels=torch.arange(len(images)) % 5, subclasses=None)
    model = build_model(CnnModel(), in_channels=1, n_classes=5, key=("a",), device="cpu")
    normalise = Normaliser(split)
    with account:
        highest = []
        for rows in (1, 3):
            account.reset()
            predict(model, split.take(torch.arange(rows * IMAGES_AT_ONCE)), normalise)
            highest.append(account.peak - account.now)

    more = 2 * IMAGES_AT_ONCE * (64 + 5) * 4  # bytes of two more parts' results
    chosen = 2 * IMAGES_AT_ONCE * (64 + 8)  # and of their images and labels
    assert highest[1] - highest[0] <= 2 * (more + chosen)
