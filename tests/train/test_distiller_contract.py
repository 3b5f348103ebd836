"""What every distiller must do, whoever wrote it: put its settings into SETTINGS and run this."""

import copy
import io
from dataclasses import replace

import pytest
import torch

from icckd.study.network import NetworkShape, StageShape
from icckd.train.data.batch import Batch
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import network_shape
from icckd.train.networks.base import Output
from tests.train.distiller_sample import (
    LABELS,
    SETTINGS,
    case,
    from_leaves,
    pairing,
    require_grad,
    rows,
    settings_of,
)

EVERY = pytest.mark.parametrize("name", SETTINGS)


@EVERY
def test_terms_are_named_as_the_weights_in_the_same_order_in_all_epochs(name):
    made = case(name)
    names = list(made.distiller.weights(1))

    assert list(made.terms()) == names
    assert all(list(made.distiller.weights(epoch)) == names for epoch in (2, 20, 240))
    assert names[0] == "ce"
    assert all(weight >= 0 for weight in made.distiller.weights(1).values())


@EVERY
def test_terms_are_finite_scalars(name):
    assert all(term.shape == () and term.isfinite() for term in case(name).terms().values())


@EVERY
def test_the_teacher_gets_no_gradient_and_every_parameter_does(name):
    made = case(name)
    student, own = require_grad(made.student)
    teacher, other = require_grad(made.teacher)
    terms = replace(made, teacher=teacher).terms(student)
    torch.stack(list(terms.values())).sum().backward()

    assert all(leaf.grad is None for leaf in other)
    assert any(leaf.grad is not None and leaf.grad.any() for leaf in own)
    for part, parameter in made.distiller.named_parameters():
        assert parameter.grad is not None, part
        assert parameter.grad.isfinite().all(), part
        assert parameter.grad.any(), part


@EVERY
def test_each_term_of_the_method_teaches_the_student_or_its_own_parts(name):
    made = case(name)
    student, own = require_grad(made.student)
    learners = [*own, *made.distiller.parameters()]

    for term in made.terms(student).values():
        gradients = torch.autograd.grad(term, learners, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.any() for gradient in gradients)


@EVERY
def test_it_reads_only_what_its_settings_declare(name):
    made, settings = case(name), settings_of(name)
    terms = settings.terms_on() if name == "sum" else [(name, settings)]
    needs = {need for _, term in terms for need in term.needs}
    gone = torch.full((6, 3), torch.nan, dtype=torch.float64)

    def only_declared(full):
        return Output(
            full.features if "features" in needs else gone,
            full.stages if "stages" in needs else (),
            full.preacts if "preacts" in needs else (),
            full.logits,
        )

    bare = replace(made, teacher=only_declared(made.teacher))
    if "index" not in needs:
        bare = replace(bare, batch=replace(bare.batch, ids=torch.full((6,), -1)))

    assert all(term.isfinite() for term in bare.terms(only_declared(made.student)).values())


@EVERY
def test_a_state_dict_continues_as_the_distiller_it_came_from(name):
    made = case(name)
    optimise(made, steps=2)
    saved = io.BytesIO()
    torch.save(made.distiller.state_dict(), saved)
    saved.seek(0)
    fresh = replace(made, distiller=case(name).distiller)
    fresh.distiller.load_state_dict(torch.load(saved, weights_only=True))

    assert optimise(made, steps=2, first=2) == optimise(fresh, steps=2, first=2)
    assert all(
        torch.equal(value, other)
        for value, other in zip(
            made.distiller.state_dict().values(), fresh.distiller.state_dict().values(), strict=True
        )
    )


def optimise(made, *, steps, first=0):
    seen = []
    for step in range(first, first + steps):
        order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(step))[:6]
        batch = Batch(images=torch.empty(0), labels=LABELS[order], ids=order, largest_class=6)
        student, _ = require_grad(made.student)
        terms = replace(made, batch=batch).terms(student, step=step)
        torch.stack(list(terms.values())).sum().backward()
        for parameter in made.distiller.parameters():
            parameter.data -= 0.01 * parameter.grad
            parameter.grad = None
        seen += [term.item() for term in terms.values()]
    return seen


@EVERY
def test_it_is_deterministic_and_draws_from_streams_of_its_key_alone(name):
    torch.manual_seed(1)
    first = case(name)
    values = optimise(first, steps=2)
    torch.manual_seed(2)

    assert optimise(case(name), steps=2) == values
    other = build_distiller(settings_of(name), pairing(seed=3))
    mine = build_distiller(settings_of(name), pairing(seed=0))
    for (part, a), b in zip(mine.named_parameters(), other.parameters(), strict=True):
        constant = "norm" in part or "scales" in part or (a == a.flatten()[0]).all()
        assert constant or not torch.equal(a, b), part


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    made = case(name, dtype=torch.float32)

    def as_dtype(full, dtype):
        return Output(
            full.features.to(dtype),
            tuple(stage.to(dtype) for stage in full.stages),
            tuple(preact.to(dtype) for preact in full.preacts),
            full.logits.to(dtype),
        )

    student, teacher = as_dtype(made.student, dtype), as_dtype(made.teacher, dtype)
    same = copy.deepcopy(made.distiller)
    with torch.autocast("cpu", dtype):
        half = made.distiller.terms(student, teacher, made.batch, step=0)
    full = same.terms(
        as_dtype(student, torch.float32), as_dtype(teacher, torch.float32), made.batch, step=0
    )

    for term, value in half.items():
        assert value.dtype is torch.float32
        torch.testing.assert_close(value, full[term], rtol=0, atol=0)


ORDERED = {"cc"}  # compares consecutive images, as the code behind the published numbers does


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - ORDERED))
def test_the_order_of_the_batch_does_not_matter(name):
    made = case(name)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = replace(
        made,
        distiller=copy.deepcopy(made.distiller),
        student=rows(made.student, order),
        teacher=rows(made.teacher, order),
        batch=replace(made.batch, labels=made.batch.labels[order], ids=made.batch.ids[order]),
    )

    torch.testing.assert_close(moved.terms(), made.terms())


@EVERY
def test_gradients_are_those_of_finite_differences(name):
    made = case(name, size=5)
    _, leaves = require_grad(made.student)
    leaves = [leaf.detach().abs().add(0.05).requires_grad_() for leaf in leaves]
    made.terms(step=0)  # what a method takes from the first step is a constant afterwards

    def all_terms(*leaves):
        fresh = copy.deepcopy(made.distiller)  # a method may keep things from call to call
        terms = replace(made, distiller=fresh).terms(from_leaves(list(leaves)), step=1)
        return torch.stack(list(terms.values()))

    assert torch.autograd.gradcheck(all_terms, leaves, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_the_shape_that_a_distiller_is_built_for_tells_height_from_width():
    stages = (torch.zeros(2, 3, 8, 4), torch.zeros(2, 5, 4, 2))
    seen = Output(torch.zeros(2, 6), stages, stages, torch.zeros(2, 10))

    assert network_shape(seen) == NetworkShape(
        features=6,
        stages=(
            StageShape(channels=3, height=8, width=4),
            StageShape(channels=5, height=4, width=2),
        ),
    )
