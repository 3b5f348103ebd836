"""The filter language: read once into a tree that judges trials and prints itself as SQL.

    state:running seed<3 | delta<0      terms; blank is "and", | is "or", - or ! is "not"

A bare word is a part of the arm's name, `~pattern` a regular expression on it. `field:value` is a
part of a text or a number's value; `field=1`, `!=`, `<`, `<=`, `>`, `>=` compare; `has:field` asks
for a value; `ci:excludes0` for arms whose interval of the primary outcome leaves out 0; quotes keep
blanks and signs. Parentheses group.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from icckd.errors import UsageError
from icckd_tui.view_model.comparison import excludes_zero

if TYPE_CHECKING:
    from icckd.results.types import TrialRow
    from icckd_tui.view_model.frame import Frame

Operator = Literal[":", "=", "!=", "<", "<=", ">", ">="]
TEXTS = {"arm": "arm", "state": "state", "stage": "stage_kind", "reason": "reason"}
NUMBERS = {
    "seed": "seed",
    "epoch": "epoch",
    "attempts": "attempts",
    "seconds": "seconds",
    "primary": "primary_value",
    "delta": "delta",
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[()|])|(?P<not>[-!])(?!=)|(?P<word>(?:"[^"]*"|[^\s()|"])+))""", re.VERBOSE
)
_TERM = re.compile(r"(?P<field>[A-Za-z_.]+)(?P<operator>:|!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_LONGEST = 500
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Term:
    """One question about a trial."""

    field: str
    operator: Operator | Literal["~", "has", "ci"]
    value: str

    @property
    def number(self) -> float:
        """The value as a number."""
        return float(self.value)

    def holds(self, row: TrialRow, clear: frozenset[str]) -> bool:
        """Say whether it is true of a trial; `clear` are the arms whose interval excludes 0."""
        if self.operator == "ci":
            return row.arm in clear
        if self.operator == "has":
            found = _value(row, self.field)
            return found is not None and found != ""
        value = _value(row, self.field)
        if self.operator == "~":
            return re.search(self.value, str(value), re.IGNORECASE) is not None
        if isinstance(value, str):
            if self.operator == "=":
                return value.lower() == self.value.lower()
            if self.operator == "!=":
                return value.lower() != self.value.lower()
            return self.value.lower() in value.lower()
        if value is None:
            return False
        return _COMPARE["=" if self.operator == ":" else self.operator](value, self.number)

    def sql(self) -> str:
        """Return it as an expression over `trial`, `delta`, `primary_value` and `is_clear`."""
        if self.operator == "ci":
            return "is_clear"
        column = {**TEXTS, **NUMBERS}[self.field]
        if self.operator == "has":
            return f"({column} is not null and {column}::varchar <> '')"
        text = _quoted(self.value)
        if self.operator == "~":
            return f"regexp_matches({column}, {text}, 'i')"
        if self.field in TEXTS:
            if self.operator == ":":
                return f"contains(lower({column}), lower({text}))"
            return f"lower({column}) {'<>' if self.operator == '!=' else '='} lower({text})"
        sign = {":": "=", "!=": "<>"}.get(self.operator, self.operator)
        return f"coalesce({column} {sign} {self.number!r}, false)"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Node

    def holds(self, row: TrialRow, clear: frozenset[str]) -> bool:
        """Say whether the part is false of a trial."""
        return not self.part.holds(row, clear)

    def sql(self) -> str:
        """Return it as SQL."""
        return f"not {self.part.sql()}"


@dataclass(frozen=True, slots=True)
class Group:
    """All of the parts, or any of them."""

    any: bool
    parts: tuple[Node, ...]

    def holds(self, row: TrialRow, clear: frozenset[str]) -> bool:
        """Say whether it is true of a trial."""
        found = (part.holds(row, clear) for part in self.parts)
        return any(found) if self.any else all(found)

    def sql(self) -> str:
        """Return it as SQL."""
        if not self.parts:
            return "true"
        return "(" + (" or " if self.any else " and ").join(p.sql() for p in self.parts) + ")"


Node = Term | Not | Group


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as typed, and as understood."""

    text: str
    node: Node

    def rows(self, frame: Frame) -> tuple[TrialRow, ...]:
        """Return the trials of which it is true; all of them, the same object, when it is empty."""
        if not self.text:
            return frame.trials
        clear = _clear(frame)
        return tuple(row for row in frame.trials if self.node.holds(row, clear))

    def sql(self, frame: Frame) -> str:
        """Return a statement over the views that finds the same trials of the frame's study."""
        arms = ", ".join(_quoted(arm) for arm in sorted(_clear(frame))) or "''"
        study, primary = _quoted(frame.study.name), _quoted(frame.study.primary)
        return f"""with judged as (
  select trial.*, trial.arm in ({arms}) as is_clear,
    case when trial.state = 'complete' then outcome.value end as primary_value,
    case when trial.state = 'complete' then difference end as delta
  from trial
  left join outcome on outcome.study = trial.study and outcome.arm = trial.arm
    and outcome.seed = trial.seed and outcome.metric = {primary}
  left join paired_difference as paired on paired.study = trial.study
    and paired.arm = trial.arm and paired.seed = trial.seed and paired.metric = {primary}
  where trial.study = {study}
)
select arm, seed, state, primary_value, delta from judged
where {self.node.sql()} order by arm_position, seed"""


EVERYTHING = Filter("", Group(False, ()))


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        UsageError: It is no filter; the message says where.
    """
    if len(text) > _LONGEST:
        raise UsageError("the filter is too long", hint=f"at most {_LONGEST} characters")
    tokens = _tokens(text)
    if sum(token in ("(", "-", "!") for token in tokens) > _DEEPEST:
        raise UsageError("the filter is too deep", hint=f"at most {_DEEPEST} of ( - and !")
    node, rest = _any(tokens)
    if rest:
        raise UsageError(f"unexpected {rest[0]!r} in the filter", hint='quote signs: ")"')
    return Filter(text.strip(), node)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _clear(frame: Frame) -> frozenset[str]:
    primary = frame.study.primary
    return frozenset(
        row.arm for row in frame.comparisons if row.metric == primary and excludes_zero(row)
    )


def _value(row: TrialRow, field: str) -> str | float | None:
    if field == "delta":
        return row.difference
    return getattr(row, field)  # type: ignore[no-any-return]


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"cannot read {text[at:].strip()!r}", hint="a quote is open: close it")
        found.append(match.group().strip())
        at = match.end()
    return found


def _any(tokens: list[str]) -> tuple[Node, list[str]]:
    part, tokens = _all(tokens)
    parts = [part]
    while tokens and tokens[0] == "|":
        part, tokens = _all(tokens[1:])
        parts.append(part)
    return (parts[0] if len(parts) == 1 else Group(True, tuple(parts))), tokens


def _all(tokens: list[str]) -> tuple[Node, list[str]]:
    parts: list[Node] = []
    while tokens and tokens[0] not in ("|", ")"):
        part, tokens = _one(tokens)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else Group(False, tuple(parts))), tokens


def _one(tokens: list[str]) -> tuple[Node, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head in ("-", "!"):
        if not rest or rest[0] in ("|", ")"):
            raise UsageError(f"nothing follows {head!r} in the filter")
        part, rest = _one(rest)
        return Not(part), rest
    if head == "(":
        part, rest = _any(rest)
        if not rest or rest[0] != ")":
            raise UsageError("a parenthesis is open in the filter", hint="close it with )")
        return part, rest[1:]
    return _term(head), rest


def _term(word: str) -> Term:
    match = None if word.startswith('"') else _TERM.fullmatch(word)
    if match is None:
        if word.startswith("~"):
            return Term("arm", "~", _pattern(word[1:]))
        return Term("arm", ":", word.replace('"', ""))
    field, sign, value = match["field"], match["operator"], match["value"].replace('"', "")
    if field == "ci":
        if (sign, value) != (":", "excludes0"):
            raise UsageError(f"cannot read {word!r}", hint="ci:excludes0")
        return Term("arm", "ci", "")
    if field == "has":
        return Term(_known(value), "has", "")
    _known(field)
    if field in TEXTS:
        if sign in ("<", "<=", ">", ">="):
            raise UsageError(f"{field} is a text: {sign} has no meaning", hint=f"{field}:{value}")
        if value.startswith("~"):
            return Term(field, "~", _pattern(value[1:]))
    else:
        _check_number(field, value)
    return Term(field, sign, value)  # type: ignore[arg-type]


def _known(field: str) -> str:
    if field not in TEXTS and field not in NUMBERS:
        raise UsageError(
            f"the filter has no field {field!r}", hint=f"fields: {', '.join((*TEXTS, *NUMBERS))}"
        )
    return field


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{text!r} is no regular expression: {error}") from error
    return text


def _check_number(field: str, value: str) -> None:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{field} is a number, {value!r} is none")
