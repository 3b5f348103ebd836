"""The feed: one thread that reads a study and posts frames; the event loop never waits for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from icckd.errors import UsageError
from icckd.journal.origin import boot_id
from icckd.spec.metrics import OUTCOMES
from icckd_tui.host_sampler import EVERY_SECONDS, HostSampler
from icckd_tui.questions import Questions, reason_of
from icckd_tui.source import Reader, Source
from icckd_tui.view_model.frame import (
    Brought,
    Failed,
    Frame,
    News,
    TrialFacts,
    Waiting,
    Wish,
    default_metrics,
    drawable,
)

if TYPE_CHECKING:
    from icckd.results.types import StudyInfo

POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
LOG_LINES = 500
TRIAL_LINES = 2000
JOIN_SECONDS = 2.0


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
        self._questions = Questions(source.asker, self._announce)
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="icckd-feed", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait, though not long, for the thread to end."""
        self._stopping = True
        self._questions.stop()
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

    def wake(self) -> None:
        """Look at once whether there is news."""
        self._wake.set()

    def ask(self, number: int, sql: str) -> None:
        """Answer a statement in a thread of its own; the answer comes as news of this number."""
        self._questions.ask(number, sql)

    def interrupt(self) -> None:
        """Stop the statement that is being answered."""
        self._questions.close()

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
                self._announce(Failed(reason_of(error)))
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
                self._last, news = None, Waiting(reason_of(error))
            if news is not None:
                self._announce(news)
            self._sleep(self._poll_seconds)

    def _asked(self) -> bool:
        """Say whether more is wanted than the last frame has."""
        return self._last is not None and self._wish != self._last.wish

    def _frame(self, reader: Reader) -> Frame:
        info, wish = reader.study(self._study), self._wish
        series = reader.series(info)
        seen = info.against(wish.against) if _has_arm(info, wish.against) else info
        wanted = wish.metrics or default_metrics(info, series)[:2]
        self._last = Frame(
            study=info,
            progress=reader.progress(info),
            trials=reader.trials(seen),
            comparisons=reader.comparisons(seen),
            declared=reader.comparisons(info),
            series=series,
            log=reader.log(info, LOG_LINES),
            wish=wish,
            curves={name: drawable(reader.curves(info, name)) for name in wanted if name in series},
            trial=_trial_facts(reader, info, *wish.trial) if wish.trial else None,
            queue=reader.queue(info) if wish.queue else (),
            requests=reader.requests(info),
            views=tuple(self._source.views()),
        )
        self._questions.is_stale = True
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


def _has_arm(study: StudyInfo, name: str) -> bool:
    return any(arm.name == name for arm in study.arms)


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
