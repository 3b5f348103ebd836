"""What every distiller must do, whoever wrote it: put its settings into SETTINGS and run this."""

import copy
from dataclasses import replace

import pytest
import torch

from icckd.study.network import NetworkShape, StageShape
from icckd.testing import distillers
from icckd.train.distillers.base import network_shape
from icckd.train.networks.base import Output
from tests.train.distiller_sample import (
    SETTINGS,
    case,
    from_leaves,
    require_grad,
    rows,
    settings_of,
)

EVERY = pytest.mark.parametrize("name", SETTINGS)


@EVERY
@pytest.mark.parametrize("law", distillers.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_laws_that_everybody_can_try(law, name):
    law(distillers.DistillerCase(settings_of(name)))


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
