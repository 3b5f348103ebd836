"""Which stage may start next, and what follows from how it ended. Pure: no clock, no process."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from icckd.journal.events import Cause, State
from icckd.plan import Plan, PlannedTrial, Stage
from icckd.session.policy import POLICIES

MAX_LIST = 4
_GIVEN_UP: tuple[State, ...] = ("failed", "blocked", "cancelled")


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
    What depends on a failed stage is blocked; everything else goes on (law 8). Moments are seconds
    on any clock that does not jump.

    Args:
        plan: The plan.
        complete: Digests that need no training.
    """

    def __init__(self, plan: Plan, complete: Iterable[str]) -> None:
        self._plan = plan
        self._stages = plan.stages
        self._order = list(plan.stages)
        known = frozenset(complete)
        self.states: dict[str, State] = {
            digest: "complete" if digest in known else "pending" for digest in plan.stages
        }
        self._ends: Counter[tuple[str, Cause]] = Counter()
        self._not_before: dict[str, float] = {}
        self._alone: set[str] = set()

    def next_list(self, workers: int, now: float = 0.0) -> list[Stage]:
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
        """Say whether nothing else may run beside this stage."""
        return digest in self._alone

    def is_over(self) -> bool:
        """Say whether nothing runs and nothing can start."""
        return all(state not in ("pending", "running") for state in self.states.values())

    def completed(self, digest: str, reason: str = "") -> list[Transition]:
        """Take note that a stage is complete."""
        return [self._enter(digest, "complete", reason)]

    def failed(
        self, digest: str, cause: Cause, reason: str = "", now: float = 0.0
    ) -> list[Transition]:
        """Take note that an attempt ended without a result; return what changed."""
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
        """Take back a stage that no worker began, or that was left on purpose."""
        if self.states[digest] == "cancelled":
            return []
        return [self._enter(digest, "pending", reason)]

    def cancel(self) -> list[Transition]:
        """Give up what has not ended."""
        return self._give_up(self.states, "the session was stopped")

    def cancel_trials(self, arm: str, seed: int | None) -> list[Transition]:
        """Give up the trials of an arm, or one of them: the stages that no other trial needs."""
        others = {
            digest
            for trial in self._plan.trials
            if not _matches(trial, arm, seed)
            for digest in _stages_in(trial)
        }
        return self._give_up(self._stages_of(arm, seed) - others, "cancelled on request")

    def retry_trials(self, arm: str, seed: int | None) -> list[Transition]:
        """Take up again what failed, was blocked or cancelled in an arm, or one trial of it."""
        again = [d for d in self._stages_of(arm, seed) if self.states[d] in _GIVEN_UP]
        for digest in again:
            self._alone.discard(digest)
            self._not_before.pop(digest, None)
            for cause in POLICIES:
                del self._ends[digest, cause]
        changed = [self._enter(digest, "pending", "tried again on request") for digest in again]
        return changed + self._unblock()

    def put_first(self, arm: str, seed: int | None) -> list[Transition]:
        """Let what waits in an arm, or one trial of it, start before everything else that waits."""
        wanted = self._stages_of(arm, seed)
        first = [d for d in self._order if d in wanted and self.states[d] == "pending"]
        self._order = list(dict.fromkeys([*first, *self._order]))
        return [self._enter(digest, "pending", "first on request") for digest in first]

    def knows(self, arm: str, seed: int | None) -> bool:
        """Say whether an arm, or one trial of it, is part of the plan."""
        return bool(self._stages_of(arm, seed))

    def _stages_of(self, arm: str, seed: int | None) -> set[str]:
        trials = (trial for trial in self._plan.trials if _matches(trial, arm, seed))
        return {digest for trial in trials for digest in _stages_in(trial)}

    def _is_ready(self, digest: str, now: float) -> bool:
        inputs = self._stages[digest].inputs
        return (
            self.states[digest] == "pending"
            and now >= self._not_before.get(digest, now)
            and all(self.states[i] == "complete" for i in inputs)
        )

    def _enter(self, digest: str, state: State, reason: str) -> Transition:
        self.states[digest] = state
        return Transition(stage=digest, state=state, reason=reason)

    def _give_up(self, digests: Collection[str], reason: str) -> list[Transition]:
        doomed = [d for d in self._order if d in digests]
        open_states = ("pending", "running")
        return [
            self._enter(digest, "cancelled", reason)
            for digest in doomed
            if self.states[digest] in open_states
        ]

    def _block_users(self, failed: str) -> list[Transition]:
        blocked = []
        for digest, stage in self._stages.items():
            if failed in stage.inputs and self.states[digest] == "pending":
                reason = f"its {self._stages[failed].kind} failed"
                blocked.append(self._enter(digest, "blocked", reason))
        return blocked

    def _unblock(self) -> list[Transition]:
        """Free what nothing blocks any more."""
        changed = []
        for digest, stage in self._stages.items():
            inputs = [self.states[i] for i in stage.inputs]
            if self.states[digest] == "blocked" and "failed" not in inputs:
                changed.append(self._enter(digest, "pending", ""))
        return changed


def _stages_in(trial: PlannedTrial) -> tuple[str, ...]:
    return (trial.teacher, *trial.students)


def _matches(planned: PlannedTrial, arm: str, seed: int | None) -> bool:
    return planned.trial.arm.name == arm and seed in (None, planned.trial.seed)
