"""Whether a further list of stages may start on this machine: by turns, by memory, by time. Pure.

By turns: runs of one user on one machine hold claims on its CPUs and GPUs. One that waits goes
before those that hold more, so that each gets its share, and a lone one gets all.

By memory: a stage is expected to take what earlier ones of its shape took at most, and a margin.
What runs may still grow to what it is expected to take. On the host a shape that nobody has
measured is expected to take a fixed amount; on a GPU it runs by itself, and is measured.

By time: stages share a GPU while more of them are completed in an hour by that.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Pool = Literal["cpu", "cuda"]
MARGIN = 1.2
"""What a stage is expected to take, times what earlier ones took at most."""
UNMEASURED_BYTES = 2.0 * 2**30
"""What a worker on the host is expected to take whose stage nobody has measured."""
GPU_CONTEXT_BYTES = 0.75 * 2**30
"""What a process takes on a GPU besides what torch counts."""
KEPT_FREE = 0.02
"""Share of the memory that is left to others."""
GAIN = 1.1
"""One more stage on a GPU must complete so many times as many in an hour."""
SAMPLES = 2
"""Stages of a company that must have ended before it is judged."""
HUNGRY_SECONDS = 2.0
"""A run that has not asked for so long does not wait any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one worker takes of the machine while it has a list of stages.

    Attributes:
        pool: What it is trained on.
        device: UUID of its GPU; "" on a CPU.
        weight: CPUs of one on a CPU; 1 on a GPU.
        needs: Bytes that it is expected to take at most, of the host or of its GPU; None where
            nobody knows.
        pid: Its process; 0 before it has one.
    """

    pool: Pool
    device: str = ""
    weight: int = 1
    needs: float | None = None
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One run on this machine. Times are seconds of the machine's monotonic clock.

    Attributes:
        claims: What its workers take.
        waits_since: Since when it waits for its turn; None where it does not.
        asked: When it asked last.
    """

    claims: tuple[Claim, ...] = ()
    waits_since: float | None = None
    asked: float = 0.0

    def held(self, pool: Pool) -> int:
        """Return how much of a pool it holds."""
        return sum(claim.weight for claim in self.claims if claim.pool == pool)

    def is_hungry(self, now: float) -> bool:
        """Whether it waits for its turn just now."""
        return self.waits_since is not None and now - self.asked <= HUNGRY_SECONDS

    def place(self, pool: Pool, now: float) -> tuple[int, float]:
        """Return its place among those that wait: first by what it holds, then by how long."""
        return self.held(pool), now if self.waits_since is None else self.waits_since


def is_due(me: Party, others: Sequence[Party], wanted: Claim, size: int, now: float) -> bool:
    """Whether it is this run's turn to take more of a pool.

    Args:
        me: This run.
        others: The other runs.
        wanted: What it wants.
        size: How much of the pool there is.
        now: The time.
    """
    pool = wanted.pool
    taken = me.held(pool) + sum(other.held(pool) for other in others)
    if taken + wanted.weight > size:
        return False
    return not any(
        other.is_hungry(now) and other.place(pool, now) < me.place(pool, now) for other in others
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A worker in a memory: what it is expected to take at most, None if unknown, and holds now."""

    needs: float | None
    holds: float


def expected_bytes(measured: float | None, *, on_gpu: bool) -> float | None:
    """Return what a stage is expected to take, by what earlier ones of its shape took."""
    if measured is None:
        return None if on_gpu else UNMEASURED_BYTES
    return MARGIN * measured + (GPU_CONTEXT_BYTES if on_gpu else 0.0)


def fits(
    needs: float | None, *, free: float, total: float, holders: Iterable[Holder], reused: float = 0
) -> bool:
    """Whether a memory has room for one more stage. Where nothing runs there always is.

    Args:
        needs: What it is expected to take; None where nobody knows.
        free: Bytes that are free now.
        total: Bytes of the memory.
        holders: The workers that run there.
        reused: Bytes of an idle worker that the stage would take over.
    """
    holders = list(holders)
    if not holders:
        return True
    if needs is None or any(holder.needs is None for holder in holders):
        return False
    growth = sum(max(0.0, (holder.needs or 0.0) - holder.holds) for holder in holders)
    return needs <= free + reused - growth - KEPT_FREE * total


@dataclass(slots=True)
class _Stay:
    """A stage on a GPU: since when its company is counted, and company times seconds till then."""

    device: str
    shape: str
    begun: float
    since: float
    area: float = 0.0


@dataclass(slots=True)
class Sharing:
    """How long stages took by how many ran beside each other on one GPU. Times are given.

    Attributes:
        most: Most on one GPU.
    """

    most: int
    _stays: dict[str, _Stay] = field(default_factory=dict)
    _seconds: defaultdict[tuple[str, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def begins(self, attempt: str, shape: str, device: str, now: float) -> None:
        """Heed that a stage begins on a GPU."""
        if attempt in self._stays:
            return
        self._count(device, now)
        self._stays[attempt] = _Stay(device=device, shape=shape, begun=now, since=now)

    def ends(self, attempt: str, now: float, *, is_complete: bool) -> None:
        """Heed that a stage ends; only complete ones tell how long one takes."""
        stay = self._stays.get(attempt)
        if stay is None:
            return
        self._count(stay.device, now)
        del self._stays[attempt]
        seconds = now - stay.begun
        if is_complete and seconds > 0:
            self._seconds[stay.shape, max(1, round(stay.area / seconds))].append(seconds)

    def places(self, shape: str) -> int:
        """Return how many stages of a shape may be on one GPU: first one, then more if it pays."""
        for company in range(1, self.most + 1):
            if not self._is_known(shape, company):
                return company
            if company > 1 and self._pace(shape, company) < GAIN * self._pace(shape, company - 1):
                return company - 1
        return self.most

    def _is_known(self, shape: str, company: int) -> bool:
        return len(self._seconds[shape, company]) >= SAMPLES

    def _pace(self, shape: str, company: int) -> float:
        """Return stages a second of a GPU with so many at once."""
        return company / statistics.median(self._seconds[shape, company])

    def _count(self, device: str, now: float) -> None:
        stays = [stay for stay in self._stays.values() if stay.device == device]
        for stay in stays:
            stay.area += len(stays) * (now - stay.since)
            stay.since = now
