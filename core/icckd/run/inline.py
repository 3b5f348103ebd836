"""The executor `inline`: no process; stages are trained where the session runs, for debugging.

A breakpoint in training stops in the user's terminal, and what a stage prints is shown there. While
a stage is trained nothing else happens: progress stands still, requests wait, a stage cannot be
cancelled in its middle, and what kills it kills the session. Ctrl-C twice, or SIGTERM, saves it at
the end of its epoch. Memory that is measured is that of the session's process, too. Bits are those
of the executor `local`.
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from icckd.errors import MachineError
from icckd.run.attempt import gpu_trouble, load_engine
from icckd.run.channel import Said
from icckd.run.executors import Capabilities, ExecutorContext, Report
from icckd.run.messages import Order
from icckd.run.worker import carry_out
from icckd.study.registry import add_plugins


class InlineExecutor:
    """Trains one list of orders at a time, in `wait`.

    Args:
        is_stopping: Asked at epoch ends: whether the stage is to be saved and left.
    """

    capabilities: ClassVar = Capabilities(cancels=False, saves=False)

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self.capacity = 1
        self._is_stopping = is_stopping
        self._orders: list[Order] = []
        self._returned: list[Report] = []
        self._finishing = False

    @classmethod
    def for_session(cls, context: ExecutorContext) -> "InlineExecutor":
        """Return the executor of a session."""
        if context.numerics.device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        context.notice("stages are trained in this process, one after the other: for debugging")
        return cls(context.is_stopping)

    def idle(self) -> int:
        """Return how many lists could start now."""
        return 0 if self._finishing or self._orders else 1

    def submit(self, orders: Sequence[Order]) -> None:
        """Take a list of orders; `wait` trains them."""
        self._orders = list(orders)

    def wait(self, timeout: float) -> list[Report]:
        """Train the next order, or the next pack, to its end; return what became of it.

        Raises:
            MachineError: Training cannot begin at all.
        """
        if self._returned:
            reports, self._returned = self._returned, []
            return reports
        if not self._orders:
            time.sleep(timeout)
            return []
        first = self._orders[0]
        pack = [o for o in self._orders if o.pack == first.pack] if first.pack else [first]
        self._orders = self._orders[len(pack) :]
        return self._train(pack)

    def cancel(self, attempts: Collection[str]) -> None:
        """Return what was not begun of these attempts."""
        self._give_back([order for order in self._orders if order.attempt in attempts])

    def retire(self) -> None:
        """Nothing idles here."""

    def save(self) -> None:
        """Nothing runs while this is called."""

    def finish(self) -> None:
        """Return what was not begun, and accept no more."""
        self._finishing = True
        self._give_back(self._orders)

    def kill(self) -> None:
        """Drop what was not begun."""
        self._finishing = True
        self._orders = []

    def _give_back(self, orders: Sequence[Order]) -> None:
        self._returned += [Report(order=order, what="returned") for order in orders]
        self._orders = [order for order in self._orders if order not in orders]

    def _train(self, pack: Sequence[Order]) -> list[Report]:
        if not pack[0].stage.is_task:
            _begin(pack[0])
        channel = _Told(self._is_stopping)
        carry_out(pack, channel)
        ended = {report.order.attempt for report in channel.reports if report.what != "started"}
        return [
            *channel.reports,
            *(
                Report(order=order, what="lost", cause="preempted", reason="saved as asked")
                for order in pack
                if order.attempt not in ended
            ),
        ]


class _Told:
    """What stages tell of themselves, as reports."""

    shows_output = True

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self.reports: list[Report] = []
        self._is_stopping = is_stopping

    def session_died(self) -> bool:
        return False

    def should_save(self) -> bool:
        return self._is_stopping()

    def is_closing(self) -> bool:
        return self._is_stopping()

    def is_skipped(self, order: Order) -> bool:
        return False

    def send(self, order: Order, what: Said, **fields: Any) -> None:
        if what == "unusable" or fields.pop("is_leaving", False):
            raise MachineError(
                f"the GPU cannot be used in this process: {fields.get('reason', '')}",
                hint="icckd doctor shows the GPUs; the executor local goes on with another one",
            )
        if what != "stalled":
            told = "returned" if what == "skipped" else what
            self.reports.append(Report(order=order, what=told, **fields))


def _begin(order: Order) -> None:
    """Import what trains.

    Raises:
        MachineError: It cannot be imported, or the GPU cannot be used.
    """
    try:
        add_plugins(tuple(order.plugins))
        load_engine()
    except Exception as error:  # whatever a plug-in raises while it is imported
        raise MachineError(
            f"what trains cannot be imported in this process: {error}",
            hint="the executor local shows the traceback in its worker's log",
        ) from error
    if trouble := gpu_trouble(order):
        raise MachineError(
            f"the GPU cannot be used in this process: {trouble}", hint="icckd doctor shows the GPUs"
        )
