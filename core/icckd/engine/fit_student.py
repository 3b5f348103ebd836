"""Training of a student by distillation."""

import torch

from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.distillers import DISTILLERS, Distiller
from icckd.engine.fit import StepValues, fit
from icckd.engine.material import Material
from icckd.engine.models import Classifier, build_model
from icckd.engine.protocol import Recorder, StudentJob


class StudentStep:
    """Sets a student's gradients; the teacher only looks on."""

    diagnostics: tuple[str, ...] = ()

    def __init__(self, model: Classifier, teacher: Classifier, distiller: Distiller) -> None:
        self._model, self._teacher, self._distiller = model, teacher, distiller
        self.losses: tuple[str, ...] = tuple(distiller.weights)

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        with torch.no_grad():
            seen = self._teacher.outputs(batch.images)
        terms = self._distiller(self._model.outputs(batch.images), seen, batch.labels)
        weighted = [weight * terms[name] for name, weight in self._distiller.weights.items()]
        torch.autograd.backward(torch.stack(weighted).sum())
        return StepValues(losses=tuple(terms[name].detach() for name in self.losses))


def fit_student(
    job: StudentJob, teacher: Classifier, material: Material, recorder: Recorder
) -> tuple[Classifier, dict[str, float]]:
    """Return the trained student and the outcomes of its training, without the stage kind.

    Args:
        job: Its seed and replicate key every stream.
        teacher: In evaluation mode; it is not changed.
        material: Data on the device.
        recorder: Told every epoch.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
    """
    settings, key = job.student, ("student", job.seed, job.replicate)
    model = build_model(
        settings.model,
        in_channels=material.in_channels,
        n_classes=material.n_classes,
        key=(*key, "init"),
        device=material.device,
    )
    stream = TrainStream(
        material.train,
        material.normalise,
        material.augment,
        batch_size=settings.training.batch_size,
        views=1,
        key=key,
    )
    done = fit(
        "student",
        model,
        StudentStep(model, teacher, DISTILLERS[settings.distiller.kind](settings.distiller)),
        stream,
        material=material,
        training=settings.training,
        recorder=recorder,
    )
    return model, done.outcomes()
