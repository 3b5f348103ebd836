"""What is wrong with a study file, in the words of the file: line, key, what is wanted, and how.

`first_problem` tells of settings that do not fit, `toml_problem` of text that is not TOML. Both
answer with one error: what stands there and where, what is wanted, and a line to write instead.
"""

import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from icckd.configuration import FILE as CONFIG_FILE
from icckd.configuration import KEYS as CONFIGURED
from icckd.errors import SpecError
from icckd.study.model import ArmName, Method, Name, SettingPath, Study
from icckd.study.origin import Origin, Way
from icckd.study.paths import keys_at, keys_of, literals_at, nearest, setting_paths, tables_at
from icckd.study.registry import GROUP
from icckd.study.settings import PATTERNS, Settings

MOST_KEYS = 8
"""A table with more keys is not listed."""


def _pattern_of(annotation: Any) -> str:
    """Return the regular expression of a text."""
    _, constraint = typing.get_args(annotation)
    return str(constraint.pattern)


SETTING_PATH = _pattern_of(SettingPath)
_NAME = "a name of small letters, digits and {}, beginning with a letter or digit, at most {} long"
_WORDS = {
    _pattern_of(Name): _NAME.format(". _ -", 64),
    _pattern_of(ArmName): _NAME.format(". _ = + -", 128),
    r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$": (
        "a folder inside ICCKD_DATA_DIR, without .., of letters, digits and . _ - /"
    ),
}
"""What the texts of the file ask for; parts say it where they are defined (`matching`)."""
_EXAMPLES = {
    "study": '[study] with name = "my-study", baseline = "full", seeds = 8',
    "study.name": 'name = "my-study"',
    "study.baseline": 'baseline = "full"',
    "study.seeds": "seeds = 8",
    "study.seeds.count": "count = 8",
    "study.calibration_seeds.count": "count = 2",
    "data.folder": 'folder = "my-images"',
    "arm.name": 'name = "full"',
    "ablation.name": 'name = "Without the cache"',
    "ablation.arm": 'arm = "no-cache"',
    "ablation.part": 'part = "teacher.intra.cache"',
    "ablation.action": 'action = "REMOVE"',
    "factor.name": 'name = "weight"',
    "factor.path": 'path = "teacher.intra.weight"',
    "factor.levels": "levels = [0.1, 1.0]",
}
"""Lines that set the required keys."""


def first_problem(
    error: ValidationError, origin: Origin, root: type[Settings] = Study
) -> SpecError:
    """Return the error to show for settings that do not fit.

    Args:
        error: What pydantic found.
        origin: Where the settings were written.
        root: The settings that were validated.
    """
    problems = _by_key(error, root)
    missing = [way for way, group in problems.items() if group[0]["type"] == "missing"]
    for way, group in problems.items():
        if group[0]["type"] == "extra_forbidden":
            return _unknown(way, [m[-1] for m in missing if m[:-1] == way[:-1]], origin, root)
    way, group = _plainest(problems)
    if group[0]["type"] == "missing":
        return _missing(way, origin)
    message, hint = wrong_value(way, group, root)
    return SpecError(f"{origin.at(*way)}{message}", hint=hint)


def _by_key(error: ValidationError, root: type[Settings]) -> dict[Way, list[ErrorDetails]]:
    """Return the problems of each key: a union has one for each of its branches."""
    found: dict[Way, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        is_new = problem["type"] == "extra_forbidden"
        way = keys_of(root, problem["loc"], is_key=is_new)
        if "[key]" in problem["loc"]:  # the name of a setting, where a table has names for keys
            way = (*way, problem["input"]) if way[-1:] != (problem["input"],) else way
        found.setdefault(way, []).append(problem)
    return found


def _plainest(problems: dict[Way, list[ErrorDetails]]) -> tuple[Way, list[ErrorDetails]]:
    """Return what to show: of a union's branches the deepest, where the user meant that one."""
    first = next(iter(problems))
    inner = [way for way in problems if way[: len(first)] == first]
    way = max(inner, key=len)
    return way, problems[way]


def _unknown(
    way: Way, missing: Sequence[str | int], origin: Origin, root: type[Settings]
) -> SpecError:
    key = str(way[-1])
    close = difflib.get_close_matches(key, [str(each) for each in missing], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else nearest(key, keys_at(root, way[:-1]))
    if len(way) == 1 and key in CONFIGURED:
        hint = (
            f"write it into {CONFIG_FILE} of your own configuration or of the state folder: a study"
            " is anybody's, and may not settle where and how it is run (docs/cluster.md#settings)"
        )
    if len(way) > 1 and key in root.model_fields:
        hint = f"{key!r} is a table of its own: put it above [{way[0]}], or write [{key}]"
    return SpecError(f"{origin.at(*way)}unknown key {dotted(way)!r}", hint=hint)


def _missing(way: Way, origin: Origin) -> SpecError:
    example = _EXAMPLES.get(".".join(part for part in way if isinstance(part, str)), "")
    hint = f"write {example}" if example else "docs/study-file.md has all keys"
    return SpecError(f"{origin.at(*way[:-1])}{dotted(way)!r} is missing", hint=hint)


def wrong_value(way: Way, group: Sequence[ErrorDetails], root: type[Settings]) -> tuple[str, str]:
    """Return what is wrong with the value of a key, and what to write.

    Args:
        way: The key.
        group: Its problems: one, or one for each kind of value that it may have.
        root: The settings that were validated.
    """
    problem, key = group[0], dotted(way)
    given, kind = problem["input"], problem["type"]
    if kind == "value_error":
        text = problem["msg"].removeprefix("Value error, ")
        return (f"{key}: {text}" if key else text), ""
    if kind.startswith("union_tag"):
        return _wrong_kind(key, problem, root, way)
    if kind == "string_pattern_mismatch":
        return _wrong_name(key, given, str(problem.get("ctx", {}).get("pattern", "")))
    wanted = dict.fromkeys(words for each in group for words in _wanted(each, way, root))
    message = f"{key} = {_short(given)}: wanted {_either(list(wanted))}"
    return message, _how(way, given, {each["type"] for each in group}, root)


def _wrong_kind(key: str, problem: ErrorDetails, root: type[Settings], way: Way) -> tuple[str, str]:
    given = problem["input"]
    tables = dict.fromkeys(kind for table in tables_at(root, way) for kind in _kinds(table))
    kinds = [str(kind) for kind in tables]
    valid = f"valid: {', '.join(kinds)}"
    if "off" in literals_at(root, way):
        valid += ', or "off" for the table'
    if not isinstance(given, dict):
        message = f"{key} = {_short(given)}: wanted a table with a kind"
        return message, _table_hint(way, given, root)
    if "kind" not in given:
        return f"{key}.kind is missing; {valid}", f'write kind = "{kinds[0]}"'
    close = difflib.get_close_matches(str(given["kind"]), kinds, n=1, cutoff=0.5)
    hints = [f"did you mean {close[0]!r}?"] if close else []
    if not difflib.get_close_matches(str(given["kind"]), kinds, n=1, cutoff=0.6):
        hints.append(_plugins_hint(str(given["kind"])))
    hint = " ".join(filter(None, hints))
    return f"{key}.kind = {_short(given['kind'])}: no known kind; {valid}", hint


def _plugins_hint(kind: str) -> str:
    """Return that a plug-in may bring a kind: which are installed, without importing any."""
    names = sorted({each.name for each in entry_points(group=GROUP)})
    if kind in names:
        return f'write plugins = ["{kind}"] above the first table'
    if not names:
        return ""
    return f'plug-ins bring more, as in plugins = ["{names[0]}"]; installed: {", ".join(names)}'


def _kinds(table: type[BaseModel]) -> Iterable[str]:
    kind = table.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind is not None else ()


def _wrong_name(key: str, given: str, pattern: str) -> tuple[str, str]:
    words = {**PATTERNS, **_WORDS}.get(pattern, f"a text of the form {pattern}")
    message = f"{key} = {_short(given)}: wanted {words}"
    if pattern == SETTING_PATH:
        paths = setting_paths(Method)
        close = [path for path in paths if path.endswith(f".{given}")][:1]
        close = close or difflib.get_close_matches(given, paths, n=1, cutoff=0.5)
        message = f"{key.removesuffix(f'.{given}')}: there is no setting {given!r}"
        return message, f"did you mean {close[0]!r}?" if close else ""
    kept = re.sub(r"[^a-z0-9._-]+", "-", given.lower()).strip("-._")
    return message, f"write {toml(kept)}" if re.fullmatch(pattern, kept) else ""


_LIMITS = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_long": "at most {max_length} characters",
}
_KINDS_OF_VALUE = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
}
_NUMBERS = frozenset({"int_type", "float_type"})
_TABLES = ("dict_type", "model_type", "model_attributes_type")


def _wanted(problem: ErrorDetails, way: Way, root: type[Settings]) -> list[str]:
    """Return in words what one problem of a key asks for: one thing, or one of several."""
    kind = problem["type"]
    if kind in _TABLES:
        keys = keys_at(root, way)
        return [f"a table with {', '.join(keys)}" if 0 < len(keys) <= MOST_KEYS else "a table"]
    if kind == "literal_error":
        return [toml(value) for value in literals_at(root, way)] or ["another value"]
    if kind in _LIMITS:
        return [_LIMITS[kind].format(**problem.get("ctx", {}))]
    return [_KINDS_OF_VALUE.get(kind, problem["msg"].removeprefix("Input should be "))]


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _how(way: Way, given: Any, kinds: set[str], root: type[Settings]) -> str:
    """Return what to write instead, where the value shows what was meant."""
    key = next((part for part in reversed(way) if isinstance(part, str)), "")
    literals = literals_at(root, way)
    hint = ""
    if isinstance(given, str):
        hint = _instead_of_text(key, given, kinds, literals)
    elif isinstance(given, bool):
        hint = _instead_of_bool(key, given, kinds, literals)
    elif isinstance(given, (int, float)):
        hint = _instead_of_number(key, given, kinds)
    if hint:
        return hint
    if "tuple_type" in kinds:
        return _list_hint(way, given)
    return _table_hint(way, given, root) if kinds & set(_TABLES) else ""


def _instead_of_text(key: str, given: str, kinds: set[str], literals: Sequence[Any]) -> str:
    if kinds & _NUMBERS or _are_numbers(literals):
        return _number_hint(key, given)
    if "bool_type" in kinds and given.lower() in ("true", "false"):
        return f"leave out the quotes: {key} = {given.lower()}"
    texts = {value.lower(): value for value in literals if isinstance(value, str)}
    close = difflib.get_close_matches(given.lower(), texts, n=1, cutoff=0.5)
    return f"did you mean {texts[close[0]]!r}?" if close else ""


def _instead_of_bool(key: str, given: bool, kinds: set[str], literals: Sequence[Any]) -> str:
    if not given and "off" in literals:
        return f'write {key} = "off"'
    is_number = bool(kinds & _NUMBERS) or _are_numbers(literals)
    return "true and false are not numbers" if is_number else ""


def _instead_of_number(key: str, given: float, kinds: set[str]) -> str:
    if "string_type" in kinds:
        return f"put it in quotes: {key} = {toml(str(given))}"
    if "int_type" in kinds and float(given).is_integer():
        return f"leave out the decimal point: {key} = {given:.0f}"
    return ""


def _are_numbers(literals: Sequence[Any]) -> bool:
    return any(isinstance(value, int) and not isinstance(value, bool) for value in literals)


def _number_hint(key: str, given: str) -> str:
    text = given.strip()
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return f"a number has a decimal point and no quotes: {key} = {text.replace(',', '.')}"
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return ""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"leave out the quotes: {key} = {text}" if is_number else ""


def _list_hint(way: Way, given: Any) -> str:
    if len(way) == 1 and isinstance(given, dict):
        return f"write [[{way[0]}]], with two brackets, above each of them"
    if isinstance(given, str) and re.fullmatch(r"[\d.,; ]+", given):
        return f"write {way[-1]} = [{', '.join(re.findall(r'[0-9.]+', given))}]"
    return "" if isinstance(given, dict) else f"write {way[-1]} = [{toml(given)}]"


def _table_hint(way: Way, given: Any, root: type[Settings]) -> str:
    if len(way) == 1 and isinstance(given, list):
        return f"write [{way[0]}], with single brackets, once"
    kinds = sorted({kind for table in tables_at(root, way) for kind in _kinds(table)})
    if isinstance(given, str) and kinds:
        close = difflib.get_close_matches(given, kinds, n=1, cutoff=0.5)
        return f"write {way[-1]} = {{ kind = {toml(close[0] if close else kinds[0])} }}"
    if way and way[-1] in ("seeds", "calibration_seeds"):
        return f"write {way[-1]} = 8 for seeds 0 to 7, or {{ first = 0, count = 8 }}"
    return ""


def dotted(way: Iterable[str | int]) -> str:
    """Return a key as a message names it.

    >>> dotted(("arm", 0, "name"))
    'arm[0].name'
    """
    text = ""
    for part in way:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def toml(value: Any) -> str:
    """Return a value as TOML has it.

    >>> toml({"lr": float("inf")})
    '{ lr = inf }'
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(value: Any) -> str:
    text = toml(value) if isinstance(value, float) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Text that is not TOML.

_VALUE = 'a number (0.05), a text in quotes ("off"), true, false, a [list] or a {table}'
_SLIPS: tuple[tuple[str, str], ...] = (
    # The line, and what to say of it; groups of the first fill the second.
    (r"^\s*([\w.\"'-]+)\s*=\s*([+-]?\d+),(\d+)\s*(?:#.*)?$",
     "a number has a decimal point: {0} = {1}.{2}"),
    (r"^\s*([\w.\"'-]+)\s*=\s*([+-]?)\.(\d+)", "a number begins with a digit: {0} = {1}0.{2}"),
    (r"^\s*([\w.\"'-]+)\s*=\s*([+-]?\d+)\.(?!\d)", "a number ends with a digit: {0} = {1}.0"),
    (r"^\s*([\w.\"'-]+)\s*=\s*(?:True|TRUE)\b", "write {0} = true"),
    (r"^\s*([\w.\"'-]+)\s*=\s*(?:False|FALSE)\b", "write {0} = false"),
    (r"^\s*([\w.\"'-]+)\s*=\s*(?:None|null|nil|NULL)\b",
     'TOML has no empty value: leave {0} out, or write {0} = "off" where it can be off'),
    (r"^\s*([\w.\"'-]+)\s*=\s*([A-Za-z][\w./-]*)\s*(?:#.*)?$",
     'a text stands in quotes: {0} = "{1}"'),
    (r"^\s*([\w.\"'-]+)\s*=\s*(.*?)\s*;\s*$", "no semicolon ends a line: {0} = {1}"),
    (r"^\s*([\w.\"'-]+)\s*:\s*(.+)$", "key and value are joined by =: {0} = {1}"),
    (r"^\s*([\w.-]+)\s*:\s*$", "a table begins with [{0}]; is this YAML?"),
    (r"^\s*\{{?\s*\"", "this is JSON: TOML has [table] and key = value, a line each"),
    (r"^\s*([\w.\"'-]+)\s*=\s*(.*?)\s*(?://|--).*$", "a comment begins with #: {0} = {1}"),
    (r"^\s*([\w.\"'-]+)\s*=\s*[\d.]+\s*%", "a share is a number without %, such as {0} = 0.05"),
    (r"^[^\"]*=\s*\"[^\"]*\\", "\\ stands for itself in single quotes: 'C:\\images'"),
    (r"^[^\"]*=\s*\"[^\"]*$", 'a text ends on its line; several lines stand in three quotes'),
)  # fmt: skip
_LOOKALIKES = {
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'",
    "−": "-", "–": "-", "\u00a0": "a plain space", "\u202f": "a plain space",
    "，": ",", "．": ".", **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "nothing there"),
}  # fmt: skip


_PAGE = re.compile(r"^- \*\*Ablated Part\*\*:|^\s*[\[{].*\"ablated_part\"", re.MULTILINE)
"""A line of an ablation plan, as a page or as JSON."""


def toml_problem(text: str, where: str, error: Exception) -> SpecError:
    """Return the error for text that is no TOML, with the line and the likely slip."""
    told = str(error)
    place = re.search(r" \(at line (\d+), column \d+\)$", told)
    lines = text.splitlines()
    number = int(place[1]) if place else len(lines)
    why = told[: place.start()] if place else told.removesuffix(" (at end of document)")
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if _PAGE.search(text):
        hint = "this is an ablation plan: icckd import plan FILE makes a study of it"
    elif "overwrite" in why or "twice" in why:
        why, hint = _set_twice(lines, number)
    else:
        hint = _slip(line)
    shown = f": {line.strip()[:60]!r}" if line.strip() else ""
    return SpecError(f"{where}, line {number}{shown} is not valid TOML: {why}", hint=hint)


def _slip(line: str) -> str:
    for wrong, right in _LOOKALIKES.items():
        if wrong in line.partition("#")[0]:
            return f"{wrong!r} only looks like TOML: type {right}"
    if re.search(r"^\s*[\w.\"'-]+\s*=\s*(?:#.*)?$", line):
        return f"a value is missing: {_VALUE}"
    for pattern, words in _SLIPS:
        if found := re.search(pattern, line):
            return words.format(*found.groups())
    return f"a value is {_VALUE}" if "=" in line else "a line is a [table] or a key = value"


def _set_twice(lines: Sequence[str], number: int) -> tuple[str, str]:
    key = lines[number - 1].partition("=")[0].strip()
    before = (
        at for at in range(number - 1, 0, -1) if lines[at - 1].partition("=")[0].strip() == key
    )
    first = next(before, None)
    also = f", first in line {first}" if first else ""
    return f"{key} is set twice{also}", "remove one of the two"
