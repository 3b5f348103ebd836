"""Laws of everything that trains: whole short runs, repeated, under another seed, resumed.

Data, teacher and student are the smallest that icckd has where the part is not one of them. Of a
large data set a few images of each split are taken, classes in their proportions.
"""

import contextlib
import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from icckd.errors import StagePaused
from icckd.study.data import Data, ImageShape
from icckd.study.distillers import Distiller
from icckd.study.model import Student
from icckd.study.network import Model
from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training
from icckd.testing.laws import Law, NotTriedError, bits, differing, process_streams, require
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.data.dataset import Dataset, load_dataset
from icckd.train.data.splits import Normaliser, Split, divide
from icckd.train.datasets.synthetic import SyntheticData
from icckd.train.evaluate import outcomes_on_test
from icckd.train.lazy import Tensor
from icckd.train.networks.base import Classifier
from icckd.train.networks.cifar import CifarModel
from icckd.train.networks.cnn import CnnModel
from icckd.train.precision import prepare
from icckd.train.student import fit_student
from icckd.train.teacher import fit_teacher
from icckd.train.trainer import StageMemory, Trained

EPOCHS = 3
STOPPED_AFTER = 2
MOST = {"train": 160, "validation": 64, "test": 64}
NOT_SET_BY_SEED = ("seconds", "memory", "energy", "images_per", "data_share")
"""In the names of what differs from run to run: times, memory, energy."""
SMALL = SyntheticData(
    kind="synthetic", classes=6, subclasses=2, size=8, train=160, validation=60, test=60
)
NETWORKS: tuple[Model, ...] = (CnnModel(widths=(4, 4, 8)), CifarModel(kind="cifar", name="resnet8"))
"""Student and teacher where the part is neither; the first that a distiller joins."""


@dataclass(frozen=True)
class RunCase:
    """A part in a stage that can be trained.

    Attributes:
        root: The folder of data sets.
        data: Settings of the data.
        image: Shape of drawn images, which are taken in place of the data.
        model: The model that is trained.
        losses: Losses of the teacher that are on, by name.
        distiller: What trains a student; None trains a teacher.
    """

    root: Path
    data: Data = SMALL
    image: ImageShape | None = None
    model: Model = NETWORKS[0]
    losses: Mapping[str, Any] = field(default_factory=dict)
    distiller: Distiller | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The images, few of each split."""
        return few(self.data, self.root) if self.image is None else drawn(self.image, self.root)

    @property
    def training(self) -> Training:
        """A few epochs."""
        return Training(epochs=EPOCHS, batch_size=min(32, len(self.dataset.host_labels)))

    @cached_property
    def pair(self) -> tuple[Model, Classifier]:
        """A student's model and a trained teacher that the distiller joins.

        Raises:
            NotTriedError: There is no such pair.
        """
        assert self.distiller is not None
        _, height, width, channels = self.dataset.train.images.shape
        image = ImageShape(channels=channels, height=height, width=width)
        for model in NETWORKS:
            try:
                shape = model.shape(image)
            except ValueError:
                continue
            if self.distiller.obstacle(shape, shape) is None:
                plain = replace(self, model=model, distiller=None, losses={})
                return model, plain.trained(0).model.eval()
        raise NotTriedError("it joins no two networks of icckd on these images")

    def trained(self, seed: int, folder: Path | None = None, *, stop: bool = False) -> "Run":
        """Return what training gives.

        Args:
            seed: The seed.
            folder: Keeps checkpoints, and is resumed from.
            stop: Whether training is stopped after some epochs.

        Raises:
            StagePaused: It was stopped.
        """
        numerics = Numerics()
        prepare("cpu", numerics)
        notes = _Notes()
        context = JobContext(
            device="cpu",
            data_root=self.root,
            artifact_folder=self.root,
            checkpoint_folder=folder,
            checkpoint_seconds=1e9,
            should_stop=lambda: stop and len(notes.series) == STOPPED_AFTER,
            stage="contract",
        )
        checkpoints = Checkpoints(context, notes, numerics)
        teacher = None
        if self.distiller is None:
            job = TeacherJob(data=self.data, teacher=self._teacher(), numerics=numerics, seed=seed)
            done = fit_teacher(job, self.dataset, notes, checkpoints, StageMemory("cpu"))
        else:
            model, teacher = self.pair
            student = Student(model=model, distiller=self.distiller, training=self.training)
            own = StudentJob(
                data=self.data,
                student=student,
                numerics=numerics,
                seed=seed,
                replicate=0,
                teacher_folder=None,
            )
            done = fit_student(own, teacher, self.dataset, notes, checkpoints, StageMemory("cpu"))
        values = done.outcomes | outcomes_on_test(done.model, self.dataset, teacher).values
        return Run(trained=done, series=notes.series, values=values)

    def _teacher(self) -> Teacher:
        views = max([1, *(loss.views for loss in self.losses.values())])
        losses: dict[str, Any] = dict.fromkeys(Teacher.loss_names(), "off") | dict(self.losses)
        return Teacher(model=self.model, training=self.training, views=views, **losses)


@dataclass(frozen=True)
class Run:
    """What a run gave.

    Attributes:
        trained: Network, and what its steps keep.
        series: Values of each epoch.
        values: Outcomes.
    """

    trained: Trained
    series: Sequence[Mapping[str, float]]
    values: Mapping[str, float]

    @property
    def model(self) -> Classifier:
        """The trained network."""
        return self.trained.model

    def facts(self) -> dict[str, Any]:
        """Return everything that the seed decides, by name."""
        weights = {f"weights {n}": v for n, v in bits(self.model).items()}
        state = {f"what steps keep, {n}": v for n, v in bits(self.trained.state).items()}
        numbers = {f"outcome {name}": repr(value) for name, value in self.values.items()}
        for epoch, values in enumerate(self.series, start=1):
            numbers |= {f"{name} of epoch {epoch}": repr(v) for name, v in values.items()}
        set_by_seed = {
            name: value
            for name, value in numbers.items()
            if not any(word in name for word in NOT_SET_BY_SEED)
        }
        return {**weights, **state, **set_by_seed}


class _Notes:
    """A recorder that keeps the series."""

    def __init__(self) -> None:
        self.series: list[Mapping[str, float]] = []

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        self.series = [dict(values) for values in series]

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.series.append(dict(values))

    def outcomes(self, values: Mapping[str, float], right: Sequence[bool] = ()) -> None:
        pass

    def log(self, message: str) -> None:
        pass


@functools.lru_cache(maxsize=4)
def _whole(data: Data, root: Path) -> Dataset:
    place = JobContext(device="cpu", data_root=root, artifact_folder=root)
    return load_dataset(data, place)


def few(data: Data, root: Path) -> Dataset:
    """Return a data set with few images of each split, normalised by those to train on."""
    whole = _whole(data, root)
    train = _few(whole.train, MOST["train"])
    return replace(
        whole,
        train=train,
        validation=_few(whole.validation, MOST["validation"]),
        test=_few(whole.test, MOST["test"]),
        normalise=Normaliser(train),
        host_labels=train.labels,
    )


def _few(split: Split, most: int) -> Split:
    if len(split.labels) <= most:
        return split
    return split.take(divide(split.labels, (most,), split_seed=0)[0])


def drawn(image: ImageShape, root: Path) -> Dataset:
    """Return synthetic images of any shape; each channel shows the same."""
    side = max(image.height, image.width, 4)
    grey = few(SMALL.model_copy(update={"size": side}), root)
    train, validation, test = (
        replace(each, images=_shaped(each.images[:], image))
        for each in (grey.train, grey.validation, grey.test)
    )
    return replace(
        grey,
        train=train,
        validation=validation,
        test=test,
        normalise=Normaliser(train),
        in_channels=image.channels,
    )


def _shaped(images_NHWK: Tensor, image: ImageShape) -> Tensor:
    cut_NHWK = images_NHWK[:, : image.height, : image.width]
    return cut_NHWK.repeat(1, 1, 1, image.channels)


# The laws.


def runs_with_one_seed_are_equal(case: RunCase) -> None:
    """Two short runs with one seed are equal, bit by bit, whatever the process drew before."""
    found = []
    for streams in (1, 2):
        with process_streams(streams):
            found.append(case.trained(0).facts())
    odd = differing(*found)
    require(not odd, f"{odd} differ: something besides the seed decides them")


def a_run_with_another_seed_differs(case: RunCase) -> None:
    """A short run with another seed gives other weights."""
    some, others = (bits(case.trained(seed).model) for seed in (0, 1))
    require(differing(some, others), "all weights are equal under two seeds")


def a_resumed_run_ends_as_if_never_stopped(case: RunCase) -> None:
    """A run that is stopped and resumed ends with the bits of one that was not."""
    whole = case.trained(0).facts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.suppress(StagePaused):
            case.trained(0, folder, stop=True)
        kept = list(folder.iterdir())
        require(kept, "nothing was kept to resume from")
        again = case.trained(0, folder)
    odd = differing(whole, again.facts())
    require(not odd, f"{odd} differ: what steps keep is no parameter and no buffer")


LAWS: tuple[Law, ...] = (
    runs_with_one_seed_are_equal,
    a_run_with_another_seed_differs,
    a_resumed_run_ends_as_if_never_stopped,
)
