"""Precision, repeatability and the compiler, as far as a CPU shows them.

tests/engine/test_cuda.py has the rest.
"""

import pytest
import torch

from icckd.engine.arithmetic import PLAIN, Arithmetic, output_of
from icckd.engine.models import build_model
from icckd.engine.numerics import prepare
from icckd.errors import MachineError
from icckd.spec.models import CnnModel
from icckd.spec.teacher import IntraLoss
from icckd.spec.training import Numerics, Training


def model_and_images():
    model = build_model(CnnModel(), in_channels=1, n_classes=5, key=("a",), device="cpu").train()
    return model, torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_maps_come_back_as_fp32_and_near_those_of_fp32(precision, tolerance):
    model, images = model_and_images()
    half = Arithmetic(Numerics(precision=precision), "cpu").forward(model)(images)
    full = PLAIN.forward(model)(images)
    output = output_of(model, half)

    tensors = [half.features, *half.stages, *half.preacts, output.logits]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
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


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_stage_in_half_precision_repeats_itself_and_learns(precision, run_teacher, run_student):
    settings = {
        "numerics": Numerics(precision=precision),
        "training": Training(epochs=8, batch_size=32, lr=0.2),
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


def test_tf32_is_on_only_where_it_is_asked_for():
    prepare("cpu", Numerics(precision="tf32"))
    on = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.fp32_precision
    prepare("cpu", Numerics(precision="bf16"))
    off = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.fp32_precision

    assert (on, off) == (("tf32", "tf32"), ("ieee", "ieee"))


def test_a_stage_that_is_to_be_compiled_fails_without_a_compiler(run_teacher):
    import torch._inductor.config as inductor

    with (
        inductor.patch({"cpp.cxx": ("/no/such/compiler",), "force_disable_caches": True}),
        pytest.raises(MachineError, match=r"torch\.compile failed: .*compiler") as caught,
    ):
        run_teacher(numerics=Numerics(compile="on"))

    assert 'numerics.compile = "off"' in caught.value.hint


@pytest.mark.long
def test_a_compiled_stage_repeats_itself_and_is_near_an_eager_one(run_teacher, run_student):
    settings = {"numerics": Numerics(compile="on"), "intra": IntraLoss()}
    compiled, again = run_teacher(**settings), run_teacher(**settings)
    eager = run_teacher(intra=IntraLoss())
    student = run_student(compiled.folder, numerics=Numerics(compile="on"))

    assert compiled.lines == student.lines == []
    assert compiled.weights == again.weights
    first = [notes.epochs[0]["teacher.ce"] for notes in (compiled, eager)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)
