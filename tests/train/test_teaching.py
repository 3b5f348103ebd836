"""What the teacher says of a batch: the same bits, asked at each step or looked up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from icckd.study.data import Augmentation
from icckd.study.distillers import Distiller
from icckd.study.training import Training
from icckd.train import student as module
from icckd.train.data.batch import parts_of
from icckd.train.data.splits import Normaliser, Split
from icckd.train.data.stream import TrainStream
from icckd.train.datasets.digits import DigitsData
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import PLAIN
from icckd.train.student import TeacherForward, TeacherTable, teacher_outputs

TEACHER = build_model(CnnModel(), in_channels=2, n_classes=3, key=("t",), device="cpu").eval()
ASKED = TeacherForward(TEACHER, PLAIN)
SHIFTS = Augmentation(padding=1)


def stream(augment, *, batch_size=16, images=35, key=("student", 0)):
    generator = torch.Generator().manual_seed(0)
    split = Split(
        images=torch.randint(256, (images, 8, 8, 2), generator=generator, dtype=torch.uint8),
        labels=torch.arange(images) % 3,
        subclasses=None,
    )
    return TrainStream(split, Normaliser(split), augment, batch_size=batch_size, views=1, key=key)


def choice(augment=SHIFTS, *, epochs=20, device="cpu"):
    shown = stream(augment)
    example = TEACHER.outputs(torch.zeros(1, 2, 8, 8))
    training = Training(epochs=epochs, batch_size=16)
    return type(teacher_outputs(ASKED, example, shown, training, device))


@settings(max_examples=8, deadline=None)
@given(
    padding=st.integers(0, 3),
    flip=st.booleans(),
    parts=st.sampled_from([1, 2, 4]),
    epoch=st.integers(1, 1000),
)
def test_a_table_holds_the_bits_of_the_forward_pass_of_a_step(padding, flip, parts, epoch):
    shown = stream(Augmentation(padding=padding, flip=flip))
    table = TeacherTable(ASKED, shown, shown.all_codes(), batch_size=16 // parts)

    for batch in shown.epoch(epoch):
        for part in parts_of(batch, parts):
            looked_up, asked = table(part), ASKED(part)
            assert torch.equal(looked_up.features, asked.features)
            assert torch.equal(looked_up.logits, asked.logits)


def test_every_view_has_one_code_and_every_code_is_drawn():
    shown = stream(Augmentation(padding=1, flip=True))
    codes = shown.all_codes()
    drawn = torch.cat([batch.codes for epoch in range(400) for batch in shown.epoch(epoch)])

    assert len(codes) == len(codes.unique()) == 35 * 9 * 2
    assert torch.equal(drawn.unique(), codes.sort().values)


def test_a_table_is_made_only_where_it_pays_and_fits(monkeypatch):
    assert choice() is TeacherTable
    assert choice(epochs=18) is TeacherForward  # 18 * 32 images are less than 2 * 35 * 9 views
    assert choice(Augmentation(padding=1, rotation=5.0)) is TeacherForward
    assert choice(device="cuda") is TeacherForward
    monkeypatch.setattr(module, "LARGEST_TABLE", 1000)
    assert choice() is TeacherForward


@pytest.mark.parametrize(
    ("kind", "asked_per_step"),
    [("kd", False), pytest.param("rkd", False, marks=pytest.mark.slow), ("sp", True)],
)
def test_a_student_is_the_same_bit_by_bit_with_a_table_and_asks_less(
    kind, asked_per_step, run_teacher, run_student, monkeypatch
):
    settings = {
        "data": DigitsData(train=64, validation=20),
        "training": Training(epochs=20, batch_size=32),
        "distiller": TypeAdapter(Distiller).validate_python({"kind": kind}),
    }
    teacher = run_teacher(data=settings["data"])
    asked = []
    plain = TeacherForward.outputs

    def counted(self, images):
        asked.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(TeacherForward, "outputs", counted)
    looked_up = run_student(teacher.folder, **settings)
    passes = len(asked)
    monkeypatch.setattr(module, "LARGEST_TABLE", 0)
    forwarded = run_student(teacher.folder, **settings)

    assert looked_up.weights == forwarded.weights
    steps, diagnosed = 20 * 2, 5  # a diagnosed epoch asks once more, for the pull of each term
    assert len(asked) - passes == steps + diagnosed
    assert passes == (steps + diagnosed if asked_per_step else 64 * 9 // 32)
