"""Which stage may start next, and what follows from how it ended. Pure: no clock, no process.

`POLICIES` says for each cause of a failure whether the stage is tried again, when and how;
`Schedule` holds the state of every stage of a plan.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from icckd.configuration import Precedence
from icckd.journal.events import Cause
from icckd.study.plan import Plan, StageJob
from icckd.study.records import State, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often a stage is attempted for one cause, and how.

    Attributes:
        tries: Attempts that may end by this cause; 1 means that it is not tried again.
        wait_seconds: Pause before the second attempt; it doubles with every further one.
        alone: Whether the next attempt waits until nothing else runs.
        words: The cause in words.
    """

    tries: int
    words: str
    wait_seconds: float = 0.0
    alone: bool = False

    def pause_after(self, ends: int) -> float:
        """Return the seconds to wait after attempt number `ends` failed for this cause."""
        return self.wait_seconds * 2.0 ** (ends - 1)


POLICIES: dict[Cause, Policy] = {
    "killed": Policy(tries=3, wait_seconds=1.0, words="killed"),
    "preempted": Policy(tries=10, wait_seconds=1.0, words="preempted"),
    "out-of-memory": Policy(tries=2, alone=True, words="out of memory"),
    "disk-full": Policy(tries=3, wait_seconds=10.0, words="disk full"),
    "device": Policy(tries=3, wait_seconds=1.0, words="the GPU failed"),
    "non-finite": Policy(tries=1, words="not finite"),
    "machine": Policy(tries=1, words="machine"),
    "study": Policy(tries=1, words="study"),
    "bug": Policy(tries=1, words="bug"),
    "exit-code": Policy(tries=1, words="exit code"),
    "time-limit": Policy(tries=1, words="time limit"),
    "no-metric": Policy(tries=1, words="no metric"),
}

MAX_LIST = 4
IN_RESERVE = 1.5
"""Longest chains for which the stages that nothing waits for must still keep all workers busy: one
that is longer than all before may be among the last."""
NOWHERE = ("", 0, "")
ANYWHERE = ""
"""The hardware of a stage that may be computed on any."""
_OPEN: tuple[State, ...] = ("pending", "running")
_UNFINISHED: tuple[State, ...] = ("failed", "blocked", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A stage entered a state."""

    stage: str
    state: State
    reason: str = ""


class Schedule:
    """States of a plan's stages.

    Stages start in the order that `first` settles, or as viewers reordered them, as soon as their
    inputs are complete. With several workers those that others wait for are put before that while
    the end would have to wait for them: see `_is_urgent`.
    Whether one that failed is tried again, when and in what company, is the policy of its cause.
    What depends on a failed stage, over any number of stages, is blocked; everything else continues
    (design law 8, docs/laws.md). Times are seconds of a monotonic clock.

    What is ready stands in queues, one for each class of hardware that stages are bound to: a
    decision costs the logarithm of the number of stages, times the few classes.

    Args:
        plan: The plan.
        complete: Digests that need no training.
        first: What is finished first: a seed, through all arms, as the plan has it; or an arm, with
            all its seeds.
    """

    def __init__(self, plan: Plan, complete: Iterable[str], *, first: Precedence = "seeds") -> None:
        self._plan = plan
        self._stages = plan.stages
        self._users: dict[str, list[str]] = {digest: [] for digest in plan.stages}
        for digest, stage in plan.stages.items():
            for needed in dict.fromkeys(stage.inputs.values()):
                self._users[needed].append(digest)
        self._missing = {d: len(set(each.inputs.values())) for d, each in plan.stages.items()}
        self._rank = {digest: number for number, digest in enumerate(_in_order(plan, first))}
        self._first_rank = 0
        self._ends: Counter[tuple[str, Cause]] = Counter()
        self._not_before: dict[str, float] = {}
        self._alone: set[str] = set()
        self._hardware: dict[int, str] = {}  # by seed
        self._of_seed: defaultdict[int, list[str]] = defaultdict(list)
        for digest, stage in plan.stages.items():
            self._of_seed[stage.seed].append(digest)
        self._ready: defaultdict[str, _Queue] = defaultdict(_Queue)  # by hardware
        self._ready_alone = _Queue()
        self._largest = {d: each.packing.largest for d, each in plan.stages.items()}
        self._queued_in: dict[str, tuple[str, int, str]] = {}
        self._alike: defaultdict[tuple[str, int, str], _Queue] = defaultdict(_Queue)
        self._needed: defaultdict[str, _Queue] = defaultdict(_Queue)  # ready, and waited for
        self._last = sum(not users for users in self._users.values())
        self._paces = {True: _Pace(), False: _Pace()}  # by: others wait for it
        self._later: list[tuple[float, str]] = []
        self._now = -math.inf
        self.states: dict[str, State] = dict.fromkeys(plan.stages, "pending")
        self._counts: Counter[State] = Counter({"pending": len(plan.stages)})
        self._running: set[str] = set()
        done = frozenset(complete)
        for digest in plan.stages:
            if digest in done:
                self._set(digest, "complete")
        for digest in plan.stages:
            self._offer(digest)

    def next_list(
        self, workers: int, now: float = 0.0, hardware: Collection[str] | None = None
    ) -> list[StageJob]:
        """Take the stages for one idle worker; they are running from now on.

        What is first decides whether these are the members of a pack, or a list of which one is
        trained after the other. Lists are long while much is ready, and single stages at the end,
        so that no worker holds what another could do; packs divide what is ready among the workers.
        A stage that must run alone starts when nothing else runs or could.

        Args:
            workers: Workers at once.
            now: The time.
            hardware: Where stages that are bound to a class of hardware can start just now; None is
                everywhere.
        """
        self._let_wait_end(now)
        if not self._running.isdisjoint(self._alone):
            return []
        if head := self._first_of(self._ready, hardware):
            urgent = self._is_urgent(head, workers) and self._first_of(self._needed, hardware)
            first = urgent or head
            kind = self._queued_in[first]
            alike = self._alike[kind]
            if self._stages[first].packing.key:
                count = self._size_of_pack(first, len(alike), workers)
            else:
                alike = self._needed[kind[-1]] if urgent else alike
                count = max(1, min(MAX_LIST, len(alike) // (2 * workers)))
            taken = [alike.take() for _ in range(count)]
        elif self._running or not self._ready_alone:
            taken = []
        else:
            digest = self._ready_alone.first()
            is_possible = hardware is None or self._bound_to(digest) in (ANYWHERE, *hardware)
            taken = [self._ready_alone.take()] if is_possible else []
        for digest in taken:
            self._set(digest, "running")
        return [self._stages[digest] for digest in taken]

    def put_back(self, stages: Iterable[StageJob]) -> None:
        """Put stages back that were just taken, and that nobody began."""
        for stage in stages:
            self._set(stage.digest, "pending")
            self._offer(stage.digest)

    def bind(self, seed: int, hardware: str) -> None:
        """Have stages of a seed that are not begun start on a class of hardware alone."""
        self._hardware[seed] = hardware
        for digest in self._of_seed[seed]:
            if digest in self._queued_in:
                self._set(digest, "pending")
                self._offer(digest)

    def hardware_wanted(self) -> set[str]:
        """Return the hardware that ready stages are bound to."""
        alone = {self._bound_to(self._ready_alone.first())} if self._ready_alone else set()
        return ({name for name, queue in self._ready.items() if queue} | alone) - {ANYWHERE}

    def _bound_to(self, digest: str) -> str:
        return self._hardware.get(self._stages[digest].seed, ANYWHERE)

    def _first_of(self, queues: dict[str, "_Queue"], hardware: Collection[str] | None) -> str:
        """Return the first of some queues of hardware that can be used now; "" without any."""
        usable = (
            queue
            for name, queue in queues.items()
            if queue and (hardware is None or name == ANYWHERE or name in hardware)
        )
        heads = (queue.first() for queue in usable)
        return min(heads, key=self._rank.__getitem__, default="")

    def _is_urgent(self, first: str, workers: int) -> bool:
        """Whether what others wait for goes before the first stage in plan order.

        At the end of a study workers would stand idle while the last teachers and then their
        students are trained. The teachers start before that: while the stages that nothing waits
        for can still fill all workers for longer than such a chain takes. How long stages take is
        what those took that are complete; until one of each sort is, and for stages that were put
        first, the order stays as it is.
        """
        if workers == 1 or self._rank[first] < 0 or not any(self._needed.values()):
            return False
        needed, last = self._paces[True], self._paces[False]
        if not (needed.count and last.count):
            return False
        left = self._last * last.share / workers
        return left <= IN_RESERVE * (needed.longest + last.longest)

    def take(self, digest: str) -> None:
        """Take a pending stage that is attempted already: it is running from now on."""
        self._set(digest, "running")

    def _kind_of_pack(self, digest: str) -> tuple[str, int, str]:
        """Return what the members of a pack have in common; all that is not packed has the same."""
        key, hardware = self._stages[digest].packing.key, self._bound_to(digest)
        return (key, self._largest[digest] if key else 0, hardware)

    def _size_of_pack(self, digest: str, ready: int, workers: int) -> int:
        """Return how many of the ready stages a pack takes: a worker's share, in whole units."""
        unit = self._stages[digest].packing.unit
        share = -(-ready // workers)
        return min(ready, self._largest[digest], -(-share // unit) * unit)

    def runs_alone(self, digest: str) -> bool:
        """Whether nothing else may run beside this stage."""
        return digest in self._alone

    @property
    def is_idle(self) -> bool:
        """Whether no stage is running."""
        return not self._running

    def is_over(self) -> bool:
        """Whether nothing runs and nothing can start."""
        return not any(self._counts[state] for state in _OPEN)

    def completed(
        self, digest: str, reason: str = "", *, seconds: float | None = None, members: int = 1
    ) -> list[Transition]:
        """Record that a stage is complete.

        Args:
            digest: The stage.
            reason: Why, if it was not trained.
            seconds: How long it was trained, if it was.
            members: Stages that were trained together with it, with this one.
        """
        if seconds is not None:
            self._paces[bool(self._users[digest])].add(seconds, members)
        return [self._enter(digest, "complete", reason)]

    def failed(
        self, digest: str, cause: Cause, reason: str = "", now: float = 0.0
    ) -> list[Transition]:
        """Record that an attempt ended without a result; return what changed."""
        if self.states[digest] == "cancelled":
            return []
        self._ends[digest, cause] += 1
        policy, ends = POLICIES[cause], self._ends[digest, cause]
        if ends < policy.tries:
            pause = policy.pause_after(ends)
            self._not_before[digest] = now + pause
            if policy.alone:
                self._alone.add(digest)
            how = "alone" if policy.alone else f"in {pause:g} s" if pause else "at once"
            return [self._enter(digest, "pending", f"{reason}; trying again {how}")]
        if policy.tries > 1:
            reason = f"{reason}, {ends} times"
        return [self._enter(digest, "failed", reason), *self._block_users(digest)]

    def returned(
        self, digest: str, reason: str = "", *, by_itself: bool = False, not_before: float = 0.0
    ) -> list[Transition]:
        """Make a stage pending again that no worker began, or that was interrupted on purpose.

        Args:
            digest: The stage.
            reason: Why.
            by_itself: Whether it is to be in no pack with others from now on.
            not_before: When it may start again.
        """
        if self.states[digest] == "cancelled":
            return []
        if not_before:
            self._not_before[digest] = not_before
        if by_itself:
            self._largest[digest] = 1
        return [self._enter(digest, "pending", reason)]

    def pack_failed(self, digest: str, members: int, reason: str) -> list[Transition]:
        """Make a stage pending again whose pack failed as a whole, in packs of half the size.

        It counts against no member; what is at fault is alone in the end, and then counts.
        """
        if self.states[digest] == "cancelled":
            return []
        self._largest[digest] = max(1, members // 2)
        how = "by itself" if self._largest[digest] == 1 else "in a smaller pack"
        return [self._enter(digest, "pending", f"{reason}; trying again {how}")]

    def cancel(self, reason: str = "the session was stopped") -> list[Transition]:
        """Cancel every stage that has not ended."""
        return self._cancel_stages(self.states, reason)

    def cancel_trials(self, arm: str, seed: int | None) -> list[Transition]:
        """Cancel an arm, or one trial of it: the stages that no other trial needs."""
        others = {
            digest
            for trial in self._plan.trials
            if not _matches(trial, arm, seed)
            for digest in trial.stages
        }
        return self._cancel_stages(self._stages_of(arm, seed) - others, "cancelled on request")

    def retry_trials(self, arm: str, seed: int | None) -> list[Transition]:
        """Retry what failed, was blocked or cancelled in an arm, or in one trial of it."""
        again = [d for d in self._stages_of(arm, seed) if self.states[d] in _UNFINISHED]
        for digest in again:
            self._alone.discard(digest)
            self._not_before.pop(digest, None)
            for cause in POLICIES:
                del self._ends[digest, cause]
        changed = [self._enter(digest, "pending", "tried again on request") for digest in again]
        return changed + self._unblock()

    def put_first(self, arm: str, seed: int | None) -> list[Transition]:
        """Start the pending stages of an arm, or of one trial of it, before all others."""
        wanted = [d for d in self._stages_of(arm, seed) if self.states[d] == "pending"]
        first = sorted(wanted, key=self._rank.__getitem__)
        self._first_rank -= len(first)
        self._rank |= {digest: self._first_rank + n for n, digest in enumerate(first)}
        return [self._enter(digest, "pending", "first on request") for digest in first]

    def knows(self, arm: str, seed: int | None) -> bool:
        """Whether an arm, or one trial of it, is part of the plan."""
        return bool(self._stages_of(arm, seed))

    def _stages_of(self, arm: str, seed: int | None) -> set[str]:
        trials = (trial for trial in self._plan.trials if _matches(trial, arm, seed))
        return {digest for trial in trials for digest in trial.stages}

    def _enter(self, digest: str, state: State, reason: str) -> Transition:
        self._set(digest, state)
        self._offer(digest)
        return Transition(stage=digest, state=state, reason=reason)

    def _set(self, digest: str, state: State) -> None:
        """Change a state, and what is counted by it; users of what completes may become ready."""
        before, self.states[digest] = self.states[digest], state
        self._counts[before] -= 1
        self._counts[state] += 1
        (self._running.add if state == "running" else self._running.discard)(digest)
        if not self._users[digest]:
            self._last += (state == "pending") - (before == "pending")
        kind = self._queued_in.pop(digest, NOWHERE)
        for queue in (
            self._ready[kind[-1]], self._ready_alone, self._alike[kind], self._needed[kind[-1]]
        ):  # fmt: skip
            queue.remove(digest)
        change = (before == "complete") - (state == "complete")
        for user in self._users[digest] if change else ():
            self._missing[user] += change
            self._offer(user)

    def _offer(self, digest: str) -> None:
        """Put a stage where it is taken from, if it can start now or later."""
        if self.states[digest] != "pending" or self._missing[digest]:
            return
        start = self._not_before.get(digest, -math.inf)
        if start > self._now:
            heapq.heappush(self._later, (start, digest))
        else:
            rank = self._rank[digest]
            if digest in self._alone:
                self._ready_alone.add(rank, digest)
                return
            kind = self._queued_in[digest] = self._kind_of_pack(digest)
            self._ready[kind[-1]].add(rank, digest)
            self._alike[kind].add(rank, digest)
            if self._users[digest]:
                self._needed[kind[-1]].add(rank, digest)

    def _let_wait_end(self, now: float) -> None:
        """Make ready what was to wait until now."""
        self._now = now
        while self._later and self._later[0][0] <= now:
            _, digest = heapq.heappop(self._later)
            self._offer(digest)

    def _cancel_stages(self, digests: Collection[str], reason: str) -> list[Transition]:
        open_stages = [digest for digest in digests if self.states[digest] in _OPEN]
        open_stages.sort(key=self._rank.__getitem__)
        return [self._enter(digest, "cancelled", reason) for digest in open_stages]

    def _block_users(self, lost: str) -> list[Transition]:
        """Block what needs a stage that failed or is blocked itself, and what needs that."""
        what = self._stages[lost].kind
        reason = f"its {what} failed" if self.states[lost] == "failed" else f"its {what} is blocked"
        blocked = [user for user in self._users[lost] if self.states[user] == "pending"]
        changed = [self._enter(user, "blocked", reason) for user in blocked]
        return changed + [each for user in blocked for each in self._block_users(user)]

    def _unblock(self) -> list[Transition]:
        """Make blocked stages pending whose inputs neither failed nor are blocked any more."""
        changed = []
        for digest, stage in self._stages.items():
            inputs = {self.states[needed] for needed in stage.inputs.values()}
            if self.states[digest] == "blocked" and inputs.isdisjoint(("failed", "blocked")):
                changed.append(self._enter(digest, "pending", ""))
        return changed


@dataclass(slots=True)
class _Pace:
    """How long stages of a sort took."""

    count: int = 0
    longest: float = 0.0
    shares: float = 0.0

    def add(self, seconds: float, members: int) -> None:
        """Add a stage that was trained for so long, with so many others."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        self.shares += seconds / members

    @property
    def share(self) -> float:
        """Mean seconds of a worker that one took."""
        return self.shares / self.count


class _Queue:
    """Stages by rank, each once; what was removed or ranked anew is skipped when it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._rank: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many stages there are."""
        return len(self._rank)

    def add(self, rank: int, digest: str) -> None:
        """Add a stage, or give it another rank."""
        if self._rank.get(digest) != rank:
            self._rank[digest] = rank
            heapq.heappush(self._heap, (rank, digest))

    def remove(self, digest: str) -> None:
        """Remove a stage, if it is there."""
        self._rank.pop(digest, None)

    def first(self) -> str:
        """Return the stage of the lowest rank."""
        while True:
            rank, digest = self._heap[0]
            if self._rank.get(digest) == rank:
                return digest
            heapq.heappop(self._heap)

    def take(self) -> str:
        """Remove the stage of the lowest rank and return it."""
        digest = self.first()
        heapq.heappop(self._heap)
        del self._rank[digest]
        return digest


def _matches(trial: Trial, arm: str, seed: int | None) -> bool:
    return trial.arm == arm and seed in (None, trial.seed)


def _in_order(plan: Plan, first: Precedence) -> Iterator[str]:
    """Yield the stages of a plan in the order in which they are to start; each is in there once."""
    trials = list(plan.trials) if first == "arms" else []
    place = {arm: number for number, arm in enumerate(dict.fromkeys(t.arm for t in trials))}
    trials.sort(key=lambda trial: place[trial.arm])
    yield from dict.fromkeys((*(d for trial in trials for d in trial.stages), *plan.stages))
