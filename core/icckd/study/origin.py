"""Where a study's settings were written: the line of each key, and the override that set it."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Way = tuple[str | int, ...]
"""Keys from the top of the file, with the number of the element inside a list of tables."""


@dataclass(frozen=True)
class Origin:
    """The text of a study file, and what the command line put over it.

    Two origins are equal: a study is what it sets, wherever that was written.

    Attributes:
        where: What to call the file in messages; "" for a study that was not read from one.
        text: The file, which is valid TOML.
        overrides: Paths that the command line set, and each override as it was typed.
    """

    where: str = field(default="", compare=False)
    text: str = field(default="", compare=False)
    overrides: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def at(self, *way: str | int) -> str:
        """Return the beginning of a message about a key, such as `study.toml, line 3: `."""
        path = ".".join(str(key) for key in way)
        is_written = way in self._lines
        for name, typed in self.overrides:
            if f"{path}.".startswith(f"{name}.") or (
                not is_written and name.startswith(f"{path}.")
            ):
                return f"override {typed!r}: "
        line = self.line(way)
        place = f", line {line}" if line else ""
        return f"{self.where}{place}: " if self.where else ""

    @property
    def folder(self) -> Path:
        """The folder of the file; of what was not read from a file, the current one."""
        return Path(self.where).absolute().parent if self.where else Path.cwd()

    def line(self, way: Way) -> int | None:
        """Return the line of a key, or of the nearest table around it; None where none is."""
        while way:
            for known in (way, (*way, 0)):  # of a list of tables, the first
                if known in self._lines:
                    return self._lines[known]
            way = way[:-1]
        return None

    @cached_property
    def _lines(self) -> dict[Way, int]:
        return dict(reversed(self._places))  # of keys said twice, the first: the header of a table

    @cached_property
    def _places(self) -> list[tuple[Way, int]]:
        try:
            return list(_places(self.text))
        except (tomllib.TOMLDecodeError, RecursionError):
            return []  # a place is a help: without it a message is still true


def origin_of(study: object) -> Origin:
    """Return where a study was written; one that was not read from a file has no place."""
    found = getattr(study, "origin", None)
    return found if isinstance(found, Origin) else Origin()


def study_folder(study: object) -> Path:
    """Return the folder of a study's file; for one that was not read from a file, the current."""
    return origin_of(study).folder


_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n',
    re.DOTALL,
)
_KEY = re.compile(r'\s*(?:"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[^="\'])*')


def _places(text: str) -> Iterator[tuple[Way, int]]:
    """Yield keys and table headers of valid TOML with their lines; inner keys stay unnamed."""
    table: Way = ()
    counts: dict[Way, int] = {}
    for start, statement in statements(text):
        line = text.count("\n", 0, start) + 1
        if statement.startswith("[["):
            table = _numbered(keys_in(statement.strip("[] \t\r")), counts)
            own = table[:-1] if isinstance(table[-1], int) else table
            counts[own] = counts.get(own, -1) + 1
            table = (*own, counts[own])
            yield table, line
        elif statement.startswith("["):
            table = _numbered(keys_in(statement.strip("[] \t\r")), counts)
            yield table, line
        elif found := _KEY.match(statement):
            yield (*table, *keys_in(found[0])), line


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield offset and text of every statement; an open bracket holds one open over lines."""
    start = depth = 0
    for token in _TOKEN.finditer(text + "\n"):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth == 0:
            whole = text[start : token.start()]
            kept = whole.strip()
            if kept.startswith("["):
                kept = kept.partition("#")[0].rstrip()
            if kept and not kept.startswith("#"):
                yield start + len(whole) - len(whole.lstrip()), kept
            start = token.end()


def keys_in(dotted: str) -> Way:
    """Return the parts of a dotted key of TOML, quoted or not."""
    here: Any = tomllib.loads(f"{dotted} = 0")
    way: list[str] = []
    while isinstance(here, dict):
        [(key, here)] = here.items()
        way.append(key)
    return tuple(way)


def _numbered(keys: Way, counts: dict[Way, int]) -> Way:
    """Return keys with the number of the latest element behind each list of tables."""
    way: Way = ()
    for key in keys:
        way = (*way, key)
        if way in counts:
            way = (*way, counts[way])
    return way
