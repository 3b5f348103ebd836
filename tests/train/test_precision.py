"""Precision, repeatability and the compiler, as far as a CPU shows them.

tests/train/test_devices.py has the rest.
"""

import subprocess
import sys

import pytest
import torch
from torch.amp import GradScaler
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from icckd.errors import StageError
from icckd.study.training import Numerics, Training
from icckd.train import stage, trainer
from icckd.train.losses import contrastive
from icckd.train.losses.contrastive import IntraLoss, observe_cache
from icckd.train.metrics import base as metrics
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import (
    GROWS_AFTER,
    HALF,
    PLAIN,
    Arithmetic,
    LossScale,
    output_of,
    prepare,
)
from tests.support.lanes import slow_but
from tests.train.test_models import CONTRACT, label


def model_and_images():
    model = build_model(CnnModel(), in_channels=1, n_classes=5, key=("a",), device="cpu").train()
    return model, torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_features_come_back_as_fp32_and_near_those_of_fp32(precision, tolerance):
    model, images = model_and_images()
    half = Arithmetic(Numerics(precision=precision), "cpu").forward(model)(images)
    full = PLAIN.forward(model)(images)
    output = output_of(model, half)

    assert half.features.dtype == output.logits.dtype == torch.float32
    assert {m.dtype for m in (*half.stages, *half.preacts)} == {HALF[precision]}
    torch.testing.assert_close(half.features, full.features, rtol=tolerance, atol=tolerance)
    assert not torch.equal(half.features, full.features)
    output.logits.sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def test_plain_arithmetic_is_the_model_itself():
    model, images = model_and_images()

    assert PLAIN.forward(model) == model.maps
    expected = model.eval().outputs(images)
    got = output_of(model, PLAIN.forward(model)(images))
    assert torch.equal(got.logits, expected.logits)


@pytest.mark.parametrize("precision", slow_but(["bf16", "fp16"], "fp16"))
def test_a_stage_in_half_precision_repeats_itself_and_learns(precision, run_teacher, run_student):
    settings = {
        "numerics": Numerics(precision=precision),
        # At 0.2 what an epoch learns hangs on rounding: CPUs without bf16 of their own fell behind.
        "training": Training(epochs=10, batch_size=32, lr=0.05),
    }
    half, again = (run_teacher(**settings, intra=IntraLoss()) for _ in range(2))
    full = run_teacher(training=settings["training"], intra=IntraLoss())

    assert half.weights == again.weights != full.weights
    accuracies = [notes.values["teacher.top1"] for notes in (half, full)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=10)
    assert min(accuracies) > 45
    students = [run_student(half.folder), run_student(half.folder, numerics=settings["numerics"])]
    first = [notes.epochs[0]["student.kd"] for notes in students]
    assert first[0] == pytest.approx(first[1], rel=0.02)
    assert students[0].weights != students[1].weights


def test_without_deterministic_mode_torch_may_choose():
    prepare("cpu", Numerics(deterministic=False))
    free = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    prepare("cpu", Numerics())
    fixed = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

    assert (free, fixed) == ((False, True), (True, False))


def tf32_as_seen_by_every_interface():
    """What each of torch's switches says; a read raises where they contradict each other."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return (
        cuda.allow_tf32, cuda.fp32_precision == "tf32",
        torch.get_float32_matmul_precision() == "high",
        cudnn.allow_tf32, cudnn.fp32_precision == "tf32", cudnn.conv.fp32_precision == "tf32",
    )  # fmt: skip


def test_tf32_is_on_only_where_it_is_asked_for_and_every_interface_of_torch_agrees():
    """Parts of its compiler read the older one, and its convolutions have a switch of their own."""
    for precision in ("fp32", "tf32", "bf16", "tf32", "fp16"):
        prepare("cpu", Numerics(precision=precision))
        assert set(tf32_as_seen_by_every_interface()) == {precision == "tf32"}, precision


@pytest.mark.slow
def test_a_fresh_process_computes_convolutions_in_fp32():
    """Their switch is on when torch starts, and one of its two interfaces leaves it so."""
    call = (
        "import torch\n"
        "from icckd.train.precision import prepare\n"
        "from icckd.study.training import Numerics\n"
        "prepare('cpu', Numerics())\n"
        "print(torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.allow_tf32)"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["ieee", "False"]


def test_evaluation_is_in_fp32_in_a_stage_that_trains_on_tf32(run_teacher, monkeypatch):
    seen = {"training": set(), "evaluation": set()}

    def watched(of, original):
        def call(*arguments, **named):
            seen[of].update(tf32_as_seen_by_every_interface())
            return original(*arguments, **named)

        return call

    for module, name in ((metrics, "predict"), (trainer, "series_on_validation")):
        monkeypatch.setattr(module, name, watched("evaluation", getattr(module, name)))
    monkeypatch.setattr(contrastive, "observe_cache", watched("evaluation", observe_cache))
    monkeypatch.setattr(stage, "outcomes_on_test", watched("evaluation", stage.outcomes_on_test))
    monkeypatch.setattr(trainer, "_run_epoch", watched("training", trainer._run_epoch))
    run_teacher(numerics=Numerics(precision="tf32"), intra=IntraLoss())

    assert seen == {"training": {True}, "evaluation": {False}}
    prepare("cpu", Numerics())


@pytest.mark.slow
def test_a_frozen_network_has_the_bits_that_autocast_gives():
    """Its weights are cast once, not at every step: the same values in the same type."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for settings in CONTRACT:
        model = build_model(settings, in_channels=3, n_classes=5, key=("a",), device="cpu").eval()
        for precision in ("bf16", "fp16"):
            arithmetic = Arithmetic(Numerics(precision=precision), "cpu")
            with torch.no_grad():
                frozen, cast = (f(model)(images) for f in (arithmetic.frozen, arithmetic.forward))
            pairs = zip(tree_leaves(frozen), tree_leaves(cast), strict=True)
            equal = all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)
            assert equal, (precision, label(settings))
        assert {p.dtype for p in model.parameters()} == {torch.float32}, label(settings)


def test_the_weights_of_a_frozen_network_are_cast_once():
    """A step of a student casts those of the student alone."""
    model, images = model_and_images()
    count = {}
    for name in ("frozen", "forward"):
        forward = getattr(Arithmetic(Numerics(precision="bf16"), "cpu"), name)(model.eval())
        with torch.no_grad(), Casts() as casts:
            forward(images)
        count[name] = casts.weights

    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    assert count == {"frozen": 0, "forward": convolutions}


class Casts(TorchDispatchMode):
    """Counts filters cast to half precision."""

    weights = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and made.dtype is torch.bfloat16:
            self.weights += made.shape[-2:] == (3, 3)
        return made


def test_a_stage_whose_every_step_overflows_fails_instead_of_ending_untrained(run_teacher):
    """The loss scale would need 17 steps to be lost; this stage has 15."""
    with pytest.raises(StageError, match=r"no step was taken: .* at all 15 of them") as caught:
        run_teacher(numerics=Numerics(precision="fp16"), intra=IntraLoss(weight=3e4, margin="off"))

    assert "bf16" in caught.value.hint


def test_an_epoch_without_a_step_is_told_and_the_stage_goes_on(run_teacher):
    """The scale is still on its way down in the first of them."""
    notes = run_teacher(
        numerics=Numerics(precision="fp16"), intra=IntraLoss(weight=200.0, margin="off"),
        training=Training(epochs=6, batch_size=32, lr=1e-5),
    )  # fmt: skip

    [line] = notes.lines
    assert line == "no step of epoch 1 was taken: the gradient of each overflowed"
    assert 0 < notes.values["teacher.overflow_share"] < 100
    assert notes.epochs[-1]["teacher.overflow_share"] < 100


def test_the_loss_scale_follows_the_rule_of_torchs_own_scaler():
    own, torchs = LossScale(), GradScaler("cpu", growth_interval=GROWS_AFTER)
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    stream = torch.Generator().manual_seed(0)
    for step in range(3 * GROWS_AFTER):
        overflows = bool(torch.rand((), generator=stream) < 0.3) and step < 30
        torchs.scale(parameter.sum()).backward()
        if overflows:
            parameter.grad.fill_(torch.inf)
        torchs.step(optimizer)
        torchs.update()
        optimizer.zero_grad()
        own.adapt(torch.tensor(float(overflows)))
        assert own.scale == torchs.get_scale()

    assert own.scale > 1
