"""Packs of students: what `icckd.train.student` trains one by one, all replicas at once.

They learn from their teachers by KD, or alone.

Shape suffixes: R replicas, B batch, N views of a table, C classes, P parameters of one replica.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from icckd.errors import NonFiniteError
from icckd.study.packing import unit_of_widths
from icckd.study.records import EngineKind
from icckd.train.contract import StudentJob
from icckd.train.data.dataset import Dataset
from icckd.train.distillers.logits import Kd, standardized
from icckd.train.metrics.base import Seen
from icckd.train.networks.base import Classifier
from icckd.train.networks.cnn import Cnn
from icckd.train.packs.batches import Feed, PackedBatch, sent
from icckd.train.packs.fit import Member, PackedStep, Part
from icckd.train.packs.network import PackedCnn, filled, images_at_once, nll
from icckd.train.packs.stage import Ended, Place, dataset_of, network_of, part_of, train_places
from icckd.train.precision import PLAIN
from icckd.train.stage import read_teacher
from icckd.train.student import (
    StudentStep,
    TeacherForward,
    codes_of_table,
    distiller_of,
    example_output,
    student_stream,
)
from icckd.train.trainer import SMALLEST_NORM, Fit, Trained


def train_students(places: Sequence[Place[StudentJob]], ended: Ended) -> None:
    """Distil students of one shape; each ends as `icckd.train.stage.train_student` would end it.

    What is wrong with the pack as a whole is raised.
    """
    dataset = dataset_of(places)
    parts: dict[int, Part] = {}
    teachers: dict[int, Classifier] = {}
    read: dict[Path, Classifier] = {}
    for number, place in enumerate(places):
        job, settings = place.job, place.job.student
        model = network_of(settings.model, dataset, ("student", job.seed, job.replicate, "init"))
        state: nn.Module = nn.Module()
        if job.teacher_folder is not None and settings.distiller != "off":
            try:
                if job.teacher_folder not in read:
                    read[job.teacher_folder] = read_teacher(job.teacher_folder, dataset)
            except Exception as error:
                ended(number, error)
                continue
            teachers[number] = read[job.teacher_folder]
            state = distiller_of(job, settings.distiller, model, teachers[number], dataset)
        stream = student_stream(job, dataset)
        parts[number] = part_of(place, settings.training, model, state, stream)
    if not parts:
        return

    def trained(number: int, fit: Fit) -> Trained:
        part = parts[number]
        learnt = sum(parameter.numel() for parameter in part.state.parameters())
        outcomes = {**fit.outcomes(), "distiller_parameters": learnt}
        return Trained(model=part.model, state=part.state, fit=fit, outcomes=outcomes)

    shared = Teachers(teachers, parts, dataset) if teachers else None
    role = _Students(parts, shared)

    def told(number: int, error: Exception | None) -> None:
        ended(number, role.blamed(number, error) if isinstance(error, NonFiniteError) else error)

    train_places(
        role,
        places,
        parts,
        dataset,
        places[0].job.student.model,
        trained=trained,
        ended=told,
        teachers=teachers,
        seen_by_teachers=shared.on_test() if shared else {},
    )


class _Students:
    """What a pack of students is made of: their parts, and the teachers of those that have one."""

    kind: EngineKind = "student"

    def __init__(self, parts: Mapping[int, Part], teachers: "Teachers | None") -> None:
        self._parts, self._teachers = parts, teachers

    def step(self, net: PackedCnn, numbers: Sequence[int]) -> "PackedStudentStep":
        if self._teachers is None:
            return PackedStudentStep(net, (), None)
        distillers = [cast(Kd, self._parts[number].state) for number in numbers]
        return PackedStudentStep(net, distillers, self._teachers.of(numbers))

    def store(self, step: PackedStep, replica: int, state: nn.Module) -> None:
        """Do nothing: KD keeps nothing."""

    def observe(
        self, step: PackedStep, feed: Feed, members: Sequence[Member], epoch: int
    ) -> list[dict[str, float]]:
        if self._teachers is None:
            return [{} for _ in members]
        pulls = cast(PackedStudentStep, step).pulls(feed.first(epoch), epoch)
        return pulls[: len(members)]

    def blamed(self, number: int, error: NonFiniteError) -> NonFiniteError:
        """Return an error that names the teacher where that is at fault."""
        if self._teachers is None:
            return error
        part = self._parts[number]
        steps = part.stream.steps
        batch = part.stream.batch(error.step // steps + 1, error.step % steps)
        teacher = TeacherForward(self._teachers.model(number), PLAIN)
        seen = StudentStep(part.model, teacher, cast(Kd, part.state)).blame(batch)
        if not seen:
            return error
        return NonFiniteError(step=error.step, term=error.term, diverged="teacher", seen=seen)


# The teachers of a pack: what they show of the students' batches, and of the test images.

TeacherLogits = Callable[[PackedBatch], Tensor]
"""Gives the logits of each replica's teacher for a batch, shape (R, B, C)."""


class Teachers:
    """The teachers of a pack of students, each computed once however many learn from it.

    Args:
        models: The teacher of each student, by its number.
        parts: The students.
        dataset: Their data.
    """

    def __init__(
        self, models: Mapping[int, Classifier], parts: Mapping[int, Part], dataset: Dataset
    ) -> None:
        self._models, self._dataset = models, dataset
        different = list({id(model): cast(Cnn, model) for model in models.values()}.values())
        self._number = {id(model): number for number, model in enumerate(different)}
        widths = [
            norm.num_features for norm in different[0].modules() if isinstance(norm, nn.BatchNorm2d)
        ]
        self._net = PackedCnn(filled(different, unit_of_widths(widths, dataset.device)))
        part = next(iter(parts.values()))
        example = example_output(different[0], dataset)
        codes_N = codes_of_table(example, part.stream, part.training, dataset.device)
        self._table_RNC: Tensor | None = None
        if codes_N is not None:
            chunks = torch.split(codes_N, images_at_once(dataset.device))
            self._table_RNC = self._net.see(part.stream.show(codes_B) for codes_B in chunks).logits
            self._row_of_code = codes_N.new_zeros(int(codes_N.max()) + 1)
            self._row_of_code[codes_N] = torch.arange(len(codes_N), device=codes_N.device)

    def model(self, number: int) -> Classifier:
        """Return the teacher of a student."""
        return self._models[number]

    def on_test(self) -> dict[int, Seen]:
        """Return what the teacher of each student shows of the test images."""
        normalise, test = self._dataset.normalise, self._dataset.test
        size = images_at_once(self._dataset.device)
        seen = self._net.see(normalise(images) for images in test.chunks(size))
        return {
            student: Seen(seen.features[teacher], seen.logits[teacher])
            for student, teacher in self._numbers(self._models)
        }

    def of(self, students: Sequence[int]) -> TeacherLogits:
        """Return what gives the logits of the teachers of some students."""
        numbers = [teacher for _, teacher in self._numbers(students)]
        if self._table_RNC is None:
            teachers = PackedCnn([cast(Cnn, self._models[student]) for student in students])
            return lambda batch: teachers.evaluate(batch.images, shared=False).logits
        rows_XC, size = self._table_RNC.flatten(0, 1), self._table_RNC.shape[1]
        first_R1 = torch.tensor(numbers, device=rows_XC.device)[:, None] * size
        return lambda batch: rows_XC[self._row_of_code[batch.codes] + first_R1]

    def _numbers(self, students: Iterable[int]) -> list[tuple[int, int]]:
        return [(student, self._number[id(self._models[student])]) for student in students]


class PackedStudentStep:
    """Finds the gradients of students that differ in numbers alone.

    Args:
        net: The students.
        distillers: KD of each replica; none where they have no teacher.
        teachers: Gives the teachers' logits.

    Attributes:
        losses: Names of the loss terms.
        diagnostics: Names of what else each step tells: nothing.
    """

    diagnostics: tuple[str, ...] = ()

    def __init__(
        self, net: PackedCnn, distillers: Sequence[Kd], teachers: TeacherLogits | None
    ) -> None:
        self._net, self._distillers, self._teachers = net, distillers, teachers
        self._weights: tuple[int, Mapping[str, Tensor]] = (0, {})
        self.losses: tuple[str, ...] = ("ce",)
        if distillers:
            settings = [distiller.settings for distiller in distillers]
            self._standardize = settings[0].standardize == "on"
            self._temperature_R11 = self._numbers([s.temperature for s in settings])[:, None, None]
            self.losses = tuple(distillers[0].weights(1))

    def __call__(
        self, batch: PackedBatch, *, step: int, epoch: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the gradients [R, P], the losses and the diagnostics, each of shape (R)."""
        terms = self.terms(batch, moving=True)
        weights = self.weights(epoch)
        total_R = sum(weight_R * terms[name] for name, weight_R in weights.items())
        assert isinstance(total_R, Tensor)
        gradients_RP = self._net.rows.gradients(total_R.sum())
        return gradients_RP, [terms[name].detach() for name in self.losses], []

    def weights(self, epoch: int) -> Mapping[str, Tensor]:
        """Return the weight of each term in an epoch, by replica; sent to the device once."""
        if self._weights[0] != epoch:
            each = [distiller.weights(epoch) for distiller in self._distillers]
            each = each or [{"ce": 1.0}] * self._net.replicas
            sent = {name: self._numbers([one[name] for one in each]) for name in self.losses}
            self._weights = (epoch, sent)
        return self._weights[1]

    def terms(self, batch: PackedBatch, *, moving: bool) -> dict[str, Tensor]:
        """Return the terms of a batch by name, each of shape (R).

        Args:
            batch: The batch.
            moving: Whether the running statistics of the norms move.
        """
        size = batch.labels.shape[1]
        logits_RBC = self._net.logits(self._net.features(batch.images, moving=moving))
        nll_RB = nll(logits_RBC.log_softmax(2), batch.labels)
        terms = {"ce": nll_RB.sum(1) / size}
        if self._teachers is None:
            return terms
        seen_RBC, shown_RBC = self._teachers(batch), logits_RBC
        if self._standardize:
            seen_RBC, shown_RBC = _standardized(seen_RBC), _standardized(shown_RBC)
        log_pt_RBC = (seen_RBC / self._temperature_R11).log_softmax(2)
        log_ps_RBC = (shown_RBC / self._temperature_R11).log_softmax(2)
        divergence_RX = (log_pt_RBC.exp() * (log_pt_RBC - log_ps_RBC)).flatten(1)
        scale_R = self._temperature_R11.flatten().square()
        name = next(name for name in self.losses if name != "ce")
        terms[name] = scale_R * (divergence_RX.sum(1) / size)
        return terms

    def pulls(self, batch: PackedBatch, epoch: int) -> list[dict[str, float]]:
        """Return what `icckd.train.student.pull_of_terms` tells of each replica."""
        weights = self.weights(epoch)
        terms = self.terms(batch, moving=False)
        norms: dict[str, Tensor] = {}
        for name, weight_R in weights.items():
            total = (weight_R * terms[name]).sum()
            found = torch.autograd.grad(
                total, list(self._net.rows.layers.values()), retain_graph=True
            )
            norms[name] = torch.linalg.vector_norm(self._net.rows.joined(found), dim=1)
        least_R = norms.pop("ce").clamp_min(SMALLEST_NORM)
        has_ce_R = weights["ce"] != 0
        return [
            {f"{n}_ratio": float(v[r] / least_R[r]) for n, v in norms.items() if has_ce_R[r]}
            for r in range(self._net.replicas)
        ]

    def _numbers(self, values: Sequence[float]) -> Tensor:
        flat = self._net.rows.flat
        return sent(torch.tensor(values, dtype=flat.dtype), flat.device)


def _standardized(logits_RBC: Tensor) -> Tensor:
    return standardized(logits_RBC.flatten(0, 1)).view_as(logits_RBC)
