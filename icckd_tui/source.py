"""Where a study is read, and what a screen asks of `icckd.results`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from icckd_tui.questions import Asker

if TYPE_CHECKING:
    from pathlib import Path

    from icckd.journal.folder import StateFolder
    from icckd.resources import HostSample, ProcessSample, ProcessSampler
    from icckd.results.queue import QueueRow, RequestRow
    from icckd.results.trial_series import TrialSeries
    from icckd.results.types import (
        AttemptRow,
        Comparison,
        Curve,
        LogRow,
        Progress,
        StudyInfo,
        TrialRow,
    )


class Reader(Protocol):
    """What the feed asks of `icckd.results`."""

    def __enter__(self) -> Self:
        """Open."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close."""

    def refresh(self) -> bool:
        """Take in what is new, also that a session died; say whether there was anything."""

    def study(self, name: str | None, /) -> StudyInfo:
        """Return the named study, or the newest; a UsageError says that there is none."""

    def progress(self, study: StudyInfo, /) -> Progress:
        """Return where it stands."""

    def trials(self, study: StudyInfo, /) -> tuple[TrialRow, ...]:
        """Return its trials in the plan's order."""

    def comparisons(self, study: StudyInfo, /) -> tuple[Comparison, ...]:
        """Return every arm on every outcome of the table."""

    def series(self, study: StudyInfo, /) -> tuple[str, ...]:
        """Return the metrics that have curves."""

    def curves(self, study: StudyInfo, metric: str, /) -> tuple[Curve, ...]:
        """Return one curve for each arm that has values."""

    def log(
        self, study: StudyInfo, limit: int, arm: str | None = None, seed: int | None = None, /
    ) -> tuple[LogRow, ...]:
        """Return the newest lines, of all or of one trial, the oldest of them first."""

    def attempts(self, study: StudyInfo, arm: str, seed: int, /) -> tuple[AttemptRow, ...]:
        """Return every attempt at the stages of a trial."""

    def trial_series(self, study: StudyInfo, arm: str, seed: int, /) -> tuple[TrialSeries, ...]:
        """Return every series of a trial."""

    def values(self, study: StudyInfo, metric: str, /) -> Mapping[str, Mapping[int, float]]:
        """Return the values of an outcome by arm and seed."""

    def queue(self, study: StudyInfo, /) -> tuple[QueueRow, ...]:
        """Return every stage in the plan's order."""

    def requests(self, study: StudyInfo, /) -> tuple[RequestRow, ...]:
        """Return what sessions were asked and answered."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a study is read: `ready` says whether there is anything, `open` opens a reader.

    `host` samples the machine and `processes` some of its processes, where that is wanted. `asker`
    answers statements, and `views` tells what they can be about.
    """

    ready: Callable[[], bool]
    open: Callable[[], Reader]
    host: Callable[[], HostSample] | None = None
    processes: Callable[[Sequence[int]], tuple[ProcessSample, ...]] | None = None
    asker: Callable[[], Asker] | None = None
    views: Callable[[], list[tuple[str, str]]] = list


def source_in(folder: StateFolder) -> Source:
    """Return the source that reads a state folder and samples the machine.

    DuckDB, psutil and NVML are imported by the feed's thread.
    """

    def open_reader() -> Reader:
        import icckd_tui.widgets.picture  # noqa: F401  so that the event loop finds it imported
        from icckd.results.read import open_results

        return open_results(folder)

    def sample() -> HostSample:
        from icckd.resources import sample_host

        return sample_host(_on_its_disk(folder.root))

    def asker() -> Asker:
        from icckd.results.fence import Fence

        return Fence(folder.root)

    def views() -> list[tuple[str, str]]:
        from icckd.results.read import about_views

        return about_views()

    return Source(
        ready=folder.exists,
        open=open_reader,
        host=sample,
        processes=_process_sampler(),
        asker=asker,
        views=views,
    )


def _process_sampler() -> Callable[[Sequence[int]], tuple[ProcessSample, ...]]:
    kept: list[ProcessSampler] = []

    def sample(pids: Sequence[int]) -> tuple[ProcessSample, ...]:
        from icckd.resources import ProcessSampler

        if not kept:
            kept.append(ProcessSampler())
        return kept[0].sample(pids)

    return sample


def _on_its_disk(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists: it will be on the same disk."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)
