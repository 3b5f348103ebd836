"""Room for further workers on this machine: what runs is measured, the rule is in admission.

A run asks before each list of stages, and holds a claim from then until the list has ended. Other
runs see it (`icckd.run.machine_share`).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icckd.configuration import Local
from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.resources.gpus import Gpu, gpu_memory_by_process, gpu_memory_left
from icckd.resources.host import MemoryLeft, available_cpus, memory_left, resident_bytes
from icckd.run.admission import (
    SAMPLES,
    Claim,
    Holder,
    Party,
    Pool,
    Sharing,
    expected_bytes,
    fits,
    is_due,
)
from icckd.run.machine_share import MachineShare
from icckd.run.messages import Order
from icckd.study.plan import StageJob

SHARED_CPU = "waiting for a CPU: other runs on this machine have their share"
SHARED_GPU = "waiting for a GPU: all are in use"
SEEN_SECONDS = 0.5
"""The memory of the host is measured anew after so long, and not for each of many small lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A worker that has a list: its process, and what it claims."""

    pid: int
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The memory of the host at one moment: what is free, and what processes hold."""

    at: float
    left: MemoryLeft
    held: Mapping[int, int]


class Room:
    """What there is on this machine for one session.

    Args:
        settings: How workers share the machine.
        threads: CPUs of a worker on a CPU.
        jobs: Workers that the user asked for; None leaves it to what is measured.
        share: The runs of this machine; None where they do not know of each other.
        memory_of: Returns what stages of a shape took, in bytes, on the device of this session.
        shares_gpus: Whether stages may share a GPU: not where verdicts are about time or memory.
    """

    def __init__(
        self,
        *,
        settings: Local,
        threads: int,
        jobs: int | None,
        share: MachineShare | None,
        memory_of: Callable[[str], float | None],
        shares_gpus: bool = True,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._jobs = jobs
        self._share = share
        self._memory_of = memory_of
        self.sharing = Sharing(most=settings.gpu_workers if shares_gpus else 1)
        self._waits_since: float | None = None
        self._learned: defaultdict[str, list[float]] = defaultdict(list)
        self._exclusive: set[str] = set()
        self._cpus = available_cpus()
        self._seen: _Seen | None = None

    def close(self) -> None:
        """Claim nothing any more."""
        if self._share is not None:
            self._share.close()

    def only_one_on(self, gpu: Gpu) -> None:
        """Heed that a GPU serves one process alone."""
        self._exclusive.add(gpu.uuid)

    def hold(self, busy: Sequence[Busy]) -> None:
        """Say what is claimed from now on."""
        if self._share is not None:
            self._say(busy, time.monotonic())

    def learn(self, order: Order, pid: int) -> None:
        """Heed what a stage took that is complete, while nobody knows it from earlier sessions.

        A pack keeps the memory that it took, so that its process tells; a GPU's is not known.
        """
        stage, known = order.stage, self._learned[_sort_of(order.stage)]
        if len(known) >= SAMPLES or self._memory_of(stage.shape) is not None:
            return
        is_gpu = stage.numerics.device == "cuda"
        if order.pack:
            took = 0.0 if is_gpu else float(resident_bytes(pid))
        else:
            took = _recorded(order, "memory_reserved" if is_gpu else "memory_rss")
        if took:
            known.append(took)

    def ask_cpu(
        self, stages: Sequence[StageJob], busy: Sequence[Busy], idle: Collection[int]
    ) -> Claim | str:
        """Return a claim for a list of stages, which is held; or why it cannot begin now.

        Args:
            stages: The list.
            busy: The workers that have one.
            idle: Processes of those that have none.
        """
        size = self._cpus
        if self._jobs is not None:
            size = max(size, self._jobs * self._threads)
        weight, needs = min(size, self._threads), self._needs(stages, on_gpu=False)
        wanted = Claim(pool="cpu", weight=weight, needs=needs)

        def refused(others: Sequence[Party]) -> str:
            everybody = _everybody(busy, others, "cpu")
            if not everybody:
                return ""
            own = [*(each.pid for each in busy), *idle]
            seen = self._memory_now([*own, *(pid for pid, _ in everybody)])
            holders = [
                Holder(needs=claim.needs, holds=seen.held.get(pid, 0)) for pid, claim in everybody
            ]
            free, total = float(seen.left.free), float(seen.left.total)
            if self._settings.memory_gib:
                budget = self._settings.memory_gib * 2**30
                free = min(free, budget - sum(seen.held.get(pid, 0) for pid in own))
                total = min(total, budget)
            reused = max((seen.held.get(pid, 0) for pid in idle), default=0)
            if not fits(needs, free=free, total=total, holders=holders, reused=reused):
                return f"waiting for memory: {self._told(stages, needs)}"
            return ""

        return self._ask(wanted, size, busy, refused, SHARED_CPU)

    def _memory_now(self, pids: Collection[int]) -> "_Seen":
        """Return what is free and held, measured together, at most `SEEN_SECONDS` ago.

        Who began since then holds nothing yet, so that all that it needs is kept for it.
        """
        now = time.monotonic()
        if self._seen is None or now - self._seen.at > SEEN_SECONDS:
            held = {pid: resident_bytes(pid) for pid in pids}
            self._seen = _Seen(at=now, left=memory_left(), held=held)
        return self._seen

    def ask_gpu(
        self,
        stages: Sequence[StageJob],
        gpus: Sequence[Gpu],
        busy: Sequence[Busy],
        idle: Mapping[int, str],
    ) -> Claim | str:
        """Return a claim for a list of stages on one of some GPUs; or why it cannot begin now.

        Args:
            stages: The list.
            gpus: The GPUs that it may be trained on.
            busy: The workers that have one.
            idle: Of those that have none the process, with the UUID of its GPU.
        """
        needs = self._needs(stages, on_gpu=True)
        most = min(self.sharing.places(stage.shape) for stage in stages)
        if self._jobs is not None:
            most = max(most, -(-self._jobs // max(1, len(gpus))))
        held: Mapping[int, int] = gpu_memory_by_process() if most > 1 else {}
        best: list[Gpu] = []

        def refused(others: Sequence[Party]) -> str:
            everybody = _everybody(busy, others, "cuda")
            for gpu in sorted(gpus, key=lambda gpu: _count(everybody, gpu)):
                there = [(pid, claim) for pid, claim in everybody if claim.device == gpu.uuid]
                places = 1 if gpu.uuid in self._exclusive else most
                if len(there) < places and self._fits_gpu(gpu, needs, there, held, idle):
                    best.append(gpu)
                    return ""
            return SHARED_GPU

        wanted = Claim(pool="cuda", needs=needs)
        size = len(gpus) * most
        return self._ask(wanted, size, busy, refused, SHARED_GPU, lambda: best[-1].uuid)

    def _fits_gpu(
        self,
        gpu: Gpu,
        needs: float | None,
        there: Sequence[tuple[int, Claim]],
        held: Mapping[int, int],
        idle: Mapping[int, str],
    ) -> bool:
        if not there or self._jobs is not None:
            return True
        left = gpu_memory_left(gpu.uuid)
        if left is None:
            return False
        holders = [Holder(needs=claim.needs, holds=held.get(pid, 0)) for pid, claim in there]
        reused = max(
            (held.get(pid, 0) for pid, uuid in idle.items() if uuid == gpu.uuid), default=0
        )
        return fits(needs, free=left[0], total=left[1], holders=holders, reused=reused)

    def _ask(
        self,
        wanted: Claim,
        size: int,
        busy: Sequence[Busy],
        refused: Callable[[Sequence[Party]], str],
        not_due: str,
        device: Callable[[], str] = lambda: "",
    ) -> Claim | str:
        """Take what is wanted if it is there and this run's turn."""
        if self._share is None:
            why = refused(())
            return why or replace(wanted, device=device())
        with self._share.deciding() as others:
            now = time.monotonic()
            me = Party(claims=_claims(busy), waits_since=self._waits_since)
            why = refused(others)
            if not why and not is_due(me, others, wanted, size, now):
                why = not_due
            if why == not_due:
                self._waits_since = self._waits_since or now
            else:
                self._waits_since = None
            claim = replace(wanted, device=device()) if not why else None
            self._say(busy, now, claim)
        return why or claim or wanted

    def _say(self, busy: Sequence[Busy], now: float, claim: Claim | None = None) -> None:
        if self._share is not None:
            claims = (*_claims(busy), *([claim] if claim else []))
            self._share.say(Party(claims=claims, waits_since=self._waits_since, asked=now))

    def _needs(self, stages: Sequence[StageJob], *, on_gpu: bool) -> float | None:
        """Return what the largest of some stages is expected to take."""
        needs = [expected_bytes(self._took(stage), on_gpu=on_gpu) for stage in stages]
        known = [each for each in needs if each is not None]
        return max(known) if len(known) == len(needs) else None

    def _took(self, stage: StageJob) -> float | None:
        """Return what stages of a shape took at most; None where nobody knows."""
        before = None if stage.packing.key else self._memory_of(stage.shape)
        return before or max(self._learned[_sort_of(stage)], default=None)

    def _told(self, stages: Sequence[StageJob], needs: float | None) -> str:
        kind = stages[0].kind
        if needs is None:
            return f"nobody knows what a {kind} takes"
        return f"a {kind} is expected to take {needs / 2**30:.1f} GiB"


def _sort_of(stage: StageJob) -> str:
    """Return what stages have in common that take as much memory."""
    return f"pack {stage.packing.key}" if stage.packing.key else stage.shape


def _recorded(order: Order, metric: str) -> float:
    """Return what an attempt recorded of itself; 0 where it did not."""
    path = StateFolder(Path(order.state_folder)).attempts / order.attempt / JOURNAL
    try:
        lines = read_chunk(path).lines
    except OSError:
        return 0.0
    values = (line.body.get("values", {}) for line in lines if line.kind == "o")
    named = (value for each in values for name, value in each.items() if name.endswith(metric))
    return max((float(value) for value in named if isinstance(value, int | float)), default=0.0)


def _claims(busy: Sequence[Busy]) -> tuple[Claim, ...]:
    return tuple(each.claim for each in busy)


def _everybody(
    busy: Sequence[Busy], others: Sequence[Party], pool: Pool
) -> list[tuple[int, Claim]]:
    """Return the process and claim of every worker on a pool that is known."""
    mine = [(each.pid, each.claim) for each in busy]
    theirs = [(claim.pid, claim) for other in others for claim in other.claims]
    return [(pid, claim) for pid, claim in (*mine, *theirs) if claim.pool == pool]


def _count(everybody: Sequence[tuple[int, Claim]], gpu: Gpu) -> int:
    return sum(claim.device == gpu.uuid for _, claim in everybody)
