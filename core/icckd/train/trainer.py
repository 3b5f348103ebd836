"""The training loop that teacher and student share: steps, their log, updates, state, epochs.

Shape suffixes: S steps of the stage, T terms, B batch, V views, C channels, H height, W width.
"""

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from icckd.errors import NonFiniteError, StageError, StagePaused
from icckd.resources import EnergyMeter, PeakMemory, gpu_memory_of_this_process
from icckd.study.records import EngineKind
from icckd.study.training import Training
from icckd.train.captured import StaticStep, Take
from icckd.train.checkpoint import Checkpoints, Snapshot
from icckd.train.contract import Recorder
from icckd.train.data.batch import Batch, parts_of
from icckd.train.data.dataset import Dataset
from icckd.train.data.stream import TrainStream
from icckd.train.evaluate import series_on_validation, stability
from icckd.train.metrics.base import Evaluation, NonFiniteOutputsError
from icckd.train.networks.base import Classifier
from icckd.train.optim import Gradients, Optimizer, learning_rate, make_optimizer
from icckd.train.precision import PLAIN, Arithmetic, LossScale, full_fp32


class StageMemory:
    """Peaks since this object was made; blocks that an earlier stage left cached are freed.

    What is allocated on a GPU counts while `training` lasts: evaluation looks at many images at
    once, and its peak says nothing of a method.
    """

    def __init__(self, device: str) -> None:
        self._on_cuda = device == "cuda"
        self._peaks: dict[str, float] = {}
        if self._on_cuda:
            gc.collect()  # an earlier stage's networks may lie in cycles
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self._resident = PeakMemory()

    @property
    def is_exact(self) -> bool:
        """Whether the resident peak is the stage's own, not an upper bound."""
        return self._resident.is_exact

    @contextmanager
    def training(self) -> Iterator[None]:
        """Watch what is allocated on the GPU inside."""
        if not self._on_cuda:
            yield
            return
        self._raise_to("memory_reserved", torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
        finally:
            self._raise_to("memory_allocated", torch.cuda.max_memory_allocated())

    def peaks(self) -> dict[str, float]:
        """Return the peaks so far by the name of their outcome, without the stage kind."""
        self._raise_to("memory_rss", self._resident.peak_bytes())
        if self._on_cuda:
            self._raise_to("memory_reserved", torch.cuda.max_memory_reserved())
        return dict(self._peaks)

    def take_over(self, peaks: Mapping[str, float]) -> None:
        """Take over the peaks of the attempts before."""
        for name, value in peaks.items():
            self._raise_to(name, value)

    def outcomes(self) -> dict[str, float]:
        """Return the memory outcomes by name, without the stage kind."""
        values = self.peaks()
        held = gpu_memory_of_this_process() if self._on_cuda else None
        return values if held is None else {**values, "memory_nvml": held}

    def _raise_to(self, name: str, value: float) -> None:
        self._peaks[name] = max(value, self._peaks.get(name, 0))


# What a step of training is: it sets the gradients of one optimizer step.


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """Scalars of one step on the device, in the order of the step's names."""

    losses: tuple[Tensor, ...]
    diagnostics: tuple[Tensor, ...] = ()


class Step(Protocol):
    """Sets the gradients of one optimizer step. Losses are logged before their weights.

    Attributes:
        losses: Names of the loss terms.
        diagnostics: Names of what else each step tells.
        state: What steps leave to later ones besides the model: buffers such as a cache, and
            parameters, which are optimised with the model's.
    """

    losses: tuple[str, ...]
    diagnostics: tuple[str, ...]
    state: nn.Module

    def __call__(self, batch: Batch, *, step: int | Tensor, epoch: int) -> StepValues:
        """Set the gradients; `step` counts from 0 over the stage, `epoch` from 1.

        Where steps are captured, `step` is a scalar on the device.
        """

    def variant(self, epoch: int) -> Hashable:
        """Return what of a step the epoch decides, besides values."""


# Values of each step, kept on the device and read once per epoch.

CHECK_EVERY = {"cpu": 1}
"""Steps between checks for values that are not finite; `CHECK_SELDOM` on other devices."""
CHECK_SELDOM = 32
"""Reading the values makes a GPU wait."""


SMALLEST_NORM = 1e-12
"""Least gradient norm of cross-entropy that the strength of a loss is divided by."""


class StepLog:
    """A table of float32 with one row per step and one column per term."""

    def __init__(self, terms: tuple[str, ...], steps: int, device: str) -> None:
        self.terms = terms
        self._values_ST = torch.zeros(steps, len(terms), device=device)
        self._every = CHECK_EVERY.get(device, CHECK_SELDOM)
        self._written = 0
        self._checked = 0

    def write(self, values: tuple[Tensor, ...] | Tensor) -> None:
        """Append a step's values in the order of the terms: scalars, or all together.

        Raises:
            NonFiniteError: If a step since the last check has a value that is not finite.
        """
        row_T = self._values_ST[self._written]
        if isinstance(values, Tensor):
            row_T.copy_(values)
        else:
            torch.stack(values, out=row_T)
        self._written += 1
        if self._written - self._checked >= self._every:
            self.check()

    def extend(self, values_ST: Tensor) -> None:
        """Append the values of several steps, and check them.

        Raises:
            NonFiniteError: With the first step, and its first term, that is not finite.
        """
        self._values_ST[self._written : self._written + len(values_ST)] = values_ST
        self._written += len(values_ST)
        self.check()

    def check(self) -> None:
        """Check the steps not yet checked.

        Raises:
            NonFiniteError: With the first such step and its first such term.
        """
        fresh_ST = self._values_ST[self._checked : self._written]
        if not fresh_ST.isfinite().all():
            step, column = fresh_ST.isfinite().logical_not().nonzero()[0].tolist()
            raise NonFiniteError(step=self._checked + step, term=self.terms[column])
        self._checked = self._written

    @property
    def written(self) -> Tensor:
        """The values so far, float32, shape (steps, terms)."""
        return self.rows(self._written)

    def rows(self, steps: int) -> Tensor:
        """Return the first rows of the table, written or not."""
        return self._values_ST[:steps]

    def restore(self, values_ST: Tensor) -> None:
        """Resume after steps that another log wrote and checked."""
        self._written = self._checked = len(values_ST)
        self._values_ST[: self._written] = values_ST

    def read(self, steps: int) -> dict[str, NDArray[np.float64]]:
        """Return the last steps' values by term; one transfer from the device."""
        values_ST = self._values_ST[self._written - steps : self._written].cpu().double().numpy()
        return {term: values_ST[:, column] for column, term in enumerate(self.terms)}


# One optimizer step: gradients over the parts of a batch, clipping, change of the parameters.


class Update:
    """Changes the parameters once for each batch.

    Attributes:
        terms: Names of what an update tells: the gradient norm before clipping, then shares in
            percent of steps that were clipped, or skipped because a gradient overflowed.
    """

    def __init__(self, optimizer: Optimizer, training: Training, arithmetic: Arithmetic) -> None:
        self._optimizer, self._arithmetic = optimizer, arithmetic
        self._clip = None if training.clip_norm == "off" else training.clip_norm
        self._parts = training.accumulate
        clip: tuple[str, ...] = () if self._clip is None else ("clip_share",)
        scaled: tuple[str, ...] = () if arithmetic.loss_scale is None else ("overflow_share",)
        self.terms: tuple[str, ...] = ("grad_norm", *clip, *scaled)

    def run(
        self, step: Step, batch: Batch, *, number: int | Tensor, epoch: int, lr: float | Tensor
    ) -> tuple[StepValues, list[Tensor]]:
        """Change the parameters once; return what the step tells, and the values of `terms`.

        A step whose gradient overflows in fp16 changes nothing but the loss scale, and tells 0 for
        its norm. Where gradients overflow however small the scale, the norm told is NaN.
        """
        optimizer, loss_scale = self._optimizer, self._arithmetic.loss_scale
        optimizer.clear()
        with self._arithmetic.compiling():
            values = self._gradients(step, batch, number=number, epoch=epoch)
        if loss_scale is not None:
            loss_scale.unscale(optimizer.gradients())
        norm = optimizer.gradient_norm()
        told = [norm]
        if self._clip is not None:
            told.append((norm > self._clip) * 100.0)
            optimizer.clip(norm, self._clip)
        if loss_scale is None:
            optimizer.step(lr)
            return values, told
        overflowed = norm.isfinite().logical_not()
        optimizer.step(lr, skip=overflowed.float())
        loss_scale.adapt(overflowed.float())
        told = [torch.where(overflowed, 0.0, value) for value in told]
        told[0] = torch.where(loss_scale.is_lost(), torch.nan, told[0])
        return values, [*told, overflowed * 100.0]

    def _gradients(
        self, step: Step, batch: Batch, *, number: int | Tensor, epoch: int
    ) -> StepValues:
        """Set the mean gradient over the parts of a batch; return the mean values."""
        if self._parts == 1:
            return step(batch, step=number, epoch=epoch)
        total: Gradients | None = None
        values = []
        for part in parts_of(batch, self._parts):
            values.append(step(part, step=number, epoch=epoch))
            total = self._optimizer.take_gradients(total)
        assert total is not None
        self._optimizer.set_gradients(total, share=1 / self._parts)
        return StepValues(
            losses=_means([value.losses for value in values]),
            diagnostics=_means([value.diagnostics for value in values]),
        )


def _means(columns: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    by_name = zip(*columns, strict=True)
    return tuple(torch.stack([value.float() for value in values]).mean() for values in by_name)


# What training has done so far and what it took: what checkpoints hold and a resumed stage reads.

T = TypeVar("T")


class Peaks(Protocol):
    """The highest of what a stage takes, by name."""

    def training(self) -> AbstractContextManager[None]:
        """Watch what training takes inside."""

    def peaks(self) -> dict[str, float]:
        """Return the peaks so far."""

    def take_over(self, peaks: Mapping[str, float]) -> None:
        """Take over the peaks of the attempts before."""


class TrainingState:
    """Everything of a fit that changes from epoch to epoch.

    Args:
        model: The network that is trained.
        state: What the steps leave to later ones.
        optimizer: Updates the parameters of both.
        log: Values of every step.
        memory: Peaks of the stage.
        loss_scale: What the loss is multiplied by, where it is.

    Attributes:
        series: Series values of each epoch done, over all attempts.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        state: nn.Module,
        optimizer: Optimizer,
        log: StepLog,
        memory: Peaks,
        loss_scale: LossScale | None,
    ) -> None:
        self._modules = {"model": model, "state": state}
        if loss_scale is not None:
            self._modules["loss_scale"] = loss_scale
        self._optimizer, self._memory = optimizer, memory
        self.log = log
        self.series: list[dict[str, float]] = []
        self._before = {"seconds": 0.0, "data_seconds": 0.0, "wall_seconds": 0.0, "energy": 0.0}
        self._here = {"seconds": 0.0, "data_seconds": 0.0}
        self._started, self._meter = perf_counter(), EnergyMeter()

    @property
    def seconds(self) -> float:
        """Training seconds of all attempts so far."""
        return self._before["seconds"] + self._here["seconds"]

    @property
    def spent(self) -> dict[str, float]:
        """What all attempts spent so far.

        `seconds` of training, `data_seconds` of these waiting for batches, `wall_seconds` on the
        clock, and `energy` of the GPUs in joules, where the driver tells it.
        """
        now = {**self._here, "wall_seconds": perf_counter() - self._started}
        joules = self._meter.joules()
        if joules is not None:
            now["energy"] = joules
        return {name: self._before[name] + value for name, value in now.items()}

    @contextmanager
    def training(self) -> Iterator[None]:
        """Count the seconds spent inside, and the memory allocated, as training's."""
        start = perf_counter()
        with self._memory.training():
            yield
        self._here["seconds"] += perf_counter() - start

    def loading(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches; count the seconds spent waiting for them."""
        iterator = iter(batches)
        while True:
            start = perf_counter()
            batch = next(iterator, None)
            self._here["data_seconds"] += perf_counter() - start
            if batch is None:
                return
            yield batch

    def record(self, recorder: Recorder, values: dict[str, float]) -> None:
        """Record the series values of the epoch just done."""
        self.series.append(values)
        recorder.epoch(len(self.series), values)

    def snapshot(self) -> Snapshot:
        """Return what a checkpoint holds now, at the end of an epoch."""
        return Snapshot(
            epoch=len(self.series),
            spent=self.spent,
            series=self.series,
            peaks=self._memory.peaks(),
            tensors=self._tensors(self._optimizer.state(), self.log.written),
        )

    def resume(self, checkpoints: Checkpoints, recorder: Recorder, *, steps_per_epoch: int) -> int:
        """Resume from the newest checkpoint that fits; return the epochs done, 0 without one."""

        def expected(epoch: int) -> dict[str, Tensor]:
            log_ST = self.log.rows(epoch * steps_per_epoch)
            return self._tensors(self._optimizer.expected(), log_ST)

        snapshot = checkpoints.newest(expected)
        if snapshot is None:
            return 0
        self._take_over(snapshot.tensors)
        self._memory.take_over(snapshot.peaks)
        self.series = snapshot.series
        self._before |= snapshot.spent
        recorder.resumed(
            self.series, attempt=snapshot.attempt, seconds=self._before["wall_seconds"]
        )
        return snapshot.epoch

    def _tensors(self, optimizer: Mapping[str, Tensor], log_ST: Tensor) -> dict[str, Tensor]:
        named = {f"optimizer.{name}": value for name, value in optimizer.items()}
        for part, module in self._modules.items():
            named |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        return {**named, "log": log_ST}

    @torch.no_grad()
    def _take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy values in place, so that memory layouts stay as this process made them."""
        for part, module in self._modules.items():
            for name, value in module.state_dict().items():
                value.copy_(tensors[f"{part}.{name}"])
        prefix = "optimizer."
        self._optimizer.restore(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
        self.log.restore(tensors["log"])


# The training loop that teacher and student share.

ALL = 100.0
"""Share of the steps, in percent."""

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
        batch_size: Images of a step; a second view counts as the same image.
        spent: What all attempts spent: seconds, and joules where they are known; nothing of a
            stage that was trained in a pack.
    """

    terms: dict[str, NDArray[np.float64]]
    steps_per_epoch: int
    batch_size: int
    spent: Mapping[str, float]

    def outcomes(self) -> dict[str, float]:
        """Return the outcomes of a complete fit by name, without the stage kind."""
        values = {
            "stability": stability(self.terms["ce"], self.steps_per_epoch),
            "grad_norm_max": float(self.terms["grad_norm"].max()),
            "nonfinite_steps": 0,
        }
        if self.spent:
            steps, seconds = len(self.terms["ce"]), self.spent["seconds"]
            values["seconds"] = seconds
            values["images_per_second"] = steps * self.batch_size / seconds
            values["data_share"] = 100.0 * self.spent["data_seconds"] / seconds
        if "energy" in self.spent:
            values["energy"] = self.spent["energy"]
        shares = ("clip_share", "overflow_share")
        return values | {n: float(self.terms[n].mean()) for n in shares if n in self.terms}

    def save_steps(self, folder: Path) -> None:
        """Write `steps.safetensors`: the cross-entropy of every step, which stability is made of.

        Raises:
            OSError: The disk refuses it; it may be tried again.
        """
        ce_S = self.terms["ce"].astype(np.float32)  # as the log held it, so that nothing is lost
        about = {"steps_per_epoch": str(self.steps_per_epoch)}
        (folder / "steps.safetensors").write_bytes(save({"ce": ce_S}, about))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network that was trained, what its steps left, and its outcomes without the stage kind."""

    model: Classifier
    state: nn.Module
    fit: Fit
    outcomes: dict[str, float]


def fit(  # noqa: PLR0913  # what teachers and students train by, by keyword
    kind: EngineKind,
    model: Classifier,
    step: Step,
    stream: TrainStream,
    *,
    dataset: Dataset,
    training: Training,
    recorder: Recorder,
    checkpoints: Checkpoints,
    memory: StageMemory,
    observe: Observe = nothing_to_observe,
    arithmetic: Arithmetic = PLAIN,
) -> Fit:
    """Train the model and record every epoch; training seconds exclude validation.

    At the epochs that `training` declares for diagnostics, the validation images are looked at
    more closely and `observe` is asked, outside training seconds. It leaves model, step and
    streams as they are.

    Raises:
        NonFiniteError: If a loss, the gradient norm, a weight in the end, or what the model shows
            of a validation image is not finite; `nonfinite_steps` is recorded before.
        StageError: If not one step was taken, since gradients overflowed.
        MachineError: If the stage is to be compiled, and torch cannot do so here.
        StagePaused: If the stage was asked to stop.
    """
    optimizer = make_optimizer([*model.parameters(), *step.state.parameters()], training)
    update = Update(optimizer, training, arithmetic)
    terms = (*step.losses, *update.terms, *step.diagnostics)
    log = StepLog(terms, training.last_epoch * stream.steps, dataset.device)
    training_state = TrainingState(
        model=model,
        state=step.state,
        optimizer=optimizer,
        log=log,
        memory=memory,
        loss_scale=arithmetic.loss_scale,
    )
    take: Take | StaticStep = (taken := taking(step, update))
    if arithmetic.captured:
        largest = stream.largest_class
        take = StaticStep(taken, step.variant, terms=len(terms), largest_class=largest)
    done = training_state.resume(checkpoints, recorder, steps_per_epoch=stream.steps)
    diagnosed = training.diagnosed()
    for epoch in range(done + 1, training.last_epoch + 1):
        lr = learning_rate(training, epoch)
        model.train()
        with divergence(kind, recorder, epoch * stream.steps - 1), training_state.training():
            _run_epoch(take, stream, training_state, epoch=epoch, lr=lr)
            if epoch == training.last_epoch:
                optimizer.check(step=epoch * stream.steps - 1)
            columns = log.read(stream.steps)
        values = {term: float(column.mean()) for term, column in columns.items()}
        if values.get("overflow_share") == ALL:
            recorder.log(f"no step of epoch {epoch} was taken: the gradient of each overflowed")
        values |= {"lr": lr, "train_seconds": training_state.seconds}
        with divergence(kind, recorder, epoch * stream.steps - 1), full_fp32():
            values |= _on_validation(model, dataset, is_diagnosed=epoch in diagnosed)
            if epoch in diagnosed:
                values |= observe(epoch)
        training_state.record(recorder, {f"{kind}.{name}": value for name, value in values.items()})
        if epoch < training.last_epoch and checkpoints.after_epoch(training_state.snapshot):
            raise StagePaused(epoch=epoch)
    whole = log.read(training.last_epoch * stream.steps)
    if "overflow_share" in whole and whole["overflow_share"].min() == ALL:
        raise StageError(
            f"no step was taken: the gradient overflowed fp16 at all {len(whole['ce'])} of them",
            hint='lower the weight of the losses, or set numerics.precision = "bf16" or "fp32"',
        )
    return Fit(
        terms={term: np.ascontiguousarray(column) for term, column in whole.items()},
        steps_per_epoch=stream.steps,
        batch_size=training.batch_size,
        spent=training_state.spent,
    )


@contextmanager
def divergence(
    kind: EngineKind, recorder: Recorder, last_step: int, teacher: Classifier | None = None
) -> Iterator[None]:
    """Record what shows inside that training diverged, and say that this kind of stage did.

    Args:
        kind: The kind of stage that trains.
        recorder: Told one non-finite step.
        last_step: Optimiser step that what the model shows is put down to.
        teacher: At fault instead where it is what shows something not finite.

    Raises:
        NonFiniteError: A step is not finite, or an output of the model.
    """
    try:
        yield
    except NonFiniteError as error:
        recorder.outcomes({f"{kind}.nonfinite_steps": 1})
        raise NonFiniteError(step=error.step, term=error.term, diverged=kind) from error
    except NonFiniteOutputsError as error:
        recorder.outcomes({f"{kind}.nonfinite_steps": 1})
        at_fault = "teacher" if error.model is teacher else kind
        raise NonFiniteError(step=last_step, term="outputs", diverged=at_fault) from error


def _on_validation(model: Classifier, dataset: Dataset, *, is_diagnosed: bool) -> dict[str, float]:
    """Return what validation images show; the outputs are freed before training resumes."""
    validation = Evaluation(
        model=model,
        split=dataset.validation,
        normalise=dataset.normalise,
        n_classes=dataset.n_classes,
    )
    return series_on_validation(validation, is_diagnosed=is_diagnosed)


def taking(step: Step, update: Update) -> Take:
    """Return what takes one optimizer step, and returns its values in the order of the log."""

    def take(
        batch: Batch, *, number: int | Tensor, epoch: int, lr: float | Tensor
    ) -> tuple[Tensor, ...]:
        values, done = update.run(step, batch, number=number, epoch=epoch, lr=lr)
        return (*values.losses, *done, *values.diagnostics)

    return take


def _run_epoch(
    take: Take | StaticStep,
    stream: TrainStream,
    training_state: TrainingState,
    *,
    epoch: int,
    lr: float,
) -> None:
    first, log = (epoch - 1) * stream.steps, training_state.log
    for number, batch in enumerate(training_state.loading(stream.epoch(epoch)), start=first):
        try:
            told = take(batch, number=number, epoch=epoch, lr=lr)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            log.check()  # an earlier step may show where it began
            raise NonFiniteError(step=number, term="linear algebra") from error
        log.write(told)
    log.check()
