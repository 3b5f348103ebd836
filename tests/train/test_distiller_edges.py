"""What each method must not care about, and inputs at which careless forms break."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icckd.train.distillers.base import unit_rows
from icckd.train.distillers.logits import LEAST_DEVIATION, apart, correlation, standardized
from icckd.train.networks.base import Output
from tests.train.distiller_sample import SETTINGS, case, require_grad

EVERY = pytest.mark.parametrize("name", SETTINGS)


def own_terms(made, **changed):
    student = made.student._replace(**changed)
    return list(copy.deepcopy(made.distiller).terms(student, made.teacher, made.batch, step=0)
                .values())[1:]  # fmt: skip


def scaled(stages, factor):
    return tuple(factor * stage for stage in stages)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_attention_and_similarity_ignore_the_scale_of_maps(factor):
    for name in ("at", "sp"):
        made = case(name)
        other = own_terms(made, stages=scaled(made.student.stages, factor))
        torch.testing.assert_close(other, own_terms(made))


def test_relations_of_features_ignore_rotation_shift_and_scale():
    made = case("rkd")
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    moved = 3.0 * made.student.features @ rotation + 11.0

    torch.testing.assert_close(own_terms(made, features=moved), own_terms(made))


def test_affinities_ignore_rotation_and_the_length_of_each_row():
    made = case("pkt")
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    lengths = torch.rand(6, 1, dtype=torch.float64) + 0.5

    torch.testing.assert_close(
        own_terms(made, features=lengths * made.student.features @ rotation), own_terms(made)
    )


def test_correlation_ignores_shift_and_scale_of_each_row():
    a, b = torch.rand(2, 5, 9, dtype=torch.float64)
    moved = (torch.rand(5, 1) + 0.5) * a + torch.randn(5, 1)

    torch.testing.assert_close(correlation(moved, b), correlation(a, b))
    torch.testing.assert_close(correlation(a, -b), -correlation(a, b))


@pytest.mark.parametrize("name", ["kd", "kd, standardized", "dkd", "nkd", "dist"])
def test_a_shift_of_all_logits_changes_nothing(name):
    made = case(name)
    shifted = made.student.logits + torch.randn(6, 1, dtype=torch.float64)

    torch.testing.assert_close(own_terms(made, logits=shifted), own_terms(made))


@pytest.mark.parametrize("name", ["kd, standardized", "dkd, standardized", "ckd"])
def test_a_scale_of_each_images_logits_changes_nothing_when_it_is_taken_out(name):
    made = case(name)
    lengths = torch.rand(6, 1, dtype=torch.float64) + 0.5

    torch.testing.assert_close(
        own_terms(made, logits=lengths * made.student.logits), own_terms(made), rtol=1e-5, atol=1e-6
    )


def test_standardization_changes_the_logits_and_nothing_else():
    off, on = case("kd"), case("kd, standardized")
    logits = [standardized(output.logits) for output in (off.student, off.teacher)]
    by_hand = replace(off, teacher=off.teacher._replace(logits=logits[1]))

    assert on.distiller.weights(7) == off.distiller.weights(7)
    torch.testing.assert_close(own_terms(on), own_terms(by_hand, logits=logits[0]))


def test_a_row_is_standardized_as_in_the_paper_from_a_deviation_of_one_percent_on():
    logits = torch.randn(7, 10, dtype=torch.float64)
    logits *= (torch.logspace(-2, 4, 7, dtype=torch.float64) * 1.01 / logits.std(1))[:, None]
    paper = (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)

    torch.testing.assert_close(standardized(logits), paper, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["kd, standardized", "dkd, standardized"])
def test_standardized_logits_of_a_constant_row_give_bounded_gradients_at_any_temperature(name):
    """Without a bound, a row's rounding errors are divided by 1e-7, and so is its gradient."""
    for temperature in (0.1, 0.3, 1.0, 4.0, 30.0, 1000.0):
        made = case(name, dtype=torch.float32, temperature=temperature)
        normal = made.teacher.logits
        constant = torch.full_like(normal, 0.1)
        noisy = constant + 1e-8 * torch.arange(normal.shape[1])
        for student, teacher in [(constant, normal), (noisy, normal), (noisy, constant)]:
            leaf = student.clone().requires_grad_()
            seen = replace(made, teacher=made.teacher._replace(logits=teacher))
            losses = seen.own(made.student._replace(logits=leaf))
            (gradient,) = torch.autograd.grad(sum(losses), leaf)
            # The derivative by standardized logits is T |p_s - p_t| / B, at most |z_t| / B.
            assert all(loss.isfinite() for loss in losses)
            assert gradient.norm(dim=1).max() < 2 / len(normal) / LEAST_DEVIATION
        assert standardized(noisy).abs().max() < 1e-4


SAME = ["kd", "dkd", "dist", "rkd", "pkt", "at", "sp"]


@pytest.mark.parametrize("name", SAME)
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(name):
    made = case(name)
    twin, leaves = require_grad(made.teacher)
    terms = list(made.distiller.terms(twin, made.teacher, made.batch, step=0).values())[1:]
    torch.stack(terms).sum().backward()

    assert all(abs(term.item()) < 1e-9 for term in terms)
    assert all(leaf.grad is None or leaf.grad.abs().max() < 1e-6 for leaf in leaves)


@EVERY
@pytest.mark.parametrize("what", ["zeros", "equal rows"])
def test_dead_or_identical_features_give_finite_terms_and_bounded_gradients(name, what):
    made = case(name, dtype=torch.float32)

    def spoil(x):
        return torch.zeros_like(x) if what == "zeros" else x[:1].expand_as(x).clone()

    def spoilt(output):
        return Output(
            spoil(output.features),
            tuple(spoil(x) for x in output.stages),
            tuple(spoil(x) for x in output.preacts),
            spoil(output.logits),
        )

    for teacher in (made.teacher, spoilt(made.teacher)):
        student, leaves = require_grad(spoilt(made.student))
        terms = replace(made, teacher=teacher).terms(student)
        torch.stack(list(terms.values())).sum().backward()

        assert all(term.isfinite() for term in terms.values())
        for leaf in leaves:
            assert leaf.grad is None or leaf.grad.abs().max() < 1e8
        for parameter in made.distiller.parameters():
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", ["kd", "dkd", "nkd", "dist", "ckd"])
@pytest.mark.parametrize("gap", [30.0, 420.0, 2000.0, 6e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_logit_gap_gives_finite_terms_and_gradients(name, gap, dtype):
    """A softmax before the logarithm gives NaN from a gap of about 420 on, at T = 4."""
    made = case(name, dtype=torch.float32)
    labels = made.batch.labels
    sure = gap * torch.nn.functional.one_hot(labels, 5).to(dtype)
    wrong = gap * torch.nn.functional.one_hot((labels + 1) % 5, 5).to(dtype)

    for seen, guess in ((sure, wrong), (sure, sure), (wrong, sure)):
        student, leaves = require_grad(made.student._replace(logits=guess))
        teacher = made.teacher._replace(logits=seen)
        terms = made.distiller.terms(student, teacher, made.batch, step=0)
        torch.stack(list(terms.values())).sum().backward()
        assert all(term.isfinite() for term in terms.values())
        assert leaves[-1].grad.isfinite().all()


def test_the_logarithm_of_the_rest_is_exact_where_one_minus_p_is_0():
    logits = torch.tensor([[100.0, 0.0, 0.0]])

    parts = apart(logits, torch.tensor([0]))

    assert 1 - logits.softmax(dim=1)[0, 0] == 0
    assert parts.rest.item() == pytest.approx(math.log(2) - 100)
    torch.testing.assert_close(parts.others, torch.tensor([[0.0, -math.log(2), -math.log(2)]]))


def test_a_teacher_correlates_with_itself_however_sure_it_is():
    """With 1e-8 added to the product of the deviations, as elsewhere, it is about 0.5."""
    logits = torch.randn(64, 100) + 20 * torch.nn.functional.one_hot(torch.arange(64) % 50, 100)

    inter = correlation(logits.softmax(1), logits.softmax(1))
    intra = correlation(logits.softmax(1).T, logits.softmax(1).T)

    torch.testing.assert_close(inter, torch.ones(64))
    torch.testing.assert_close(intra, torch.ones(100))


def test_a_constant_row_correlates_with_nothing_and_gets_no_gradient():
    constant = torch.full((1, 7), 0.1).requires_grad_()

    value = correlation(constant, torch.rand(1, 7))
    value.sum().backward()

    assert value.item() == 0
    assert not constant.grad.any()


def test_a_zero_row_has_no_direction_and_no_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)

    rows = unit_rows(x)
    (rows * torch.tensor([1.0, 2.0])).sum().backward()

    torch.testing.assert_close(rows, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    assert not x.grad[0].any()


def test_one_image_whose_units_are_dead_leaves_the_others_gradients_as_they_are():
    made = case("sp")
    dead = tuple(stage.index_fill(0, torch.tensor([2]), 0.0) for stage in made.student.stages)
    student, leaves = require_grad(made.student._replace(stages=dead))
    torch.stack(list(made.terms(student).values())[1:]).sum().backward()
    last = leaves[3].grad

    assert last.isfinite().all()
    assert last.abs().max() < 10


class LargestTensor(TorchDispatchMode):
    """Notes how many elements the largest tensor has that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def test_angles_take_memory_for_their_cosines_and_the_differences_only():
    size, features = 24, 40
    made = case("rkd", size=size)
    wide = [torch.randn(size, features).requires_grad_() for _ in range(2)]
    student = made.student._replace(features=wide[0])
    teacher = made.teacher._replace(features=wide[1])

    with LargestTensor() as seen:
        terms = made.distiller.terms(student, teacher, made.batch, step=0)
        terms["rkd_angle"].backward()

    assert seen.elements == max(size**3, size**2 * features)
