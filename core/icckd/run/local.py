"""The executor `local`: worker processes on this machine, each with one list of orders at a time.

A worker runs `icckd.run.worker` in a process group of its own, so that Ctrl-C in the terminal
reaches the session alone (`icckd.run.worker_start`). SIGTERM makes it save its stage and die of
that signal; when the session dies and its standard input ends, it does the same.

On GPUs each worker sees one of them, by its UUID in CUDA_VISIBLE_DEVICES. A worker whose GPU failed
ends; a stage that failed so goes to another GPU, where there is one. A GPU that NVML calls lost, or
that several fresh workers in a row could not use, is left out from then on.
"""

import contextlib
import itertools
import os
import selectors
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, ClassVar

from icckd.configuration import configuration
from icckd.errors import MachineError
from icckd.journal.events import Cause
from icckd.resources import VISIBLE, Gpu, usable_gpus, why_gone
from icckd.resources.host import cpu_model, oom_kills
from icckd.run.admission import Claim
from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.machine_share import MachineShare
from icckd.run.messages import (
    Order,
    WorkerMessage,
    last_line,
    orders_line,
    read_worker_line,
    skip_line,
)
from icckd.run.prepare import default_jobs
from icckd.run.room import SHARED_CPU, Busy, Room
from icckd.run.worker_start import StartedWorker, WorkerStarter
from icckd.study.plan import StageJob
from icckd.study.records import Device

MAX_STARTS_WITHOUT_WORK = 3
RETIRE_SECONDS = 5.0
"""After a list was refused for so long, idle workers give their memory up."""


@dataclass(slots=True)
class _Worker:
    """One process and the orders it has not finished.

    Attributes:
        slot: Its number among the running workers; names its log.
        process: Its process, with the pipes to it and from it.
        gpu: The GPU that it sees; None on a CPU.
        orders: What it was given and has not reported as ended or skipped.
        begun: Attempts of those that it began: the first, or several of a pack.
        skipped: Attempts that it was told to leave out.
        has_worked: Whether it ever began an order.
        has_packed: Whether it was ever given a pack: its memory tells nothing of a stage since.
        unread: The beginning of a line of its output.
        oom_kills_before: What the kernel had killed for memory when it started.
        unusable: Why it could not use its GPU, as it said before it began anything.
        claim: What it takes of the machine while it has orders.
    """

    slot: int
    process: StartedWorker
    gpu: Gpu | None = None
    orders: list[Order] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    has_worked: bool = False
    has_packed: bool = False
    unread: bytes = b""
    oom_kills_before: int = 0
    unusable: str = ""
    claim: Claim | None = None

    @property
    def is_staying(self) -> bool:
        """Whether it takes further orders."""
        return not self.stdin.closed

    @property
    def stdin(self) -> IO[bytes]:
        return self.process.questions

    @property
    def answers(self) -> IO[bytes]:
        return self.process.answers


class LocalExecutor:
    """Keeps up to `capacity` workers, started when first needed and after a death.

    Args:
        capacity: Workers at once.
        device: `cpu` hides GPUs from the workers; `cuda` deals them out.
        gpus: The GPUs to deal out; a new worker gets the one with the fewest.
        threads: Threads of each worker.
        logs: Folder of their output outside attempts.
        notice: Told about a GPU that is left out, and what is waited for.
        room: What there is of the machine; None leaves it to `capacity`.
    """

    capabilities: ClassVar = Capabilities(admits=True)

    def __init__(
        self,
        *,
        capacity: int,
        device: Device,
        gpus: Sequence[Gpu],
        threads: int,
        logs: Path,
        notice: Callable[[str], None] | None = None,
        room: Room | None = None,
    ) -> None:
        self.capacity = capacity
        self._device = device
        self._gpus = list(gpus)
        self._workers_a_gpu = -(-capacity // max(1, len(gpus)))
        self._threads = threads
        self._logs = logs
        self._notice = notice
        self._room = room
        self._claim: Claim | None = None
        self._held: tuple[Busy, ...] = ()
        self.waits_for = ""
        self._told: set[str] = set()
        self._refused_since = 0.0
        self._model = cpu_model() if device == "cpu" else ""
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._starter = WorkerStarter(logs / "worker-server.log", threads, device, self._selector)
        self._finishing = False
        self._starts_without_work = 0
        self._gpu_starts_without_work: Counter[str] = Counter()
        self._gpus_failed_under: defaultdict[str, set[str]] = defaultdict(set)
        self._left_out: list[str] = []

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "LocalExecutor":
        """Return the executor of a session: as many workers as fill the CPUs, or GPUs."""
        device, threads = context.numerics.device, context.numerics.threads
        settings, shares = configuration(context.folder.root).local, context.shares_gpus
        capacity = context.jobs or default_jobs(context.plan)
        if device == "cuda" and shares and context.jobs is None:
            capacity *= settings.gpu_workers
        return cls(
            capacity=capacity,
            device=device,
            gpus=usable_gpus() if device == "cuda" else (),
            threads=threads,
            logs=context.folder.sessions,
            notice=context.notice,
            room=Room(
                settings=settings,
                threads=threads,
                jobs=context.jobs,
                share=MachineShare.join(),
                memory_of=context.gpu_memory_of if device == "cuda" else context.memory_of,
                shares_gpus=shares,
            ),
        )

    def idle(self) -> int:
        """Return how many lists could start now."""
        busy = sum(1 for worker in self._workers.values() if worker.orders)
        return 0 if self._finishing or self._has_no_gpu() else max(0, self.capacity - busy)

    def hardware(self) -> dict[str, int]:
        """Return how many lists could start now, by every model of device that there is."""
        if self._device == "cpu":
            return {self._model: self.idle()}
        busy = Counter(w.gpu.uuid for w in self._workers.values() if w.gpu and w.orders)
        found: Counter[str] = Counter()
        for gpu in self._gpus:
            found[gpu.name] += max(0, self._workers_a_gpu - busy[gpu.uuid])
        return dict(found)

    def admits(self, stages: Sequence[StageJob], hardware: str) -> bool:
        """Return whether a list can start now; then its claim on the machine is held."""
        digests = [stage.digest for stage in stages]
        gpus, self.waits_for = self._gpus_for(digests, hardware), ""
        if self._room is None:
            return self._device == "cpu" or bool(gpus)
        busy, idle = self._busy(), [w for w in self._workers.values() if not w.orders]
        if self._device == "cpu":
            pids = [worker.process.pid for worker in idle]
            answer = self._room.ask_cpu(stages, busy, pids)
        else:
            held = {w.process.pid: w.gpu.uuid for w in idle if w.gpu}
            answer = self._room.ask_gpu(stages, gpus, busy, held)
        if isinstance(answer, Claim):
            self._claim, self._refused_since = answer, 0.0
            return True
        self.waits_for, now = answer, time.monotonic()
        self._refused_since = self._refused_since or now
        if answer != SHARED_CPU and now - self._refused_since >= RETIRE_SECONDS:
            self.retire()  # what idle workers hold may be what is missing
        if answer not in self._told:
            self._told.add(answer)
            self._notify(answer)
        return False

    def submit(self, orders: Sequence[Order]) -> None:
        """Hand a list of orders to an idle worker, or to a new one.

        Stages that failed with a GPU go to another one, if any is left, and those outside packs to
        a worker that had none; an idle worker that would then be one too many ends.
        """
        claim, self._claim = self._claim, None
        gpus, in_pack = self._gpus_of(orders, claim), bool(orders[0].pack)
        allowed = {gpu.uuid for gpu in gpus}
        staying = [worker for worker in self._workers.values() if worker.is_staying]
        idle = [worker for worker in staying if not worker.orders]
        free = [w for w in idle if w.gpu is None or w.gpu.uuid in allowed]
        free = [worker for worker in free if in_pack or not worker.has_packed]
        if not free and idle and len(staying) >= self.capacity:
            _close(idle[0])
        busy = Counter(w.gpu.uuid for w in staying if w.gpu and w.orders)
        worker = min(free, key=lambda w: busy[w.gpu.uuid] if w.gpu else 0, default=None)
        worker = worker or self._start_worker(orders, gpus)
        worker.has_packed |= in_pack
        worker.orders = list(orders)
        worker.claim = claim
        self._hold()
        _send(worker, orders_line(orders))

    def wait(self, timeout: float) -> list[Report]:
        """Return what workers said, and what became of the orders of workers that ended.

        Raises:
            MachineError: Workers cannot start, or no GPU is left and nothing runs any more.
        """
        if self._has_no_gpu() and not any(worker.orders for worker in self._workers.values()):
            raise MachineError(
                "; ".join(["no GPU is left", *self._left_out]),
                hint="what is finished is kept; when a GPU is back, the same command resumes"
                " (icckd doctor shows them, dmesg names Xid errors)",
            )
        reports: list[Report] = []
        for key, _ in self._selector.select(timeout):
            if key.data is self._starter:
                self._starter.heed()
                continue
            worker: _Worker = key.data
            data = os.read(worker.answers.fileno(), 1 << 16)
            if data:
                reports += self._read_messages(worker, data)
            else:
                reports += self._handle_exit(worker)
        self._hold()
        return reports

    def cancel(self, attempts: Collection[str]) -> None:
        """End attempts now: one that began with its worker, unless that costs another attempt.

        A member of a pack is dropped at the end of its epoch.
        """
        for worker in self._workers.values():
            if worker.begun and worker.begun <= set(attempts):
                worker.process.kill()
            else:
                _skip(worker, [order for order in worker.orders if order.attempt in attempts])

    def retire(self) -> None:
        """End idle workers, for the memory that they hold."""
        for worker in self._workers.values():
            if not worker.orders:
                _close(worker)

    def save(self) -> None:
        """Save running stages at the end of their epoch; their workers end."""
        for worker in self._workers.values():
            if worker.orders:
                worker.process.terminate()

    def finish(self) -> None:
        """Finish running stages; the rest of the lists comes back."""
        self._finishing = True
        for worker in self._workers.values():
            if not worker.stdin.closed:
                _send(worker, last_line())
                _close(worker)

    def kill(self) -> None:
        """End every worker now."""
        self._finishing = True
        for worker in self._workers.values():
            worker.process.kill()
        for worker in list(self._workers.values()):
            self._remove_worker(worker)
        self._starter.close()
        self._selector.close()
        if self._room is not None:
            self._room.close()

    @property
    def workers(self) -> int:
        """Processes that have not ended, or whose end `wait` has not seen yet."""
        return len(self._workers)

    def _busy(self) -> list[Busy]:
        """Return what workers claim that have orders."""
        return [
            Busy(pid=worker.process.pid, claim=replace(worker.claim, pid=worker.process.pid))
            for worker in self._workers.values()
            if worker.orders and worker.claim is not None
        ]

    def _hold(self) -> None:
        """Tell other runs what is claimed, when that has changed."""
        busy = tuple(self._busy())
        if self._room is not None and busy != self._held:
            self._held = busy
            self._room.hold(busy)

    def _start_worker(self, orders: Sequence[Order], gpus: Sequence[Gpu]) -> _Worker:
        slot = next(n for n in itertools.count() if n not in self._workers)
        gpu = self._pick_gpu(gpus)
        with self._log_of(slot).open("ab") as log:
            process = self._starter.start(
                self._environment(gpu),
                log,
                trains=not orders[0].stage.is_task,
                has_plugins=any(order.plugins for order in orders),
            )
        worker = _Worker(slot=slot, process=process, gpu=gpu, oom_kills_before=oom_kills())
        self._workers[slot] = worker
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _environment(self, gpu: Gpu | None) -> dict[str, str]:
        threads = str(self._threads)
        return {
            **os.environ,
            VISIBLE: gpu.uuid if gpu else "",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }

    def _read_messages(self, worker: _Worker, data: bytes) -> list[Report]:
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        reports = []
        for line in lines:
            reports += self._handle_message(worker, read_worker_line(line))
        return reports

    def _handle_message(self, worker: _Worker, message: WorkerMessage) -> list[Report]:
        [order] = [each for each in worker.orders if each.attempt == message.attempt]
        if message.what == "unusable":
            worker.unusable = message.reason
            _close(worker)
            return []
        if message.what in ("started", "ended"):
            worker.has_worked = True
        if message.what == "started":
            worker.begun.add(order.attempt)
        if message.what == "started" and order.attempt in worker.skipped and not order.pack:
            worker.process.kill()  # it began the attempt before it read that it should not
        if message.what in ("ended", "skipped"):
            worker.orders.remove(order)
            worker.begun.discard(order.attempt)
        if message.is_leaving:
            _close(worker)
        if worker.gpu is not None and message.what == "started":
            del self._gpu_starts_without_work[worker.gpu.uuid]
        self._note_gpu_failure(worker, order, message.cause)
        self._note_stay(worker, order, message.what, is_complete=message.state == "complete")
        self._starts_without_work = 0
        what = "returned" if message.what == "skipped" else message.what
        return [
            Report(
                order=order,
                what=what,
                state=message.state,
                cause=message.cause,
                reason=message.reason,
                by_itself=message.by_itself,
                mates=message.mates,
                hardware=message.hardware,
            )
        ]

    def _handle_exit(self, worker: _Worker) -> list[Report]:
        code = self._remove_worker(worker)
        lost = [order for order in worker.orders if order.attempt in worker.begun]
        returned = [order for order in worker.orders if order.attempt not in worker.begun]
        mates = len(lost) - 1
        unusable = worker.unusable
        if not worker.has_worked and not unusable and code not in (0, -signal.SIGTERM):
            unusable = f"{_exit_text(code)}: {self._last_log_line(worker)}"
        gone = self._check_gpu(worker.gpu, unusable) if worker.gpu and code != 0 else ""
        if not lost and code != 0 and worker.gpu is None:
            self._count_start_without_work(worker, code)
        cause, reason = _exit_cause(code, worker), _exit_text(code)
        if cause == "out-of-memory":
            reason = f"out of memory: {reason}"
        if gone and cause != "preempted":
            cause, reason = "device", f"{worker.gpu}: {gone}, {reason}"
        for order in lost:
            self._note_gpu_failure(worker, order, cause)
            self._note_stay(worker, order, "ended", is_complete=False)
        why_returned = f"{worker.gpu} cannot be used: {unusable}" if unusable and worker.gpu else ""
        return [
            *(
                Report(order=order, what="lost", cause=cause, reason=reason, mates=mates)
                for order in lost
            ),
            *(Report(order=order, what="returned", reason=why_returned) for order in returned),
        ]

    def _remove_worker(self, worker: _Worker) -> int:
        """Forget a worker that ended or is about to; return its exit code."""
        self._selector.unregister(worker.answers)
        worker.answers.close()
        _close(worker)
        del self._workers[worker.slot]
        return worker.process.wait()

    def _count_start_without_work(self, worker: _Worker, code: int) -> None:
        self._starts_without_work += 1
        if self._starts_without_work >= MAX_STARTS_WITHOUT_WORK:
            raise MachineError(
                f"workers cannot start (exit {code}): {self._last_log_line(worker)}",
                hint=f"see {self._log_of(worker.slot)}",
            )

    def _log_of(self, slot: int) -> Path:
        return self._logs / f"worker-{slot}.log"

    def _last_log_line(self, worker: _Worker) -> str:
        lines = self._log_of(worker.slot).read_text(errors="replace").splitlines()
        return lines[-1] if lines else "no output"

    # Which GPU a worker gets, and which are left out.

    def _has_no_gpu(self) -> bool:
        return self._device == "cuda" and not self._gpus

    def _pick_gpu(self, gpus: Sequence[Gpu]) -> Gpu | None:
        """Return the GPU of some with the fewest staying workers, the first of equals."""
        if self._device != "cuda":
            return None
        workers = self._workers.values()
        staying = Counter(w.gpu.uuid for w in workers if w.gpu and w.is_staying)
        return min(gpus, key=lambda gpu: staying[gpu.uuid])

    def _gpus_of(self, orders: Sequence[Order], claim: Claim | None) -> list[Gpu]:
        """Return the GPUs that a list may be given: the claimed one, else all that would do."""
        order = orders[0]
        bound = order.hardware if order.is_bound else ""
        gpus = self._gpus_for([each.stage.digest for each in orders], bound)
        claimed = [gpu for gpu in gpus if claim is not None and gpu.uuid == claim.device]
        preferred = [gpu for gpu in gpus if gpu.name == order.hardware]
        return claimed or preferred or gpus or self._gpus

    def _gpus_for(self, digests: Sequence[str], hardware: str) -> list[Gpu]:
        """Return the GPUs of a model, without those that failed under one of these stages.

        These are not left out where there is no other.
        """
        gpus = [gpu for gpu in self._gpus if hardware in ("", gpu.name)]
        failed = set().union(*(self._gpus_failed_under.get(digest, ()) for digest in digests))
        return [gpu for gpu in gpus if gpu.uuid not in failed] or gpus

    def _note_stay(self, worker: _Worker, order: Order, what: str, *, is_complete: bool) -> None:
        """Have it measured what stages take, and how long they take on a GPU with others."""
        if self._room is None:
            return
        name, now = order.pack or order.attempt, time.monotonic()
        if what == "started" and worker.gpu is not None:
            self._room.sharing.begins(name, order.stage.shape, worker.gpu.uuid, now)
        elif what == "ended":
            self._room.sharing.ends(name, now, is_complete=is_complete and not order.pack)
            if is_complete:
                self._room.learn(order, worker.process.pid)

    def _note_gpu_failure(self, worker: _Worker, order: Order, cause: Cause | None) -> None:
        if worker.gpu is not None and cause == "device":
            self._gpus_failed_under[order.stage.digest].add(worker.gpu.uuid)

    def _check_gpu(self, gpu: Gpu, unusable: str) -> str:
        """Leave a GPU out that is lost, or that worker after worker cannot use.

        Args:
            gpu: The GPU of a worker that ended with an error.
            unusable: Why that worker could not use it; "" when it could.

        Returns:
            Why NVML calls it lost; "" when it does not.
        """
        gone = why_gone(gpu)
        if unusable and not gone and any(w.gpu == gpu and w.orders for w in self._workers.values()):
            # Exclusive mode: it serves its first process and refuses others.
            self.capacity = max(len(self._gpus), self.capacity - 1)
            if self._room is not None:
                self._room.only_one_on(gpu)
            self._notify(f"{gpu} takes no further worker: {unusable}")
            return ""
        self._gpu_starts_without_work[gpu.uuid] += bool(unusable)
        starts = self._gpu_starts_without_work[gpu.uuid]
        if gpu in self._gpus and (gone or starts >= MAX_STARTS_WITHOUT_WORK):
            self._gpus.remove(gpu)
            self.capacity = max(1, min(self.capacity, self._workers_a_gpu * len(self._gpus)))
            self._left_out.append(f"{gpu}: {gone or unusable}")
            for worker in self._workers.values():
                if worker.gpu == gpu and not worker.orders:
                    _close(worker)
            self._notify(f"{gpu} is left out from now on: {gone or unusable}")
        return gone

    def _notify(self, text: str) -> None:
        if self._notice is not None:
            self._notice(text)


def _send(worker: _Worker, line: bytes) -> None:
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
    except BrokenPipeError:
        pass  # it died; `wait` sees the end of its output and gives the orders back


def _close(worker: _Worker) -> None:
    """Tell a worker that nothing more comes; closing sends again what could not be sent."""
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()


def _skip(worker: _Worker, orders: Iterable[Order]) -> None:
    attempts = [order.attempt for order in orders]
    worker.skipped.update(attempts)
    if attempts and not worker.stdin.closed:
        _send(worker, skip_line(attempts))


def _exit_cause(code: int, worker: _Worker) -> Cause:
    if code == -signal.SIGTERM:
        return "preempted"
    if code == -signal.SIGKILL and oom_kills() > worker.oom_kills_before:
        return "out-of-memory"
    return "killed"


def _exit_text(code: int) -> str:
    return f"worker killed by signal {-code}" if code < 0 else f"worker ended with exit {code}"
