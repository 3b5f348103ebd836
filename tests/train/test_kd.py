"""Distillation against a loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.train.distillers.logits import kd_divergence
from tests.train.distiller_sample import case


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


def test_terms_are_given_before_their_weights():
    made = case("kd", weight=0.0, ce_weight=0.0)
    terms, labels = made.terms(), made.batch.labels

    assert made.distiller.weights(1) == {"ce": 0.0, "kd": 0.0}
    assert terms["kd"] == kd_divergence(made.student.logits, made.teacher.logits, 4.0)
    assert terms["ce"] == torch.nn.functional.cross_entropy(made.student.logits, labels)
