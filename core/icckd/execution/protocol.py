"""What the session hands to an executor and hears back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from icckd.journal.order import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an order.

    `started` and `ended` come from the worker (`state` tells how it ended); `returned` means that
    the order was never begun; `lost` that its worker died over it, and `reason` says how.
    """

    order: Order
    what: Literal["started", "ended", "returned", "lost"]
    state: Literal["", "complete", "failed"] = ""
    reason: str = ""


class Executor(Protocol):
    """Runs lists of orders, several lists at once."""

    capacity: int

    def idle(self) -> int:
        """Return how many lists could start at once."""

    def submit(self, orders: Sequence[Order]) -> None:
        """Hand a list of orders to an idle worker; it attempts them in this order."""

    def wait(self, timeout: float) -> list[Report]:
        """Return what happened, waiting at most `timeout` seconds for something to happen."""

    def finish(self) -> None:
        """Ask every worker to stop after its current stage."""

    def kill(self) -> None:
        """Stop every worker now."""
