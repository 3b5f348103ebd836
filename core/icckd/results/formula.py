"""Conditions on results in one line, such as `diff(no-margin, student.top1) > -0.5`."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from icckd.errors import UsageError
from icckd.results.types import Comparison, StudyInfo
from icckd.spec.paths import nearest

_FORM = re.compile(
    r"\s*(?P<name>[a-z_]+)\s*\(\s*(?P<args>[^()]*)\)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+.\w]+)\s*"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_READERS: Mapping[str, Callable[[Comparison], float | None]] = {
    "diff": lambda row: row.difference,
    "low": lambda row: row.low,
    "high": lambda row: row.high,
    "halfwidth": lambda row: None if row.low is None or row.high is None
    else (row.high - row.low) / 2,
    "mean": lambda row: row.mean,
    "median": lambda row: row.median,
    "n": lambda row: row.n,
    "pairs": lambda row: row.pairs,
    "p": lambda row: row.p,
    "p_adjusted": lambda row: row.p_adjusted,
}  # fmt: skip
EXAMPLE = "for example: diff(no-margin, student.top1) > -0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A quantity of an arm on a metric, and what it is to be."""

    text: str
    quantity: str
    arms: tuple[str, ...]
    metric: str
    sign: str
    bound: float

    def value(self, rows: Mapping[tuple[str, str], Comparison]) -> float | None:
        """Return the quantity, the largest where it is about several arms; None if unknown."""
        found = [
            _READERS[self.quantity](row) if (row := rows.get((arm, self.metric))) else None
            for arm in self.arms
        ]
        known = [value for value in found if value is not None]
        return max(known) if known and len(known) == len(found) else None

    def holds(self, rows: Mapping[tuple[str, str], Comparison]) -> bool:
        """Say whether it is so; what is not known does not hold."""
        value = self.value(rows)
        return value is not None and _SIGNS[self.sign](value, self.bound)


def parse(text: str, study: StudyInfo) -> Condition:
    """Return a condition on a study's results.

    `quantity(arm, metric)`, or `halfwidth(metric)` for the widest interval of the family. Arms and
    metrics are those of the study; the metric may be left out for the primary one.

    Raises:
        UsageError: It is not such a condition, or names what does not exist.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no condition", hint=EXAMPLE)
    quantity, arguments = found["name"], [a.strip() for a in found["args"].split(",") if a.strip()]
    if quantity not in _READERS:
        raise UsageError(
            f"{text!r}: there is no quantity {quantity!r}", hint=nearest(quantity, list(_READERS))
        )
    arms, metric = _subject(text, quantity, arguments, study)
    return Condition(
        text=text.strip(),
        quantity=quantity,
        arms=arms,
        metric=metric,
        sign=found["sign"],
        bound=_number(text, found["bound"]),
    )


def _subject(
    text: str, quantity: str, arguments: list[str], study: StudyInfo
) -> tuple[tuple[str, ...], str]:
    names = [arm.name for arm in study.arms]
    arms = [a for a in arguments if a in names]
    metrics = [a for a in arguments if a in study.metrics]
    unknown = [a for a in arguments if a not in names and a not in study.metrics]
    if unknown:
        raise UsageError(
            f"{text!r}: study {study.name!r} has no arm or outcome {unknown[0]!r}",
            hint=nearest(unknown[0], [*names, *study.metrics]),
        )
    if len(arms) > 1 or len(metrics) > 1 or not (arms or quantity == "halfwidth"):
        raise UsageError(f"{text!r}: {quantity} takes one arm and one outcome", hint=EXAMPLE)
    family = tuple(a for a in study.family if a not in study.stopped) or study.family
    return tuple(arms) or family, metrics[0] if metrics else study.primary


def _number(text: str, bound: str) -> float:
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{text!r}: {bound!r} is no number", hint=EXAMPLE)
    return value
