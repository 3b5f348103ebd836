"""Training of a student by distillation."""

import torch
from torch import nn

from icckd.engine.checkpoint import Checkpoints
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.distillers import DISTILLERS, Distiller, Pairing
from icckd.engine.fit import StepValues, fit
from icckd.engine.material import Material
from icckd.engine.models import Classifier, Output, build_model
from icckd.engine.protocol import Recorder, StudentJob


class StudentStep:
    """Sets a student's gradients; the teacher only looks on."""

    diagnostics: tuple[str, ...] = ()

    def __init__(self, model: Classifier, teacher: Classifier, distiller: Distiller) -> None:
        self._model, self._teacher, self._distiller = model, teacher, distiller
        self.losses: tuple[str, ...] = tuple(distiller.weights(1))
        self.state: nn.Module = distiller

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        with torch.no_grad():
            seen = self._teacher.outputs(batch.images)
        terms = self._distiller.terms(self._model.outputs(batch.images), seen, batch)
        weights = self._distiller.weights(epoch)
        weighted = [weight * terms[name] for name, weight in weights.items()]
        torch.autograd.backward(torch.stack(weighted).sum())
        return StepValues(losses=tuple(terms[name].detach() for name in self.losses))


def fit_student(
    job: StudentJob,
    teacher: Classifier,
    material: Material,
    recorder: Recorder,
    checkpoints: Checkpoints,
) -> tuple[Classifier, dict[str, float]]:
    """Return the trained student and the outcomes of its training, without the stage kind.

    Args:
        job: Its seed and replicate key every stream.
        teacher: In evaluation mode; it is not changed.
        material: Data on the device.
        recorder: Told every epoch.
        checkpoints: Where training goes on from, and what may stop it.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the stage was asked to stop.
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
        StudentStep(model, teacher, _distiller(job, model, teacher, material)),
        stream,
        material=material,
        training=settings.training,
        recorder=recorder,
        checkpoints=checkpoints,
    )
    return model, done.outcomes()


def _distiller(
    job: StudentJob, model: Classifier, teacher: Classifier, material: Material
) -> Distiller:
    settings = job.student.distiller
    pairing = Pairing(
        student=example_output(model, material),
        teacher=example_output(teacher, material),
        n_images=len(material.train.labels),
        key=("student", job.seed, job.replicate, "distiller"),
    )
    return DISTILLERS[settings.kind](settings, pairing).to(material.device)


@torch.no_grad()
def example_output(model: Classifier, material: Material) -> Output:
    """Return a model's output for one training image, computed without changing the model."""
    was_training = model.training
    model.eval()
    output = model.outputs(material.normalise(material.train.images[:1]))
    model.train(was_training)
    return output
