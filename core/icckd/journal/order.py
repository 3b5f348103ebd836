"""An order to attempt a stage: what the session tells a worker, as data; nothing to unpickle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icckd.plan import NumericsClass, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One stage to attempt, under one attempt id, with the folders to work in.

    `ordinal` grows with every order of a state folder; `force` wants an attempt even where the
    stage was completed meanwhile.
    """

    attempt: str
    session: str
    state_folder: str
    data_root: str
    stage: Stage
    ordinal: int = 0
    force: bool = False


def to_line(orders: Sequence[Order]) -> bytes:
    """Return a list of orders as one JSON line."""
    return json.dumps([asdict(order) for order in orders]).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one line tells a worker.

    Attributes:
        orders: Stages to attempt, in this order.
        skipped: Attempts not to begin.
        is_last: Whether the session wants the running stage finished, and nothing after it.
    """

    orders: tuple[Order, ...] = ()
    skipped: frozenset[str] = frozenset()
    is_last: bool = False


def skip_line(attempts: Sequence[str]) -> bytes:
    """Return one JSON line that takes orders back, by their attempts."""
    return json.dumps({"skip": list(attempts)}).encode() + b"\n"


def last_line() -> bytes:
    """Return one JSON line that says that no other follows."""
    return json.dumps({"last": True}).encode() + b"\n"


def from_line(line: bytes) -> Told:
    """Return what a line of the functions above tells."""
    said = json.loads(line)
    if isinstance(said, dict):
        return Told(skipped=frozenset(said.get("skip", ())), is_last=said.get("last", False))
    orders = (Order(**{**fields, "stage": _stage(fields["stage"])}) for fields in said)
    return Told(orders=tuple(orders))


def _stage(fields: dict[str, Any]) -> Stage:
    numerics = NumericsClass(**fields.pop("numerics"))
    inputs: tuple[str, ...] = tuple(fields.pop("inputs"))
    return Stage(numerics=numerics, inputs=inputs, **fields)
