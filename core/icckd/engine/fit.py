"""The training loop that teacher and student share."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from icckd.engine.checkpoint import Checkpoints
from icckd.engine.course import Course
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.evaluate import predict, top1
from icckd.engine.material import Material
from icckd.engine.models import Classifier
from icckd.engine.outcomes import diagnose
from icckd.engine.protocol import Recorder
from icckd.engine.sgd import Sgd, learning_rate
from icckd.engine.stability import stability
from icckd.engine.steplog import StepLog
from icckd.errors import NonFiniteError, StagePaused
from icckd.spec.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """Scalars of one step on the device, in the order of the step's names."""

    losses: tuple[Tensor, ...]
    diagnostics: tuple[Tensor, ...] = ()


class Step(Protocol):
    """Sets the gradients of one optimiser step. Losses are logged before their weights.

    Attributes:
        losses: Names of the loss terms.
        diagnostics: Names of what else each step tells.
        state: What steps leave to later ones besides the model: buffers such as a cache, and
            parameters, which are optimised with the model's.
    """

    losses: tuple[str, ...]
    diagnostics: tuple[str, ...]
    state: nn.Module

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients; `step` counts from 0 over the stage, `epoch` from 1."""


Observe = Callable[[int], dict[str, float]]
"""Gives diagnostics at the end of an epoch, counted from 1, by name without the stage kind."""


def nothing_to_observe(epoch: int) -> dict[str, float]:
    """Return no diagnostics."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What training showed: each term at every step, and the training seconds."""

    terms: dict[str, NDArray[np.float64]]
    steps_per_epoch: int
    seconds: float

    def outcomes(self) -> dict[str, float]:
        """Return the outcomes of a complete fit by name, without the stage kind."""
        return {
            "stability": stability(self.terms["ce"], self.steps_per_epoch),
            "grad_norm_max": float(self.terms["grad_norm"].max()),
            "nonfinite_steps": 0,
            "seconds": self.seconds,
        }


def fit(
    kind: Literal["teacher", "student"],
    model: Classifier,
    step: Step,
    stream: TrainStream,
    *,
    material: Material,
    training: Training,
    recorder: Recorder,
    checkpoints: Checkpoints,
    observe: Observe = nothing_to_observe,
) -> Fit:
    """Train the model and record every epoch; training seconds exclude validation.

    At the epochs that `training` declares for diagnostics, the validation images are looked at
    more closely and `observe` is asked, outside training seconds. It leaves model, step and
    streams as they are.

    Raises:
        NonFiniteError: If a loss, the gradient norm, or a weight in the end is not finite;
            `nonfinite_steps` is recorded before.
        StagePaused: If the stage was asked to stop.
    """
    optimiser = Sgd([*model.parameters(), *step.state.parameters()], training)
    terms = (*step.losses, "grad_norm", *step.diagnostics)
    log = StepLog(terms, training.last_epoch * stream.steps, material.device)
    course = Course(model=model, state=step.state, optimiser=optimiser, log=log)
    done = course.resume(checkpoints, recorder, steps_per_epoch=stream.steps)
    diagnosed = training.diagnosed()
    start = perf_counter()
    before = course.spent["wall_seconds"]
    for epoch in range(done + 1, training.last_epoch + 1):
        begin = perf_counter()
        lr = learning_rate(training, epoch)
        model.train()
        try:
            _run_epoch(step, stream, optimiser, log, epoch=epoch, lr=lr)
            if epoch == training.last_epoch:
                optimiser.check(step=epoch * stream.steps - 1)
        except NonFiniteError:
            recorder.outcomes({f"{kind}.nonfinite_steps": 1})
            raise
        columns = log.read(stream.steps)
        course.spent["seconds"] += perf_counter() - begin
        seen = predict(model, material.validation, material.normalise)
        values = {term: float(column.mean()) for term, column in columns.items()}
        values["val_top1"] = top1(seen.logits, material.validation.labels)
        values |= {"lr": lr, "train_seconds": course.spent["seconds"]}
        if epoch in diagnosed:
            values |= diagnose(seen, material.validation) | observe(epoch)
        course.record(recorder, {f"{kind}.{name}": value for name, value in values.items()})
        course.spent["wall_seconds"] = before + perf_counter() - start
        if epoch < training.last_epoch and checkpoints.after_epoch(course.snapshot):
            raise StagePaused(epoch=epoch)
    whole = {
        term: np.ascontiguousarray(column)
        for term, column in log.read(training.last_epoch * stream.steps).items()
    }
    return Fit(terms=whole, steps_per_epoch=stream.steps, seconds=course.spent["seconds"])


def _run_epoch(
    step: Step, stream: TrainStream, optimiser: Sgd, log: StepLog, *, epoch: int, lr: float
) -> None:
    first = (epoch - 1) * stream.steps
    for number, batch in enumerate(stream.epoch(epoch), start=first):
        optimiser.clear()
        values = step(batch, step=number, epoch=epoch)
        log.write((*values.losses, optimiser.gradient_norm(), *values.diagnostics))
        optimiser.step(lr)
    log.check()
