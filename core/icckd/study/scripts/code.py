"""The text of a script as syntax: names that were imported, constants, values that stand there.

Nothing is evaluated but literals: what a value is must be seen in the text, else it is `Unread`.
"""

import ast
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from icckd.errors import UsageError

MAX_BYTES = 1 << 20
MAX_TEXT = 1000
"""Characters of a text that may become a value of config."""
MAX_DEPTH = 8
MAX_VALUES = 2000
"""Values of lists and tables that one default may hold."""

T = TypeVar("T", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Unread(Exception):  # noqa: N818  # not a failure
    """A value that cannot be read from the text; the message says what stands there instead."""


def read_code(path: Path) -> "Code":
    """Return a script as syntax. It is not imported and nothing of it runs.

    Raises:
        UsageError: It cannot be read, is not UTF-8, is too large, or is no Python.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the script {path}: {error.strerror}", hint="give a file of Python"
        ) from error
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"the script {path} is larger than 1 MiB", hint="give the file that starts training"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"the script {path} is not UTF-8 (line {line})", hint="save it as UTF-8"
        ) from error
    return Code(path=path, text=text, tree=_parsed(path, text))


def _parsed(path: Path, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the script's own slips, such as "\d"
            return ast.parse(text)
    except SyntaxError as error:
        at = f", line {error.lineno}" if error.lineno else ""
        why, hint = (
            error.msg,
            "the script must be valid Python 3, of the version that icckd runs on",
        )
    except (ValueError, RecursionError, MemoryError) as error:
        at, why, hint = "", str(error) or "it nests too deep", "give the file that starts training"
    raise UsageError(f"the script {path}{at} is not valid Python: {why}", hint=hint)


class Code:
    """A parsed script with the questions that its readers ask."""

    def __init__(self, *, path: Path, text: str, tree: ast.Module) -> None:
        self.path = path
        self.lines = tuple(re.split("\r\n|\r|\n", text))  # as Python counts lines
        self.tree = tree
        self._left = 0
        self.nodes = in_order(tree)
        """Every node with a place, in the order of the text."""

    def all(self, kind: type[T]) -> Iterator[T]:
        """Yield the nodes of a kind in the order of the text."""
        return (node for node in self.nodes if isinstance(node, kind))

    def every_function(self) -> Iterator[Function]:
        """Yield every function and method in the order of the text."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    @cached_property
    def imported(self) -> dict[str, str]:
        """What names of the script stand for: `ap` for `argparse` after `import argparse as ap`."""
        names: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for each in node.names:
                    name = each.asname or each.name.split(".")[0]
                    names[name] = each.name if each.asname else name
            elif isinstance(node, ast.ImportFrom):
                above = f"{'.' * node.level}{node.module or ''}"
                for each in node.names:
                    names[each.asname or each.name] = f"{above}.{each.name}"
        return names

    @cached_property
    def packages(self) -> frozenset[str]:
        """The top-level packages that are imported, and the modules in full."""
        found = {name for name in self.imported.values() if not name.startswith(".")}
        return frozenset({*found, *(name.split(".")[0] for name in found)})

    def dotted(self, node: ast.AST | None) -> str:
        """Return what a name or attribute stands for, as `argparse.ArgumentParser`; "" if none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.imported.get(node.id, node.id), *reversed(parts)])

    def called(self, node: ast.AST | None) -> str:
        """Return what a call calls; "" for anything else."""
        return self.dotted(node.func) if isinstance(node, ast.Call) else ""

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node around each node."""
        return {inner: node for node in ast.walk(self.tree) for inner in ast.iter_child_nodes(node)}

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes around a node, from the inside."""
        while (outer := self.parents.get(node)) is not None:
            yield outer
            node = outer

    @cached_property
    def functions(self) -> dict[str, Function]:
        """The functions of the script's top level by name."""
        return {
            node.name: node
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """The classes of the script's top level by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """What names stand for that are set once, at the top level, and are no argument."""
        stored = Counter(
            node.id for node in self.all(ast.Name) if not isinstance(node.ctx, ast.Load)
        )
        arguments = {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)}
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target, value = node.targets[0], node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                target, value = node.target, node.value
            else:
                continue
            if isinstance(target, ast.Name) and target.id not in arguments:
                found[target.id] = value
        return {name: value for name, value in found.items() if stored[name] == 1}

    # Values.

    def value(self, node: ast.expr) -> Any:
        """Return a value that stands in the text: None, booleans, numbers, texts, lists, tables.

        Raises:
            Unread: It does not, or is none that a study file can have.
        """
        self._left = MAX_VALUES
        return self._value(node, MAX_DEPTH)

    def _value(self, node: ast.expr, depth: int) -> Any:
        self._left -= 1  # a name may stand for a list of names of lists
        if depth == 0 or self._left < 0:
            raise Unread("a list or table that is too large")
        if isinstance(node, ast.Constant):
            return plain(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return self._signed(node, depth)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self._value(each, depth - 1) for each in node.elts]
        if isinstance(node, ast.Dict):
            return self._table(node, depth)
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self._value(self.constants[node.id], depth - 1)
        if isinstance(node, ast.Attribute):
            return self._member(node, depth)
        if isinstance(node, ast.Call) and self.called(node) == "pathlib.Path" and node.args[:1]:
            return self._path(node, depth)
        raise Unread(f"an expression: {self.text_of(node)}")

    def _path(self, node: ast.Call, depth: int) -> Any:
        if len(node.args) > 1 or node.keywords:
            raise Unread(f"an expression: {self.text_of(node)}")
        return self._value(node.args[0], depth - 1)

    def _signed(self, node: ast.UnaryOp, depth: int) -> Any:
        number = self._value(node.operand, depth - 1)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise Unread(f"an expression: {self.text_of(node)}")
        return -number if isinstance(node.op, ast.USub) else number

    def _table(self, node: ast.Dict, depth: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            name = self._value(key, depth - 1) if key is not None else None
            if not isinstance(name, str):
                raise Unread(f"a table whose keys are not all texts: {self.text_of(node)}")
            table[name] = self._value(value, depth - 1)
        return table

    def _member(self, node: ast.Attribute, depth: int) -> Any:
        """Return the value of a member of an enumeration that the script defines."""
        around = node.value
        if isinstance(around, ast.Attribute) and node.attr == "value":
            return self._member(around, depth)
        members = self.members(around.id) if isinstance(around, ast.Name) else {}
        if node.attr in members:
            return self._value(members[node.attr], depth - 1)
        raise Unread(f"an expression: {self.text_of(node)}")

    def members(self, name: str) -> dict[str, ast.expr]:
        """Return the members of an enumeration of the script; none for anything else."""
        made = self.classes.get(name)
        if made is None or not any(
            self.dotted(base).split(".")[-1].endswith(("Enum", "Flag")) for base in made.bases
        ):
            return {}
        return {
            node.targets[0].id: node.value
            for node in made.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }

    def choices(self, node: ast.expr | None) -> tuple[Any, ...]:
        """Return the values that a list of choices names, none where it cannot be read."""
        try:
            listed = self.value(node) if node is not None else []
        except Unread:
            return ()
        return tuple(listed) if isinstance(listed, list) else ()

    def text(self, node: ast.expr | None) -> str:
        """Return a text that stands there as one; "" for anything else."""
        try:
            value = self.value(node) if node is not None else ""
        except Unread:
            return ""
        return " ".join(value.split()) if isinstance(value, str) else ""

    def text_of(self, node: ast.AST) -> str:
        """Return how something is written, shortened to a part of a line."""
        line, begin = node.lineno, node.col_offset  # type: ignore[attr-defined]
        end_line, end = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
        data = self.lines[line - 1].encode() if line <= len(self.lines) else b""
        whole = data[begin:end] if end_line == line else data[begin:] + b" ..."
        return shortened(whole.decode(errors="replace"), 60)

    def comment(self, line: int) -> str:
        """Return the comment at the end of a line of code."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        before, mark, comment = text.rpartition("#")
        quotes = before.count('"') % 2 + before.count("'") % 2
        return comment.strip() if mark and before.strip() and not quotes else ""


def in_order(tree: ast.AST) -> list[ast.stmt | ast.expr]:
    """Return the statements and expressions of a tree in the order of the text."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr))
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))


def plain(value: Any) -> Any:
    """Return a literal that a study file can have.

    Raises:
        Unread: It cannot: bytes, complex, infinite or huge numbers, texts that are no Unicode.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= 1 << 63:
            raise Unread("a number beyond 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unread("a number that is not finite")
        return value
    if isinstance(value, str):
        return _plain_text(value)
    raise Unread(f"of the type {type(value).__name__}")


def _plain_text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Unread(f"a text of {len(text)} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unread("a text that is no Unicode") from None
    return text


def shortened(text: str, most: int) -> str:
    """Return text on one line, with its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3].rstrip()}..."
