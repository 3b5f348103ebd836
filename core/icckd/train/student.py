"""Training of a student: by distillation from a frozen teacher, or by cross-entropy alone.

The teacher's outputs are computed at each step, or looked up in a table.

Shape suffixes: B batch, H height, W width, K channels, N views, C classes, D features.
"""

import math
from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.errors import NonFiniteError
from icckd.study.distillers import Distiller as DistillerSettings
from icckd.study.training import Training
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import Recorder, StudentJob
from icckd.train.data.batch import Batch, parts_of
from icckd.train.data.dataset import Dataset
from icckd.train.data.stream import TrainStream
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Distiller, Pairing
from icckd.train.networks import build_model, memory_format
from icckd.train.networks.base import Classifier, Output
from icckd.train.precision import PLAIN, Arithmetic, output_of
from icckd.train.trainer import (
    SMALLEST_NORM,
    Observe,
    StageMemory,
    Step,
    StepValues,
    Trained,
    fit,
    nothing_to_observe,
)

LARGEST_TABLE = 1 << 26
"""Bytes that a table may take."""

SQUARE_OVERFLOWS = 1e18
"""Outputs beyond it make a loss overflow that sums their squares in float32."""

TeacherOutputs = Callable[[Batch], Output]


class TeacherForward:
    """The teacher's forward pass of every batch."""

    def __init__(self, teacher: Classifier, arithmetic: Arithmetic) -> None:
        self._teacher, self._forward = teacher, arithmetic.frozen(teacher)

    def __call__(self, batch: Batch) -> Output:
        """Return the teacher's output."""
        return self.outputs(batch.images)

    @torch.no_grad()
    def outputs(self, images_BKHW: Tensor) -> Output:
        """Return the teacher's output for normalised images."""
        return output_of(self._teacher, self._forward(images_BKHW))


class TeacherTable:
    """Features and logits of the teacher for every view that training can show.

    Where views are shifts and mirrors of resident images their number is finite, and a student of
    many epochs sees each many times. The results are the same: the rows go through the teacher in
    batches of the size that a step has, so they hold the bits that the step's own forward pass
    would give. The first batch fills the table.

    Args:
        teacher: Asked once for each view.
        stream: Shows the views.
        codes_N: All of them.
        batch_size: Images of one forward pass in a step.
    """

    def __init__(
        self, teacher: TeacherForward, stream: TrainStream, codes_N: Tensor, *, batch_size: int
    ) -> None:
        self._teacher, self._stream = teacher, stream
        self._codes_N, self._batch_size = codes_N, batch_size
        self._rows: tuple[Tensor, Tensor] | None = None
        self._row_of_code = torch.zeros(int(codes_N.max()) + 1, dtype=torch.int64)
        self._row_of_code[codes_N] = torch.arange(len(codes_N))

    def __call__(self, batch: Batch) -> Output:
        """Return the teacher's output without stage maps, which are not kept."""
        assert batch.codes is not None
        if self._rows is None:
            self._rows = self._ask()
        features_ND, logits_NC = self._rows
        row_B = self._row_of_code[batch.codes]
        return Output(features_ND[row_B], (), (), logits_NC[row_B])

    def _ask(self) -> tuple[Tensor, Tensor]:
        spare = -len(self._codes_N) % self._batch_size  # fills the last batch up, with any view
        filled_N = torch.cat([self._codes_N, self._codes_N[:1].expand(spare)])
        parts = torch.split(filled_N, self._batch_size)
        seen = [self._teacher.outputs(self._stream.show(codes_B)) for codes_B in parts]
        features_ND = torch.cat([output.features for output in seen])
        return features_ND, torch.cat([output.logits for output in seen])


def teacher_outputs(
    teacher: TeacherForward, example: Output, stream: TrainStream, training: Training, device: str
) -> TeacherOutputs:
    """Return a table where it pays, else the teacher itself; for methods that read no stage maps.

    It pays where steps show at least twice as many views as there are. On a GPU the forward pass
    of a teacher whose table is small is not what a step waits for.

    Args:
        teacher: The teacher.
        example: Its output for one image.
        stream: The training batches.
        training: How many steps there are.
        device: Where the stage computes.
    """
    codes_N = codes_of_table(example, stream, training, device)
    if codes_N is None:
        return teacher
    return TeacherTable(
        teacher, stream, codes_N, batch_size=training.batch_size // training.accumulate
    )


def codes_of_table(
    example: Output, stream: TrainStream, training: Training, device: str
) -> Tensor | None:
    """Return the codes of all views where a table of them pays, see `teacher_outputs`."""
    codes_N = stream.all_codes() if device == "cpu" else None
    if codes_N is None:
        return None
    shown = training.last_epoch * stream.steps * training.batch_size
    size = len(codes_N) * (example.features.nbytes + example.logits.nbytes)
    return None if 2 * len(codes_N) > shown or size > LARGEST_TABLE else codes_N


class StudentStep:
    """Sets a student's gradients; the teacher gets none."""

    diagnostics: tuple[str, ...] = ()

    def __init__(
        self,
        model: Classifier,
        teacher: TeacherOutputs,
        distiller: Distiller,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        self._model, self._teacher, self._distiller = model, teacher, distiller
        self._arithmetic, self._forward = arithmetic, arithmetic.forward(model)
        self.losses: tuple[str, ...] = tuple(distiller.weights(1))
        self.state: nn.Module = distiller

    def blame(self, batch: Batch) -> str:
        """Return why the teacher is at fault where this batch is not finite; "" if it is not."""
        shown = self._teacher(batch)
        tensors = (shown.features, shown.logits, *shown.stages, *shown.preacts)
        largest = max(float(tensor.abs().max()) for tensor in tensors)
        if all(bool(tensor.isfinite().all()) for tensor in tensors):
            is_huge = largest > SQUARE_OVERFLOWS
            return f"its outputs for training images reach {largest:.0e}" if is_huge else ""
        return "its outputs for training images are not finite"

    def variant(self, epoch: int) -> Hashable:
        """Return the weights of an epoch's terms."""
        return tuple(self._distiller.weights(epoch).values())

    def __call__(self, batch: Batch, *, step: int | Tensor, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        step = step if isinstance(step, int) else 0  # who reads it on the host is not captured
        seen = self._teacher(batch)
        shown = output_of(self._model, self._forward(batch.images))
        terms = self._distiller.terms(shown, seen, batch, step=step)
        weights = self._distiller.weights(epoch)
        weighted = [weight * terms[name] for name, weight in weights.items()]
        torch.autograd.backward(self._arithmetic.scaled(torch.stack(weighted).sum()))
        return StepValues(losses=tuple(terms[name].detach() for name in self.losses))


def pull_of_terms(
    model: Classifier,
    teacher: TeacherOutputs,
    distiller: Distiller,
    batch: Batch,
    *,
    step: int,
    epoch: int,
) -> dict[str, float]:
    """Return how strong each further term is beside cross-entropy on one batch, by name.

    That is weight * |grad L| / (weight of CE * |grad CE|), by all parameters of the student;
    nothing where cross-entropy has no weight. Networks, distiller and streams stay as they are.
    """
    weights = distiller.weights(epoch)
    if not weights["ce"]:
        return {}
    kept = [(buffer, buffer.clone()) for part in (model, distiller) for buffer in part.buffers()]
    was_training = model.training
    model.train()
    terms = distiller.terms(model.outputs(batch.images), teacher(batch), batch, step=step)
    parameters = list(model.parameters())
    norms = {}
    for name, weight in weights.items():
        found = torch.autograd.grad(
            weight * terms[name], parameters, retain_graph=True, allow_unused=True
        )
        # A term may train only what the distiller itself learns, such as CRD's teacher side.
        norms[name] = math.hypot(*(float(g.norm()) for g in found if g is not None))
    model.train(was_training)
    with torch.no_grad():
        for buffer, value in kept:
            buffer.copy_(value)
    least = max(norms.pop("ce"), SMALLEST_NORM)
    return {f"{name}_ratio": norm / least for name, norm in norms.items()}


class AloneStep:
    """Sets the gradients of a student that has no teacher: cross-entropy."""

    losses: tuple[str, ...] = ("ce",)
    diagnostics: tuple[str, ...] = ()

    def __init__(self, model: Classifier, arithmetic: Arithmetic = PLAIN) -> None:
        self._model, self._arithmetic = model, arithmetic
        self._forward = arithmetic.forward(model)
        self.state: nn.Module = nn.Module()

    def variant(self, epoch: int) -> Hashable:
        """Return nothing: all epochs are alike."""
        return None

    def __call__(self, batch: Batch, *, step: int | Tensor, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        shown = output_of(self._model, self._forward(batch.images))
        ce = functional.cross_entropy(shown.logits, batch.labels)
        torch.autograd.backward(self._arithmetic.scaled(ce))
        return StepValues(losses=(ce.detach(),))


def fit_student(
    job: StudentJob,
    teacher: Classifier | None,
    dataset: Dataset,
    recorder: Recorder,
    checkpoints: Checkpoints,
    memory: StageMemory,
) -> Trained:
    """Return the trained student, with its distiller.

    Args:
        job: Its seed and replicate key every stream.
        teacher: In evaluation mode, not changed; None where the distiller is off.
        dataset: Data on the device.
        recorder: Told every epoch.
        checkpoints: Where training resumes from, and what may stop it.
        memory: Peaks of the stage.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite; it says whether the student
            diverged, or its teacher had.
        StageError: If the distiller cannot join the two networks.
        StagePaused: If the stage was asked to stop.
    """
    settings, key = job.student, ("student", job.seed, job.replicate)
    model = build_model(
        settings.model,
        in_channels=dataset.in_channels,
        n_classes=dataset.n_classes,
        key=(*key, "init"),
        device=dataset.device,
        precision=dataset.precision,
    )
    stream = student_stream(job, dataset)
    arithmetic = Arithmetic(job.numerics, dataset.device)
    observe: Observe = nothing_to_observe
    step: Step
    if teacher is None or settings.distiller == "off":
        step = AloneStep(model, arithmetic)
    else:
        distiller = distiller_of(job, settings.distiller, model, teacher, dataset)
        forward = TeacherForward(teacher, arithmetic)
        outputs: TeacherOutputs = forward
        if not settings.distiller.reads_maps:
            example = example_output(teacher, dataset)
            outputs = teacher_outputs(forward, example, stream, settings.training, dataset.device)
        step = StudentStep(model, outputs, distiller, arithmetic)

        def pulls(epoch: int) -> dict[str, float]:
            part = next(parts_of(stream.batch(epoch, 0), settings.training.accumulate))
            step = epoch * stream.steps
            return pull_of_terms(model, outputs, distiller, part, step=step, epoch=epoch)

        observe = pulls
    try:
        done = fit(
            "student",
            model,
            step,
            stream,
            dataset=dataset,
            training=settings.training,
            recorder=recorder,
            checkpoints=checkpoints,
            memory=memory,
            observe=observe,
            arithmetic=arithmetic,
        )
    except NonFiniteError as error:
        batch = stream.batch(error.step // stream.steps + 1, error.step % stream.steps)
        if isinstance(step, StudentStep) and (seen := step.blame(batch)):
            raise NonFiniteError(
                step=error.step, term=error.term, diverged="teacher", seen=seen
            ) from error
        raise
    learnt = sum(parameter.numel() for parameter in step.state.parameters())
    outcomes = {**done.outcomes(), "distiller_parameters": learnt}
    return Trained(model=model, state=step.state, fit=done, outcomes=outcomes)


def student_stream(job: StudentJob, dataset: Dataset) -> TrainStream:
    """Return the training batches."""
    return TrainStream(
        dataset.train,
        dataset.normalise,
        dataset.augment,
        batch_size=job.student.training.batch_size,
        views=1,
        key=("student", job.seed, job.replicate),
        host_labels=dataset.host_labels,
    )


def distiller_of(
    job: StudentJob,
    settings: DistillerSettings,
    model: Classifier,
    teacher: Classifier,
    dataset: Dataset,
) -> Distiller:
    """Return the distiller that joins a student and its teacher, on the device.

    Raises:
        StageError: If it cannot join them.
    """
    pairing = Pairing(
        student=example_output(model, dataset),
        teacher=example_output(teacher, dataset),
        labels=dataset.host_labels,
        key=("student", job.seed, job.replicate, "distiller"),
    )
    distiller = build_distiller(settings, pairing).to(dataset.device)
    return distiller.to(memory_format=memory_format(dataset.device, dataset.precision))


@torch.no_grad()
def example_output(model: Classifier, dataset: Dataset) -> Output:
    """Return a model's output for one training image, computed without changing the model."""
    was_training = model.training
    model.eval()
    output = model.outputs(dataset.normalise(dataset.train.images[:1]))
    model.train(was_training)
    return output
