"""What must hold on a CUDA device."""

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

from icckd.engine import measures
from icckd.engine.anchors import margin_of
from icckd.engine.data.splits import Split
from icckd.engine.groups import group_by_class
from icckd.engine.losses.intra import intra_class_contrastive
from icckd.engine.models import build_model
from icckd.engine.numerics import prepare
from icckd.engine.probes import (
    cosine,
    linear_subclass_accuracy,
    linear_superclass_accuracy,
    subclass_accuracy,
)
from icckd.spec.data import Augmentation, DigitsData, ImageFolderData
from icckd.spec.metrics import OUTCOMES
from icckd.spec.teacher import IntraLoss, MarginFilter
from icckd.spec.training import Training
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
    prepare("cuda", 1)
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


def test_memory_outcomes_exist_on_cuda(run_teacher):
    notes = run_teacher(device="cuda")
    names = {n for n, m in OUTCOMES.items() if m.device == "cuda" and n.startswith("teacher.")}

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
    prepare("cuda", 1)
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
