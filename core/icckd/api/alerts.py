"""Alerts of a session: by the terminal, a command or a webhook, as the user configured them.

Commands and webhooks run in a thread with a time limit; what fails there costs a line, not a trial.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from icckd import __version__
from icckd.configuration import Alerts, What
from icckd.report.alerts import Alert, Verdicts, fallen, terminal_sequence, verdicts_of
from icckd.report.text import display
from icckd.results.query import Results
from icckd.run.schedule import Transition
from icckd.run.session import Listener, RunRequest
from icckd.study.records import Stage

MOST_WAITING = 100
"""Alerts; what is more is dropped, with a line."""
CHECK_SECONDS = 2.0
"""Least time between two looks for verdicts."""
CHECKS_APART = 50
"""The same in times of what a look takes."""
_RING_SECONDS = 2.0


@contextlib.contextmanager
def alerting(
    listener: Listener, results: Results, request: RunRequest, settings: Alerts
) -> Iterator[Listener]:
    """Yield a listener that sends alerts, too; the last one tells of the session's end."""
    rings = settings.terminal and _is_terminal()
    if not (rings or settings.command or settings.webhook):
        yield listener
        return
    alerts = SessionAlerts(listener, results, request, settings, rings=rings)
    try:
        yield alerts
    except BaseException:
        alerts.end("the session ended by an error")
        raise
    alerts.end()


def _is_terminal() -> bool:
    """Whether standard error is a terminal that understands sequences."""
    knows = os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown", "linux")
    return knows and sys.stderr is not None and sys.stderr.isatty()


class SessionAlerts:
    """A listener that passes on what it is told, and sends alerts about it."""

    def __init__(
        self,
        listener: Listener,
        results: Results,
        request: RunRequest,
        settings: Alerts,
        *,
        rings: bool,
    ) -> None:
        self._listener = listener
        self._results = results
        self._plan = request.plan
        self._name = request.study.study.name
        self._settings = settings
        self._rings = rings
        self._rang = 0.0
        self._failed = 0
        self._is_due = False
        self._next_check = 0.0
        self._known: Verdicts | None = None
        has_other = settings.command or settings.webhook
        self._sender = AlertSender(settings) if has_other else None

    def transition(self, change: Transition, stage: Stage) -> None:
        """Pass it on; alert to a failure."""
        self._listener.transition(change, stage)
        self._is_due = self._is_due or change.state == "complete"
        if change.state == "failed":
            self._failed += 1
            arms = dict.fromkeys(trial.arm for trial in self._plan.users(stage.digest))
            where = f"{'+'.join(arms)}/{stage.seed} {stage.kind}"
            self._alert("failure", f"{where} failed: {change.reason}")

    def notice(self, text: str) -> None:
        """Pass it on."""
        self._listener.notice(text)

    def tick(self) -> None:
        """Pass it on, look for verdicts after a stage is complete, and say what went wrong."""
        self._listener.tick()
        start = time.monotonic()
        if self._known is None or (self._is_due and start >= self._next_check):
            self._is_due = False
            self._look()
            end = time.monotonic()
            self._next_check = end + max(CHECK_SECONDS, CHECKS_APART * (end - start))
        self._say_troubles()

    def end(self, why: str = "") -> None:
        """Tell of the end, and wait for what is still being sent, no longer than one may take."""
        text = why
        with contextlib.suppress(Exception):  # the results may be what broke
            self._look()
            study = self._results.study(self._name)
            done = self._results.progress(study).trials
            decided = f"{len(self._known or ())} of {len(study.questions)} questions decided"
            told = f"; {decided}" if study.questions else ""
            plural = "s" if self._failed > 1 else ""
            lost = f", {self._failed} stage{plural} failed" if self._failed else ""
            text = why or f"ended with {done.complete} of {done.total} trials complete{lost}{told}"
        self._alert("end", text or "ended")
        if self._sender is not None:
            self._sender.close()
        self._say_troubles()

    def _look(self) -> None:
        """Alert to verdicts that fell since the last look; the first one only takes them in."""
        self._results.refresh()
        study = self._results.study(self._name)
        rows = self._results.comparisons(study)
        if self._known is not None:
            for text in fallen(study, self._known, rows):
                self._alert("verdict", text)
        self._known = verdicts_of(study, rows)

    def _alert(self, what: What, text: str) -> None:
        if what not in self._settings.on:
            return
        alert = Alert(what=what, study=self._name, text=text, time=time.time())
        if self._rings and time.monotonic() - self._rang >= _RING_SECONDS:
            self._rang = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(terminal_sequence(alert.line))
                sys.stderr.flush()
        if self._sender is not None:
            self._sender.send(alert)

    def _say_troubles(self) -> None:
        for text in self._sender.troubles() if self._sender is not None else ():
            self._listener.notice(text)


class AlertSender:
    """Sends alerts one after the other in a thread; nobody waits for it but `close`."""

    def __init__(self, settings: Alerts) -> None:
        self._settings = settings
        self._waiting: queue.Queue[Alert | None] = queue.Queue(MOST_WAITING)
        self._troubles: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="icckd-alerts", daemon=True)
        self._thread.start()

    def send(self, alert: Alert) -> None:
        """Send an alert as soon as those before it are sent."""
        try:
            self._waiting.put_nowait(alert)
        except queue.Full:
            self._troubles.put("an alert was dropped: too many wait to be sent")

    def troubles(self) -> list[str]:
        """Return what went wrong since the last call, a line each."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._troubles.get_nowait())
        return found

    def close(self) -> None:
        """Wait for what is being sent, no longer than a command and a webhook may take."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        ways = bool(self._settings.command) + bool(self._settings.webhook)
        self._thread.join(ways * self._settings.seconds + 1.0)
        if self._thread.is_alive():
            self._troubles.put("alerts that were not sent in time are given up")

    def _run(self) -> None:
        while (alert := self._waiting.get()) is not None:
            for way, send in (("command", self._start), ("webhook", self._post)):
                try:
                    send(alert)
                except Exception as error:  # whatever a library raises: training goes on
                    why = display(str(error) or type(error).__name__, 200)
                    self._troubles.put(f"an alert was not sent by the {way}: {why}")

    def _start(self, alert: Alert) -> None:
        """Start the command and wait for its end.

        Raises:
            OSError: It cannot be started, ended with another exit code than 0, or took too long.
        """
        command = self._settings.command
        if not command:
            return
        child = subprocess.Popen(
            [*command, alert.line],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what it starts can be ended with it
            text=True,
        )
        try:
            child.communicate(alert.as_json, timeout=self._settings.seconds)
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise OSError(f"{command[0]} took more than {self._settings.seconds:g} s") from error
        if child.returncode:
            raise OSError(f"{command[0]} ended with exit code {child.returncode}")

    def _post(self, alert: Alert) -> None:
        """Post to the webhook.

        Raises:
            OSError: It cannot be reached, refuses, or takes too long.
        """
        if not self._settings.webhook:
            return
        import urllib.request  # with ssl and http, for those who have a webhook

        headers = {"Content-Type": "application/json", "User-Agent": f"icckd/{__version__}"}
        request = urllib.request.Request(
            self._settings.webhook, data=alert.as_json.encode(), headers=headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self._settings.seconds):
            pass
