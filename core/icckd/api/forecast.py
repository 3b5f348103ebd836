"""What stages should take, by what earlier ones took, and how far off that was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from icckd.report.numbers import bytes_text, duration
from icckd.results.types import Cost, Estimate
from icckd.study.plan import StageJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the stages of a run should take; None where no earlier stage of some shape tells.

    Attributes:
        seconds: With all workers.
        memory_bytes: Of the largest worker.
        disk_bytes: Of what stays of them.
        workers: Workers at once.
        is_packed: Whether all are trained in packs, so that none has a memory of its own.
    """

    seconds: float | None
    memory_bytes: float | None
    disk_bytes: float | None
    workers: int
    is_packed: bool

    def lines(self) -> list[str]:
        """Return what `icckd plan` says of it."""
        return [
            f"  time    {self._time()}",
            f"  memory  {self._memory()}",
            f"  disk    {self._disk()}",
        ]

    def compared(self, found: Cost) -> str:
        """Return how far it was off, "" where nothing was known before."""
        pairs = (
            ("", self.seconds, found.seconds, duration),
            ("memory of a worker ", self.memory_bytes, found.memory_bytes, bytes_text),
            ("disk ", self.disk_bytes, found.disk_bytes, bytes_text),
        )
        return ", ".join(
            f"{what}{text(taken)} ({_apart(taken, planned)})"
            for what, planned, taken, text in pairs
            if planned and taken
        )

    def _time(self) -> str:
        if self.seconds is None:
            return "unknown before the first epochs: no stage of this sort was trained here"
        return f"about {duration(self.seconds)}, from earlier stages"

    def _memory(self) -> str:
        if self.memory_bytes is not None:
            whole = bytes_text(self.memory_bytes * self.workers)
            return f"up to {bytes_text(self.memory_bytes)} a worker, {whole} in all"
        if self.is_packed:
            return "not measured, as stages that are packed share a process"
        return "unknown"

    def _disk(self) -> str:
        return "unknown" if self.disk_bytes is None else f"about {bytes_text(self.disk_bytes)}"


def forecast(
    stages: Iterable[StageJob], estimates: Mapping[str, Estimate], workers: int
) -> Forecast:
    """Return what stages should take.

    Args:
        stages: What is to be trained.
        estimates: What complete stages took, by shape.
        workers: Workers at once.
    """
    stages = list(stages)
    found = [estimates.get(stage.shape) for stage in stages]
    known = [estimate for estimate in found if estimate is not None]
    is_known = len(known) == len(stages)
    peaks = [each.memory_bytes for each in known if each.memory_bytes is not None]
    return Forecast(
        seconds=sum(each.seconds for each in known) / workers if is_known else None,
        memory_bytes=max(peaks, default=None) if is_known else None,
        disk_bytes=sum(each.disk_bytes for each in known) if is_known else None,
        workers=workers,
        is_packed=bool(stages) and all(stage.numerics.packed for stage in stages),
    )


def _apart(taken: float, planned: float) -> str:
    percent = round(100 * (taken / planned - 1))
    if not percent:
        return "as planned"
    return f"{abs(percent)} % {'more' if percent > 0 else 'less'} than planned"
