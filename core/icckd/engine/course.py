"""How far a fit has come and what it took: what its checkpoints hold, and how it goes on."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from icckd.engine.checkpoint import Checkpoints, Snapshot
from icckd.engine.optimizers import Optimizer
from icckd.engine.protocol import Recorder
from icckd.engine.steplog import StepLog
from icckd.resources import EnergyMeter

T = TypeVar("T")


class Course:
    """Everything of a fit that changes from epoch to epoch.

    Args:
        model: The network that is trained.
        state: What the steps leave to later ones.
        optimizer: Updates the parameters of both.
        log: Values of every step.
        scaler: Scales the loss, where one does.

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
        scaler: GradScaler | None,
    ) -> None:
        self._modules = {"model": model, "state": state}
        self._optimizer, self._scaler = optimizer, scaler
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
        """Count the seconds spent inside as training."""
        start = perf_counter()
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
            scaler={} if self._scaler is None else self._scaler.state_dict(),
            tensors=self._tensors(self._optimizer.state(), self.log.written),
        )

    def resume(self, checkpoints: Checkpoints, recorder: Recorder, *, steps_per_epoch: int) -> int:
        """Go on from the newest checkpoint that fits; return the epochs done, 0 without one."""

        def expected(epoch: int) -> dict[str, Tensor]:
            log_ST = self.log.rows(epoch * steps_per_epoch)
            return self._tensors(self._optimizer.expected(), log_ST)

        scaler = {} if self._scaler is None else self._scaler.state_dict()
        snapshot = checkpoints.newest(expected, scaler.keys())
        if snapshot is None:
            return 0
        self._take_over(snapshot.tensors)
        if self._scaler is not None:
            self._scaler.load_state_dict(snapshot.scaler)
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
