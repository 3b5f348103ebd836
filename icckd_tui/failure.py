"""Why a trial failed, and what helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icckd.results.query import Results
    from icckd.results.types import Attempt, StudyInfo, TrialStatus
    from icckd_tui.data import Frame


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed, and what to do about it."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class FailureQuery:
    """Asks why a trial failed."""

    arm: str
    seed: int

    def read(self, results: Results, study: StudyInfo) -> Failure | None:
        """Read it from the newest attempt that says why."""
        return failure_of(results.attempts(study, self.arm, self.seed))


def failure_of(attempts: tuple[Attempt, ...]) -> Failure | None:
    """Return the newest reason among attempts, with its hint; None where nothing failed."""
    found = [Failure(each.reason, each.hint) for each in attempts if each.state == "failed"]
    return found[-1] if found else None


def row_of(frame: Frame, trial: tuple[str, int] | None) -> TrialStatus | None:
    """Return where a trial stands."""
    return next((row for row in frame.trials if (row.arm, row.seed) == trial), None)
