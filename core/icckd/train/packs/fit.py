"""The training loop of a pack: what `icckd.train.trainer.fit` does for one stage, for several.

Each member of a pack is a stage with a recorder, checkpoints and a log of its own. Between epochs
its state is that of a stage outside a pack: checkpoints of both have one form, and a member may go
on in any pack. Members that are at different epochs train one after another.

Shape suffixes: R replicas, S steps of an epoch, T terms, N images, D features, C classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from icckd.errors import StageCancelled, StagePaused
from icckd.study.records import EngineKind
from icckd.study.training import Training
from icckd.train.checkpoint import Checkpoints, Snapshot
from icckd.train.contract import Recorder
from icckd.train.data.dataset import Dataset
from icckd.train.data.splits import Split
from icckd.train.data.stream import TrainStream
from icckd.train.evaluate import Shown, series_on_validation
from icckd.train.metrics.base import Evaluation, Seen, checked
from icckd.train.networks.cnn import Cnn
from icckd.train.optim import Optimizer, learning_rate, make_optimizer
from icckd.train.packs.batches import Feed, PackedBatch
from icckd.train.packs.network import PackedCnn, filled, images_at_once
from icckd.train.packs.optim import RowOptimizer, make_row_optimizer
from icckd.train.trainer import Fit, StepLog, TrainingState, divergence


class Unmeasured:
    """Memory peaks of a member: a pack's are nobody's."""

    @contextmanager
    def training(self) -> Iterator[None]:
        """Measure nothing."""
        yield

    def peaks(self) -> dict[str, float]:
        """Return no peaks."""
        return {}

    def take_over(self, peaks: Mapping[str, float]) -> None:
        """Take over nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one stage brings to a pack.

    Attributes:
        model: The network, as it starts.
        state: What its steps leave to later ones: a loss with its cache, or nothing.
        training: How it is optimised.
        stream: Its batches.
        recorder: Told every epoch.
        checkpoints: Where it resumes from.
        is_cancelled: Asked at epoch ends; when true the stage is dropped.
    """

    model: Cnn
    state: nn.Module
    training: Training
    stream: TrainStream
    recorder: Recorder
    checkpoints: Checkpoints
    is_cancelled: Callable[[], bool]


class PackedStep(Protocol):
    """Finds the gradients of all replicas."""

    losses: tuple[str, ...]
    diagnostics: tuple[str, ...]

    def __call__(
        self, batch: PackedBatch, *, step: int, epoch: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the gradients [R, P], the losses and the diagnostics, each of shape (R)."""


class Role(Protocol):
    """What differs between packs of teachers and of students."""

    kind: EngineKind

    def step(self, net: PackedCnn, numbers: Sequence[int]) -> PackedStep:
        """Return the step of the members with these numbers, one for each replica."""

    def store(self, step: PackedStep, replica: int, state: nn.Module) -> None:
        """Write what a step keeps for a replica into the state of its member."""

    def observe(
        self, step: PackedStep, feed: Feed, members: Sequence["Member"], epoch: int
    ) -> list[dict[str, float]]:
        """Return the diagnostics at the end of an epoch, of each member."""


class Member:
    """One stage in a pack, and what it has done so far."""

    def __init__(self, number: int, part: Part, terms: tuple[str, ...]) -> None:
        self.number, self.part = number, part
        parameters = [*part.model.parameters(), *part.state.parameters()]
        self.optimizer: Optimizer = make_optimizer(parameters, part.training)
        self.log = StepLog(terms, part.training.last_epoch * part.stream.steps, "cpu")
        self.training_state = TrainingState(
            model=part.model,
            state=part.state,
            optimizer=self.optimizer,
            log=self.log,
            memory=Unmeasured(),
            loss_scale=None,
        )
        self.done = self.training_state.resume(
            part.checkpoints, part.recorder, steps_per_epoch=part.stream.steps
        )

    def fit(self) -> Fit:
        """Return what the complete training showed."""
        steps = self.part.stream.steps
        whole = self.log.read(self.part.training.last_epoch * steps)
        return Fit(
            terms={term: np.ascontiguousarray(column) for term, column in whole.items()},
            steps_per_epoch=steps,
            batch_size=self.part.training.batch_size,
            spent={},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """A part that was trained to its end: what its training showed, and its network shows."""

    fit: Fit
    shown: Shown


Ended = Callable[[int, Complete | Exception], None]
"""Told of each part, by its number, once: it is complete, or why it ended before."""


def fit_pack(
    role: Role, parts: Mapping[int, Part], dataset: Dataset, *, unit: int, ended: Ended
) -> None:
    """Train the parts of a pack; each ends by itself, and none keeps another from ending.

    A part ends by a NonFiniteError if a loss, the gradient norm, a weight in the end, or what the
    model shows of a validation image is not finite; by StagePaused if it was asked to stop and is
    saved; by StageCancelled if it was cancelled. What is wrong with the pack as a whole is raised.

    Args:
        role: Whether teachers or students are trained.
        parts: What is trained, by number.
        dataset: The data of all.
        unit: Replicas are filled up to a multiple of this; see `icckd.study.packing.unit_of`.
        ended: Told of each part.
    """
    terms = _terms(role, parts)
    members = []
    for number, part in parts.items():
        try:
            members.append(Member(number, part, terms))
        except Exception as error:
            ended(number, error)
    for done in sorted({member.done for member in members}):
        _Pack(role, [m for m in members if m.done == done], dataset, unit, ended).train(done)


def _terms(role: Role, parts: Mapping[int, Part]) -> tuple[str, ...]:
    number, part = next(iter(parts.items()))
    net = PackedCnn([part.model])
    step = role.step(net, [number])
    optimizer = make_optimizer(part.model.parameters(), part.training)
    updates = make_row_optimizer(net.rows, [part.training], [optimizer]).terms
    return (*step.losses, *updates, *step.diagnostics)


class _Pack:
    """Members that are at the same epoch, as one model."""

    def __init__(
        self, role: Role, members: list[Member], dataset: Dataset, unit: int, ended: Ended
    ) -> None:
        self._role, self._members, self._dataset = role, members, dataset
        self._unit, self._tell = unit, ended
        self._filled: list[Member] = []
        self._replica: dict[int, int] = {}
        self._epoch, self._stored = 0, True

    def train(self, done: int) -> None:
        """Train the epochs that are left."""
        last = self._members[0].part.training.last_epoch
        diagnosed = self._members[0].part.training.diagnosed()
        for epoch in range(done + 1, last + 1):
            if not self._members:
                return
            if len(filled(self._members, self._unit)) != len(self._filled):
                self._build()
            values_SRT = self._run_epoch(epoch)
            seen = self._evaluate()
            observed = self._observe(epoch) if epoch in diagnosed else {}
            for member in list(self._members):
                with self._ending(member):
                    self._after_epoch(member, epoch, values_SRT, seen, observed)
        self._store()
        test, train = self._see(self._dataset.test), self._see(self._dataset.train)
        for member in list(self._members):
            replica = self._replica[member.number]
            with self._ending(member):
                shown = Shown(
                    test=checked(_of_replica(test, replica), member.part.model),
                    train=checked(_of_replica(train, replica), member.part.model),
                )
                self._end(member, Complete(fit=member.fit(), shown=shown))

    def _build(self) -> None:
        """Make one model of the members, filled up with copies of the first."""
        self._store()
        self._filled = filled(self._members, self._unit)
        self._replica = {m.number: replica for replica, m in enumerate(self._members)}
        parts = [member.part for member in self._filled]
        self._net = PackedCnn([part.model for part in parts])
        self._step = self._role.step(self._net, [member.number for member in self._filled])
        self._optimizer: RowOptimizer = make_row_optimizer(
            self._net.rows,
            [part.training for part in parts],
            [member.optimizer for member in self._filled],
        )
        self._feed = Feed([part.stream for part in parts], self._dataset.normalise)

    def _run_epoch(self, epoch: int) -> Tensor:
        """Take the steps of an epoch; return what they tell, shape (steps, replicas, terms).

        The device is waited for once, in the end.
        """
        self._epoch, self._stored = epoch, False
        rates = [[learning_rate(member.part.training, epoch)] for member in self._filled]
        lr_R1 = self._net.rows.flat.new_tensor(rates)
        told = []
        for number, batch in enumerate(
            self._feed.epoch(epoch), start=(epoch - 1) * self._feed.steps
        ):
            gradients_RP, losses, diagnostics = self._step(batch, step=number, epoch=epoch)
            updates = self._optimizer.step(gradients_RP, lr_R1)
            told.append(torch.stack([*losses, *updates, *diagnostics], dim=1))
        return torch.stack(told).float().cpu()

    def _evaluate(self) -> Seen:
        """Return features [R, N, D] and logits [R, N, C] of the validation images."""
        return self._see(self._dataset.validation)

    def _see(self, split: Split) -> Seen:
        normalise = self._dataset.normalise
        chunks = split.chunks(images_at_once(self._dataset.device))
        return self._net.see(normalise(images) for images in chunks)

    def _observe(self, epoch: int) -> dict[int, dict[str, float]]:
        self._store()
        found = self._role.observe(self._step, self._feed, self._members, epoch)
        return {m.number: values for m, values in zip(self._members, found, strict=True)}

    def _after_epoch(
        self,
        member: Member,
        epoch: int,
        values_SRT: Tensor,
        seen: Seen,
        observed: Mapping[int, Mapping[str, float]],
    ) -> None:
        """Record what an epoch showed of a member, and save it if that is due."""
        part, kind, replica = member.part, self._role.kind, self._replica[member.number]
        last_step = epoch * part.stream.steps - 1
        with divergence(kind, part.recorder, last_step):
            member.log.extend(values_SRT[:, replica])
            if epoch == part.training.last_epoch:
                self._store()
                member.optimizer.check(step=last_step)
            columns = member.log.read(part.stream.steps)
            values = {term: float(column.mean()) for term, column in columns.items()}
            values["lr"] = learning_rate(part.training, epoch)
            own = _of_replica(seen, replica)
            values |= self._on_validation(member, own, is_diagnosed=member.number in observed)
            values |= observed.get(member.number, {})
        member.training_state.record(
            part.recorder, {f"{kind}.{name}": value for name, value in values.items()}
        )
        if part.is_cancelled():
            raise StageCancelled(epoch=epoch)
        if epoch < part.training.last_epoch and part.checkpoints.after_epoch(
            lambda: self._snapshot(member)
        ):
            raise StagePaused(epoch=epoch)

    def _on_validation(self, member: Member, seen: Seen, *, is_diagnosed: bool) -> dict[str, float]:
        dataset = self._dataset
        validation = Evaluation(
            model=member.part.model,
            split=dataset.validation,
            normalise=dataset.normalise,
            n_classes=dataset.n_classes,
            outputs=checked(seen, member.part.model),
        )
        return series_on_validation(validation, is_diagnosed=is_diagnosed)

    def _snapshot(self, member: Member) -> Snapshot:
        self._store()
        return member.training_state.snapshot()

    def _store(self) -> None:
        """Bring models, caches and optimizers of the members up to date."""
        if self._stored:
            return
        self._stored = True
        for member in self._members:
            replica, part = self._replica[member.number], member.part
            self._net.store(replica, part.model, batches=self._epoch * part.stream.steps)
            self._role.store(self._step, replica, part.state)
            member.optimizer.restore(self._optimizer.remembered(replica))

    @contextmanager
    def _ending(self, member: Member) -> Iterator[None]:
        """End a member by the exception inside, whatever it is."""
        try:
            yield
        except Exception as error:
            self._end(member, error)

    def _end(self, member: Member, result: "Complete | Exception") -> None:
        self._members.remove(member)
        self._tell(member.number, result)


def _of_replica(seen: Seen, replica: int) -> Seen:
    return Seen(seen.features[replica], seen.logits[replica])
