"""Compiled stages: each is compiled whatever came before, or fails with what was missing."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from icckd.errors import MachineError, StageError
from icckd.study.training import Numerics, Training
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import Arithmetic, prepare

COMPILED = Numerics(compile="on")
ONE_EPOCH = Training(epochs=1, batch_size=32)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that torch's compiler handed on, run as they are: its real front, without kernels."""
    seen = []

    def keep(graph, inputs):
        seen.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    return seen


@pytest.mark.slow
def test_each_stage_of_a_worker_is_compiled_however_many_came_before(graphs, run_teacher):
    """By itself the compiler runs a function eager after so many variants, without an error."""
    import torch._dynamo.config as dynamo

    counts = []
    with dynamo.patch(recompile_limit=1):
        for width in (2, 3, 4):
            run_teacher(model=CnnModel(widths=(width, 4, 4)), numerics=COMPILED, training=ONE_EPOCH)
            counts.append(len(graphs))

    assert counts == [1, 2, 3]


@pytest.mark.slow
def test_a_stage_of_more_variants_than_the_compiler_makes_fails(graphs, run_teacher, run_student):
    import torch._dynamo.config as dynamo

    teacher = run_teacher(training=ONE_EPOCH)
    with dynamo.patch(recompile_limit=1), pytest.raises(StageError, match="gave up") as caught:
        run_student(teacher.folder, numerics=COMPILED, training=ONE_EPOCH)

    assert "recompile limit" in caught.value.message
    assert 'numerics.compile = "off"' in caught.value.hint


def compiled_step(arithmetic):
    model = build_model(CnnModel(widths=(2, 2, 2)), in_channels=1, n_classes=2, key=("a",),
                        device="cpu").train()  # fmt: skip
    forward = arithmetic.forward(model)
    return lambda: forward(torch.ones(2, 1, 8, 8)).features.sum().backward()


class KernelError(RuntimeError):
    """As the compilers of kernels raise them."""


KernelError.__module__ = "triton.runtime.errors"


@pytest.mark.long
def test_a_compiler_that_fails_in_the_backward_pass_is_a_fault_of_the_machine():
    """The backward pass is compiled when it is first needed."""
    import torch._inductor.config as inductor

    prepare("cpu", COMPILED)
    arithmetic = Arithmetic(COMPILED, "cpu")
    with warnings.catch_warnings(), inductor.patch({"force_disable_caches": True}):
        warnings.simplefilter("ignore")
        model = build_model(
            CnnModel(widths=(2, 2, 2)), in_channels=1, n_classes=2, key=("a",), device="cpu"
        )
        features = arithmetic.forward(model.train())(torch.ones(2, 1, 8, 8)).features
        with (
            inductor.patch({"cpp.cxx": ("/no/such/compiler",)}),
            pytest.raises(MachineError, match=r"torch\.compile failed: .*compiler"),
            arithmetic.compiling(),
        ):
            features.sum().backward()


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_whatever_a_backend_raises_while_it_compiles_is_a_fault_of_the_machine(phase, monkeypatch):
    from torch._dynamo.backends.common import aot_autograd

    def fails(graph, inputs):
        raise OSError("ptxas: not found\nand a long report")

    compilers = {"fw_compiler": lambda graph, inputs: graph.forward, "bw_compiler": fails}
    if phase == "forward":
        compilers["fw_compiler"] = fails
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=aot_autograd(**compilers)))
    prepare("cpu", COMPILED)
    arithmetic = Arithmetic(COMPILED, "cpu")
    step = compiled_step(arithmetic)

    with pytest.raises(MachineError, match="ptxas: not found") as caught, arithmetic.compiling():
        step()

    assert "long report" not in caught.value.message
    assert 'numerics.compile = "off"' in caught.value.hint


def test_an_error_of_a_kernels_compiler_at_its_first_launch_is_a_fault_of_the_machine():
    with (
        pytest.raises(MachineError, match="out of shared memory"),
        Arithmetic(COMPILED, "cpu").compiling(),
    ):
        raise KernelError("out of shared memory")


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), ValueError("shapes differ"),
     StageError("the sampler")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_other_errors_of_a_compiled_step_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, Arithmetic(COMPILED, "cpu").compiling():
        raise error

    assert caught.value is error


def test_memory_that_ran_out_while_compiling_is_told_as_such(monkeypatch):
    full = torch.OutOfMemoryError("CUDA out of memory")

    def fails(graph, inputs):
        raise full

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fails))
    prepare("cpu", COMPILED)
    arithmetic = Arithmetic(COMPILED, "cpu")
    step = compiled_step(arithmetic)

    with pytest.raises(torch.OutOfMemoryError) as caught, arithmetic.compiling():
        step()

    assert caught.value is full


def test_a_compiler_that_is_switched_off_is_not_passed_over(monkeypatch):
    """The variables make torch.compile return its argument, so the stage would be an eager one."""
    import torch._dynamo.config as dynamo

    with dynamo.patch(disable=True), pytest.raises(MachineError, match="TORCH_COMPILE_DISABLE"):
        prepare("cpu", COMPILED)
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(MachineError, match="TORCHDYNAMO_DISABLE"):
        prepare("cpu", COMPILED)


NINE = range(2, 11)


def widths(width):
    return {
        "model": CnnModel(widths=(width, 4, 4)), "numerics": COMPILED, "training": ONE_EPOCH,
        "intra": IntraLoss(), "views": 2,
    }  # fmt: skip


def digest_in_a_fresh_process(width):
    """Train that stage alone, by this file as a script."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.test_compiled", str(width)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "core"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_nine_compiled_shapes_in_one_worker_have_the_bits_of_fresh_processes(run_teacher):
    together = [hashlib.sha256(run_teacher(**widths(w)).weights).hexdigest() for w in NINE]

    assert [digest_in_a_fresh_process(width) for width in NINE] == together
    assert len(set(together)) == len(NINE)


@pytest.mark.long
def test_a_compiled_stage_repeats_itself_and_is_near_an_eager_one(run_teacher, run_student):
    settings = {"numerics": COMPILED, "intra": IntraLoss()}
    compiled, again = run_teacher(**settings), run_teacher(**settings)
    eager = run_teacher(intra=IntraLoss())
    student = run_student(compiled.folder, numerics=COMPILED)

    assert compiled.lines == student.lines == []
    assert compiled.weights == again.weights
    first = [notes.epochs[0]["teacher.ce"] for notes in (compiled, eager)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)


def test_a_stage_that_is_to_be_compiled_fails_without_a_compiler(run_teacher):
    import torch._inductor.config as inductor

    with (
        inductor.patch({"cpp.cxx": ("/no/such/compiler",), "force_disable_caches": True}),
        pytest.raises(MachineError, match=r"torch\.compile failed: .*compiler") as caught,
    ):
        run_teacher(numerics=COMPILED)

    assert 'numerics.compile = "off"' in caught.value.hint


def _train_alone(width):
    import tempfile

    from icckd.study.teacher import Teacher
    from icckd.train.contract import JobContext, TeacherJob
    from icckd.train.stage import train_teacher
    from tests.train.conftest import TINY, Notes

    settings = widths(width)
    numerics = settings.pop("numerics")
    with tempfile.TemporaryDirectory() as folder:
        notes = Notes(folder=Path(folder))
        job = TeacherJob(data=TINY, teacher=Teacher(**settings), numerics=numerics, seed=0)
        train_teacher(
            job,
            notes,
            JobContext(device="cpu", data_root=notes.folder, artifact_folder=notes.folder),
        )
        print(json.dumps(hashlib.sha256(notes.weights).hexdigest()))


if __name__ == "__main__":
    _train_alone(int(sys.argv[1]))
