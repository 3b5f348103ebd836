"""Settings of every distiller, tried on the outputs that `icckd.testing` draws."""

from pydantic import TypeAdapter

from icckd.study.distillers import DISTILLERS, Distiller
from icckd.testing.distillers import (
    CLASSES,
    FEATURES,
    STUDENT,
    TEACHER,
    DistillerCase,
    from_leaves,
    labels,
    output,
    pairing,
    require_grad,
)

__all__ = [
    "CLASSES",
    "FEATURES",
    "LABELS",
    "SETTINGS",
    "STUDENT",
    "TEACHER",
    "case",
    "from_leaves",
    "output",
    "pairing",
    "require_grad",
    "rows",
    "settings_of",
]

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
LABELS = labels()


def settings_of(name):
    return TypeAdapter(Distiller).validate_python(SETTINGS[name])


def case(name, *, size=6, seed=0, dtype=None, **changed):
    settings = settings_of(name).model_copy(update=changed)
    return DistillerCase(settings).sample(size=size, seed=seed, dtype=dtype)


def rows(made, order):
    """The output with its images in another order."""
    leaves = [made.features, *made.stages, *made.preacts, made.logits]
    return from_leaves([leaf[order] for leaf in leaves])
