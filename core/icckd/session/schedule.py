"""Which stage may start next, and what follows from how it ended. Pure: no clock, no process."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from icckd.journal.events import State
from icckd.plan import Plan, Stage

MAX_LOSSES = 3
MAX_LIST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A stage entered a state."""

    stage: str
    state: State
    reason: str = ""


class Schedule:
    """States of a plan's stages.

    Stages start in plan order as soon as their inputs are complete. A stage whose worker died is
    tried again, up to `MAX_LOSSES` deaths; one that failed by itself is not. What depends on a
    failed stage is blocked; everything else goes on (law 8).

    Args:
        plan: The plan.
        complete: Digests that need no training.
    """

    def __init__(self, plan: Plan, complete: Iterable[str]) -> None:
        self._stages = plan.stages
        self._order = {digest: position for position, digest in enumerate(plan.stages)}
        known = frozenset(complete)
        self.states: dict[str, State] = {
            digest: "complete" if digest in known else "pending" for digest in plan.stages
        }
        self._losses: Counter[str] = Counter()

    def next_list(self, workers: int) -> list[Stage]:
        """Take the stages for one idle worker; they are running from now on.

        Lists are long while much is ready, and single stages at the end, so that no worker holds
        what another could do.
        """
        ready = [self._stages[d] for d, state in self.states.items() if self._is_ready(d, state)]
        ready.sort(key=lambda stage: self._order[stage.digest])
        size = max(1, min(MAX_LIST, len(ready) // (2 * workers)))
        taken = ready[:size]
        for stage in taken:
            self.states[stage.digest] = "running"
        return taken

    def is_over(self) -> bool:
        """Say whether nothing runs and nothing can start."""
        return all(state not in ("pending", "running") for state in self.states.values())

    def ended(self, digest: str, state: State, reason: str = "") -> list[Transition]:
        """Take note of how a stage ended; return what changed."""
        changed = [self._enter(digest, state, reason)]
        if state == "failed":
            changed += self._block_users(digest)
        return changed

    def returned(self, digest: str) -> Transition:
        """Take back a stage that no worker began."""
        return self._enter(digest, "pending", "")

    def lost(self, digest: str, reason: str) -> list[Transition]:
        """Take note that a worker died over a stage."""
        self._losses[digest] += 1
        if self._losses[digest] < MAX_LOSSES:
            return [self._enter(digest, "pending", f"{reason}; trying again")]
        return self.ended(digest, "failed", f"{reason}, {MAX_LOSSES} times")

    def cancel(self) -> list[Transition]:
        """Give up what has not ended."""
        open_states = ("pending", "running")
        return [
            self._enter(digest, "cancelled", "the session was stopped")
            for digest, state in self.states.items()
            if state in open_states
        ]

    def _is_ready(self, digest: str, state: State) -> bool:
        inputs = self._stages[digest].inputs
        return state == "pending" and all(self.states[i] == "complete" for i in inputs)

    def _enter(self, digest: str, state: State, reason: str) -> Transition:
        self.states[digest] = state
        return Transition(stage=digest, state=state, reason=reason)

    def _block_users(self, failed: str) -> list[Transition]:
        blocked = []
        for digest, stage in self._stages.items():
            if failed in stage.inputs and self.states[digest] == "pending":
                reason = f"its {self._stages[failed].kind} failed"
                blocked.append(self._enter(digest, "blocked", reason))
        return blocked
