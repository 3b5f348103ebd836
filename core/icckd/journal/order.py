"""An order to attempt a stage: what the session tells a worker, as data; nothing to unpickle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icckd.plan import NumericsClass, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One stage to attempt, under one attempt id, with the folders to work in."""

    attempt: str
    session: str
    state_folder: str
    data_root: str
    stage: Stage


def to_line(orders: Sequence[Order]) -> bytes:
    """Return a list of orders as one JSON line."""
    return json.dumps([asdict(order) for order in orders]).encode() + b"\n"


def from_line(line: bytes) -> list[Order]:
    """Return the orders that `to_line` wrote."""
    return [Order(**{**fields, "stage": _stage(fields["stage"])}) for fields in json.loads(line)]


def _stage(fields: dict[str, Any]) -> Stage:
    numerics = NumericsClass(**fields.pop("numerics"))
    inputs: tuple[str, ...] = tuple(fields.pop("inputs"))
    return Stage(numerics=numerics, inputs=inputs, **fields)
