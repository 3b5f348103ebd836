"""Messages between a session and its worker processes: one JSON line each, nothing to unpickle.

A session sends lists of orders, takes some of them back, and says when no more will follow. A
worker answers for each order: it started, ended, stalled or skipped it; or, before it begins any,
that it cannot use its GPU. It works on one at a time, or on those of a pack together.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from icckd.configuration import StorageSettings
from icckd.journal.events import Cause
from icckd.study.numerics import NumericsClass
from icckd.study.packing import Packing
from icckd.study.plan import StageJob
from icckd.study.source import StageSource

DEVICE_FAILED = 4
"""Exit code of a worker that ends because its GPU failed or cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One stage to attempt.

    Attributes:
        attempt: Identifier of the attempt.
        session: The session that orders it.
        state_folder: State folder, as an absolute path.
        data_root: Folder of the data sets, as an absolute path.
        stage: What to train.
        ordinal: Grows with every order of a state folder.
        force: Whether to train even if the stage was completed meanwhile.
        study_folder: Folder of the study's file, as an absolute path: tasks read theirs from there.
        plugins: Where the plug-ins of the study are imported from, see `icckd.study.registry`.
        study: Name of the study.
        storage: What machines share, if anything; it has no credentials.
        hardware: Model of the device that it is best computed on: the one that its seed is computed
            on, or that of a checkpoint; "" is any.
        is_bound: Whether it must not be computed on another.
        pack: Orders of one list with the same are trained together; "" is trained by itself.
    """

    attempt: str
    session: str
    state_folder: str
    data_root: str
    stage: StageJob
    ordinal: int = 0
    force: bool = False
    study_folder: str = ""
    plugins: tuple[str, ...] = ()
    pack: str = ""
    study: str = ""
    storage: StorageSettings | None = None
    hardware: str = ""
    is_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMessage:
    """One line from a session to a worker.

    Attributes:
        orders: Stages to attempt, in this order.
        skipped: Attempts not to begin.
        is_last: Whether the worker ends after its running stage.
    """

    orders: tuple[Order, ...] = ()
    skipped: frozenset[str] = frozenset()
    is_last: bool = False


def orders_line(orders: Sequence[Order]) -> bytes:
    """Return the line that hands a list of orders to a worker."""
    return json.dumps([asdict(order) for order in orders]).encode() + b"\n"


def skip_line(attempts: Sequence[str]) -> bytes:
    """Return the line that takes orders back, by their attempts."""
    return json.dumps({"skip": list(attempts)}).encode() + b"\n"


def last_line() -> bytes:
    """Return the line after which no other follows."""
    return json.dumps({"last": True}).encode() + b"\n"


def read_session_line(line: bytes) -> SessionMessage:
    """Read a line made by one of the three functions above."""
    content = json.loads(line)
    if isinstance(content, dict):
        return SessionMessage(
            skipped=frozenset(content.get("skip", ())), is_last=content.get("last", False)
        )
    return SessionMessage(orders=tuple(map(order_from, content)))


def order_from(fields: dict[str, Any]) -> Order:
    """Return an order from its fields, as JSON brings them."""
    stage, storage = _stage(dict(fields["stage"])), fields["storage"]
    settings = None if storage is None else StorageSettings(**storage)
    return Order(**{**fields, "stage": stage, "storage": settings})


def _stage(fields: dict[str, Any]) -> StageJob:
    numerics, source = NumericsClass(**fields.pop("numerics")), StageSource(**fields.pop("source"))
    packing = Packing(**fields.pop("packing"))
    return StageJob(numerics=numerics, source=source, packing=packing, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerMessage:
    """One line from a worker to its session.

    Attributes:
        attempt: The order that it is about.
        what: `unusable` comes before any stage began, and the worker ends after it.
        state: How the stage `ended`.
        cause: Why it failed.
        reason: The same in words; for `stalled`, why the worker waits, "" when it no longer does.
        is_leaving: Whether the worker ends now, because its GPU failed.
        by_itself: Whether what was `skipped` is to be given out again by itself, not in a pack.
        mates: Other members of its pack that ended by the same failure.
        hardware: Model of the device, of what `started`, and of what was `skipped` because it is
            not the one that the order wants.
    """

    attempt: str
    what: Literal["started", "ended", "stalled", "skipped", "unusable"]
    state: Literal["", "complete", "failed"] = ""
    cause: Cause | None = None
    reason: str = ""
    is_leaving: bool = False
    by_itself: bool = False
    mates: int = 0
    hardware: str = ""


def worker_line(message: WorkerMessage) -> bytes:
    """Return a worker's message as a line."""
    return json.dumps(asdict(message)).encode() + b"\n"


def read_worker_line(line: bytes) -> WorkerMessage:
    """Read a line of a worker."""
    return WorkerMessage(**json.loads(line))
