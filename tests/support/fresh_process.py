"""An executor that is not part of icckd: every order, or pack, has a process of its own.

The processes are forked from one that has imported torch already.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO

from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.messages import Order, last_line, orders_line, read_worker_line, skip_line

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["icckd.run.training", "icckd.cli.run", "icckd.cli.report"])


def serve(lines: Connection, out: Connection, environment: dict[str, str]) -> None:
    from icckd.run import worker

    os.environ.update(environment)
    worker.serve(opened(lines, "rb"), opened(out, "wb"))


def opened(connection: Connection, mode: str) -> IO[bytes]:
    file = os.fdopen(os.dup(connection.fileno()), mode, buffering=0 if "w" in mode else -1)
    connection.close()
    return file


@dataclass(eq=False)
class Running:
    """A list of orders, and the process of its first one, or first pack."""

    orders: list[Order]
    process: BaseProcess = field(init=False)
    reader: threading.Thread = field(init=False)
    pipe: IO[bytes] = field(init=False)
    begun: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)

    @property
    def current(self) -> list[Order]:
        first = self.orders[:1]
        return (
            [o for o in self.orders if o.pack == first[0].pack]
            if first and first[0].pack
            else first
        )

    def send(self, line: bytes) -> None:
        # Where it ended, the reading thread says so, and closes the pipe.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.pipe.write(line)

    def end(self) -> None:
        self.send(last_line())
        self.pipe.close()


class FreshProcessExecutor:
    capabilities = Capabilities()

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lists: list[Running] = []
        self._lines: queue.SimpleQueue[tuple[Running, bytes]] = queue.SimpleQueue()
        self._returned: list[Report] = []
        self._finishing = False

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "FreshProcessExecutor":
        context.notice("every stage has a process of its own")
        return cls(context.jobs or 1)

    def idle(self) -> int:
        return 0 if self._finishing else self.capacity - len(self._lists)

    def submit(self, orders) -> None:
        running = Running(list(orders))
        self._lists.append(running)
        self._start(running)

    def wait(self, timeout: float) -> list[Report]:
        reports, self._returned = self._returned, []
        try:
            running, line = self._lines.get(timeout=0 if reports else timeout)
        except queue.Empty:
            return reports
        return reports + (self._message(running, line) if line else self._ended(running))

    def cancel(self, attempts) -> None:
        for running in self._lists:
            current = running.current
            rest = running.orders[len(current) :]
            if running.begun and running.begun <= set(attempts):
                running.process.kill()
            elif unwanted := [o.attempt for o in current if o.attempt in attempts]:
                running.skipped.update(unwanted)
                running.send(skip_line(unwanted))
            dropped = [order for order in rest if order.attempt in attempts]
            self._returned += [Report(order=order, what="returned") for order in dropped]
            running.orders = [order for order in running.orders if order not in dropped]

    def retire(self) -> None:
        """Nothing idles here."""

    def save(self) -> None:
        for running in self._lists:
            running.process.terminate()

    def finish(self) -> None:
        self._finishing = True
        for running in self._lists:
            running.end()

    def kill(self) -> None:
        self._finishing = True
        for running in self._lists:
            running.process.kill()
            running.reader.join()
        self._lists = []

    def _start(self, running: Running) -> None:
        running.begun = set()
        lines, to_worker = CONTEXT.Pipe(duplex=False)
        from_worker, out = CONTEXT.Pipe(duplex=False)
        running.process = CONTEXT.Process(target=serve, args=(lines, out, dict(os.environ)))
        running.process.start()
        lines.close()
        out.close()
        running.pipe = opened(to_worker, "wb")
        running.send(orders_line(running.current))
        running.reader = threading.Thread(
            target=self._read, args=(running, running.process, opened(from_worker, "rb"))
        )
        running.reader.start()

    def _read(self, running: Running, process: BaseProcess, said: IO[bytes]) -> None:
        with said, running.pipe:
            for line in said:
                self._lines.put((running, line))
            process.join()
        self._lines.put((running, b""))

    def _message(self, running: Running, line: bytes) -> list[Report]:
        message = read_worker_line(line)
        [order] = [each for each in running.orders if each.attempt == message.attempt]
        if message.what == "started":
            running.begun.add(order.attempt)
        if message.what == "started" and order.attempt in running.skipped and not order.pack:
            running.process.kill()
        if message.what in ("ended", "skipped"):
            running.orders.remove(order)
            running.begun.discard(order.attempt)
            if not order.pack or all(other.pack != order.pack for other in running.orders):
                running.end()
        what = "returned" if message.what == "skipped" else message.what
        return [
            Report(order=order, what=what, state=message.state, cause=message.cause,
                   reason=message.reason, hardware=message.hardware,
                   by_itself=message.by_itself, mates=message.mates)
        ]  # fmt: skip

    def _ended(self, running: Running) -> list[Report]:
        code = running.process.exitcode
        if code == 0 and running.orders and not self._finishing:
            self._start(running)
            return []
        self._lists.remove(running)
        lost = [order for order in running.orders if order.attempt in running.begun]
        returned = [order for order in running.orders if order.attempt not in running.begun]
        mates = len(lost) - 1
        cause = "preempted" if code == -signal.SIGTERM else "killed"
        reason = f"process killed by signal {-code}" if code < 0 else f"process ended with {code}"
        return [
            *(Report(order=order, what="lost", cause=cause, reason=reason, mates=mates)
              for order in lost),
            *(Report(order=order, what="returned") for order in returned),
        ]  # fmt: skip
