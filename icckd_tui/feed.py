"""The feed: one thread that reads a study and posts frames; the event loop never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from icckd.errors import IcckdError, UsageError
from icckd_tui.host_sampler import EVERY_SECONDS, HostSampler
from icckd_tui.view_model.frame import Brought, Failed, Frame, News, Waiting, default_metric

if TYPE_CHECKING:
    from pathlib import Path

    from icckd.journal.folder import StateFolder
    from icckd.resources import HostSample
    from icckd.results.types import Comparison, Curve, LogRow, Progress, StudyInfo, TrialRow

POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
LOG_LINES = 500
JOIN_SECONDS = 2.0


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

    def log(self, study: StudyInfo, limit: int, /) -> tuple[LogRow, ...]:
        """Return the newest lines, the oldest of them first."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a study is read: `ready` says whether there is anything, `open` opens a reader.

    `host` samples the machine, where that is wanted.
    """

    ready: Callable[[], bool]
    open: Callable[[], Reader]
    host: Callable[[], HostSample] | None = None


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

    return Source(ready=folder.exists, open=open_reader, host=sample)


def _on_its_disk(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists: it will be on the same disk."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


class Feed:
    """Polls a source in its own thread and posts news until it is stopped."""

    def __init__(
        self,
        source: Source,
        study: str | None,
        post: Callable[[Brought], object],
        *,
        poll_seconds: float = POLL_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._source = source
        self._study = study
        self._post = post
        self._host = HostSampler(source.host) if source.host is not None else None
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._metric: str | None = None
        self._last: Frame | None = None
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="icckd-feed", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait, though not long, for the thread to end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    def show_metric(self, name: str) -> None:
        """Ask for the curves of this series from now on."""
        self._metric = name
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._source.ready():
                    with self._source.open() as reader:
                        self._read(reader)
                else:
                    self._announce(Waiting("no study here yet"))
                    self._sleep(self._poll_seconds)
            except Exception as error:
                self._announce(Failed(_reason(error)))
                self._sleep(self._retry_seconds)

    def _read(self, reader: Reader) -> None:
        """Post a frame whenever something changed, until told to stop."""
        self._last = None
        while not self._stopping:
            changed = reader.refresh() or self._last is None
            if self._stopping:
                return
            news: News | None
            try:
                news = self._frame(reader) if changed or self._asked() else None
            except UsageError as error:
                self._last, news = None, Waiting(_reason(error))
            if news is not None:
                self._announce(news)
            self._sleep(self._poll_seconds)

    def _asked(self) -> bool:
        """Say whether the user wants other curves than those of the last frame."""
        return self._last is not None and self._metric not in (None, self._last.metric)

    def _frame(self, reader: Reader) -> Frame:
        info = reader.study(self._study)
        series = reader.series(info)
        if self._metric not in series:
            self._metric = default_metric(info, series)
        metric = self._metric
        self._last = Frame(
            study=info,
            progress=reader.progress(info),
            trials=reader.trials(info),
            comparisons=reader.comparisons(info),
            series=series,
            metric=metric,
            curves=reader.curves(info, metric) if metric else (),
            log=reader.log(info, LOG_LINES),
        )
        return self._last

    def _announce(self, news: Brought) -> None:
        if not self._stopping:
            self._post(news)

    def _sleep(self, seconds: float) -> None:
        """Sleep until woken, and meanwhile look at the machine.

        Not at once: what sampling imports would slow down the painting of the first frame.
        """
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            if self._wake.wait(min(rest, EVERY_SECONDS)):
                break
            host = self._host.take() if self._host is not None else None
            if host is not None:
                self._announce(host)
        self._wake.clear()


def _reason(error: Exception) -> str:
    """Return one line for the banner."""
    if isinstance(error, IcckdError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
