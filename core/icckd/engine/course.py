"""How far a fit has come: what its checkpoints hold, and what goes on from one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from icckd.engine.checkpoint import Checkpoints, Snapshot
from icckd.engine.protocol import Recorder
from icckd.engine.sgd import Sgd
from icckd.engine.steplog import StepLog


class Course:
    """Everything of a fit that changes from epoch to epoch.

    Args:
        model: The network that is trained.
        state: What the steps leave to later ones.
        optimiser: Updates the parameters of both.
        log: Values of every step.

    Attributes:
        series: Series values of each epoch done, over all attempts.
        spent: Training seconds, and seconds on the clock, over all attempts.
    """

    def __init__(self, *, model: nn.Module, state: nn.Module, optimiser: Sgd, log: StepLog) -> None:
        self._modules = {"model": model, "state": state}
        self._optimiser, self._log = optimiser, log
        self.series: list[dict[str, float]] = []
        self.spent = {"seconds": 0.0, "wall_seconds": 0.0}

    def record(self, recorder: Recorder, values: dict[str, float]) -> None:
        """Record the series values of the epoch just done."""
        self.series.append(values)
        recorder.epoch(len(self.series), values)

    def snapshot(self) -> Snapshot:
        """Return what a checkpoint holds now, at the end of an epoch."""
        return Snapshot(
            epoch=len(self.series),
            spent=dict(self.spent),
            series=self.series,
            tensors=self._tensors(self._optimiser.state(), self._log.written),
        )

    def resume(self, checkpoints: Checkpoints, recorder: Recorder, *, steps_per_epoch: int) -> int:
        """Go on from the newest checkpoint that fits; return the epochs done, 0 without one."""

        def expected(epoch: int) -> dict[str, Tensor]:
            log_ST = self._log.rows(epoch * steps_per_epoch)
            return self._tensors(self._optimiser.expected(), log_ST)

        snapshot = checkpoints.newest(expected)
        if snapshot is None:
            return 0
        self._take_over(snapshot.tensors)
        self.series, self.spent = snapshot.series, snapshot.spent
        recorder.resumed(self.series, attempt=snapshot.attempt, seconds=self.spent["wall_seconds"])
        return snapshot.epoch

    def _tensors(self, optimiser: Mapping[str, Tensor], log_ST: Tensor) -> dict[str, Tensor]:
        named = {f"optimiser.{name}": value for name, value in optimiser.items()}
        for part, module in self._modules.items():
            named |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        return {**named, "log": log_ST}

    @torch.no_grad()
    def _take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy values in place, so that memory layouts stay as this process made them."""
        for part, module in self._modules.items():
            for name, value in module.state_dict().items():
                value.copy_(tensors[f"{part}.{name}"])
        prefix = "optimiser."
        self._optimiser.restore(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
        self._log.restore(tensors["log"])
