"""Read a study file: limits, TOML, overrides, validation, one clear error."""

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from icckd.errors import SpecError
from icckd.spec.paths import assign, keys_at, keys_of, nearest
from icckd.spec.presets import resolve_presets
from icckd.spec.study import Study

MAX_BYTES = 1 << 20
MAX_LINE = 1 << 14
MAX_KEY_PARTS = 32
MAX_DEPTH = 32
OVERRIDABLE = ("study", "data", "teacher", "student", "numerics")


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Return the study in a TOML file, with `key=value` overrides applied.

    Raises:
        SpecError: The file cannot be read or is not a valid study; the message names the place.
    """
    return parse(read_text(path), where=str(path), overrides=overrides)


def read_text(path: Path) -> str:
    """Return the text of a study file that is small enough and UTF-8.

    Raises:
        SpecError: It is missing, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read {path}: {error.strerror}", hint="give a study file"
        ) from error
    if len(data) > MAX_BYTES:
        raise SpecError(f"{path} is larger than 1 MiB", hint="a study file is a few kilobytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path} is not UTF-8 (line {line})", hint="save it as UTF-8") from error


def parse(text: str, *, where: str, overrides: Sequence[str] = ()) -> Study:
    """Return the study in a TOML text.

    Args:
        text: The TOML.
        where: What to call it in messages.
        overrides: `path=value` each, full paths, values as in TOML (a bare word is a string).
    """
    tables = _tables(text, where)
    for override in overrides:
        _override(tables, override)
    try:
        return Study.model_validate_json(json.dumps(resolve_presets(tables), default=str))
    except ValidationError as error:
        raise _first_problem(error, where) from error


def _tables(text: str, where: str) -> dict[str, Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE:
            raise SpecError(f"{where}, line {number} is longer than {MAX_LINE} characters")
        if line.split("=", 1)[0].count(".") > MAX_KEY_PARTS:
            raise SpecError(f"{where}, line {number}: a key has more than {MAX_KEY_PARTS} parts")
    try:
        tables = tomllib.loads(text)
        is_deep = _is_deep(tables, MAX_DEPTH)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{where} is not valid TOML: {error}") from error
    if is_deep:
        raise SpecError(f"{where}: tables and lists nest deeper than {MAX_DEPTH}")
    return tables


def _is_deep(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deep(item, depth - 1) for item in inner)


def _override(tables: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise SpecError(
            f"override {override!r} is not key=value",
            hint="for example teacher.intra.margin.threshold=0.3",
        )
    if path.split(".")[0] not in OVERRIDABLE:
        raise SpecError(
            f"override {override!r}: {path.split('.')[0]!r} is no table with settings",
            hint=nearest(path.split(".")[0], list(OVERRIDABLE)),
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    assign(tables, path, value)


def _first_problem(error: ValidationError, where: str) -> SpecError:
    problem = _plainest(error)
    way = keys_of(Study, problem["loc"])
    place = _dotted(way)
    if problem["type"] == "extra_forbidden":
        key = str(way[-1])
        return SpecError(
            f"{where}: unknown key {place!r}", hint=nearest(key, keys_at(Study, way[:-1]))
        )
    if problem["type"] == "missing":
        return SpecError(f"{where}: {place!r} is missing", hint="see docs/study-file.md")
    if problem["type"].startswith("union_tag"):
        place = f"{place}.kind"
        return SpecError(f"{where}: {place!r}: {problem['msg']}", hint="set a known `kind`")
    given = _short(problem["input"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        close = nearest(problem["input"], re.findall(r"'([^']+)'", message))
        hint = close if close.startswith("did you mean") else ""
        return SpecError(f"{where}: {place} = {given}: {message}", hint=hint)
    return SpecError(f"{where}: {place or 'study'} = {given}: {message}")


def _plainest(error: ValidationError) -> ErrorDetails:
    """Return the problem to show: of a union's branches, not the one that wanted a table."""
    problems = error.errors(include_url=False, include_context=False)
    return next((p for p in problems if p["type"] != "model_type"), problems[0])


def _dotted(way: Iterable[str | int]) -> str:
    text = ""
    for part in way:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
