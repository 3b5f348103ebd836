"""The feed: a thread of its own reads the study and samples the machine, and posts what is new.

The event loop never waits for it. DuckDB, psutil and NVML are imported in this thread, so that
they do not delay the first paint.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

from icckd.errors import IcckdError, UsageError
from icckd_tui.data import (
    DataRequest,
    Failed,
    Frame,
    SqlAnswer,
    StudyUpdate,
    Update,
    Waiting,
    default_metrics,
)
from icckd_tui.filter import Filter, FilterRunner
from icckd_tui.host import Host

if TYPE_CHECKING:
    from pathlib import Path

    from icckd.journal.folder import StateFolder
    from icckd.resources import HostSample, ProcessSample, ProcessSampler
    from icckd.results.query import Results
    from icckd.results.sandbox import Fence
    from icckd.results.types import Comparison, StudyInfo, TrialStatus
    from icckd_tui.host import ProcessHistory


@dataclass(frozen=True, slots=True)
class Source:
    """Where the monitor reads.

    Attributes:
        ready: Returns whether there is anything to read.
        open: Opens the results.
        host: Samples the machine; None where that is not wanted.
        processes: Samples processes of this machine by their ids.
        sandbox: Starts the process that answers SQL typed by the user.
        views: Returns the names of the SQL views and what each holds.
        advance: Called before each reading; returns whether the results must be opened again.
    """

    ready: Callable[[], bool]
    open: Callable[[], AbstractContextManager[Results]]
    host: Callable[[], HostSample] | None = None
    processes: Callable[[Sequence[int]], tuple[ProcessSample, ...]] | None = None
    sandbox: Callable[[], Fence] | None = None
    views: Callable[[], list[tuple[str, str]]] = list
    advance: Callable[[], bool] = lambda: False


def source_in(folder: StateFolder) -> Source:
    """Return the source that reads a state folder and samples this machine."""

    def open_reader() -> Results:
        import icckd_tui.widgets.plot  # noqa: F401  so that the event loop finds it imported
        from icckd.results.query import open_results

        return open_results(folder)

    def sample() -> HostSample:
        from icckd.resources import sample_host

        return sample_host(_existing_parent(folder.root))

    def sandbox() -> Fence:
        from icckd.results.sandbox import Fence

        return Fence(folder.root)

    def views() -> list[tuple[str, str]]:
        from icckd.results.database import about_views

        return about_views()

    @cache
    def sampler() -> ProcessSampler:
        from icckd.resources import ProcessSampler

        return ProcessSampler()

    return Source(
        ready=folder.exists,
        open=open_reader,
        host=sample,
        processes=lambda pids: sampler().sample(pids),
        sandbox=sandbox,
        views=views,
    )


@contextmanager
def mirrored(folder: StateFolder) -> Iterator[Callable[[], str]]:
    """Bring a state folder up to date with what machines share while it is watched.

    Yields:
        What says how long ago that was; "" where nothing is shared.
    """
    from icckd.configuration import configuration

    if not (shared := configuration(folder.root).storage).url:
        yield str
        return
    from icckd.storage.mirror import MirrorThread  # whoever shares nothing imports no storage

    with MirrorThread(shared, folder) as thread:
        yield thread.age


def _existing_parent(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists: the folder will be on that disk."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


SAMPLE_SECONDS = 1.0
HISTORY = 600  # samples of the machine that are kept
PROCESS_HISTORY = 60  # samples of each process that are kept
MOST_FAILURES = 5  # in a row, after which the last sample is too old to be shown


class HostSampler:
    """Samples the machine and some processes once a second; belongs to one thread."""

    def __init__(
        self,
        sample: Callable[[], HostSample],
        processes: Callable[[Sequence[int]], tuple[ProcessSample, ...]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sample = sample
        self._sample_processes = processes
        self._clock = clock
        self._next = clock()
        self._past: deque[HostSample] = deque(maxlen=HISTORY)
        self._pids: tuple[int, ...] = ()
        self._processes: dict[int, deque[ProcessSample]] = {}
        self._has_first = False
        self._failures = 0

    def watch(self, pids: tuple[int, ...]) -> None:
        """Sample these processes from now on."""
        self._pids = pids

    def take(self) -> Host | None:
        """Return a new sample with the history, or None when it is too early or sampling failed.

        The first sample is not shown: a CPU share is measured since the sample before.
        """
        if self._clock() < self._next:
            return None
        self._next = self._clock() + SAMPLE_SECONDS
        try:
            sample = self._sample()
            processes = self._process_histories()
        except Exception:
            self._failures += 1
            return Host(sample=None) if self._failures == MOST_FAILURES else None
        self._failures = 0
        if not self._has_first:
            self._has_first = True
            return None
        self._past.append(sample)
        return Host(sample=sample, past=tuple(self._past), processes=processes)

    def _process_histories(self) -> tuple[ProcessHistory, ...]:
        found = self._sample_processes(self._pids) if self._sample_processes else ()
        kept = {sample.pid: self._processes.get(sample.pid) for sample in found}
        self._processes = {pid: past or deque(maxlen=PROCESS_HISTORY) for pid, past in kept.items()}
        for sample in found:
            self._processes[sample.pid].append(sample)
        return tuple(tuple(self._processes[sample.pid]) for sample in found)


MOST_ROWS = 5000  # of an SQL answer


class SqlRunner:
    """Runs statements one at a time, each in a thread; a newer statement stops an older one.

    `is_stale` is set when the sandbox has not read the newest results: the next statement starts
    it again.
    """

    def __init__(
        self, start: Callable[[], Fence] | None, post: Callable[[SqlAnswer], object]
    ) -> None:
        self._start = start
        self._post = post
        self._sandbox: Fence | None = None
        self._busy = threading.Lock()
        self._newest = 0
        self._is_closed = False
        self.is_stale = False

    def run(self, number: int, sql: str) -> None:
        """Run a statement; its answer is posted under the number."""
        self._newest = number
        self.interrupt()
        threading.Thread(
            target=self._answer, args=(number, sql), name="icckd-sql", daemon=True
        ).start()

    def interrupt(self) -> None:
        """Stop the running statement, and the sandbox if its results are stale."""
        if self._sandbox is not None and (self._busy.locked() or self.is_stale):
            self.is_stale = False
            self._sandbox.close()

    def close(self) -> None:
        """Stop the sandbox; one that is being started ends with its answer."""
        self._is_closed = True
        if self._sandbox is not None:
            self._sandbox.close()

    def _answer(self, number: int, sql: str) -> None:
        with self._busy:
            if number != self._newest:
                return
            start, table, is_cut, reason = time.monotonic(), None, False, ""
            try:
                if self._start is None:
                    raise LookupError("there is nothing to ask")
                self._sandbox = self._sandbox or self._start()
                table, is_cut = self._sandbox.ask(sql, rows=MOST_ROWS)
            except Exception as error:
                reason = reason_of(error)
            finally:
                if self._is_closed and self._sandbox is not None:
                    self._sandbox.close()
            seconds = time.monotonic() - start
        self._post(SqlAnswer(number, seconds, table, is_cut, reason))


def reason_of(error: Exception) -> str:
    """Return an error in one line."""
    if isinstance(error, IcckdError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


POLL_SECONDS = 0.5
READING_SHARE, READINGS = 0.05, 4
"""Of a core, so much at most goes into reading what changes by itself, by the mean of so many last
readings: a large study is read less often. What the user asks for is read at once."""
RETRY_SECONDS = 2.0
LOG_LINES = 500
JOIN_SECONDS = 0.5  # at the end; leaving should feel immediate


class Feed:
    """Polls a source in its own thread and posts updates until it is stopped."""

    def __init__(
        self,
        source: Source,
        study: str | None,
        post: Callable[[Update], object],
        *,
        poll_seconds: float = POLL_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._source = source
        self._study = study
        self._post = post
        self._host = HostSampler(source.host, source.processes) if source.host else None
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._cpu_clock = cpu_clock
        self._used: deque[float] = deque(maxlen=READINGS)
        self._is_first = True
        self._request = DataRequest()
        self._last: Frame | None = None
        self._sql = SqlRunner(source.sandbox, self._announce)
        self._filter = FilterRunner()
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="icckd-feed", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait briefly for the thread to end."""
        self._stopping = True
        self._sql.close()
        self._filter.close()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    @property
    def request(self) -> DataRequest:
        """What is read beside the study."""
        return self._request

    def request_data(self, request: DataRequest) -> None:
        """Read this beside the study from now on."""
        if request != self._request:
            self._request = request
            self._wake.set()

    def wake(self) -> None:
        """Poll now."""
        self._wake.set()

    def prepare_filter(self) -> None:
        """Start what evaluates filters, before the first one is typed to its end."""
        self._filter.prepare()

    def run_sql(self, number: int, sql: str) -> None:
        """Run a statement in a thread of its own; the answer is posted under the number."""
        self._sql.run(number, sql)

    def interrupt_sql(self) -> None:
        """Stop the running statement."""
        self._sql.interrupt()

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._source.ready():
                    with self._source.open() as results:
                        self._read(results)
                else:
                    self._announce(Waiting("no study here yet"))
                    self._sleep(self._poll_seconds)
            except Exception as error:
                self._announce(Failed(reason_of(error)))
                self._sleep(self._retry_seconds)

    def _read(self, results: Results) -> None:
        """Post a frame whenever something changed, until stopped or the source starts over."""
        self._last, self._is_first = None, True
        self._used.clear()
        while not self._stopping:
            if self._source.advance():
                return
            start = self._cpu_clock()
            changed = results.refresh() or self._last is None
            if self._stopping:
                return
            update: StudyUpdate | None
            try:
                update = self._frame(results) if changed or self._has_new_request() else None
            except UsageError as error:
                self._last, update = None, Waiting(reason_of(error))
            if update is not None:
                self._announce(update)
            self._sleep(self._rest(self._cpu_clock() - start))

    def _rest(self, used: float) -> float:
        """Return the seconds until the next reading, after one that used so many of a CPU.

        The first one does not count: it imports what reads, and takes in all that there is.
        """
        if self._is_first:
            self._is_first = False
            return self._poll_seconds
        self._used.append(used)
        return max(self._poll_seconds, fmean(self._used) / READING_SHARE)

    def _has_new_request(self) -> bool:
        return self._last is not None and self._request != self._last.request

    def _frame(self, results: Results) -> Frame:
        study, request = results.study(self._study), self._request
        series = results.series(study)
        seen = study.against(request.against) if _has_arm(study, request.against) else study
        metrics = request.metrics or default_metrics(study, series)[:2]
        trials, comparisons = results.trials(seen), results.comparisons(seen)
        matching, filter_error = self._matching(request.filter, seen, trials, comparisons)
        self._last = Frame(
            study=study,
            progress=results.progress(study),
            trials=trials,
            comparisons=comparisons,
            declared=results.comparisons(study),
            series=series,
            log=results.log(study, LOG_LINES),
            request=request,
            matching=matching,
            filter_error=filter_error,
            curves={name: results.curves(study, name) for name in metrics if name in series},
            answers={query: query.read(results, study) for query in request.queries},
            queue=results.queue(study) if request.queue else (),
            requests=results.requests(study),
            views=tuple(self._source.views()),
            is_packed=results.is_packed(study),
        )
        self._sql.is_stale = True
        if self._host is not None:
            self._host.watch(_running_here(self._last))
        return self._last

    def _matching(
        self,
        chosen: Filter,
        study: StudyInfo,
        trials: tuple[TrialStatus, ...],
        comparisons: tuple[Comparison, ...],
    ) -> tuple[tuple[TrialStatus, ...] | None, str]:
        """Return the trials that a filter lets through, or why it could not be evaluated."""
        if not chosen.text:
            return None, ""
        try:
            return self._filter.select(chosen, study, trials, comparisons), ""
        except IcckdError as error:
            return None, reason_of(error)

    def _announce(self, update: Update) -> None:
        if not self._stopping:
            self._post(update)

    def _sleep(self, seconds: float) -> None:
        """Sleep until woken, sampling the machine meanwhile.

        The first sample comes after the first wait: what it imports would delay the first frame.
        """
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            if self._wake.wait(min(rest, SAMPLE_SECONDS)):
                break
            host = self._host.take() if self._host is not None else None
            if host is not None:
                self._announce(host)
        self._wake.clear()


def _has_arm(study: StudyInfo, name: str) -> bool:
    return any(arm.name == name for arm in study.arms)


def _running_here(frame: Frame) -> tuple[int, ...]:
    """Return the processes of this machine that train now."""
    from icckd.journal.owner import boot_id

    here, boot = socket.gethostname(), boot_id()
    return tuple(
        row.pid
        for row in frame.queue
        if row.state == "running" and row.pid and row.host == here and row.boot == boot
    )
