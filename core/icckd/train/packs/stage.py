"""What packs of teachers and of students share: a stage's place in one, its start and its end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

from torch import nn

from icckd.study.network import Model
from icckd.study.packing import unit_of
from icckd.study.training import Training
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import JobContext, Recorder, StudentJob, TeacherJob
from icckd.train.data.dataset import Dataset, load_dataset
from icckd.train.data.stream import TrainStream
from icckd.train.metrics.base import Seen
from icckd.train.networks import build_model
from icckd.train.networks.base import Classifier
from icckd.train.networks.cnn import Cnn
from icckd.train.packs.fit import Complete, Part, Role, fit_pack
from icckd.train.precision import prepare
from icckd.train.seeding import Key
from icckd.train.stage import finish
from icckd.train.trainer import Fit, Trained

J = TypeVar("J", TeacherJob, StudentJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[J]):
    """A stage in a pack: what is trained, what records it, and where it runs."""

    job: J
    recorder: Recorder
    context: JobContext


Ended = Callable[[int, Exception | None], None]
"""Told of each place, by its number, once it has ended: None, or why it has no result."""


NO_TEACHERS: Mapping[int, Classifier] = {}
NOTHING_SEEN: Mapping[int, Seen] = {}


def dataset_of(places: Sequence[Place[J]]) -> Dataset:
    """Return the data of all; torch is set up as their numerics say."""
    job, context = places[0].job, places[0].context
    prepare(context.device, job.numerics)
    return load_dataset(job.data, context, job.numerics.precision)


def network_of(settings: Model, dataset: Dataset, key: Key) -> Cnn:
    """Return a new network, initialised from streams under `key`."""
    model = build_model(
        settings,
        in_channels=dataset.in_channels,
        n_classes=dataset.n_classes,
        key=key,
        device=dataset.device,
    )
    return cast(Cnn, model)


def part_of(
    place: Place[J], training: Training, model: Cnn, state: nn.Module, stream: TrainStream
) -> Part:
    """Return what a stage brings to a pack."""
    return Part(
        model=model,
        state=state,
        training=training,
        stream=stream,
        recorder=place.recorder,
        checkpoints=Checkpoints(place.context, place.recorder, place.job.numerics),
        is_cancelled=place.context.is_cancelled,
    )


def train_places(  # noqa: PLR0913  # what both kinds of pack share
    role: Role,
    places: Sequence[Place[J]],
    parts: Mapping[int, Part],
    dataset: Dataset,
    model: Model,
    *,
    trained: Callable[[int, Fit], Trained],
    ended: Ended,
    teachers: Mapping[int, Classifier] = NO_TEACHERS,
    seen_by_teachers: Mapping[int, Seen] = NOTHING_SEEN,
) -> None:
    """Train the parts; test and write each that is complete, and tell how each ended.

    Args:
        role: Whether teachers or students are trained.
        places: The stages.
        parts: What each brings, by its number; those without a part have ended.
        dataset: The data of all.
        model: Settings of the networks that are trained.
        trained: Gives of a stage what its training led to.
        ended: Told of each.
        teachers: Of each student, by its number.
        seen_by_teachers: What they show of the test images.
    """

    def finished(number: int, result: Complete | Exception) -> None:
        error = result if isinstance(result, Exception) else None
        if not isinstance(result, Exception):
            place = places[number]
            try:
                finish(
                    role.kind,
                    trained(number, result.fit),
                    model,
                    None,
                    dataset,
                    place.recorder,
                    place.context,
                    teacher=teachers.get(number),
                    shown=replace(result.shown, teacher=seen_by_teachers.get(number)),
                )
            except Exception as failed:
                error = failed
        ended(number, error)

    fit_pack(role, parts, dataset, unit=unit_of(model, dataset.device), ended=finished)
