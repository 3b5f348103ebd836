"""What a session can be asked for, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.display import display

if TYPE_CHECKING:
    from icckd.journal.requests import RequestKind

MORE_SEEDS = 2  # that one press asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as the session reads it."""

    kind: RequestKind
    study: str
    arm: str = ""
    seed: int | None = None
    count: int = 0

    @property
    def destroys(self) -> bool:
        """Whether work is given up: that is confirmed first."""
        return self.kind in ("cancel", "stop")

    @property
    def text(self) -> str:
        """What is asked, in a few words."""
        if self.kind == "more-seeds":
            return f"{self.count} more seeds"
        seed = "" if self.seed is None else f" s{self.seed}"
        return f"{self.kind} {display(self.arm, 40)}{seed}".rstrip()

    @property
    def question(self) -> str:
        """What to ask before work is given up."""
        if self.kind == "stop":
            return "Stop the session after its running stages?"
        return f"{self.text.capitalize()}? What it trained so far in the running stage is lost."
