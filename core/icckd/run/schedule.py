"""Which stage may start next, and what follows from how it ended. Pure: no clock, no process.

`POLICIES` says for each cause of a failure whether the stage is tried again, when and how;
`Schedule` holds the state of every stage of a plan.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

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

    Stages start in plan order, or as viewers reordered them, as soon as their inputs are complete.
    Whether one that failed is tried again, when and in what company, is the policy of its cause.
    What depends on a failed stage is blocked; everything else continues
    (design law 8, docs/laws.md). Times are seconds of any monotonic clock.

    Args:
        plan: The plan.
        complete: Digests that need no training.
    """

    def __init__(self, plan: Plan, complete: Iterable[str]) -> None:
        self._plan = plan
        self._stages = plan.stages
        self._order = list(plan.stages)
        done = frozenset(complete)
        self.states: dict[str, State] = {
            digest: "complete" if digest in done else "pending" for digest in plan.stages
        }
        self._ends: Counter[tuple[str, Cause]] = Counter()
        self._not_before: dict[str, float] = {}
        self._alone: set[str] = set()

    def next_list(self, workers: int, now: float = 0.0) -> list[StageJob]:
        """Take the stages for one idle worker; they are running from now on.

        Lists are long while much is ready, and single stages at the end, so that no worker holds
        what another could do. A stage that must run alone starts when nothing else runs or could.
        """
        running = [digest for digest, state in self.states.items() if state == "running"]
        if any(digest in self._alone for digest in running):
            return []
        ready = [digest for digest in self._order if self._is_ready(digest, now)]
        together = [digest for digest in ready if digest not in self._alone]
        if together:
            taken = together[: max(1, min(MAX_LIST, len(together) // (2 * workers)))]
        else:
            taken = [] if running else ready[:1]
        for digest in taken:
            self.states[digest] = "running"
        return [self._stages[digest] for digest in taken]

    def runs_alone(self, digest: str) -> bool:
        """Whether nothing else may run beside this stage."""
        return digest in self._alone

    def is_over(self) -> bool:
        """Whether nothing runs and nothing can start."""
        return all(state not in _OPEN for state in self.states.values())

    def completed(self, digest: str, reason: str = "") -> list[Transition]:
        """Record that a stage is complete."""
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

    def returned(self, digest: str, reason: str = "") -> list[Transition]:
        """Make a stage pending again that no worker began, or that was interrupted on purpose."""
        if self.states[digest] == "cancelled":
            return []
        return [self._enter(digest, "pending", reason)]

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
        wanted = self._stages_of(arm, seed)
        first = [d for d in self._order if d in wanted and self.states[d] == "pending"]
        self._order = list(dict.fromkeys([*first, *self._order]))
        return [self._enter(digest, "pending", "first on request") for digest in first]

    def knows(self, arm: str, seed: int | None) -> bool:
        """Whether an arm, or one trial of it, is part of the plan."""
        return bool(self._stages_of(arm, seed))

    def _stages_of(self, arm: str, seed: int | None) -> set[str]:
        trials = (trial for trial in self._plan.trials if _matches(trial, arm, seed))
        return {digest for trial in trials for digest in trial.stages}

    def _is_ready(self, digest: str, now: float) -> bool:
        inputs = self._stages[digest].inputs.values()
        return (
            self.states[digest] == "pending"
            and now >= self._not_before.get(digest, now)
            and all(self.states[i] == "complete" for i in inputs)
        )

    def _enter(self, digest: str, state: State, reason: str) -> Transition:
        self.states[digest] = state
        return Transition(stage=digest, state=state, reason=reason)

    def _cancel_stages(self, digests: Collection[str], reason: str) -> list[Transition]:
        open_stages = [d for d in self._order if d in digests and self.states[d] in _OPEN]
        return [self._enter(digest, "cancelled", reason) for digest in open_stages]

    def _block_users(self, failed: str) -> list[Transition]:
        blocked = []
        for digest, stage in self._stages.items():
            if failed in stage.inputs.values() and self.states[digest] == "pending":
                reason = f"its {self._stages[failed].kind} failed"
                blocked.append(self._enter(digest, "blocked", reason))
        return blocked

    def _unblock(self) -> list[Transition]:
        """Make blocked stages pending whose inputs no longer failed."""
        changed = []
        for digest, stage in self._stages.items():
            inputs = [self.states[i] for i in stage.inputs.values()]
            if self.states[digest] == "blocked" and "failed" not in inputs:
                changed.append(self._enter(digest, "pending", ""))
        return changed


def _matches(trial: Trial, arm: str, seed: int | None) -> bool:
    return trial.arm == arm and seed in (None, trial.seed)
