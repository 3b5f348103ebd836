"""Settings as parts that can be ablated: what papers call them, off values, types, ranges, units.

A setting's own field says it (`icckd.study.settings.known_as`), and the JSON schema carries it, for
plug-ins too. Entries of a task's config have the words of their names and of `[task.aliases]`.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from icckd.study.model import Method
from icckd.study.paths import tables_at
from icckd.study.plugins import PartStandIn
from icckd.study.settings import Settings
from icckd.study.tasks import Task, by_name, entries, entry_at, uses_engine

NOT_OFF = object()
"""The off value of a part that has none."""
_NO_PARTS = frozenset((
    "kind", "preset", "split_seed", "generator_seed", "folder", "file", "sha256",
    "resident_bytes", "diagnose_epochs", "stop_epoch",
))  # fmt: skip
"""Last keys of settings that say where or how something is, and are no part of a method."""
_WORDS = {
    "number": "a number", "integer": "a whole number", "boolean": "true or false",
    "string": "a text", "array": "a list", "object": "a table",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWords:
    """A setting that can be ablated.

    Attributes:
        path: Its path in a study.
        value: What it is now, as JSON has it.
        aliases: What papers call it.
        off: What it is when it is off; `NOT_OFF` where it cannot be.
        wanted: Its type and range in words.
        unit: Its unit, "" where none is known.
        odd: A number from which on a value is legal and means nothing, and why.
    """

    path: str
    value: Any
    aliases: tuple[str, ...] = ()
    off: Any = NOT_OFF
    wanted: str = ""
    unit: str = ""
    odd: tuple[float, str] | None = None


def parts_of(method: Method) -> Iterator[PartWords]:
    """Yield every setting of a configuration that can be ablated, tables and what is in them."""
    roles = ("data", "teacher", "student") if uses_engine(method.task) else ()
    for role in roles:
        yield from _within(role, getattr(method, role))
    tasks = by_name(method.task)
    for name, task in tasks.items():
        root = "task.config" if isinstance(method.task, Task) else f"task.{name}.config"
        yield from _of_task(root, task)


def odd_values(method: Method) -> Iterator[str]:
    """Yield what is legal in a configuration and means nothing, with the reason."""
    for role in ("data", "teacher", "student") if uses_engine(method.task) else ():
        yield from _odd_within(role, getattr(method, role))


def _odd_within(path: str, settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value, own = getattr(settings, name), f"{path}.{name}"
        if isinstance(value, Settings):
            yield from _odd_within(own, value)
        elif isinstance(value, Mapping):  # the terms of a sum
            for key, term in value.items():
                if isinstance(term, Settings):
                    yield from _odd_within(f"{own}.{key}", term)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            odd = _odd(type(settings), name)
            if odd is not None and value >= odd["from"]:
                yield f"{own} = {value:g} is legal and means nothing: {odd['says']}"


def _odd(table: type[Settings], name: str) -> dict[str, Any] | None:
    """Return from where on values of a setting mean nothing, as its field says; a schema is slow.

    What a plug-in declares is known by its schema alone.
    """
    said = table.model_fields[name].json_schema_extra
    if issubclass(table, PartStandIn):
        said = _schema(table).get("properties", {}).get(name, {})
    odd = said.get("x-odd") if isinstance(said, Mapping) else None
    return odd if isinstance(odd, dict) else None


def off_value_at(path: str) -> Any:
    """Return the declared off value of a setting that cannot be "off"; `NOT_OFF` without one."""
    *above, last = path.split(".")
    for table in tables_at(Method, tuple(above)):
        said = _said(table, last) if last in table.model_fields else {}
        if "x-off" in said:
            return said["x-off"]
    return NOT_OFF


def _within(path: str, settings: Settings) -> Iterator[PartWords]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in _NO_PARTS:
            continue
        own = f"{path}.{name}"
        yield _part(own, _said(type(settings), name), _json(settings, name))
        if isinstance(value, Settings):
            yield from _within(own, value)
        elif isinstance(value, Mapping):  # the terms of a sum
            for key, term in value.items():
                if isinstance(term, Settings):
                    wanted = 'a table, or "off"'
                    dumped = term.model_dump(mode="json")
                    yield PartWords(path=f"{own}.{key}", value=dumped, off="off", wanted=wanted)
                    yield from _within(f"{own}.{key}", term)


def _json(settings: Settings, name: str) -> Any:
    return settings.model_dump(mode="json", include={name})[name]


def _part(path: str, said: Mapping[str, Any], value: Any) -> PartWords:
    odd = said.get("x-odd")
    branches = said.get("anyOf") or said.get("oneOf") or [said]
    is_off = any(branch.get("const") == "off" for branch in branches)
    return PartWords(
        path=path,
        value=value,
        aliases=tuple(said.get("x-aliases", ())),
        off="off" if is_off else said.get("x-off", NOT_OFF),
        wanted=_wanted(branches),
        unit=said.get("x-unit", ""),
        odd=None if odd is None else (odd["from"], odd["says"]),
    )


def _wanted(branches: list[dict[str, Any]]) -> str:
    words = dict.fromkeys(word for branch in branches if (word := _branch(branch)))
    return ", or ".join(words)


def _branch(branch: Mapping[str, Any]) -> str:
    if "const" in branch:
        return f'"{branch["const"]}"' if branch["const"] is not None else ""
    if "enum" in branch:
        return f"one of {', '.join(map(str, branch['enum']))}"
    signs = (("minimum", "at least"), ("exclusiveMinimum", "above"),
             ("maximum", "at most"), ("exclusiveMaximum", "below"))  # fmt: skip
    limits = [f"{word} {branch[key]:g}" for key, word in signs if key in branch]
    if branch.get("type") == "null":
        return ""
    word = _WORDS.get(branch.get("type", ""), "a table")
    return f"{word} ({' and '.join(limits)})" if limits else word


@functools.cache
def _schema(table: type[BaseModel]) -> dict[str, Any]:
    if issubclass(table, PartStandIn):
        return dict(table.part.schema)
    return table.model_json_schema(by_alias=False)


@functools.cache
def _said(table: type[BaseModel], name: str) -> dict[str, Any]:
    """Return what the schema of a table says of one of its settings, and of the table in it."""
    schema = _schema(table)
    own = schema.get("properties", {}).get(name, {})
    found = dict(own)
    for branch in own.get("anyOf", [own]):
        reference = str(branch.get("$ref", "")).rpartition("/")[2]
        inner = schema.get("$defs", {}).get(reference, {})
        found |= {k: v for k, v in inner.items() if k.startswith("x-") and k not in found}
    return found


# Tasks.


def _of_task(root: str, task: Task) -> Iterator[PartWords]:
    for name, value in entries(task.config):
        keys = name.split(".")
        off = entry_at(task.off, keys)
        yield PartWords(
            path=f"{root}.{name}",
            value=value,
            aliases=task.aliases.get(name, ()),
            off=off if off is not None else False if value is True else NOT_OFF,
            wanted=_like(value),
        )


def _like(value: Any) -> str:
    kinds = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (dict, "a table"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "a list")


def words_of_path(path: str) -> tuple[str, ...]:
    """Return what the path itself calls a setting: its last key, and with the one before it.

    >>> words_of_path("teacher.intra.margin.threshold")
    ('threshold', 'margin threshold')
    """
    keys = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key) for key in path.split(".")]
    keys = [key.replace("_", " ").replace("-", " ") for key in keys]
    last = keys[-1]
    return (last, f"{keys[-2]} {last}") if len(keys) > 2 else (last,)
