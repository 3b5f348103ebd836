"""The recorder of a worker: what the engine measures becomes events of a journal."""

from collections.abc import Mapping, Sequence

from icckd.journal.events import EpochMetrics, LogLine, Resumed, StageOutcomes
from icckd.journal.write import JournalWriter


class JournalRecorder:
    """Puts what the engine measures into an attempt's journal."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal

    def resumed(
        self, series: Sequence[Mapping[str, float]], *, attempt: str, seconds: float
    ) -> None:
        """Record where the stage goes on, and its series until then; durable on return."""
        self._journal.append(
            Resumed(attempt=attempt, epoch=len(series), seconds=seconds),
            *(EpochMetrics(epoch=n, values=dict(v)) for n, v in enumerate(series, start=1)),
            durable=True,
        )

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record an epoch; it is durable when this returns."""
        self._journal.append(EpochMetrics(epoch=epoch, values=dict(values)), durable=True)

    def outcomes(self, values: Mapping[str, float]) -> None:
        """Record outcomes."""
        self._journal.append(StageOutcomes(values=dict(values)))

    def log(self, message: str) -> None:
        """Record a line for readers."""
        self._journal.append(LogLine(text=message))
