"""What must hold on a CPU and on a GPU alike: one body, over the device.

`pytest -m gpu` runs the same on "cuda". Whole studies, fresh processes, faults of a GPU, memory
and energy are steps of bench/gpu.py, which tests/bench runs.
"""

import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.functional import to_pil_image

from icckd.resources import EnergyMeter
from icckd.study.data import Augmentation
from icckd.study.metrics import OUTCOMES
from icckd.study.training import Numerics, Training
from icckd.train.data.splits import Split
from icckd.train.datasets.digits import DigitsData
from icckd.train.datasets.folders import ImageFolderData
from icckd.train.losses.base import group_by_class
from icckd.train.losses.contrastive import (
    IntraLoss,
    MarginFilter,
    NegativeCache,
    intra_class_contrastive,
    margin_of,
)
from icckd.train.metrics import predictions, scatter
from icckd.train.metrics.probes import (
    cosine,
    linear_subclass_accuracy,
    linear_superclass_accuracy,
    subclass_accuracy,
)
from icckd.train.networks import build_model
from icckd.train.networks.base import Output
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import prepare
from icckd.train.trainer import StepLog, Update
from tests.support.lanes import ON_EACH_DEVICE_SLOWLY
from tests.train.conftest import teachers_in
from tests.train.distiller_sample import SETTINGS, case, require_grad, settings_of
from tests.train.test_models import CONTRACT

# In fp32 torch's compiler advises to use TF32.
pytestmark = pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")

CACHED = IntraLoss(weight=0.5, margin=MarginFilter(threshold=0.0), cache=NegativeCache(per_class=9))


def only_on_cuda(device, what):
    if device != "cuda":
        pytest.skip(f"CPU form: {what}")


def able(device, precision):
    if device == "cpu" and precision == "tf32":
        pytest.skip("CPU form: a CPU has no TF32")
    is_old = device == "cuda" and torch.cuda.get_device_capability() < (8, 0)
    if is_old and precision in ("tf32", "bf16"):
        pytest.skip(f"this GPU has no {precision}")
    return Numerics(precision=precision)


def on(output, device):
    return Output(*(
        tuple(x.to(device) for x in part) if isinstance(part, tuple) else part.to(device)
        for part in output
    ))  # fmt: skip


def test_a_repeat_is_bit_identical(device, run_teacher, run_student):
    settings = {"data": DigitsData(train=450), "device": device}
    first, again = (run_teacher(**settings, intra=CACHED) for _ in range(2))
    students = {run_student(first.folder, **settings).weights for _ in range(2)}

    assert first.weights == again.weights
    assert len(students) == 1


def test_weight_0_has_the_bits_of_two_view_cross_entropy(device, run_teacher):
    evaluated = run_teacher(device=device, intra=IntraLoss(weight=0.0, margin="off"))

    assert evaluated.weights == run_teacher(device=device, intra="off").weights


def test_the_loss_is_that_of_double_precision_on_a_cpu(device):
    prepare(device, Numerics())
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2, 64, 16, generator=generator)
    logits = torch.randn(64, 5, generator=generator)
    labels = torch.randint(5, (64,), generator=generator)
    capacity = int(labels.bincount().max())
    losses = []
    for place, dtype in (("cpu", torch.float64), (device, torch.float32)):
        view1, view2 = views.to(place, dtype)
        groups = group_by_class(labels.to(place), 5, capacity)
        term = intra_class_contrastive(
            view1, view2, margin_of(logits.softmax(1), labels).to(place, dtype),
            torch.arange(64, device=place), groups,
            settings=IntraLoss(margin=MarginFilter(threshold=0.0)), cache=None,
        )  # fmt: skip
        losses.append(term.loss.cpu().float())

    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


def test_every_distiller_repeats_its_gradients_and_agrees_with_double_precision(device):
    prepare(device, Numerics())
    for name in SETTINGS:
        seen = []
        for place, dtype in (("cpu", torch.float64), *[(device, torch.float32)] * 2):
            made = case(name, size=32, dtype=dtype)
            distiller = made.distiller.to(place)
            student, leaves = require_grad(on(made.student, place))
            labels, ids = made.batch.labels.to(place), made.batch.ids.to(place)
            batch = replace(made.batch, labels=labels, ids=ids)
            terms = distiller.terms(student, on(made.teacher, place), batch, step=0)
            torch.stack(list(terms.values())).sum().backward()
            grads = [x.grad for x in (*leaves, *distiller.parameters()) if x.grad is not None]
            seen.append([x.detach().cpu().float() for x in (*terms.values(), *grads)])

        torch.testing.assert_close(seen[0], seen[1], rtol=1e-3, atol=1e-4, msg=name)
        assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True)), name


@ON_EACH_DEVICE_SLOWLY
def test_every_network_repeats_its_gradients_and_agrees_with_double_precision(device):
    prepare(device, Numerics())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4)
    for settings in CONTRACT:
        build = partial(build_model, settings, in_channels=3, n_classes=10, key=("a", 0))
        network = build(device=device)
        exact = deepcopy(network) if device == "cpu" else build(device="cpu")
        exact.double().eval()
        with torch.no_grad():
            expected = exact(images.double())
            seen = network.eval()(images.to(device)).cpu()
        gradients = []
        for _ in range(2):
            network.train().zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images.to(device)), labels.to(device))
            loss.backward()
            gradients.append([parameter.grad.clone() for parameter in network.parameters()])

        assert (seen - expected).norm() < 1e-3 * expected.norm(), settings
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)), settings


def test_measures_and_probes_are_those_of_a_cpu(device):
    prepare(device, Numerics())
    stream = torch.Generator().manual_seed(0)
    logits, told = 3 * torch.randn(2, 300, 10, generator=stream)
    features = torch.randn(300, 16, generator=stream)
    fine = torch.randint(10, (300,), generator=stream)
    found = []
    for place in ("cpu", device):
        x, z, t, y = (value.to(place) for value in (features, logits, told, fine))
        part = Split(images=x, labels=y // 2, subclasses=y, superclasses=y // 5)
        found.append(
            [
                predictions.top5(z, y),
                predictions.nll(z, y),
                predictions.entropy(z),
                predictions.calibration_error(z, y),
                scatter.nc1(x, y),
                scatter.soft_variance(z, y),
                predictions.agreement(z, t),
                predictions.divergence(z, t),
                linear_subclass_accuracy(x, part, x, part),
                linear_superclass_accuracy(x, part, x, part),
                subclass_accuracy(x, part, x, part, cosine),
            ]
        )

    assert found[1] == pytest.approx(found[0], rel=1e-6)


@pytest.fixture
def picture_folder(tmp_path):
    stream = torch.Generator().manual_seed(0)
    for name in ("auk", "jay"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for number in range(30):
            pixels = torch.randint(0, 256, (3, 14, 12), dtype=torch.uint8, generator=stream)
            to_pil_image(pixels).save(tmp_path / "birds" / name / f"{number}.png")

    def data(limit):
        augment = Augmentation(padding=1, flip=True, rotation=10.0)
        return ImageFolderData(
            kind="image-folder", folder="birds", size=12, augment=augment, resident_bytes=limit
        )

    return data


def test_a_streamed_folder_gives_the_bits_of_a_resident_one(device, picture_folder, run_teacher):
    brief = Training(epochs=2, batch_size=16)
    runs = [
        run_teacher(data=picture_folder(limit), device=device, training=brief)
        for limit in (1 << 30, 0)
    ]

    assert runs[0].weights == runs[1].weights


class NoReads(TorchDispatchMode):
    """Raises where an operation's result goes to the host: there a GPU would be waited for."""

    READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default,
             torch.ops.aten.masked_select.default, torch.ops.aten._unique2.default)  # fmt: skip

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in self.READS, f"{func} waits"
        return func(*args, **(kwargs or {}))


@contextmanager
def waiting_forbidden(device):
    if device == "cpu":
        with NoReads():
            yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON_EACH_DEVICE_SLOWLY
def test_no_training_step_waits_for_the_device(
    device, picture_folder, run_teacher, run_student, monkeypatch
):
    """Neither its losses nor its update nor its log.

    Left out are the batch, which a streamed set brings, and the check for values that are not
    finite, which a GPU makes every 32 steps; bench/gpu.py counts both.
    """
    steps = []

    def forbidden(method):
        def wrapped(self, *arguments, **named):
            with waiting_forbidden(device):
                steps.append(method)
                return method(self, *arguments, **named)

        return wrapped

    of = run_teacher(device=device).folder
    monkeypatch.setattr(StepLog, "check", lambda self: None)
    monkeypatch.setattr(StepLog, "write", forbidden(StepLog.write))
    monkeypatch.setattr(Update, "run", forbidden(Update.run))
    run_teacher(device=device, intra=CACHED)
    for precision in ("bf16", "fp16"):
        numerics = Numerics(precision=precision)
        run_teacher(device=device, intra=CACHED, numerics=numerics)
        run_student(of, device=device, numerics=numerics)
    for name in ("kd", "crd", "crd, drawn"):
        run_student(of, device=device, distiller=settings_of(name))
    run_teacher(device=device, data=picture_folder(0), training=Training(epochs=2, batch_size=16))

    assert len(steps) >= 200


def test_the_check_above_sees_a_step_that_waits(device):
    with pytest.raises((AssertionError, RuntimeError)), waiting_forbidden(device):
        torch.ones(1, device=device).sum().item()


def test_memory_outcomes_of_a_stage(device, run_teacher):
    notes = run_teacher(device=device)
    names = {n for n in OUTCOMES if n.startswith("teacher.memory_")} & set(notes.values)

    if device == "cpu":
        assert names == {"teacher.memory_rss"}
        return
    assert names >= {f"teacher.memory_{n}" for n in ("rss", "allocated", "reserved")}
    assert 0 < notes.values["teacher.memory_allocated"] <= notes.values["teacher.memory_reserved"]


def test_accumulation_lowers_the_peak_of_allocated_memory(device, run_teacher):
    only_on_cuda(device, "the resident peak is coarser than this difference")
    data = DigitsData(train=1000)
    peaks = [
        run_teacher(
            device=device, data=data,
            training=Training(epochs=1, batch_size=512, accumulate=parts),
        ).values["teacher.memory_allocated"]
        for parts in (1, 8)
    ]  # fmt: skip

    assert peaks[1] < peaks[0]


@ON_EACH_DEVICE_SLOWLY
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_a_repeat_in_any_precision_is_bit_identical_and_is_not_fp32(precision, device, run_teacher):
    numerics = able(device, precision)
    settings = {"data": DigitsData(train=450), "device": device, "intra": CACHED}
    first, again = (run_teacher(**settings, numerics=numerics) for _ in range(2))

    assert first.weights == again.weights
    if precision != "tf32":  # maps of this size may not reach the tensor cores
        assert first.weights != run_teacher(**settings).weights


LEARNS = {"data": DigitsData(train=450), "training": Training(epochs=12, batch_size=32, lr=0.1)}


@pytest.fixture(scope="module")
def accuracy_in_fp32(tmp_path_factory):
    """Return the accuracy of a teacher that was trained once on a device."""

    @cache
    def of(device):
        run = teachers_in(tmp_path_factory.mktemp("fp32"))
        return run(**LEARNS, device=device).values["teacher.top1"]

    return of


@ON_EACH_DEVICE_SLOWLY
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well_as_fp32(
    precision, device, run_teacher, run_student, accuracy_in_fp32
):
    settings = {**LEARNS, "device": device, "numerics": able(device, precision)}
    half = run_teacher(**settings)
    student = run_student(half.folder, **settings)

    assert half.values["teacher.top1"] == pytest.approx(accuracy_in_fp32(device), abs=8)
    assert student.values["student.top1"] > 40
    assert ("teacher.overflow_share" in half.values) == (precision == "fp16")


def test_a_gradient_that_overflows_fp16_is_skipped_and_counted(device, run_teacher):
    """Until the loss scale is small enough; then training goes on."""
    settings = {"device": device, "numerics": Numerics(precision="fp16")}
    steep = IntraLoss(weight=10.0, margin="off")
    notes = run_teacher(**settings, intra=steep, training=Training(epochs=6, batch_size=32))

    shares = [epoch["teacher.overflow_share"] for epoch in notes.epochs]
    assert 0 < shares[0] <= 100
    assert shares[-1] == 0
    assert notes.values["teacher.overflow_share"] == pytest.approx(sum(shares) / 6)
    assert notes.epochs[-1]["teacher.grad_norm"] > 0


def test_without_deterministic_mode_a_stage_still_trains(device, run_teacher):
    notes = run_teacher(device=device, numerics=Numerics(deterministic=False))

    assert notes.values["teacher.top1"] > 0
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "where",
    [pytest.param("cpu", marks=pytest.mark.long), pytest.param("cuda", marks=pytest.mark.gpu)],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
def test_a_compiled_stage_repeats_itself_and_is_near_an_eager_one(precision, where, run_teacher):
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    numerics = able(where, precision)
    compiled, again = (
        run_teacher(device=where, numerics=numerics.model_copy(update={"compile": "on"}))
        for _ in range(2)
    )
    eager = run_teacher(device=where, numerics=numerics)

    assert compiled.lines == []
    assert compiled.weights == again.weights
    losses = [notes.epochs[0]["teacher.ce"] for notes in (compiled, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_stage_that_no_memory_is_left_for_fails_and_the_next_one_trains(device, run_teacher):
    """torch's own error, provoked by a limit that a network of this width goes beyond."""
    only_on_cuda(device, "a process cannot be bounded without ending it")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((256 << 20) / total)
    wide = {"model": CnnModel(widths=(512, 512, 512)), "data": DigitsData(train=1024)}
    is_full = False
    try:
        run_teacher(device=device, training=Training(epochs=1, batch_size=1024), **wide)
    except torch.OutOfMemoryError:  # kept nowhere: its frames would keep the memory
        is_full = True
    try:
        small = run_teacher(device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert is_full
    assert small.weights == run_teacher(device=device).weights


def test_energy_is_counted_in_joules_where_the_gpu_tells_it(device, run_teacher):
    notes = run_teacher(device=device, training=Training(epochs=5, batch_size=32))
    if device == "cpu" or EnergyMeter().joules() is None:
        assert "teacher.energy" not in notes.values
        return
    long = run_teacher(device=device, training=Training(epochs=60, batch_size=32))

    gpus = torch.cuda.device_count()
    assert 0 < long.values["teacher.energy"] / long.values["teacher.seconds"] < 2000 * gpus
