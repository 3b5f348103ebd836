"""Ablation plans as JSON or YAML: what AblationBench's planner itself writes, and close to it.

A plan is a list of tables: one a line, an array, or YAML. `plans.json` holds the lines of many
papers as texts, by paper. Values have the types that they are written with; a text is never read as
a value.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from icckd.errors import SpecError
from icckd.study.ablation_plans.items import MOST_DEPTH, MOST_DIGITS, depth_of, plain
from icckd.study.ablation_plans.page import LONGEST_TEXT, MOST_METRICS
from icckd.study.ablation_plans.records import ACTIONS, Action, PlanEntry
from icckd.study.observed import visible

MOST_YAML = 1 << 20
Read = tuple[list[PlanEntry], list[str]]
_WRAPPERS = ("ablations", "plan", "entries", "ablations_in_paper")
_KEYS = ("name", "ablated_part", "action", "replacement", "metrics")


def json_entries(text: str, where: str) -> Read:
    """Return the entries of JSON lines, of one JSON value, or of `plans.json`, and notes.

    Raises:
        SpecError: It is no JSON, or no plan; the message names the line.
    """
    try:
        whole = _loads(text)
    except (ValueError, RecursionError) as error:
        if not re.match(r"\s*\{", text):
            raise _no_json(where, 1, text, error) from error
        return _of_lines(text, where, 1)
    return _of_value(whole, where, _lines_of_entries(text))


def yaml_entries(text: str, where: str) -> Read:
    """Return the entries of YAML, and notes: as JSON, with values as YAML 1.2 has them.

    Raises:
        SpecError: It is no YAML, is too large, or no plan.
    """
    import yaml

    from icckd.study.ablation_plans.plain_yaml import load_plain

    if len(text) > MOST_YAML:
        raise SpecError(
            f"{where} is too large an ablation plan: {MOST_YAML >> 20} MiB is the most in YAML",
            hint="give it as JSON lines",
        )
    try:
        whole, lines = load_plain(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        why = visible(str(getattr(error, "problem", None) or error), 100)
        raise SpecError(
            f"{where}, line {line}: the ablation plan is no YAML that can be read: {why}",
            hint="a plan is a list of tables with name, ablated_part, action, replacement, metrics",
        ) from error
    return _of_value(whole, where, lines)


def _of_value(whole: Any, where: str, lines: list[int]) -> Read:
    """Return the entries of one value of JSON or YAML; `lines` has where each begins."""
    if isinstance(whole, list):
        return [
            _entry(each, where, lines[n] if n < len(lines) else 1) for n, each in enumerate(whole)
        ], []
    if isinstance(whole, dict):
        if whole.keys() >= {"name", "action"}:
            return [_entry(whole, where, 1)], []
        for key in _WRAPPERS:
            if isinstance(whole.get(key), list):
                return _of_value(whole[key], where, lines)
        if whole and all(isinstance(v, dict) and "predictions" in v for v in whole.values()):
            return _of_papers(whole, where)
    _refuse(where, 1, "no list of ablations", "a list of tables with name, ablated_part and action")


def _of_papers(papers: Mapping[str, Any], where: str) -> Read:
    """Return the entries of `plans.json`: the lines of each paper are one text."""
    if len(papers) > 1:
        _refuse(
            where, 1, f"plans for {len(papers)} papers: {_some(papers)}",
            "write the lines of one of them into a file",
        )  # fmt: skip
    [(name, paper)] = papers.items()
    lines = paper["predictions"]
    if not isinstance(lines, str):
        _refuse(where, 1, "predictions that are no text", "they are JSON lines")
    if lines.startswith("diff --git"):
        _refuse(
            where, 1, "a patch, which must be applied before it is a plan",
            "give the file that the patch makes",
        )  # fmt: skip
    entries, notes = _of_lines(lines, f"{where}, {visible(name, 80)}", 1)
    return entries, notes


def _some(names: Mapping[str, Any]) -> str:
    return visible(", ".join(names), 120)


def _of_lines(text: str, where: str, first: int) -> Read:
    """Return the entries of JSON lines; a line that stands twice counts once."""
    entries, notes, seen = [], [], dict[str, int]()
    for number, line in enumerate(text.split("\n"), start=first):
        if not line.strip():
            continue
        if line in seen:
            notes.append(f"line {number} is line {seen[line]} once more: left out")
            continue
        seen[line] = number
        try:
            value = _loads(line)
        except (ValueError, RecursionError) as error:
            raise _no_json(where, number, line, error) from error
        entries.append(_entry(value, where, number))
    return entries, notes


def _entry(value: Any, where: str, line: int) -> PlanEntry:
    """Return the entry in a table, each of whose values is looked at."""
    if not isinstance(value, dict):
        _refuse(where, line, "an ablation that is no table", f"it has {', '.join(_KEYS)}")
    texts = {}
    for key in ("name", "ablated_part", "action"):
        text = value.get(key)
        if not isinstance(text, str) or not visible(text):
            _refuse(where, line, f"an ablation without {key}", f"it has {', '.join(_KEYS)}")
        texts[key] = text
    if texts["action"] not in ACTIONS:
        _refuse(
            where, line, f"no known action {visible(texts['action'], 40)!r}",
            f"one of {', '.join(ACTIONS)}",
        )  # fmt: skip
    entry = PlanEntry(
        name=texts["name"],
        component=texts["ablated_part"],
        action=cast(Action, texts["action"]),
        items=tuple(_items(value.get("replacement"), where, line)),
        metrics=tuple(_metrics(value.get("metrics"), where, line)),
        line=line,
    )
    for text in _texts([entry.name, entry.component, *entry.metrics, *entry.items]):
        if len(text) > LONGEST_TEXT:
            _refuse(where, line, f"more than {LONGEST_TEXT} letters", "shorten it")
        if any("\ud800" <= character <= "\udfff" for character in text):
            _refuse(where, line, "half of a surrogate pair, which is no text", "write UTF-8")
    return entry


def _metrics(given: Any, where: str, line: int) -> list[str]:
    metrics = given or []
    if not isinstance(metrics, list) or not all(isinstance(each, str) for each in metrics):
        _refuse(where, line, "metrics that are no list of texts", 'metrics = ["accuracy"]')
    if len(metrics) > MOST_METRICS:
        _refuse(where, line, f"more than {MOST_METRICS} metrics", "name those that matter")
    return metrics


def _items(given: Any, where: str, line: int) -> list[Any]:
    """Return the items of a replacement; a table in place of the list is one."""
    items = [] if given is None else [given] if isinstance(given, dict) else given
    if not isinstance(items, list):
        _refuse(where, line, "a replacement that is no list", "write it in [ ]")
    if depth_of(items) > MOST_DEPTH:
        _refuse(where, line, f"items that nest deeper than {MOST_DEPTH}", "write plainer ones")
    return list(_plain(items, where, line))


def _plain(items: list[Any], where: str, line: int) -> Any:
    try:
        return plain(items)
    except ValueError as error:
        _refuse(where, line, f"an item with {error}", "write it as text")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _loads(text: str) -> Any:
    """Return a value of JSON; numbers beyond 64 bits and infinite ones stay text.

    Raises:
        ValueError: It is no JSON, or a table has a key twice.
    """
    return json.loads(
        text,
        parse_int=read_integer,
        parse_float=read_number,
        parse_constant=_no_constant,
        object_pairs_hook=_table,
    )


def read_integer(text: str) -> int | str:
    """Return a whole number of 64 bits; one beyond stays text."""
    if len(text) > MOST_DIGITS:
        return text
    return value if -(2**63) <= (value := int(text)) < 2**63 else text


def read_number(text: str) -> float | str:
    """Return a finite number; an infinite one stays text."""
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no value of JSON")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {visible(twice, 40)!r} stands twice")
    return table


_START = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}]|\n')


def _lines_of_entries(text: str) -> list[int]:
    """Return the lines in which the tables of the outermost list that holds tables begin."""
    found: list[int] = []
    depth, line, least = 0, 1, None
    for token in _START.finditer(text):
        sign = token[0][0]
        if sign == "\n":
            line += 1
        elif sign in "[{":
            depth += 1
            is_list_entry = sign == "{" and depth > 1
            if is_list_entry and least in (None, depth):
                least = depth
                found.append(line)
        elif sign in "]}":
            depth -= 1
    return found


def _no_json(where: str, line: int, text: str, error: Exception) -> SpecError:
    inner = error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
    why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    why = "it nests too deep" if isinstance(error, RecursionError) else visible(why, 100)
    return SpecError(
        f"{where}, line {line + inner}: the ablation plan is no JSON: {why}",
        hint="a page has the heading 'Ablation Plan'; JSON lines have one table a line",
    )


def _refuse(where: str, line: int, what: str, hint: str) -> NoReturn:
    raise SpecError(f"{where}, line {line}: in the ablation plan, {what}", hint=hint)
