"""Worker processes on this machine, one list of orders at a time each.

A worker is `python -m icckd.worker`. It reads lists of orders, and which of them to skip, from its
standard input and says `started`, `stalled`, `skipped` and `ended` on its standard output, one JSON
line each. It lives in a process group of
its own, so that Ctrl-C in the terminal reaches the session alone. SIGTERM makes it save its stage
and die of that signal; when the session dies and its standard input ends, it does the same.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from icckd.errors import MachineError
from icckd.execution.protocol import Report, What
from icckd.journal.events import Cause
from icckd.journal.order import Order, last_line, skip_line, to_line
from icckd.resources.memory import oom_kills

MAX_STARTS_WITHOUT_WORK = 3
_HEARD: dict[str, What] = {
    "started": "started", "ended": "ended", "stalled": "stalled", "skipped": "returned"
}  # fmt: skip


@dataclass(slots=True)
class _Worker:
    """One process and the orders it has not finished."""

    slot: int
    process: subprocess.Popen[bytes]
    orders: list[Order] = field(default_factory=list)
    begun: bool = False
    buffer: bytes = b""
    oom_kills_before: int = 0

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


class LocalExecutor:
    """Keeps up to `capacity` workers, started when first needed and after a death.

    Args:
        capacity: Workers at once.
        device: `cpu` hides GPUs from the workers; `cuda` deals the visible GPUs out to them.
        gpus: Names of the devices to deal out, as CUDA_VISIBLE_DEVICES takes them.
        threads: CPU threads of a worker.
        logs: Folder for what a worker prints outside of stages.
    """

    def __init__(
        self, *, capacity: int, device: str, gpus: Sequence[str], threads: int, logs: Path
    ) -> None:
        self.capacity = capacity
        self._device = device
        self._gpus = gpus
        self._threads = threads
        self._logs = logs
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._fruitless = 0
        self._finishing = False

    def idle(self) -> int:
        """Return how many lists could start at once."""
        busy = sum(1 for worker in self._workers.values() if worker.orders)
        return 0 if self._finishing else self.capacity - busy

    def submit(self, orders: Sequence[Order]) -> None:
        """Hand a list of orders to an idle worker, starting one when there is none."""
        free = (w for w in self._workers.values() if not w.orders and not w.stdin.closed)
        worker = next(free, None) or self._start()
        worker.orders = list(orders)
        _tell(worker, to_line(orders))

    def wait(self, timeout: float) -> list[Report]:
        """Return what workers said, and what became of orders whose worker died."""
        reports: list[Report] = []
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
            data = os.read(worker.stdout.fileno(), 1 << 16)
            if data:
                reports += self._heard(worker, data)
            else:
                reports += self._died(worker)
        return reports

    def cancel(self, attempts: Collection[str]) -> None:
        """End attempts now: a begun one with its worker, which costs no other attempt."""
        for worker in self._workers.values():
            current = worker.orders[:1] if worker.begun else []
            if any(order.attempt in attempts for order in current):
                worker.process.kill()
            else:
                _skip(worker, [order for order in worker.orders if order.attempt in attempts])

    def retire(self) -> None:
        """Let idle workers go, and the memory that they hold."""
        for worker in self._workers.values():
            if not worker.orders:
                worker.stdin.close()

    def save(self) -> None:
        """Have every busy worker save its stage at the end of the epoch; then it is lost."""
        for worker in self._workers.values():
            if worker.orders:
                worker.process.terminate()

    def finish(self) -> None:
        """Let every worker finish its current stage; the rest of its list comes back."""
        self._finishing = True
        for worker in self._workers.values():
            if not worker.stdin.closed:
                _tell(worker, last_line())
                worker.stdin.close()

    def kill(self) -> None:
        """End every worker at once."""
        self._finishing = True
        for worker in self._workers.values():
            worker.process.kill()
        for worker in list(self._workers.values()):
            self._release(worker)
        self._selector.close()

    def _start(self) -> _Worker:
        slot = next(n for n in range(2 * self.capacity) if n not in self._workers)
        with (self._logs / f"worker-{slot}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "icckd.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(slot),
                start_new_session=True,
            )
        worker = _Worker(slot=slot, process=process, oom_kills_before=oom_kills())
        self._workers[slot] = worker
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        return worker

    def _environment(self, slot: int) -> dict[str, str]:
        gpus = self._gpus
        visible = gpus[slot % len(gpus)] if self._device == "cuda" and gpus else ""
        threads = str(self._threads)
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": visible,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }

    def _heard(self, worker: _Worker, data: bytes) -> list[Report]:
        *lines, worker.buffer = (worker.buffer + data).split(b"\n")
        reports = []
        for line in lines:
            said = json.loads(line)
            order = worker.orders[0]
            assert said["attempt"] == order.attempt
            what = said.pop("what")
            if what in ("started", "ended"):
                worker.begun = what == "started"
            if what in ("ended", "skipped"):
                worker.orders.pop(0)
            del said["attempt"]
            reports.append(Report(order=order, what=_HEARD[what], **said))
            self._fruitless = 0
        return reports

    def _died(self, worker: _Worker) -> list[Report]:
        code = self._release(worker)
        lost = worker.orders[:1] if worker.begun else []
        returned = worker.orders[len(lost) :]
        if not lost and code != 0:
            self._fruitless += 1
            if self._fruitless >= MAX_STARTS_WITHOUT_WORK:
                raise MachineError(
                    f"workers cannot start (exit {code}): {self._last_words(worker)}",
                    hint=f"see {self._logs / f'worker-{worker.slot}.log'}",
                )
        cause = _cause(code, worker)
        reason = f"out of memory: {_ending(code)}" if cause == "out-of-memory" else _ending(code)
        return [
            *(Report(order=order, what="lost", cause=cause, reason=reason) for order in lost),
            *(Report(order=order, what="returned") for order in returned),
        ]

    def _release(self, worker: _Worker) -> int:
        """Forget a worker that ended or is about to; return its exit code."""
        self._selector.unregister(worker.stdout)
        worker.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.close()
        del self._workers[worker.slot]
        return worker.process.wait()

    def _last_words(self, worker: _Worker) -> str:
        lines = (self._logs / f"worker-{worker.slot}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _tell(worker: _Worker, line: bytes) -> None:
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
    except BrokenPipeError:
        pass  # it died; `wait` sees the end of its output and gives the orders back


def _skip(worker: _Worker, orders: Iterable[Order]) -> None:
    attempts = [order.attempt for order in orders]
    if attempts and not worker.stdin.closed:
        _tell(worker, skip_line(attempts))


def _cause(code: int, worker: _Worker) -> Cause:
    if code == -signal.SIGTERM:
        return "preempted"
    if code == -signal.SIGKILL and oom_kills() > worker.oom_kills_before:
        return "out-of-memory"
    return "killed"


def _ending(code: int) -> str:
    return f"worker killed by signal {-code}" if code < 0 else f"worker ended with exit {code}"
