"""What follows from each cause of an attempt's end: a table, so that it can be read in one look."""

from dataclasses import dataclass

from icckd.journal.events import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often a stage is attempted for one cause, and how.

    Attributes:
        tries: Attempts that may end by this cause; 1 means that it is not tried again.
        wait_seconds: Pause before the second attempt; it doubles with every further one.
        alone: Whether the next attempt waits until nothing else runs.
        words: The cause as people say it.
    """

    tries: int
    words: str
    wait_seconds: float = 0.0
    alone: bool = False

    def pause_after(self, ends: int) -> float:
        """Return the seconds to wait after the attempt number `ends` that ended so."""
        return self.wait_seconds * 2.0 ** (ends - 1)


POLICIES: dict[Cause, Policy] = {
    "killed": Policy(tries=3, wait_seconds=1.0, words="killed"),
    "preempted": Policy(tries=10, wait_seconds=1.0, words="preempted"),
    "out-of-memory": Policy(tries=2, alone=True, words="out of memory"),
    "disk-full": Policy(tries=3, wait_seconds=10.0, words="disk full"),
    "non-finite": Policy(tries=1, words="not finite"),
    "machine": Policy(tries=1, words="machine"),
    "bug": Policy(tries=1, words="bug"),
}
