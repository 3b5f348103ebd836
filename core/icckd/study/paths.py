"""Dotted setting paths: change one, compare two configurations, find the nearest valid key."""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from icckd.errors import SpecError
from icckd.study.registry import load
from icckd.study.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting that differs between two configurations; values are JSON values."""

    path: str
    before: Any
    after: Any


def assign(tables: dict[str, Any], path: str, value: Any) -> None:
    """Set `path` in nested tables, creating tables on the way.

    Raises:
        SpecError: Something on the way has a value instead of a table, as a part that is off.
    """
    *way, last = path.split(".")
    here = tables
    for depth, key in enumerate(way):
        following = here.setdefault(key, {})
        if not isinstance(following, dict):
            blocked = ".".join(way[: depth + 1])
            raise SpecError(
                f"cannot set {path!r}: {blocked!r} is {following!r}, not a table",
                hint=f"set {blocked!r} as a whole, or give it a table of its own in the study",
            )
        here = following
    here[last] = value


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Yield the topmost settings in which two configurations differ, sorted by path.

    Tables of the same `kind` are compared key by key; anything else as a whole.
    """
    both_tables = isinstance(before, Mapping) and isinstance(after, Mapping)
    if both_tables and before.get("kind") == after.get("kind"):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else key
            yield from changes(before.get(key), after.get(key), inner)
    elif before != after:
        yield Change(path=path, before=before, after=after)


def is_under(path: str, declared: str) -> bool:
    """Whether `path` is `declared` or a setting inside it."""
    return path == declared or path.startswith(f"{declared}.")


def nearest(word: str, known: list[str]) -> str:
    """Return a hint: the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(sorted(known))}"


def keys_at(model: type[BaseModel], way: tuple[str | int, ...]) -> list[str]:
    """Return the valid keys of the table that `way` leads to, over all its kinds."""
    return sorted({key for table in tables_at(model, way) for key in table.model_fields})


def tables_at(model: type[BaseModel], way: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """Return the kinds of table that may stand where `way` leads to."""
    return _tables(_at(model, way))


def literals_at(model: type[BaseModel], way: tuple[str | int, ...]) -> list[Any]:
    """Return the single values, such as "off", that may stand where `way` leads to."""
    found = {value for annotation in _at(model, way) for value in _literals_in(annotation)}
    return sorted(found, key=str)


def setting_paths(
    model: type[BaseModel], prefix: str = "", above: frozenset[type[BaseModel]] = frozenset()
) -> list[str]:
    """Return the dotted paths of all settings, those of every kind of table."""
    found: dict[str, None] = {}
    for name, field in model.model_fields.items():
        found[f"{prefix}{name}"] = None
        for table in tables_in(field.annotation):
            if table not in above:  # a sum of distillers holds distillers
                within = setting_paths(table, f"{prefix}{name}.", above | {model, table})
                found.update(dict.fromkeys(within))
    return list(found)


def _at(model: type[BaseModel], way: tuple[str | int, ...]) -> list[Any]:
    here: list[Any] = [model]
    for key in way:
        here = _step(here, key) or here
    return here


def keys_of(
    model: type[BaseModel], location: tuple[str | int, ...], *, is_key: bool = False
) -> tuple[str | int, ...]:
    """Return the keys in the location of a pydantic error, without the branches of unions.

    pydantic puts the branch that it tried into the location, though the file has no such key.

    Args:
        model: The settings that were validated.
        location: The location of the error.
        is_key: Whether its last part is a key, though no table has it: the unknown key itself.
    """
    kept: list[str | int] = []
    here: list[Any] = [model]
    for position, part in enumerate(location):
        inner = _step(here, part)
        branch = [table for table in _tables(here) if part in _names_of(table)]
        if isinstance(part, int) or (inner and not branch):
            kept.append(part)
            here = inner
        elif branch:
            here = branch
        elif is_key and position == len(location) - 1:
            kept.append(part)
    return tuple(kept)


def _step(here: list[Any], key: str | int) -> list[Any]:
    """Return the annotations of what `key` leads to: a field, an entry of a table, an element."""
    if isinstance(key, int):
        return [member for annotation in here for member in _members(annotation)]
    fields = [t.model_fields[key].annotation for t in _tables(here) if key in t.model_fields]
    members = [member for annotation in here for member in _members(annotation)]
    return fields + [typing.get_args(m)[1] for m in members if typing.get_origin(m) is dict]


def _tables(here: list[Any]) -> list[type[BaseModel]]:
    return [table for annotation in here for table in tables_in(annotation)]


def _names_of(table: type[BaseModel]) -> set[Any]:
    """Return how pydantic calls a table as a branch: by its kind, or by its class."""
    kind = table.model_fields.get("kind")
    return {table.__name__} if kind is None else _literals_in(kind.annotation)


def off_state(model: type[BaseModel], path: str, place: str = "") -> bool:
    """Whether the setting at `path` may be "off".

    Args:
        model: The settings.
        path: The setting.
        place: Where it is named, for the message.

    Raises:
        SpecError: There is no such setting.
    """
    here: list[Any] = [model]
    for key in path.split("."):
        inner = _step(here, key)
        if not inner:
            known = sorted({name for table in _tables(here) for name in table.model_fields})
            raise SpecError(
                f"{place}no setting {path!r}: unknown key {key!r}", hint=nearest(key, known)
            )
        here = inner
    return any("off" in _literals_in(annotation) for annotation in here)


def tables_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the kinds of table that a setting of this type may hold."""
    return [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def _members(annotation: Any) -> tuple[Any, ...]:
    load()  # parts complete the settings
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation.kinds()
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType, tuple):
        return tuple(m for part in typing.get_args(annotation) for m in _members(part))
    return (annotation,)


def _literals_in(annotation: Any) -> set[Any]:
    return {
        value
        for member in _members(annotation)
        if typing.get_origin(member) is Literal
        for value in typing.get_args(member)
    }
