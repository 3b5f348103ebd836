"""CRD's negatives, stored embeddings and normalisation."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from icckd.train.distillers import build_distiller
from tests.train.distiller_sample import LABELS, case, pairing, settings_of


def with_labels(labels):
    """A batch of training images that have these labels."""
    made = case("crd, drawn")
    distiller = build_distiller(settings_of("crd, drawn"), replace(pairing(), labels=labels))
    batch = replace(made.batch, labels=labels[made.batch.ids])
    return replace(made, distiller=distiller.double(), batch=batch)


def test_negatives_drawn_for_the_batch_give_on_average_the_loss_of_all_other_images():
    crd = case("crd, drawn").distiller
    anchors = normalize(torch.randn(6, 8, dtype=torch.float64))
    bank = normalize(torch.randn(40, 8, dtype=torch.float64))

    def loss(ids):
        other = (LABELS[:6, None] != LABELS[ids]).double()
        share = other / other.sum(dim=1, keepdim=True)
        positive, scores = (anchors * bank[:6]).sum(dim=1) / 0.07, anchors @ bank[ids].T / 0.07
        return crd._contrast(positive, scores, share, torch.tensor(3.0))

    drawn = torch.stack([loss(crd._draw(step)) for step in range(3000)])
    everything = loss(torch.arange(40))

    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - everything) < 4 * error
    assert error < 0.01 * everything


def test_stored_embeddings_of_an_anchors_own_class_are_no_negatives():
    made = case("crd, drawn")
    same = case("crd, drawn").distiller
    label = made.batch.labels[0]
    one = replace(
        made.batch, labels=made.batch.labels[:1], ids=made.batch.ids[:1], images=torch.empty(0)
    )
    own_class = (label == LABELS) & (torch.arange(40) != made.batch.ids[0])
    for bank in (same.student_bank, same.teacher_bank):
        bank[own_class] = -bank[own_class]

    first = [type(made.student)(*(x[:1] if isinstance(x, torch.Tensor) else x for x in output))
             for output in (made.student, made.teacher)]  # fmt: skip
    seen = [d.terms(*first, one, step=0)["crd_student"] for d in (made.distiller, same)]

    assert torch.equal(*seen)


def test_stored_embeddings_move_towards_the_fresh_ones_and_stay_of_length_1():
    made = case("crd, drawn")
    before = made.distiller.student_bank.clone()
    fresh = normalize(made.distiller.student(made.student.features)).detach()
    made.terms()
    after, ids = made.distiller.student_bank, made.batch.ids

    torch.testing.assert_close(after[ids], normalize(0.5 * before[ids] + 0.5 * fresh))
    rest = [i for i in range(40) if i not in ids.tolist()]
    assert torch.equal(after[rest], before[rest])
    assert not after.requires_grad


def test_stored_embeddings_begin_with_a_length_of_about_1():
    made = case("crd", dimensions=128).distiller

    for bank in (made.student_bank, made.teacher_bank):
        assert bank.norm(dim=1).tolist() == pytest.approx([1.0] * 40, abs=0.2)
    assert not torch.equal(made.student_bank, made.teacher_bank)


def test_the_normalisation_is_taken_from_the_first_step_and_kept():
    made = case("crd, drawn")
    made.terms(step=0)
    first = made.distiller.log_z.clone()
    made.terms(step=1)

    assert first.isfinite().all()
    assert torch.equal(made.distiller.log_z, first)


def test_the_normalisation_makes_the_mean_probability_of_the_first_batch_1_over_n():
    made = case("crd")
    bank, ids = made.distiller.teacher_bank.clone(), made.batch.ids
    made.terms()
    anchors = normalize(made.distiller.student(made.student.features)).detach()
    scores = (anchors @ bank.T / 0.07).exp() / made.distiller.log_z[0].exp()
    other = made.batch.labels[:, None] != LABELS
    negatives = torch.stack([row[mask].mean() for row, mask in zip(scores, other, strict=True)])
    positives = scores[torch.arange(6), ids]

    mean = (positives + 16_384 * negatives) / 16_385
    assert mean.mean().item() == pytest.approx(1 / 40)


def test_draws_are_keyed_by_the_step_and_lie_within_the_training_images():
    crd = case("crd, drawn").distiller
    draws = torch.stack([crd._draw(step) for step in range(200)])

    assert draws.shape == (200, 16)
    assert set(draws.unique().tolist()) == set(range(40))
    assert torch.equal(crd._draw(5), draws[5])
    assert not torch.equal(draws[5], draws[6])


def test_with_as_many_negatives_as_images_nothing_is_drawn():
    assert torch.equal(case("crd").distiller._draw(3), torch.arange(40))


@pytest.mark.parametrize("labels", [torch.arange(40), torch.zeros(40, dtype=torch.int64)])
def test_classes_of_one_image_and_one_class_of_all_images_are_finite(labels):
    made = with_labels(labels)
    terms = made.distiller.own_terms(made.student, made.teacher, made.batch, step=0)

    assert all(term.isfinite() for term in terms.values())


class Largest(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.is_floating_point():  # no generator's state
            self.elements = max(self.elements, made.numel())
        return made


def test_no_tensor_holds_negatives_of_each_anchor_apart():
    made = case("crd, drawn", negatives=39)

    with Largest() as seen:
        sum(made.own()).backward()

    batch, negatives, width = 6, 39, 8
    maps = max(stage.numel() for stage in made.teacher.stages)
    assert seen.elements <= max(negatives * width, batch * negatives, maps)
    assert maps < batch * negatives * width
