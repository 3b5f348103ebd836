"""Whole stages: null ablations, repeats, failures, and what is recorded."""

import json
import math
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file

from icckd.errors import MachineError, NonFiniteError, StageError
from icckd.study.distillers import DISTILLERS, Distiller
from icckd.study.metrics import OUTCOMES, SERIES
from icckd.study.teacher import Teacher
from icckd.study.training import Training
from icckd.train.contract import JobContext
from icckd.train.data.dataset import load_dataset
from icckd.train.data.stream import TrainStream
from icckd.train.datasets.digits import DigitsData
from icckd.train.distillers.crd import CrdDistiller
from icckd.train.distillers.logits import KdDistiller
from icckd.train.distillers.maps import AtDistiller, FitnetDistiller, VidDistiller
from icckd.train.distillers.sum import SumDistiller
from icckd.train.evaluate import stability
from icckd.train.losses.base import group_by_class
from icckd.train.losses.contrastive import (
    IntraLoss,
    MarginFilter,
    NegativeCache,
    intra_class_contrastive,
)
from icckd.train.networks import build_model, load_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.seeding import initialise
from icckd.train.teacher import TeacherStep, build_losses
from icckd.train.trainer import StepLog

NOT_ON = {f"teacher.{name}{end}" for name in ("supcon", "spread") for end in ("", "_ratio")}
OF_THE_LOSS = {
    "intra_ratio", "anchor_share", "negatives", "positive_cosine", "negative_cosine",
    "skipped_rows",
}  # fmt: skip
STRONG = {"weight": 0.5, "margin": MarginFilter(threshold=-0.5)}


def names_of(catalogue, kind, lacking=("super-classes", "six classes")):
    return {
        name
        for name, metric in catalogue.items()
        if name.startswith(f"{kind}.")
        and not any(part in name for part in (".convergence", ".clip_share"))
        and metric.device != "cuda"
        and metric.needs not in lacking
    }


def test_weight_0_with_the_loss_evaluated_has_the_bits_of_two_view_cross_entropy(run_teacher):
    evaluated = run_teacher(intra=IntraLoss(weight=0.0, margin="off"))
    plain = run_teacher(intra="off", views=2)

    assert evaluated.weights == plain.weights
    assert [e["teacher.ce"] for e in evaluated.epochs] == [e["teacher.ce"] for e in plain.epochs]
    assert all(epoch["teacher.intra"] > 0 for epoch in evaluated.epochs)


def test_threshold_minus_two_has_the_bits_of_filter_off(run_teacher):
    filtered = run_teacher(intra=IntraLoss(weight=0.5, margin=MarginFilter(threshold=-2.0)))

    assert filtered.weights == run_teacher(intra=IntraLoss(weight=0.5, margin="off")).weights


def test_a_cache_of_no_entries_has_the_bits_of_cache_off(run_teacher):
    empty = run_teacher(intra=IntraLoss(**STRONG, cache=NegativeCache(per_class=0)))
    off = run_teacher(intra=IntraLoss(**STRONG, cache="off"))

    assert empty.weights == off.weights
    assert empty.values["teacher.cache_bytes"] == off.values["teacher.cache_bytes"] == 0


def test_a_cache_that_is_still_warming_up_has_the_bits_of_cache_off(run_teacher):
    warming = run_teacher(intra=IntraLoss(**STRONG, cache=NegativeCache(warmup_epochs=3)))
    used = run_teacher(intra=IntraLoss(**STRONG, cache=NegativeCache(warmup_epochs=2)))
    off = run_teacher(intra=IntraLoss(**STRONG, cache="off"))

    assert warming.weights == off.weights
    assert used.weights != off.weights
    assert used.epochs[1]["teacher.negatives"] == off.epochs[1]["teacher.negatives"]
    assert used.epochs[2]["teacher.negatives"] > 2 * off.epochs[2]["teacher.negatives"]


def test_every_part_changes_the_weights_when_it_is_on(run_teacher):
    runs = [
        run_teacher(intra="off", views=1),
        run_teacher(intra="off"),
        run_teacher(intra=IntraLoss(weight=0.5, margin=MarginFilter(threshold=0.0))),
        run_teacher(intra=IntraLoss(weight=0.5, margin="off")),
        run_teacher(intra=IntraLoss(weight=0.5, margin="off", cache="off")),
        run_teacher(intra="off", seed=1),
    ]

    assert len({run.weights for run in runs}) == len(runs)


def test_a_repeat_is_bit_identical_also_after_other_stages(run_teacher, run_student):
    first = run_teacher()
    student = run_student(first.folder)
    torch.rand(3)
    run_teacher(seed=9, intra=IntraLoss(**STRONG))
    again = run_teacher()

    assert again.weights == first.weights
    assert run_student(again.folder).weights == student.weights
    assert again.values["teacher.stability"] == first.values["teacher.stability"]


def test_students_of_one_teacher_differ_and_leave_it_alone(run_teacher, run_student):
    teacher = run_teacher()
    before = teacher.weights
    students = {run_student(teacher.folder, replicate=replicate).weights for replicate in (0, 1)}

    assert len(students) == 2
    assert teacher.weights == before


def test_distillation_weight_matters_and_terms_are_recorded_unweighted(teacher_folder, run_student):
    none = run_student(teacher_folder, distiller=KdDistiller(weight=0.0, ce_weight=1.0))
    some = run_student(teacher_folder, distiller=KdDistiller(weight=0.5, ce_weight=1.0))

    assert none.weights != some.weights
    assert none.epochs[0]["student.kd"] > 0


def test_weight_0_has_the_bits_of_a_student_alone(teacher_folder, run_student):
    weightless = run_student(teacher_folder, distiller=KdDistiller(weight=0.0, ce_weight=1.0))
    alone = run_student(None, distiller="off")

    assert alone.weights == weightless.weights
    assert "student.kd" not in alone.epochs[0]
    assert alone.values["student.distiller_parameters"] == 0


def test_a_sum_of_one_method_has_the_bits_of_that_method(teacher_folder, run_student):
    one = run_student(teacher_folder, distiller=CrdDistiller(kind="crd", dimensions=8))
    term = CrdDistiller(kind="crd", dimensions=8)
    summed = SumDistiller(kind="sum", terms={"crd": term, "kd": "off"})

    assert run_student(teacher_folder, distiller=summed).weights == one.weights


def test_terms_of_weight_0_have_the_bits_of_terms_that_are_off(teacher_folder, run_student):
    kinds = sorted(set(DISTILLERS) - {"sum", "kd"})
    terms = {kind: {"kind": kind, "weight": 0.0} for kind in kinds}
    runs = [
        run_student(teacher_folder, distiller=TypeAdapter(Distiller).validate_python(
            {"kind": "sum", "terms": {"kd": {"kind": "kd"}, **others}}
        ))
        for others in (terms, dict.fromkeys(kinds, "off"))
    ]  # fmt: skip

    assert runs[0].weights == runs[1].weights
    assert runs[0].epochs[0]["student.rkd_angle"] > 0


def test_what_a_distiller_learns_is_counted_and_stored_apart_from_the_student(
    teacher_folder, run_student
):
    plain = run_student(teacher_folder)
    term = VidDistiller(kind="vid")
    vid = run_student(teacher_folder, distiller=SumDistiller(kind="sum", terms={"v": term}))
    learnt = load_file(vid.folder / "distiller.safetensors")

    assert vid.values["student.distiller_parameters"] == sum(v.numel() for v in learnt.values())
    assert learnt["methods.v.scales.0"].shape == (4,)
    assert not torch.equal(learnt["methods.v.scales.0"], torch.full((4,), 5.0).expm1().log())
    assert load_file(vid.folder / "model.safetensors").keys() == (
        load_file(plain.folder / "model.safetensors").keys()
    )
    assert not (plain.folder / "distiller.safetensors").exists()
    assert {"student.ce", "student.v"} <= set(vid.epochs[0])


@pytest.mark.parametrize("kind", sorted(set(DISTILLERS) - {"sum"}))
def test_a_student_learns_by_every_method(kind, teacher_folder, run_student):
    distiller = TypeAdapter(Distiller).validate_python({"kind": kind})
    notes = run_student(teacher_folder, distiller=distiller)

    for part in distiller.parts:
        assert notes.epochs[0][f"student.{kind}{part}"] >= 0
        assert f"student.{kind}{part}" in SERIES
        assert notes.epochs[0][f"student.{kind}{part}_ratio"] >= 0
        assert f"student.{kind}{part}_ratio" in SERIES


def test_the_pull_of_a_term_is_in_proportion_to_its_weight_and_found_where_it_dwarfs(
    run_teacher, run_student
):
    teacher, still = run_teacher().folder, Training(epochs=1, batch_size=32, lr=1e-12)

    def pull(**weights):
        distiller = AtDistiller(kind="at", **weights)
        return run_student(teacher, distiller=distiller, training=still).epochs[0][
            "student.at_ratio"
        ]

    one = pull(weight=1.0)
    assert one > 0
    for planted in (0.01, 40.0, 1000.0):
        assert pull(weight=planted / one) == pytest.approx(planted, rel=1e-3)
    assert pull(weight=1.0, ce_weight=0.5) == pytest.approx(2 * one, rel=1e-3)
    assert pull(weight=0.0) == 0


def test_a_student_without_cross_entropy_has_no_ratio_to_it(run_teacher, run_student):
    only_taught = KdDistiller(weight=1.0, ce_weight=0.0)

    assert (
        "student.kd_ratio" not in run_student(run_teacher().folder, distiller=only_taught).epochs[0]
    )


def test_networks_that_a_method_cannot_join_fail_before_the_first_step(teacher_folder, run_student):
    hint = FitnetDistiller(kind="fitnet", stage=4)

    with pytest.raises(StageError, match="stage = 4, and the student has 3 stages"):
        run_student(teacher_folder, distiller=hint)


def test_a_teacher_records_every_series_and_outcome_that_applies(run_teacher):
    notes = run_teacher()

    assert all(set(epoch) == names_of(SERIES, "teacher") - NOT_ON for epoch in notes.epochs)
    assert set(notes.values) == names_of(OUTCOMES, "teacher") - NOT_ON
    assert all(math.isfinite(value) for value in notes.values.values())
    assert notes.values["teacher.cache_bytes"] == 5 * 64 * (8 * 4 + 8 + 8) + 5 * 8
    assert notes.values["teacher.nonfinite_steps"] == 0
    seconds = [epoch["teacher.train_seconds"] for epoch in notes.epochs]
    assert 0 < seconds[0] < seconds[1] < seconds[2] == notes.values["teacher.seconds"]


def test_which_test_images_were_right_is_recorded_and_gives_the_accuracy(run_teacher):
    run = run_teacher()

    assert 0 < sum(run.right) < len(run.right)
    assert run.values["teacher.top1"] == pytest.approx(100 * sum(run.right) / len(run.right))


def test_a_student_records_every_series_and_outcome_that_applies(teacher_folder, run_student):
    notes = run_student(teacher_folder)

    terms = {metric.name for metric in DISTILLERS.metrics()} - {"student.kd", "student.kd_ratio"}
    assert all(set(epoch) == names_of(SERIES, "student") - terms for epoch in notes.epochs)
    assert set(notes.values) == names_of(OUTCOMES, "student")


def test_without_intra_loss_or_sub_classes_their_metrics_are_absent(run_teacher):
    data = DigitsData(train=170, validation=40, labels="fine")
    notes = run_teacher(data=data, intra="off")

    absent = OF_THE_LOSS | {"supcon_ratio", "spread_ratio"}
    there = names_of(OUTCOMES, "teacher", lacking=("sub-classes",))
    assert set(notes.values) == there - {f"teacher.{name}" for name in absent}
    assert notes.values["teacher.cache_bytes"] == 0
    assert "teacher.intra" not in notes.epochs[0]


def test_the_recorded_ratio_is_weight_times_the_norms_at_the_pooled_feature(tmp_path):
    place = JobContext(device="cpu", data_root=tmp_path, artifact_folder=tmp_path)
    material = load_dataset(DigitsData(), place)
    model = build_model(CnnModel(), in_channels=1, n_classes=5, key=("a",), device="cpu").train()
    settings = IntraLoss(weight=0.3, margin="off", cache="off")
    teacher = Teacher(views=2, intra=settings)
    losses = build_losses(teacher, model, material, ("a",))
    stream = TrainStream(
        material.train, material.normalise, material.augment, batch_size=32, views=2, key=("a",)
    )
    batch = next(stream.epoch(1))
    values = TeacherStep(model, losses, teacher)(batch, step=0, epoch=1)
    ours = [p.grad.clone() for p in model.parameters()]

    initialise(model, ("a",))
    model.zero_grad()
    features = model.maps(batch.images).features
    features.retain_grad()
    ce = torch.nn.functional.cross_entropy(model.classifier(features[:32]), batch.labels)
    ce.backward(retain_graph=True)
    ce_grad, features.grad = features.grad.clone(), None
    groups = group_by_class(batch.labels, 5, batch.largest_class)
    intra = intra_class_contrastive(
        *features.chunk(2), torch.zeros(32), batch.ids, groups, settings=settings, cache=None
    ).loss
    (0.3 * intra).backward()

    expected = features.grad.norm() / ce_grad.norm()
    torch.testing.assert_close(values.diagnostics[0], expected)
    torch.testing.assert_close(ours, [p.grad for p in model.parameters()])


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_divergence_fails_at_its_first_step_with_the_term(kind, run_teacher, run_student):
    teacher = run_teacher()
    wild = Training(epochs=3, batch_size=32, lr=1e30)

    diverge = run_teacher if kind == "teacher" else partial(run_student, teacher.folder)
    with pytest.raises(NonFiniteError) as caught:
        diverge(training=wild)

    assert caught.value.step == 1
    assert caught.value.term == "ce"


def test_a_failed_stage_has_recorded_its_non_finite_step_and_leaves_no_model(
    run_teacher, monkeypatch
):
    from icckd.train import stage as engine

    seen = {}
    original = engine.fit_teacher

    def spy(job, material, recorder, *more):
        seen["notes"] = recorder
        return original(job, material, recorder, *more)

    monkeypatch.setattr(engine, "fit_teacher", spy)
    with pytest.raises(NonFiniteError):
        run_teacher(training=Training(epochs=1, batch_size=32, lr=1e30))

    assert seen["notes"].values == {"teacher.nonfinite_steps": 1}
    assert not seen["notes"].folder.exists()


def test_weights_ruined_by_the_very_last_update_fail_too(run_teacher):
    one_step = Training(epochs=1, batch_size=170, lr=1e39)

    with pytest.raises(NonFiniteError) as caught:
        run_teacher(training=one_step)

    assert (caught.value.step, caught.value.term) == (0, "weights")


def test_a_late_check_still_names_the_first_step_and_term(monkeypatch):
    monkeypatch.setattr("icckd.train.trainer.CHECK_EVERY", {"cpu": 4})
    log = StepLog(("ce", "intra"), 8, "cpu")
    bad, fine = torch.tensor(torch.nan), torch.tensor(1.0)
    for values in [(fine, fine)] * 5 + [(fine, bad), (bad, bad)]:
        log.write(values)

    with pytest.raises(NonFiniteError) as caught:
        log.write((bad, fine))

    assert (caught.value.step, caught.value.term) == (5, "intra")


def test_an_artifact_rebuilds_its_model_and_holds_no_pickle(teacher_folder):
    model = load_model(teacher_folder, device="cpu")
    about = json.loads((teacher_folder / "model.json").read_text())

    assert {file.name for file in teacher_folder.iterdir()} == {
        "model.json", "model.safetensors", "steps.safetensors",
    }  # fmt: skip
    assert about["model"] == {"kind": "cnn", "widths": [4, 4, 8]}
    assert (about["in_channels"], about["n_classes"]) == (1, 5)
    for name, value in load_file(teacher_folder / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], value)
    assert not model.training


@pytest.mark.parametrize("damage", ["missing", "not json", "other widths", "cut weights"])
def test_a_damaged_teacher_is_an_error_of_the_stage(damage, teacher_folder, run_student, tmp_path):
    folder = shutil.copytree(teacher_folder, tmp_path / "damaged")
    about, weights = folder / "model.json", folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "not json":
        about.write_text("{")
    elif damage == "other widths":
        about.write_text(about.read_text().replace("8", "9"))
    else:
        weights.write_bytes(weights.read_bytes()[:-8])

    with pytest.raises(StageError, match="cannot be read"):
        run_student(folder)


def test_a_teacher_of_other_labels_is_refused(teacher_folder, run_student):
    with pytest.raises(StageError, match="knows 5 classes, the data have 10"):
        run_student(teacher_folder, data=DigitsData(train=170, validation=40, labels="fine"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is not there")
def test_a_missing_device_is_an_error_of_the_machine(run_teacher):
    with pytest.raises(MachineError, match="CUDA"):
        run_teacher(device="cuda")


@pytest.mark.slow
def test_training_imports_no_compiler(tmp_path):
    code = f"""
import sys
from pathlib import Path
from pydantic import TypeAdapter
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.stage import train_student, train_teacher
from icckd.train.datasets.digits import DigitsData
from icckd.study.distillers import DISTILLERS, Distiller
from icckd.study.model import Student
from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training
from icckd.train.losses.contrastive import IntraLoss

class Silent:
    def __getattr__(self, name):
        return lambda *values: None

teacher = Teacher(views=2, intra=IntraLoss(), training=Training(epochs=2))
data = DigitsData(train=170, validation=40)
job = TeacherJob(data=data, teacher=teacher, numerics=Numerics(), seed=0)
folder = Path({str(tmp_path)!r})
place = JobContext(device="cpu", data_root=folder, artifact_folder=folder)
train_teacher(job, Silent(), place)
terms = {{kind: {{"kind": kind}} for kind in DISTILLERS if kind != "sum"}}
everything = TypeAdapter(Distiller).validate_python({{"kind": "sum", "terms": terms}})
student = Student(training=Training(epochs=1, batch_size=64), distiller=everything)
job = StudentJob(data=data, student=student, numerics=Numerics(), seed=0, replicate=0,
                 teacher_folder=folder)
place = JobContext(device="cpu", data_root=folder, artifact_folder=folder / "s")
train_student(job, Silent(), place)
heavy = ("torch._dynamo", "torch._inductor", "sympy", "torchvision", "sklearn")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_stability_can_be_computed_again_from_what_an_artifact_keeps(run_teacher, run_student):
    teacher = run_teacher()
    for stage, kind in ((teacher, "teacher"), (run_student(teacher.folder), "student")):
        with safe_open(stage.folder / "steps.safetensors", framework="numpy") as file:
            ce = file.get_tensor("ce").astype(float)
            steps = int(file.metadata()["steps_per_epoch"])

        assert len(ce) % steps == 0
        assert stability(ce, steps) == stage.values[f"{kind}.stability"]
