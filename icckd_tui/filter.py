"""The filter of trials: a short language that is translated to SQL, and what runs it.

    state:running seed<3 | delta<0      terms; blank is "and", | is "or", - or ! is "not"

A bare word is a part of the arm's name, `~pattern` a regular expression on it, which ends at a
blank or at a parenthesis that it did not open: `(~^no-(margin|cache)$ | seed<3)`. `field:value` is
a part of a text or a number's value; `field=1`, `!=`, `<`, `<=`, `>`, `>=` compare; `has:field`
asks for a value; `ci:excludes0` for arms whose interval of the primary outcome leaves out 0; quotes
keep blanks and signs. Parentheses group.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.errors import UsageError
from icckd_tui.comparison import excludes_zero

if TYPE_CHECKING:
    from icckd.results.sandbox import Fence
    from icckd.results.types import Comparison, StudyInfo, Table, TrialStatus
    from icckd_tui.data import Frame

# Fields of the language, and the columns of `judged` below that hold them.
TEXTS = {"arm": "arm", "state": "state", "stage": "stage_kind", "reason": "reason"}
NUMBERS = {
    "seed": "seed",
    "epoch": "epoch",
    "attempts": "attempts",
    "seconds": "seconds",
    "primary": "primary_value",
    "delta": "delta",
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[()|])|(?P<not>[-!])(?!=)|(?P<word>(?:"[^"]*"|[^\s()|"])+))""", re.VERBOSE
)
_PATTERN = re.compile(r"\s*(?:[A-Za-z_.]+:)?~(?!\")")
_TERM = re.compile(r"(?P<field>[A-Za-z_.]+)(?P<operator>:|!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_LONGEST = 500
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as typed, and its SQL condition on TEXTS, NUMBERS and `is_clear`."""

    text: str
    condition: str

    def over_views(self, frame: Frame) -> str:
        """Return a statement over the documented views that finds the trials of the revision."""
        arms = ", ".join(map(_quoted, _clear_arms(frame.study, frame.comparisons))) or "''"
        study, revision = map(_quoted, frame.study.key)
        mine, primary = f"study = {study} and revision = {revision}", _quoted(frame.study.primary)
        return f"""with known as (
  from every_outcome
  where {mine} and metric = {primary}
),
judged as (
  select trial.*, trial.arm in ({arms}) as is_clear,
    case when trial.state = 'complete' then own.value end as primary_value,
    case when trial.state = 'complete' and not trial.is_baseline and isfinite(own.value)
      and isfinite(baseline.value) then own.value - baseline.value end as delta
  from (from every_trial where {mine}) as trial
  left join known as own on own.arm = trial.arm and own.seed = trial.seed
  left join known as baseline on baseline.is_baseline and baseline.seed = trial.seed
)
select arm, seed, state, primary_value, delta from judged
where {self.condition} order by arm_position, seed"""

    def over_rows(
        self, study: StudyInfo, trials: Sequence[TrialStatus], comparisons: Sequence[Comparison]
    ) -> str:
        """Return a statement over these trials, written into it, that finds their places."""
        clear = set(_clear_arms(study, comparisons))
        columns: dict[str, Sequence[object]] = {
            "arm": [row.arm for row in trials],
            "state": [row.state for row in trials],
            "stage_kind": [row.stage for row in trials],
            "reason": [row.reason for row in trials],
            "seed": [row.seed for row in trials],
            "epoch": [row.epoch for row in trials],
            "attempts": [row.attempts for row in trials],
            "seconds": [row.seconds for row in trials],
            "primary_value": [row.primary for row in trials],
            "delta": [row.difference for row in trials],
            "is_clear": [int(row.arm in clear) for row in trials],
        }
        used = [
            _column(name, values)
            for name, values in columns.items()
            if re.search(rf"\b{name}\b", self.condition)
        ]
        listed = ", ".join([f"unnest(range({len(trials)})) as place", *used])
        return f"with judged as (select {listed}) select place from judged where {self.condition}"


EVERYTHING = Filter("", "true")


def _column(name: str, values: Sequence[object]) -> str:
    """Return a column as one literal that is split again: it is read much faster than a list."""
    texts = ("" if _is_missing(value) else str(value).replace("\x1f", " ") for value in values)
    split = f"unnest(string_split({_quoted(chr(31).join(texts))}, chr(31)))"
    kind = "boolean" if name == "is_clear" else "double" if name in NUMBERS.values() else ""
    return f"try_cast({split} as {kind}) as {name}" if kind else f"{split} as {name}"


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _clear_arms(study: StudyInfo, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the arms whose interval of the primary outcome leaves out 0."""
    rows = (row for row in comparisons if row.metric == study.primary and excludes_zero(row))
    return sorted({row.arm for row in rows})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


WALL_SECONDS = 5.0  # for one evaluation
_NO_FOLDER = Path(os.devnull) / "icckd"  # the trials are in the statement


class FilterRunner:
    """Evaluates filters in a process of its own, which is killed when it takes too long.

    Results are kept while the filter and the rows are the same.
    """

    def __init__(self, wall_seconds: float = WALL_SECONDS) -> None:
        self._wall_seconds = wall_seconds
        self._sandbox: Fence | None = None
        self._is_closed = False
        self._asking = threading.Lock()
        self._last: tuple[tuple[object, ...], tuple[TrialStatus, ...]] | None = None

    def prepare(self) -> None:
        """Start the process in the background, so that the first filter does not wait for it."""
        threading.Thread(target=self._prepare, name="icckd-filter", daemon=True).start()

    def _prepare(self) -> None:
        with contextlib.suppress(Exception):  # the first filter says what is wrong
            self._ask("select 1", rows=1)

    def select(
        self,
        chosen: Filter,
        study: StudyInfo,
        trials: tuple[TrialStatus, ...],
        comparisons: tuple[Comparison, ...],
    ) -> tuple[TrialStatus, ...]:
        """Return the trials that a filter lets through.

        Raises:
            UsageError: DuckDB refuses the filter, or it takes longer than the limit.
            MachineError: The process does not start.
        """
        if not chosen.text or not trials:
            return trials
        key = (chosen, study, trials, comparisons)
        if self._last is not None and all(a is b for a, b in zip(key, self._last[0], strict=True)):
            return self._last[1]
        statement = chosen.over_rows(study, trials, comparisons)
        places = sorted(place for (place,) in self._ask(statement, rows=len(trials)).rows)
        self._last = (key, tuple(trials[place] for place in places))
        return self._last[1]

    def _ask(self, statement: str, *, rows: int) -> Table:
        from icckd.results.sandbox import Fence  # not needed by the first paint

        with self._asking:
            self._sandbox = self._sandbox or Fence(_NO_FOLDER, wall_seconds=self._wall_seconds)
            try:
                return self._sandbox.ask(statement, rows=rows)[0]
            finally:
                if self._is_closed:  # while the process was starting
                    self._sandbox.close()

    def close(self) -> None:
        """Stop the process, whatever it does."""
        self._is_closed = True
        if self._sandbox is not None:
            self._sandbox.close()


def parse(text: str) -> Filter:
    """Translate a filter.

    Raises:
        UsageError: It is not a filter; the message says where.
    """
    if len(text) > _LONGEST:
        raise UsageError("the filter is too long", hint=f"at most {_LONGEST} characters")
    tokens = _tokens(text)
    if sum(token in ("(", "-", "!") for token in tokens) > _DEEPEST:
        raise UsageError("the filter is too deep", hint=f"at most {_DEEPEST} of ( - and !")
    condition, rest = _any(tokens)
    if rest:
        raise UsageError(f"unexpected {rest[0]!r} in the filter", hint='quote signs: ")"')
    return Filter(text.strip(), condition)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        if pattern := _PATTERN.match(text, at):
            end = _end_of_pattern(text, pattern.end())
            found.append(text[at:end].strip())
            at = end
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"cannot read {text[at:].strip()!r}", hint="a quote is open: close it")
        found.append(match.group().strip())
        at = match.end()
    return found


def _end_of_pattern(text: str, at: int) -> int:
    """Return where a regular expression ends: at a blank, or a parenthesis that it did not open."""
    depth, in_set = 0, False
    while at < len(text) and not text[at].isspace():
        sign = text[at]
        if sign == "\\":
            at += 1
        elif in_set:
            in_set = sign != "]"
        elif sign == "[":
            in_set = True
        elif sign == "(":
            depth += 1
        elif sign == ")":
            if not depth:
                break
            depth -= 1
        at += 1
    return min(at, len(text))


# Each of these reads a part from the start of the tokens; it returns SQL and the remaining tokens.


def _any(tokens: list[str]) -> tuple[str, list[str]]:
    part, tokens = _all(tokens)
    parts = [part]
    while tokens and tokens[0] == "|":
        part, tokens = _all(tokens[1:])
        parts.append(part)
    return (part if len(parts) == 1 else f"({' or '.join(parts)})"), tokens


def _all(tokens: list[str]) -> tuple[str, list[str]]:
    parts: list[str] = []
    while tokens and tokens[0] not in ("|", ")"):
        part, tokens = _one(tokens)
        parts.append(part)
    if len(parts) < 2:
        return (parts[0] if parts else "true"), tokens
    return f"({' and '.join(parts)})", tokens


def _one(tokens: list[str]) -> tuple[str, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head in ("-", "!"):
        if not rest or rest[0] in ("|", ")"):
            raise UsageError(f"nothing follows {head!r} in the filter")
        part, rest = _one(rest)
        return f"not {part}", rest
    if head == "(":
        part, rest = _any(rest)
        if not rest or rest[0] != ")":
            raise UsageError("a parenthesis is open in the filter", hint="close it with )")
        return part, rest[1:]
    return _term(head), rest


def _term(word: str) -> str:
    match = None if word.startswith('"') else _TERM.fullmatch(word)
    if match is None:
        if word.startswith("~"):
            return _matches("arm", word[1:].replace('"', "") if word[1:2] == '"' else word[1:])
        return _contains("arm", word.replace('"', ""))
    field, sign, value = match["field"], match["operator"], match["value"].replace('"', "")
    if field == "ci":
        if (sign, value) != (":", "excludes0"):
            raise UsageError(f"cannot read {word!r}", hint="ci:excludes0")
        return "is_clear"
    if field == "has":
        column = _column_of(value)
        return f"({column} is not null and {column}::varchar <> '')"
    column = _column_of(field)
    if field in NUMBERS:
        number = _number(field, value)
        sign = {":": "=", "!=": "<>"}.get(sign, sign)
        return f"coalesce({column} {sign} {number!r}, false)"
    if sign in ("<", "<=", ">", ">="):
        raise UsageError(f"{field} is a text: {sign} has no meaning", hint=f"{field}:{value}")
    if value.startswith("~"):
        return _matches(column, value[1:])
    if sign == ":":
        return _contains(column, value)
    return f"lower({column}) {'<>' if sign == '!=' else '='} lower({_quoted(value)})"


def _column_of(field: str) -> str:
    column = {**TEXTS, **NUMBERS}.get(field)
    if column is None:
        raise UsageError(
            f"the filter has no field {field!r}", hint=f"fields: {', '.join((*TEXTS, *NUMBERS))}"
        )
    return column


def _contains(column: str, text: str) -> str:
    return f"contains(lower({column}), lower({_quoted(text)}))"


def _matches(column: str, pattern: str) -> str:
    """Return the condition for a regular expression, which DuckDB matches in linear time."""
    try:
        re.compile(pattern)  # so that most mistakes are told while the filter is typed
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{pattern!r} is not a regular expression: {error}") from error
    return f"regexp_matches({column}, {_quoted(pattern)}, 'i')"


def _number(field: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{field} is a number, {value!r} is not")
    return number
