"""Training that diverges is said of the stage at fault, with step and term, however it shows."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from icckd.errors import NonFiniteError, StageError
from icckd.run.failures import failure_of
from icckd.study.training import Training
from icckd.train.data.splits import Split
from icckd.train.datasets.synthetic import SyntheticData
from icckd.train.evaluate import series_on_validation
from icckd.train.losses.contrastive import IntraClass
from icckd.train.metrics.base import Evaluation, Seen
from icckd.train.networks.cnn import CnnModel

WILD = Training(epochs=3, batch_size=32, lr=1e30)


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_the_message_names_the_stage_that_diverged(kind, run_teacher, run_student):
    folder = run_teacher().folder if kind == "student" else None
    with pytest.raises(NonFiniteError, match=rf"step 1: the {kind} diverged") as caught:
        run_teacher(training=WILD) if folder is None else run_student(folder, training=WILD)

    assert f"lower the {kind}'s learning rate" in caught.value.hint
    assert failure_of(caught.value).cause == "non-finite"


@pytest.mark.parametrize(
    ("times", "distiller", "why"),
    [(torch.inf, "kd", "are not finite"), (1e22, "rkd", "reach")],
)
def test_a_teacher_that_overflows_is_blamed_and_not_its_student(
    times, distiller, why, run_teacher, run_student
):
    folder = run_teacher().folder
    tensors = load_file(folder / "model.safetensors")
    last = [name for name in tensors if name.endswith("norm.weight")][-1]
    tensors[last] *= times
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(
        NonFiniteError, match=f"the teacher diverged, its outputs .* {why}"
    ) as caught:
        run_student(folder, distiller={"kind": distiller})

    assert caught.value.step == 0
    assert "lower the teacher's learning rate" in caught.value.hint


def test_outputs_that_overflow_end_a_stage_whose_losses_were_finite(run_teacher):
    with pytest.raises(NonFiniteError) as caught:
        run_teacher(
            data=SyntheticData(kind="synthetic", train=80, validation=10, test=10, size=8),
            model=CnnModel(widths=(4, 4, 4)),
            training=Training(epochs=3, lr=1e6),
        )

    assert caught.value.term == "outputs"
    assert "the teacher diverged" in caught.value.message


def test_a_loss_without_a_solution_is_a_divergence_of_its_step(run_teacher, monkeypatch):
    def singular(self, seen):
        return torch.linalg.inv(torch.zeros(2, 2))

    monkeypatch.setattr(IntraClass, "term", singular)
    with pytest.raises(NonFiniteError, match=r"linear-algebra .* at step 0: the teacher") as caught:
        run_teacher()

    assert caught.value.term == "linear algebra"


def test_a_metric_without_a_solution_is_left_out_and_the_others_stay(monkeypatch):
    def unsolvable(*_, **__):
        raise torch.linalg.LinAlgError("did not converge")

    split = Split(
        images=torch.zeros(4, 1, 1, 1, dtype=torch.uint8),
        labels=torch.tensor([0, 0, 1, 1]),
        subclasses=None,
    )
    seen = Seen(torch.eye(4), torch.eye(4)[:, :2])
    monkeypatch.setattr(torch.linalg, "svd", unsolvable)
    looked_at = Evaluation(model=None, split=split, normalise=None, n_classes=2, outputs=seen)

    values = series_on_validation(looked_at, is_diagnosed=True)

    assert values["val_top1"] == 25.0
    assert "val_nc1" not in values


def test_settings_that_cannot_be_trained_are_no_bug():
    assert failure_of(StageError("a batch of 64 images is more than 42")).cause == "study"
