"""What an ablation plan puts in a part's place: values read from text, and kept by a study file.

Pages hold items as text. They are read as Python's literals are, and nothing is evaluated; whatever
is no literal, or none that JSON and TOML can both hold, stays the text that it is. Types are kept:
0, 0.0 and false are three values.
"""

import ast
import functools
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Mapping
from typing import Any

LONGEST_LITERAL = 10_000
MOST_DEPTH = 20
MOST_DIGITS = 20
"""Digits of a number: those of 64 bits, which is what TOML has."""
SMALLEST, LARGEST = -(2**63), 2**63 - 1

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,18})(\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_MAY_BE_LITERAL = re.compile(r"[-+0-9.\[({'\"]|(?:True|False|None)\b")
_LONG_NUMBER = re.compile(rf"[0-9a-fA-F_]{{{MOST_DIGITS + 1},}}")
_LITERAL = "literal"
"""The one key of a table that stands for a value which TOML has no word for."""


def read_literal(text: str) -> Any:
    """Return the value that a text is the literal of, else the text.

    Numbers beyond 64 bits, infinite ones, complex numbers, sets and bytes stay text; so does what
    is too long, nests too deep, or has a table with keys that are no text. Tuples become lists.

    >>> [read_literal(text) for text in ("0", "0.0", "1e-3", "(0.8, 0.2)", "None")]
    [0, 0.0, 0.001, [0.8, 0.2], None]
    >>> [read_literal(text) for text in ("2/255", "[Context, Proposal]", "f(x)", "9" * 30)][:3]
    ['2/255', '[Context, Proposal]', 'f(x)']
    """
    found = _NUMBER.fullmatch(text)
    if found is None and (len(text) > LONGEST_LITERAL or not _MAY_BE_LITERAL.match(text.lstrip())):
        return text
    if found is not None and found[1] is None and "e" not in text and "E" not in text:
        whole = int(text)
        return whole if SMALLEST <= whole <= LARGEST else text
    if found is not None:
        number = float(text)
        return number if math.isfinite(number) else text
    value = _evaluated(text)
    return text if value is _NOTHING else value


_NOTHING = object()


@functools.lru_cache(maxsize=4096)
def _evaluated(text: str) -> Any:
    """Return the value of a literal as JSON has it, `_NOTHING` for what is none.

    Callers never change what they get: it is shared.
    """
    if _depth(text) > MOST_DEPTH or _has_long_number(text):
        return _NOTHING
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of an unknown escape: text, not code of ours
            return plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NOTHING


def _depth(text: str) -> int:
    """Return how deep brackets nest at most; those in quotes count, too."""
    depth = most = 0
    for character in text:
        if character in "([{":
            depth += 1
            most = max(most, depth)
        elif character in ")]}":
            depth -= 1
    return most + max(text.count("-"), text.count("+")) // 200  # a chain of signs nests as well


def _has_long_number(text: str) -> bool:
    outside = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", "", text)
    return _LONG_NUMBER.search(outside) is not None


def plain(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists.

    Raises:
        ValueError: It has something that JSON or TOML cannot hold.
    """
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key is no text")
        for key in value:
            plain(key)
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("half of a surrogate pair is no text")
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and SMALLEST <= value <= LARGEST:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("no value of JSON and TOML")


def depth_of(value: Any) -> int:
    """Return how deep lists and tables nest in a value."""
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (list, tuple, Mapping)):
        return 0
    return 1 + max(map(depth_of, inner), default=0)


# In a study file. TOML has no None; such an item stands there as the text of its literal.


def to_toml(item: Any) -> Any:
    """Return an item as a study file holds it.

    >>> to_toml(0.5), to_toml(None), to_toml([1, None])
    (0.5, {'literal': 'None'}, {'literal': '[1, None]'})
    """
    is_marked = isinstance(item, Mapping) and item.keys() == {_LITERAL}
    return {_LITERAL: repr(item)} if _has_none(item) or is_marked else item


def from_toml(item: Any) -> Any:
    """Return an item from what a study file holds: the inverse of `to_toml`.

    >>> from_toml({"literal": "None"}), from_toml("None")
    (None, 'None')
    """
    if isinstance(item, Mapping) and item.keys() == {_LITERAL}:
        text = item[_LITERAL]
        return read_literal(text) if isinstance(text, str) else item
    return item


def _has_none(item: Any) -> bool:
    if isinstance(item, Mapping):
        return any(map(_has_none, item.values()))
    if isinstance(item, (list, tuple)):
        return any(map(_has_none, item))
    return item is None


def same_typed(first: Any, second: Any) -> bool:
    """Whether two values are equal and of equal types all through: 1, 1.0 and true are three.

    >>> same_typed([1, 0.5], [1, 0.5]), same_typed(1, 1.0), same_typed(0, False)
    (True, False, False)
    """
    return typed_text(first) == typed_text(second)


def typed_text(value: Any) -> str:
    """Return a text that two values share when they are equal and of equal types."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


# Text in which nothing acts on a terminal or hides from a reader.

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def item_text(item: Any) -> str:
    """Return an item as a page shows it, for messages."""
    return item if isinstance(item, str) else repr(item)


def toml_string(text: str) -> str:
    r"""Return a TOML string: letters of all scripts as they are, whatever is invisible escaped.

    >>> print(toml_string('δ "x"\n\x1b\u202e'))
    "δ \"x\"\n\u001b\u202e"
    """
    return '"' + "".join(map(_toml_character, text)) + '"'


def _toml_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""Return JSON in which letters are as they are and whatever is invisible is escaped.

    >>> print(json_text(["δ\u202e"]))
    ["δ\u202e"]
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_json_character, text))


def _json_character(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _INVISIBLE:
        return character  # a line end of the layout: those in texts are escaped already
    return json.dumps(character)[1:-1]


def toml_value(value: Any) -> str:
    """Return a value as TOML on one line.

    >>> toml_value({"a": [1, 0.5, True], "b c": "x"})
    '{ a = [1, 0.5, true], "b c" = "x" }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, float):
        text = repr(value)
        return text if re.search(r"[.ein]", text) else f"{text}.0"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(key)} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    return str(value)


def toml_key(key: str) -> str:
    """Return a key of TOML, in quotes where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_string(key)
