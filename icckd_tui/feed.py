"""The feed: one thread that reads a study and posts frames; the event loop never waits for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from icckd.errors import IcckdError, UsageError
from icckd.journal.origin import boot_id
from icckd.spec.metrics import OUTCOMES
from icckd_tui.host_sampler import EVERY_SECONDS, HostSampler
from icckd_tui.view_model.frame import (
    Answered,
    Brought,
    Failed,
    Frame,
    News,
    TrialFacts,
    Waiting,
    Wish,
    default_metrics,
)

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
        Table,
        TrialRow,
    )

POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
LOG_LINES = 500
TRIAL_LINES = 2000
SQL_ROWS = 5000  # of an answer
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

    def views(self) -> list[tuple[str, str]]:
        """Return name and meaning of every view."""

    def query(self, sql: str, limit: int, /) -> Table:
        """Return the answer to a statement that somebody typed."""

    def interrupt(self) -> None:
        """Stop the statement that another thread waits for."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a study is read: `ready` says whether there is anything, `open` opens a reader.

    `host` samples the machine and `processes` some of its processes, where that is wanted.
    """

    ready: Callable[[], bool]
    open: Callable[[], Reader]
    host: Callable[[], HostSample] | None = None
    processes: Callable[[Sequence[int]], tuple[ProcessSample, ...]] | None = None


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

    return Source(ready=folder.exists, open=open_reader, host=sample, processes=_process_sampler())


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
        self._host = HostSampler(source.host, source.processes) if source.host else None
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._wish = Wish()
        self._last: Frame | None = None
        self._reader: Reader | None = None
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

    @property
    def wish(self) -> Wish:
        """What is wanted beside the study."""
        return self._wish

    def want(self, wish: Wish) -> None:
        """Ask for more, or less, from now on."""
        if wish != self._wish:
            self._wish = wish
            self._wake.set()

    def ask(self, number: int, sql: str) -> None:
        """Answer a statement in a thread of its own; the answer comes as news of this number."""
        threading.Thread(
            target=self._answer, args=(number, sql), name="icckd-sql", daemon=True
        ).start()

    def interrupt(self) -> None:
        """Stop the statement that is being answered."""
        if self._reader is not None:
            self._reader.interrupt()

    def _answer(self, number: int, sql: str) -> None:
        start, reader = time.monotonic(), self._reader
        table, reason = None, "" if reader else "there is nothing to ask yet"
        if reader is not None:
            try:
                table = reader.query(sql, SQL_ROWS)
            except Exception as error:
                reason = _reason(error)
        self._announce(Answered(number, time.monotonic() - start, table, reason))

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._source.ready():
                    with self._source.open() as reader:
                        self._reader = reader
                        try:
                            self._read(reader)
                        finally:
                            self._reader = None
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
        """Say whether more is wanted than the last frame has."""
        return self._last is not None and self._wish != self._last.wish

    def _frame(self, reader: Reader) -> Frame:
        info, wish = reader.study(self._study), self._wish
        series = reader.series(info)
        wanted = wish.metrics or default_metrics(info, series)[:2]
        self._last = Frame(
            study=info,
            progress=reader.progress(info),
            trials=reader.trials(info),
            comparisons=reader.comparisons(info),
            series=series,
            log=reader.log(info, LOG_LINES),
            wish=wish,
            curves={name: reader.curves(info, name) for name in wanted if name in series},
            trial=_trial_facts(reader, info, *wish.trial) if wish.trial else None,
            queue=reader.queue(info) if wish.queue else (),
            requests=reader.requests(info),
            views=tuple(reader.views()),
        )
        if self._host is not None:
            self._host.watch(_running_here(self._last))
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


def _trial_facts(reader: Reader, study: StudyInfo, arm: str, seed: int) -> TrialFacts:
    found = {name: reader.values(study, name).get(arm, {}).get(seed) for name in OUTCOMES}
    return TrialFacts(
        arm=arm,
        seed=seed,
        attempts=reader.attempts(study, arm, seed),
        series=reader.trial_series(study, arm, seed),
        outcomes={name: value for name, value in found.items() if value is not None},
        log=reader.log(study, TRIAL_LINES, arm, seed),
    )


def _running_here(frame: Frame) -> tuple[int, ...]:
    """Return the processes of this machine that train now."""
    here, boot = socket.gethostname(), boot_id()
    return tuple(
        row.pid
        for row in frame.queue
        if row.state == "running" and row.pid and row.host == here and row.boot == boot
    )


def _reason(error: Exception) -> str:
    """Return one line for the banner."""
    if isinstance(error, IcckdError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
