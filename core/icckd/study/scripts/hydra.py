"""Hydra's configurations: the YAML files that `@hydra.main` names, read without Hydra."""

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from icckd.errors import UsageError
from icckd.study.scripts.classes import class_fields
from icckd.study.scripts.code import Code, Unread, plain, shortened
from icckd.study.scripts.records import Found, Note, Option

MAX_BYTES = 1 << 18
MAX_ENTRIES = 1000
MAX_VALUES = 10_000
MAX_DEPTH = 16


def hydra_options(code: Code) -> Found | None:
    """Return what the configuration of a script of Hydra holds; None if it has no `hydra.main`.

    Raises:
        UsageError: The configuration is there and cannot be read.
    """
    for function in code.functions.values():
        for node in function.decorator_list:
            if isinstance(node, ast.Call) and code.called(node) == "hydra.main":
                return _of_main(code, node)
    return None


def _of_main(code: Code, node: ast.Call) -> Found:
    given = {each.arg: each.value for each in node.keywords if each.arg is not None}
    given = dict(zip(("config_path", "config_name"), node.args, strict=False)) | given
    folder, name = code.text(given.get("config_path")), code.text(given.get("config_name"))
    found = Found(
        kind="Hydra", style="overrides", line=node.lineno, options=(), words=("hydra.run.dir=.",)
    )
    if not name:
        raise UsageError(
            f"the script {code.path}, line {node.lineno}: hydra.main names no configuration",
            hint='config_path="conf", config_name="config" name conf/config.yaml beside it',
        )
    config = _Config(root=code.path.parent / (folder or "."), above=folder or ".")
    path = config.file(name)
    if path is None:
        stored = _stored_class(code, name)
        if stored is None:
            raise UsageError(
                f"the script {code.path}, line {node.lineno}: the configuration"
                f" {config.shown(name)} is not there",
                hint="config_path is a folder beside the script",
            )
        options, notes = class_fields(code, stored)
        return replace(found, options=options, notes=notes)
    config.read(name, path, "")
    return replace(found, options=tuple(config.options.values()), notes=tuple(config.notes))


def _stored_class(code: Code, name: str) -> ast.ClassDef | None:
    """Return the class that `ConfigStore.store(name=..., node=...)` gives a name."""
    for call in code.all(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "store":
            given = {each.arg: each.value for each in call.keywords if each.arg is not None}
            if code.text(given.get("name")) == name and "group" not in given:
                return code.classes.get(code.dotted(given.get("node")))
    return None


@dataclass
class _Config:
    """A folder of YAML files, merged as Hydra's defaults list says: what comes later wins.

    Attributes:
        root: The folder.
        above: How messages call it.
        options: Every entry so far, by its dotted name.
        notes: What could not be read.
        chosen: Files that were read: none is read twice.
        values: How many values were read, in lists and alone.
    """

    root: Path
    above: str
    options: dict[str, Option] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    chosen: set[Path] = field(default_factory=set)
    values: int = 0

    def file(self, name: str) -> Path | None:
        """Return the file of a configuration, which lies in the folder; None if there is none."""
        parts = name.removesuffix(".yaml").strip("/").split("/")
        if ".." in parts:
            return None
        for suffix in (".yaml", ".yml"):
            path = self.root.joinpath(*parts).with_name(f"{parts[-1]}{suffix}")
            if path.is_file():
                return path
        return None

    def shown(self, name: str) -> str:
        """Return how messages call a configuration."""
        return f"{self.above}/{name.removesuffix('.yaml')}.yaml"

    def read(self, name: str, path: Path, package: str) -> None:
        """Take a file with everything that its defaults list names.

        Raises:
            UsageError: It cannot be read, or is no YAML.
        """
        if path in self.chosen:
            return
        self.chosen.add(path)
        where = self.shown(name)
        root, lines = _composed(path, where)
        if root is None:
            return
        directive = re.match(r"(?:\s*(?:#.*)?\n)*?\s*#\s*@package\s+(\S+)", "\n".join(lines))
        if directive is not None and directive[1] != "_group_":
            package = "" if directive[1] == "_global_" else directive[1]
        own = _Reader(self, where, lines, package)
        defaults = next((v for k, v in root.value if k.value == "defaults"), None)
        rest = [(k, v) for k, v in root.value if k.value != "defaults"]
        before, after = own.defaults(defaults, name)
        for each in before:
            self._include(*each)
        own.entries(rest, package, MAX_DEPTH)
        for each in after:
            self._include(*each)

    def _include(self, name: str, package: str, where: str, line: int) -> None:
        path = self.file(name)
        if path is None:
            self.notes.append(Note(line=0, text=f"{where}, line {line}: no {self.shown(name)}"))
        else:
            self.read(name, path, package)


def _composed(path: Path, where: str) -> tuple[yaml.MappingNode | None, list[str]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"the configuration {where} is larger than 256 KiB")
        text = data.decode("utf-8-sig")
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):  # composing recurses: not too deep
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > 2 * MAX_DEPTH:
                raise RecursionError
        root = yaml.compose(text, Loader=_Loader)
    except OSError as error:
        raise UsageError(f"cannot read the configuration {where}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        why = getattr(error, "problem", None) or "it is not UTF-8, or nests too deep"
        raise UsageError(
            f"the configuration {where}{line} is not valid YAML: {why}", hint="mend the file"
        ) from error
    return (root if isinstance(root, yaml.MappingNode) else None), text.splitlines()


class _Loader(yaml.SafeLoader):
    """YAML as OmegaConf reads it: 1e-3 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in each if tag != "tag:yaml.org,2002:float"]
    for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


@dataclass
class _Reader:
    """The entries of one file."""

    config: _Config
    where: str
    lines: list[str]
    package: str

    def defaults(
        self, node: yaml.Node | None, name: str
    ) -> tuple[list[tuple[str, str, str, int]], list[tuple[str, str, str, int]]]:
        """Return what the defaults list names before and after the file itself."""
        if not isinstance(node, yaml.SequenceNode):
            return [], []
        folder = name.rpartition("/")[0]
        before: list[tuple[str, str, str, int]] = []
        after: list[tuple[str, str, str, int]] = []
        has_self = any(each.value == "_self_" for each in node.value)
        taken = before
        for each in node.value:
            if each.value == "_self_":
                taken = after
            elif isinstance(each, yaml.ScalarNode):
                if isinstance(each.value, str):
                    inner = f"{folder}/{each.value}" if folder else each.value
                    taken.append((inner, self.package, self.where, each.start_mark.line + 1))
            elif isinstance(each, yaml.MappingNode):
                self._group(each, folder, taken)
        return (before, after) if has_self else (before, [])

    def _group(
        self, node: yaml.MappingNode, folder: str, taken: list[tuple[str, str, str, int]]
    ) -> None:
        for key, value in node.value:
            line = key.start_mark.line + 1
            group = str(key.value)
            if not isinstance(value, yaml.ScalarNode) or "@" in group or " " in group:
                self.note(line, f"{shortened(group, 40)} of the defaults list is not read")
            elif value.tag != "tag:yaml.org,2002:null" and group.split("/")[0] != "hydra":
                group = group.strip("/")
                package = ".".join(filter(None, [*folder.split("/"), *group.split("/")]))
                inner = "/".join(filter(None, [folder, group, value.value]))
                taken.append((inner, package, self.where, line))
                self.note(line, f"{group}={value.value} is the choice of {inner}.yaml")

    def note(self, line: int, text: str) -> None:
        self.config.notes.append(Note(line=0, text=f"{self.where}, line {line}: {text}"))

    def entries(self, pairs: list[tuple[Any, Any]], above: str, depth: int) -> None:
        """Take the entries of a table with those of tables inside it."""
        for key, value in pairs:
            line = key.start_mark.line + 1
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name or name in _OF_INSTANTIATE or (not above and name == "hydra"):
                continue
            path = f"{above}.{name}" if above else name
            if len(self.config.options) >= MAX_ENTRIES or depth == 0:
                raise UsageError(
                    f"the configuration {self.where}, line {line}: it nests too deep, or has more"
                    f" than {MAX_ENTRIES} entries",
                    hint="write the study by hand, with the entries that arms change",
                )
            if isinstance(value, yaml.MappingNode) and value.value:
                merged = key.tag == "tag:yaml.org,2002:merge"
                self.entries(value.value, above if merged else path, depth - 1)
            else:
                self.config.options[path] = self._option(path, line, value)

    def _option(self, path: str, line: int, node: yaml.Node) -> Option:
        bare = Option(key=path, line=line, file=self.where, about=self._comment(node))
        if isinstance(node, yaml.ScalarNode) and node.value == "???":
            return replace(bare, needed=True, note="it is required and has no default")
        try:
            value = self._value(node, MAX_DEPTH)
        except Unread as why:
            return replace(bare, note=f"its default is {why}")
        if value is None or value == {}:
            return replace(bare, note="it has no default")
        return replace(bare, value=value, off=False if value is True else None)

    def _comment(self, node: yaml.Node) -> str:
        """Return the comment behind a value."""
        if node.end_mark.line >= len(self.lines) or node.end_mark.line != node.start_mark.line:
            return ""
        rest = self.lines[node.end_mark.line][node.end_mark.column :].strip()
        return rest.lstrip("# ") if rest.startswith("#") else ""

    def _value(self, node: yaml.Node, depth: int) -> Any:
        if depth == 0:
            raise Unread("a list that nests too deep")
        self.config.values += 1  # an alias may stand for a list of aliases of lists
        if self.config.values > MAX_VALUES:
            raise UsageError(
                f"the configuration {self.where} has more than {MAX_VALUES} values",
                hint="write the study by hand, with the entries that arms change",
            )
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each, depth - 1) for each in node.value]
        if isinstance(node, yaml.MappingNode):
            if node.value:
                raise Unread("a list of tables")
            return {}
        if "${" in node.value:
            raise Unread(f"an interpolation: {shortened(node.value, 60)}")
        try:
            value = _Scalars().construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise Unread(f"of the type {shortened(str(node.tag), 40)}") from error
        return plain(value)


_OF_INSTANTIATE = ("_partial_", "_convert_", "_recursive_", "_args_")
"""Keys that say how Hydra makes an object."""


class _Scalars(yaml.constructor.SafeConstructor):
    """What makes values of scalars."""
