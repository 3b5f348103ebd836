"""What the session hands to an executor and hears back."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from icckd.journal.events import Cause
from icckd.journal.order import Order

What = Literal["started", "ended", "stalled", "returned", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an order.

    `started`, `ended` and `stalled` come from the worker: `state` and `cause` tell how it ended,
    `reason` why it cannot go on just now ("" when it can again), or that it had nothing to do.
    `returned` means that the order was never begun; `lost` that its worker died over it, of
    `cause`, and `reason` says how.
    """

    order: Order
    what: What
    state: Literal["", "complete", "failed"] = ""
    cause: Cause | None = None
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

    def save(self) -> None:
        """Have running stages saved and given back soon, as lost ones of cause `preempted`."""

    def cancel(self, attempts: Collection[str]) -> None:
        """End attempts now, begun or not."""

    def retire(self) -> None:
        """Let idle workers go, and what they hold."""

    def finish(self) -> None:
        """Ask every worker to stop after its current stage."""

    def kill(self) -> None:
        """Stop every worker now."""
