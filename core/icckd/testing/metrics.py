"""Laws of metrics, on a real evaluation of a small trained model."""

import copy
import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icckd.study.metrics import METRICS, Measured
from icckd.study.registry import Part
from icckd.testing.laws import (
    Law,
    bits,
    differing,
    digest,
    no_shared_draws,
    process_streams,
    require,
)
from icckd.testing.runs import RunCase
from icckd.train.data.splits import Split
from icckd.train.lazy import torch
from icckd.train.metrics.base import Evaluation


@dataclass(frozen=True)
class MetricCase:
    """A metric.

    Attributes:
        name: Its name.
        root: The folder of data sets.
    """

    name: str
    root: Path

    @property
    def part(self) -> Part[Any]:
        """What is registered."""
        return METRICS.part(self.name)

    def evaluations(self) -> dict[str, Evaluation]:
        """Return what it is computed from: of the test set, and of validation where it asks so."""
        test, validation = copy.deepcopy(_evaluated(self.root))  # others' metrics may change it
        measured: Measured = self.part.options["measured"]
        return {"test": test} | ({"validation": validation} if measured.on_validation else {})

    def value(self, evaluation: Evaluation) -> float:
        """Return its value, of an evaluation that has computed nothing yet."""
        with torch.no_grad():
            found: float = self.part.build(replace(evaluation))
        return found


@functools.lru_cache(maxsize=1)
def _evaluated(root: Path) -> tuple[Evaluation, Evaluation]:
    """Return test set and validation of a trained model, with every sort of label."""
    case = RunCase(root)
    data, teacher = case.dataset, case.trained(0).model.eval()
    student = case.trained(1).model.eval()
    shared: dict[str, Any] = {
        "model": student, "normalise": data.normalise, "n_classes": data.n_classes,
        "teacher": teacher,
    }  # fmt: skip
    test = Evaluation(split=_labelled(data.test), train=_labelled(data.train), **shared)
    return test, Evaluation(split=_labelled(data.validation), **shared)


def _labelled(split: Split) -> Split:
    return replace(split, superclasses=split.labels // 3)


def it_is_a_finite_number(case: MetricCase) -> None:
    """It is a finite number, of a real evaluation."""
    for name, evaluation in case.evaluations().items():
        value = case.value(evaluation)
        require(isinstance(value, int | float), f"of {name} it is a {type(value).__name__}")
        require(math.isfinite(value), f"of {name} it is {value}")


def it_is_the_same_twice(case: MetricCase) -> None:
    """It is the same twice, and draws no number from a generator that the process shares."""
    for name, evaluation in case.evaluations().items():
        values = []
        for seed in (1, 2):
            with process_streams(seed), no_shared_draws():
                values.append(case.value(evaluation))
        require(values[0] == values[1], f"of {name} it is {values[0]}, then {values[1]}")


def it_changes_nothing(case: MetricCase) -> None:
    """It leaves models, their mode, images and labels as they are."""
    for evaluation in case.evaluations().values():
        before = _state(evaluation)
        case.value(evaluation)
        odd = differing(before, _state(evaluation))
        require(not odd, f"it changes {odd}")


def _state(evaluation: Evaluation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role in ("model", "teacher"):
        network = getattr(evaluation, role)
        found |= {f"{role} {name}": value for name, value in bits(network).items()}
        found[f"the mode of the {role}"] = network.training
        found[f"whether the {role} is trained"] = [p.requires_grad for p in network.parameters()]
    for role in ("split", "train"):
        split = getattr(evaluation, role)
        if split is not None:
            found[f"images of {role}"] = [digest(chunk) for chunk in split.chunks(4096)]
            found[f"labels of {role}"] = digest(split.labels)
    return found


LAWS: tuple[Law, ...] = (it_is_a_finite_number, it_is_the_same_twice, it_changes_nothing)
