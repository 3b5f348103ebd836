"""The training loop that teacher and student share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icckd.engine.arithmetic import PLAIN, Arithmetic
from icckd.engine.checkpoint import Checkpoints
from icckd.engine.course import Course
from icckd.engine.data.stream import TrainStream
from icckd.engine.evaluate import predict, top1
from icckd.engine.material import Material
from icckd.engine.models import Classifier
from icckd.engine.optimizers import make_optimizer
from icckd.engine.outcomes import diagnose
from icckd.engine.protocol import Recorder
from icckd.engine.schedules import learning_rate
from icckd.engine.stability import stability
from icckd.engine.step import Step
from icckd.engine.steplog import StepLog
from icckd.engine.update import Update
from icckd.errors import NonFiniteError, StagePaused
from icckd.spec.training import Training

Observe = Callable[[int], dict[str, float]]
"""Gives diagnostics at the end of an epoch, counted from 1, by name without the stage kind."""


def nothing_to_observe(epoch: int) -> dict[str, float]:
    """Return no diagnostics."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What training showed and took.

    Attributes:
        terms: Each term at every step.
        steps_per_epoch: Steps of an epoch.
        batch_size: Images of a step; a second view of an image is no other image.
        spent: What all attempts spent: seconds, and joules where they are known.
    """

    terms: dict[str, NDArray[np.float64]]
    steps_per_epoch: int
    batch_size: int
    spent: Mapping[str, float]

    def outcomes(self) -> dict[str, float]:
        """Return the outcomes of a complete fit by name, without the stage kind."""
        steps, seconds = len(self.terms["ce"]), self.spent["seconds"]
        values = {
            "stability": stability(self.terms["ce"], self.steps_per_epoch),
            "grad_norm_max": float(self.terms["grad_norm"].max()),
            "nonfinite_steps": 0,
            "seconds": seconds,
            "images_per_second": steps * self.batch_size / seconds,
            "data_share": 100.0 * self.spent["data_seconds"] / seconds,
        }
        if "energy" in self.spent:
            values["energy"] = self.spent["energy"]
        shares = ("clip_share", "overflow_share")
        return values | {n: float(self.terms[n].mean()) for n in shares if n in self.terms}


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
    arithmetic: Arithmetic = PLAIN,
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
    optimizer = make_optimizer([*model.parameters(), *step.state.parameters()], training)
    update = Update(optimizer, training, arithmetic)
    terms = (*step.losses, *update.terms, *step.diagnostics)
    log = StepLog(terms, training.last_epoch * stream.steps, material.device)
    course = Course(
        model=model, state=step.state, optimizer=optimizer, log=log, scaler=arithmetic.scaler
    )
    done = course.resume(checkpoints, recorder, steps_per_epoch=stream.steps)
    diagnosed = training.diagnosed()
    for epoch in range(done + 1, training.last_epoch + 1):
        lr = learning_rate(training, epoch)
        model.train()
        try:
            with course.training():
                _run_epoch(step, stream, update, course, epoch=epoch, lr=lr)
                if epoch == training.last_epoch:
                    optimizer.check(step=epoch * stream.steps - 1)
                columns = log.read(stream.steps)
        except NonFiniteError:
            recorder.outcomes({f"{kind}.nonfinite_steps": 1})
            raise
        seen = predict(model, material.validation, material.normalise)
        values = {term: float(column.mean()) for term, column in columns.items()}
        values["val_top1"] = top1(seen.logits, material.validation.labels)
        values |= {"lr": lr, "train_seconds": course.seconds}
        if epoch in diagnosed:
            values |= diagnose(seen, material.validation) | observe(epoch)
        course.record(recorder, {f"{kind}.{name}": value for name, value in values.items()})
        if epoch < training.last_epoch and checkpoints.after_epoch(course.snapshot):
            raise StagePaused(epoch=epoch)
    whole = log.read(training.last_epoch * stream.steps)
    return Fit(
        terms={term: np.ascontiguousarray(column) for term, column in whole.items()},
        steps_per_epoch=stream.steps,
        batch_size=training.batch_size,
        spent=course.spent,
    )


def _run_epoch(
    step: Step, stream: TrainStream, update: Update, course: Course, *, epoch: int, lr: float
) -> None:
    first = (epoch - 1) * stream.steps
    for number, batch in enumerate(course.loading(stream.epoch(epoch)), start=first):
        values, done = update.run(step, batch, number=number, epoch=epoch, lr=lr)
        course.log.write((*values.losses, *done, *values.diagnostics))
    course.log.check()
