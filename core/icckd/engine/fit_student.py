"""Training of a student: by distillation, or alone."""

import torch
from torch import nn
from torch.nn import functional

from icckd.engine.arithmetic import PLAIN, Arithmetic, output_of
from icckd.engine.checkpoint import Checkpoints
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.distillers import Distiller, Pairing, build_distiller
from icckd.engine.fit import fit
from icckd.engine.material import Material
from icckd.engine.models import LAYOUT, Classifier, Output, build_model
from icckd.engine.protocol import Recorder, StudentJob
from icckd.engine.step import Step, StepValues
from icckd.engine.teaching import AskedTeacher, Teaching, teaching
from icckd.spec.distiller_sum import Distiller as DistillerSettings


class StudentStep:
    """Sets a student's gradients; the teacher only looks on."""

    diagnostics: tuple[str, ...] = ()

    def __init__(
        self,
        model: Classifier,
        teacher: Teaching,
        distiller: Distiller,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        self._model, self._teacher, self._distiller = model, teacher, distiller
        self._arithmetic, self._forward = arithmetic, arithmetic.forward(model)
        self.losses: tuple[str, ...] = tuple(distiller.weights(1))
        self.state: nn.Module = distiller

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        seen = self._teacher(batch)
        shown = output_of(self._model, self._forward(batch.images))
        terms = self._distiller.terms(shown, seen, batch, step=step)
        weights = self._distiller.weights(epoch)
        weighted = [weight * terms[name] for name, weight in weights.items()]
        torch.autograd.backward(self._arithmetic.scaled(torch.stack(weighted).sum()))
        return StepValues(losses=tuple(terms[name].detach() for name in self.losses))


class AloneStep:
    """Sets the gradients of a student that has no teacher: cross-entropy."""

    losses: tuple[str, ...] = ("ce",)
    diagnostics: tuple[str, ...] = ()

    def __init__(self, model: Classifier, arithmetic: Arithmetic = PLAIN) -> None:
        self._model, self._arithmetic = model, arithmetic
        self._forward = arithmetic.forward(model)
        self.state: nn.Module = nn.Module()

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        shown = output_of(self._model, self._forward(batch.images))
        ce = functional.cross_entropy(shown.logits, batch.labels)
        torch.autograd.backward(self._arithmetic.scaled(ce))
        return StepValues(losses=(ce.detach(),))


def fit_student(
    job: StudentJob,
    teacher: Classifier | None,
    material: Material,
    recorder: Recorder,
    checkpoints: Checkpoints,
) -> tuple[Classifier, nn.Module, dict[str, float]]:
    """Return the trained student, what its distiller learnt, and the outcomes of its training.

    The outcomes are named without the stage kind.

    Args:
        job: Its seed and replicate key every stream.
        teacher: In evaluation mode, not changed; None where the distiller is off.
        material: Data on the device.
        recorder: Told every epoch.
        checkpoints: Where training goes on from, and what may stop it.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
        StageError: If the distiller cannot join the two networks.
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
    arithmetic = Arithmetic(job.numerics, material.device)
    step: Step
    if teacher is None or settings.distiller == "off":
        step = AloneStep(model, arithmetic)
    else:
        distiller = _distiller(job, settings.distiller, model, teacher, material)
        asked = AskedTeacher(teacher, arithmetic)
        told: Teaching = asked
        if not settings.distiller.reads_maps:
            example = example_output(teacher, material)
            told = teaching(asked, example, stream, settings.training, material.device)
        step = StudentStep(model, told, distiller, arithmetic)
    done = fit(
        "student",
        model,
        step,
        stream,
        material=material,
        training=settings.training,
        recorder=recorder,
        checkpoints=checkpoints,
        arithmetic=arithmetic,
    )
    learnt = sum(parameter.numel() for parameter in step.state.parameters())
    return model, step.state, {**done.outcomes(), "distiller_parameters": learnt}


def _distiller(
    job: StudentJob,
    settings: DistillerSettings,
    model: Classifier,
    teacher: Classifier,
    material: Material,
) -> Distiller:
    pairing = Pairing(
        student=example_output(model, material),
        teacher=example_output(teacher, material),
        labels=material.train.labels.cpu(),
        key=("student", job.seed, job.replicate, "distiller"),
    )
    distiller = build_distiller(settings, pairing).to(material.device)
    return distiller.to(memory_format=LAYOUT[material.device])


@torch.no_grad()
def example_output(model: Classifier, material: Material) -> Output:
    """Return a model's output for one training image, computed without changing the model."""
    was_training = model.training
    model.eval()
    output = model.outputs(material.normalise(material.train.images[:1]))
    model.train(was_training)
    return output
