"""Outputs of two small networks, and settings of every distiller."""

from dataclasses import dataclass

import torch
from pydantic import TypeAdapter

from icckd.study.distillers import DISTILLERS, Distiller
from icckd.train.data.batch import Batch
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Pairing
from icckd.train.networks.base import Output

TERMS = {
    "kd": {"kind": "kd"},
    "again": {"kind": "kd", "temperature": 2.0},
    "rkd": {"kind": "rkd"},
    "vid": {"kind": "vid"},
    "crd": {"kind": "crd", "dimensions": 8},
}
SETTINGS = {
    **{kind: {"kind": kind} for kind in DISTILLERS},
    "kd, standardized": {"kind": "kd", "standardize": "on"},
    "dkd, standardized": {"kind": "dkd", "standardize": "on"},
    "fitnet, halved": {"kind": "fitnet", "stage": 1},
    "fitnet, doubled": {"kind": "fitnet", "stage": 3},
    "cc, kernel": {"kind": "cc", "form": "kernel", "dimensions": 8},
    "crd, drawn": {"kind": "crd", "negatives": 16, "dimensions": 8},
    "reviewkd, preacts": {"kind": "reviewkd", "student_maps": "preacts"},
    "sum": {"kind": "sum", "terms": TERMS},
}
STUDENT = ((2, 8, 8), (3, 4, 4), (4, 2, 2))
TEACHER = ((5, 4, 4), (6, 4, 4), (7, 4, 4))
FEATURES = {"student": 6, "teacher": 9}
CLASSES = 5
LABELS = torch.arange(40) % CLASSES


@dataclass(frozen=True)
class Case:
    """A distiller with outputs of a batch and its labels."""

    distiller: torch.nn.Module
    student: Output
    teacher: Output
    batch: Batch

    def terms(self, student=None, *, step=0):
        return self.distiller.terms(student or self.student, self.teacher, self.batch, step=step)

    def own(self, student=None):
        """The method's own terms, without the cross-entropy."""
        return list(self.terms(student).values())[1:]


def settings_of(name):
    return TypeAdapter(Distiller).validate_python(SETTINGS[name])


def output(size, role, generator, dtype=torch.float32):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    preacts = tuple(draw(size, *shape) for shape in (STUDENT if role == "student" else TEACHER))
    stages = tuple(preact.relu() for preact in preacts)
    features = draw(size, FEATURES[role]).abs()
    return Output(features, stages, preacts, 2 * draw(size, CLASSES))


def pairing(seed=0):
    generator = torch.Generator().manual_seed(seed)
    roles = (output(1, role, generator) for role in ("student", "teacher"))
    return Pairing(student=next(roles), teacher=next(roles), labels=LABELS, key=("test", seed))


def case(name, *, size=6, seed=0, dtype=torch.float64, **changed):
    generator = torch.Generator().manual_seed(seed + 1)
    settings = settings_of(name).model_copy(update=changed)
    distiller = build_distiller(settings, pairing(seed)).to(dtype).train()
    ids = torch.randperm(len(LABELS), generator=generator)[:size]
    roles = [output(size, role, generator, dtype) for role in ("student", "teacher")]
    batch = Batch(images=torch.empty(0), labels=LABELS[ids], ids=ids, largest_class=size)
    return Case(distiller, *roles, batch)


def require_grad(made):
    """The output as leaves that want gradients, and those leaves."""
    leaves = [made.features, *made.stages, *made.preacts, made.logits]
    fresh = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    return from_leaves(fresh), fresh


def from_leaves(leaves):
    n = (len(leaves) - 2) // 2
    return Output(leaves[0], tuple(leaves[1 : 1 + n]), tuple(leaves[1 + n : -1]), leaves[-1])


def rows(made, order):
    """The output with its images in another order."""
    leaves = [made.features, *made.stages, *made.preacts, made.logits]
    return from_leaves([leaf[order] for leaf in leaves])
