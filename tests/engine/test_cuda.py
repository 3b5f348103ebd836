"""What must hold on a CUDA device."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

from icckd.engine import measures
from icckd.engine.anchors import margin_of
from icckd.engine.data.splits import Split
from icckd.engine.groups import group_by_class
from icckd.engine.losses.intra import intra_class_contrastive
from icckd.engine.models import Output, build_model
from icckd.engine.numerics import prepare
from icckd.engine.probes import (
    cosine,
    linear_subclass_accuracy,
    linear_superclass_accuracy,
    subclass_accuracy,
)
from icckd.resources import EnergyMeter
from icckd.spec.data import Augmentation, DigitsData, ImageFolderData
from icckd.spec.metrics import OUTCOMES
from icckd.spec.teacher import IntraLoss, MarginFilter
from icckd.spec.training import Numerics, Training
from tests.engine.distiller_sample import SETTINGS, case, require_grad
from tests.engine.test_models import CONTRACT, label

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_repeat_on_cuda_is_bit_identical(run_teacher, run_student):
    data = DigitsData(train=450)
    settings = {"data": data, "device": "cuda", "intra": IntraLoss(weight=0.5)}
    first, again = run_teacher(**settings), run_teacher(**settings)
    students = {run_student(first.folder, data=data, device="cuda").weights for _ in range(2)}

    assert first.weights == again.weights
    assert len(students) == 1


def test_weight_0_has_the_bits_of_two_view_cross_entropy_on_cuda(run_teacher):
    evaluated = run_teacher(device="cuda", intra=IntraLoss(weight=0.0, margin="off"))

    assert evaluated.weights == run_teacher(device="cuda", intra="off").weights


def test_cpu_and_cuda_agree_on_the_loss():
    prepare("cuda", Numerics())
    generator = torch.Generator().manual_seed(0)
    view1, view2 = torch.randn(2, 64, 16, generator=generator)
    logits = torch.randn(64, 5, generator=generator)
    labels = torch.randint(5, (64,), generator=generator)
    capacity = int(labels.bincount().max())
    losses = []
    for device in ("cpu", "cuda"):
        groups = group_by_class(labels.to(device), 5, capacity)
        margin = margin_of(logits.softmax(1), labels).to(device)
        ids = torch.arange(64, device=device)
        term = intra_class_contrastive(
            view1.to(device), view2.to(device), margin, ids, groups,
            settings=IntraLoss(margin=MarginFilter(threshold=0.0)), cache=None,
        )  # fmt: skip
        losses.append(term.loss.cpu())

    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_distiller_repeats_its_gradients_on_cuda_and_agrees_with_the_cpu(name):
    prepare("cuda", 1)
    seen = []
    for device in ("cpu", "cuda", "cuda"):
        made = case(name, size=32, dtype=torch.float32)
        distiller = made.distiller.to(device)
        student, leaves = require_grad(on(made.student, device))
        batch = replace(made.batch, labels=made.batch.labels.to(device),
                        ids=made.batch.ids.to(device))  # fmt: skip
        terms = distiller.terms(student, on(made.teacher, device), batch, step=0)
        torch.stack(list(terms.values())).sum().backward()
        grads = [x.grad.cpu() for x in (*leaves, *distiller.parameters()) if x.grad is not None]
        seen.append([*(term.detach().cpu() for term in terms.values()), *grads])

    torch.testing.assert_close(seen[0], seen[1], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))


def on(output, device):
    return Output(*(
        tuple(x.to(device) for x in part) if isinstance(part, tuple) else part.to(device)
        for part in output
    ))  # fmt: skip


def test_memory_outcomes_exist_on_cuda(run_teacher):
    notes = run_teacher(device="cuda")
    names = {n for n in OUTCOMES if n.startswith("teacher.memory_")}

    assert names - {"teacher.memory_nvml"} <= set(notes.values)
    assert 0 < notes.values["teacher.memory_allocated"] <= notes.values["teacher.memory_reserved"]


def test_a_step_on_cuda_waits_for_nothing(run_teacher, monkeypatch):
    from icckd.engine import fit

    original = fit._run_epoch

    def strict(*arguments, **named):
        torch.cuda.set_sync_debug_mode("error")
        try:
            original(*arguments, **named)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(fit.StepLog, "check", lambda self: None)
    monkeypatch.setattr(fit, "_run_epoch", strict)
    monkeypatch.setattr(fit.TrainStream, "epoch", _drawn_before(fit.TrainStream.epoch))

    run_teacher(device="cuda", training=Training(epochs=2, batch_size=32))


def test_measures_and_probes_on_cuda_are_those_of_a_cpu():
    prepare("cuda", 1)
    stream = torch.Generator().manual_seed(0)
    logits, told = 3 * torch.randn(2, 300, 10, generator=stream)
    features = torch.randn(300, 16, generator=stream)
    fine = torch.randint(10, (300,), generator=stream)
    found = []
    for device in ("cpu", "cuda"):
        x, z, t, y = (value.to(device) for value in (features, logits, told, fine))
        part = Split(images=x, labels=y // 2, subclasses=y, superclasses=y // 5)
        found.append(
            [
                measures.top5(z, y),
                measures.nll(z, y),
                measures.entropy(z),
                measures.calibration_error(z, y),
                measures.nc1(x, y),
                measures.soft_variance(z, y),
                measures.agreement(z, t),
                measures.divergence(z, t),
                linear_subclass_accuracy(x, part, x, part),
                linear_superclass_accuracy(x, part, x, part),
                subclass_accuracy(x, part, x, part, cosine),
            ]
        )

    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_a_streamed_folder_gives_the_bits_of_a_resident_one_on_cuda(tmp_path, run_teacher):
    for name in ("auk", "jay"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for number in range(30):
            pixels = torch.randint(0, 256, (3, 14, 12), dtype=torch.uint8)
            to_pil_image(pixels).save(tmp_path / "birds" / name / f"{number}.png")
    augment = Augmentation(padding=1, flip=True, rotation=10.0)
    runs = [
        run_teacher(
            data=ImageFolderData(
                kind="image-folder", folder="birds", size=12, augment=augment, resident_bytes=limit
            ),
            device="cuda",
            training=Training(epochs=2, batch_size=16),
        )
        for limit in (1 << 30, 0)
    ]

    assert runs[0].weights == runs[1].weights


def _drawn_before(original):
    """Let the transfers at the start of an epoch pass: they happen once, not in each step."""

    def epoch(self, number):
        torch.cuda.set_sync_debug_mode("default")
        batches = original(self, number)
        first = next(batches)
        torch.cuda.set_sync_debug_mode("error")
        yield first
        yield from batches

    return epoch


@pytest.mark.parametrize("settings", CONTRACT, ids=label)
def test_every_network_repeats_its_gradients_on_cuda_and_agrees_with_the_cpu(settings):
    prepare("cuda", Numerics())
    key = ("cuda", 0)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    on_cpu = build_model(settings, in_channels=3, n_classes=10, key=key, device="cpu").eval()
    network = build_model(settings, in_channels=3, n_classes=10, key=key, device="cuda")
    with torch.no_grad():
        expected, seen = on_cpu(images), network.eval()(images.cuda()).cpu()
    gradients = []
    for _ in range(2):
        network.train().zero_grad()
        torch.nn.functional.cross_entropy(
            network(images.cuda()), torch.arange(8, device="cuda")
        ).backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])

    assert (seen - expected).norm() < 1e-3 * expected.norm()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_a_repeat_in_any_precision_is_bit_identical_and_is_not_fp32(precision, run_teacher):
    settings = {"data": DigitsData(train=450), "device": "cuda", "intra": IntraLoss()}
    first, again = (
        run_teacher(**settings, numerics=Numerics(precision=precision)) for _ in range(2)
    )

    assert first.weights == again.weights
    if precision != "tf32":  # maps of this size may not reach the tensor cores
        assert first.weights != run_teacher(**settings).weights


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_cuda_learns_as_well_as_fp32(precision, run_teacher, run_student):
    settings = {"data": DigitsData(train=450), "device": "cuda"}
    settings["training"] = Training(epochs=20, batch_size=32)
    half = run_teacher(**settings, numerics=Numerics(precision=precision))
    full = run_teacher(**settings)
    student = run_student(half.folder, **settings, numerics=Numerics(precision=precision))

    assert half.values["teacher.top1"] == pytest.approx(full.values["teacher.top1"], abs=8)
    assert student.values["student.top1"] > 40
    assert ("teacher.overflow_share" in half.values) == (precision == "fp16")


def test_a_gradient_that_overflows_fp16_on_cuda_is_skipped_and_counted(run_teacher):
    steep = Training(epochs=3, batch_size=32, lr=0.05)
    intra = IntraLoss(weight=3e4, margin="off")
    notes = run_teacher(
        device="cuda", training=steep, intra=intra, numerics=Numerics(precision="fp16")
    )

    assert notes.values["teacher.overflow_share"] > 0
    assert notes.epochs[-1]["teacher.grad_norm"] >= 0


def test_without_deterministic_mode_a_stage_still_trains_on_cuda(run_teacher):
    notes = run_teacher(device="cuda", numerics=Numerics(deterministic=False))

    assert notes.values["teacher.top1"] > 0
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_stage_on_cuda_repeats_itself_and_is_near_an_eager_one(precision, run_teacher):
    compiled, again = (
        run_teacher(device="cuda", numerics=Numerics(compile="on", precision=precision))
        for _ in range(2)
    )
    eager = run_teacher(device="cuda", numerics=Numerics(precision=precision))

    assert compiled.lines == []
    assert compiled.weights == again.weights
    losses = [notes.epochs[0]["teacher.ce"] for notes in (compiled, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_accumulation_lowers_the_peak_of_allocated_memory(run_teacher):
    data = DigitsData(train=1000)
    peaks = [
        run_teacher(
            device="cuda", data=data,
            training=Training(epochs=1, batch_size=512, accumulate=parts),
        ).values["teacher.memory_allocated"]
        for parts in (1, 8)
    ]  # fmt: skip

    assert peaks[1] < peaks[0]


def test_energy_is_counted_in_joules_where_the_gpu_tells_it(run_teacher):
    if EnergyMeter().joules() is None:
        pytest.skip("this GPU does not count its energy")
    long = run_teacher(device="cuda", training=Training(epochs=60, batch_size=32))

    assert 0 < long.values["teacher.energy"] / long.values["teacher.seconds"] < 2000
