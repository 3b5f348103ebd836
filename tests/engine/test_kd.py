"""Distillation against a loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.engine.data.stream import Batch
from icckd.engine.distillers import DISTILLERS, Pairing
from icckd.engine.distillers.kd import kd_divergence
from icckd.engine.models import Output
from icckd.spec.student import KdDistiller


def slow(student, teacher, temperature):
    total = 0.0
    for zs, zt in zip(student.tolist(), teacher.tolist(), strict=True):
        es, et = ([math.exp(z / temperature) for z in row] for row in (zs, zt))
        ps, pt = [e / sum(es) for e in es], [e / sum(et) for e in et]
        total += sum(t * (math.log(t) - math.log(s)) for s, t in zip(ps, pt, strict=True))
    return temperature**2 * total / len(student)


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 6),
    classes=st.integers(2, 7),
    temperature=st.floats(0.5, 20),
    seed=st.integers(0, 2**31),
)
def test_the_divergence_equals_a_loop(size, classes, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 4 * torch.randn(2, size, classes, generator=generator, dtype=torch.float64)

    value = kd_divergence(student, teacher, temperature)

    assert value.item() == pytest.approx(slow(student, teacher, temperature), abs=1e-9)


def test_a_perfect_match_gives_zero_and_no_gradient():
    logits = torch.randn(4, 5, requires_grad=True)

    value = kd_divergence(logits, logits.detach(), 4.0)
    value.backward()

    assert value.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits.grad, torch.zeros(4, 5), rtol=0, atol=1e-6)


def test_saturated_logits_stay_finite():
    student = torch.tensor([[1e4, 0.0]], requires_grad=True)

    value = kd_divergence(student, torch.tensor([[0.0, 1e4]]), 1.0)
    value.backward()

    assert value.isfinite()
    assert student.grad.isfinite().all()


def output(size, features, classes):
    maps = torch.randn(size, 3, 4, 4)
    return Output(torch.randn(size, features), (maps,), (maps,), torch.randn(size, classes))


def pairing(student, teacher):
    return Pairing(student=student, teacher=teacher, n_images=100, key=("test",))


def batch(labels):
    return Batch(
        images=torch.empty(0), labels=labels, ids=torch.arange(len(labels)), largest_class=2
    )


@pytest.mark.parametrize("kind", DISTILLERS)
def test_every_distiller_gives_a_finite_scalar_for_each_of_its_weights(kind):
    student, teacher = output(6, 3, 4), output(6, 3, 4)
    distiller = DISTILLERS[kind](KdDistiller(), pairing(student, teacher))

    terms = distiller.terms(student, teacher, batch(torch.arange(6) % 4))

    assert list(terms) == list(distiller.weights(1))
    assert all(term.shape == () and term.isfinite() for term in terms.values())


def test_terms_are_given_before_their_weights():
    student, teacher, labels = output(6, 3, 4), output(6, 3, 4), torch.arange(6) % 4
    weightless = KdDistiller(weight=0.0, ce_weight=0.0)

    weak = DISTILLERS["kd"](weightless, pairing(student, teacher)).terms(
        student, teacher, batch(labels)
    )

    assert weak["kd"] == kd_divergence(student.logits, teacher.logits, 4.0)
    assert weak["ce"] == torch.nn.functional.cross_entropy(student.logits, labels)
