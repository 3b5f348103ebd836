"""The source that decides a stage's numbers: which modules, their digests, which are known. Pure.

A stage's numbers depend on the modules of its parts and on everything of icckd that these import.
They are found in the files, from their syntax trees: nothing is imported for it. A module's digest
is that of its syntax tree without docstrings, so that comments, docstrings and layout change none.

`source.json` beside this module lists the digests known to give equal numbers for today's training
versions. A stage made of known source has the identity that it always had. Any other source enters
the stage's identity (design law 6, docs/laws.md), unless the user accepts it as equal. Plug-ins
have no known digest: their modules, and those beside a plug-in's file that they import, always
enter. Metrics of plug-ins measure every stage, as icckd's own do.

`bench/same_numbers.py --record` proves a change of training code equal and lists it.
"""

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from icckd import __version__
from icckd.study.metrics import METRICS
from icckd.study.records import EngineKind
from icckd.study.registry import Part, load, plugin_folders, registered

OWN = "icckd"
PACKAGE = Path(__file__).parents[1]
KNOWN_FILE = Path(__file__).with_name("source.json")
DIGITS = 16
ENTRY = "icckd.train.stage"
"""Where training begins; it imports what trains teachers and what trains students."""
_OF_OTHER_KIND: Mapping[EngineKind, frozenset[str]] = {
    "teacher": frozenset(("icckd.train.student", "icckd.train.distillers")),
    "student": frozenset(("icckd.train.teacher", "icckd.train.losses")),
}
_PACKS = "icckd.train.packs"
"""Has a module for each kind of stage, where the training of a pack begins."""
EXTRAS = "icckd.extras"
"""Its modules are parts that a study names as plug-ins; they are icckd's own all the same."""
_MEASURES = "icckd.train.metrics"
"""Every module of this package measures every stage that it can."""
_NO_NUMBERS = (
    "icckd.errors",
    "icckd.journal",
    "icckd.plugin",
    "icckd.resources",
    "icckd.study.plugin",
    "icckd.study.tasks",
)
"""What words errors, writes journals, looks at the machine, and speaks of the user's own code and
plug-ins: it decides no number of the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSource:
    """The source of one stage.

    Attributes:
        digest: Of all its modules.
        changed: Digest by module of icckd's own that is not known to give equal numbers.
        foreign: Digest by module of plug-ins.
        accepted: Whether the user says that `changed` decides no number here.
    """

    digest: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    accepted: bool = False

    def identity(self) -> dict[str, str]:
        """Return what of icckd enters the identity of a stage: nothing where all is known."""
        return {} if self.accepted else dict(self.changed)

    def environment(self) -> dict[str, str]:
        """Return what an attempt records of it beside the versions of other software."""
        facts = {"icckd": __version__, "source": self.digest}
        if self.changed:
            name = "accepted_source" if self.accepted else "changed_source"
            facts[name] = files_text(self.changed)
        return facts


def files_text(source: Mapping[str, str]) -> str:
    """Return modules with their digests in one line, by their files.

    >>> files_text({"icckd.train.trainer": "0123456789abcdef"})
    'icckd/train/trainer.py (0123456789abcdef)'
    """
    return ", ".join(f"{path_text(name)} ({digest})" for name, digest in sorted(source.items()))


def source_of(
    kind: EngineKind, role: BaseModel, data: BaseModel, packed: bool = False
) -> StageSource:
    """Return the source that trains a stage with these settings.

    Args:
        kind: What is trained.
        role: Settings of the teacher or of the student.
        data: Settings of its data.
        packed: Whether it is trained in a pack.
    """
    measures = {p.build.__module__ for p in METRICS.parts() if _top(p.build.__module__) != OWN}
    entries = {pack_entry(kind)} if packed else set()
    return _source(kind, frozenset(part_modules((role, data))) | measures | entries)


def pack_entry(kind: EngineKind) -> str:
    """Return the module where the training of a pack begins."""
    return f"{_PACKS}.{kind}"


@functools.lru_cache(maxsize=1024)
def _source(kind: EngineKind, parts: frozenset[str]) -> StageSource:
    found = digests(modules(kind, parts))
    known = known_digests()
    return StageSource(
        digest=_short("\n".join(f"{name} {digest}" for name, digest in sorted(found.items()))),
        changed={
            name: digest
            for name, digest in found.items()
            if _top(name) == OWN and digest not in known.get(name, ())
        },
        foreign={name: digest for name, digest in found.items() if _top(name) != OWN},
    )


def own_modules() -> frozenset[str]:
    """Return every module of icckd that decides the numbers of some stage."""
    used = {each.__module__ for part in _parts() for each in (part.settings, part.build)}
    extras = (f"{EXTRAS}.{path.stem}" for path in (PACKAGE / "extras").glob("[!_]*.py"))
    own = [*extras, *(name for name in used if _top(name) == OWN)]
    kinds: tuple[EngineKind, ...] = ("teacher", "student")
    return frozenset().union(*(modules(kind, [*own, pack_entry(kind)]) for kind in kinds))


def modules(kind: EngineKind, parts: Iterable[str]) -> frozenset[str]:
    """Return the names of the modules that train a stage made of parts in these modules."""
    measures = PACKAGE.parent.joinpath(*_MEASURES.split(".")).glob("[!_]*.py")
    waiting = [ENTRY, *parts, *(f"{_MEASURES}.{path.stem}" for path in measures)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith(_NO_NUMBERS) or file_of(name) is None:
            continue
        found.add(name)
        imported = set(read_module(name).imports)
        if name == ENTRY:
            imported -= _OF_OTHER_KIND[kind]
        waiting += imported
        waiting += [name.rpartition(".")[0]] if "." in name else []
    return frozenset(found)


def modules_beside(parts: Iterable[str]) -> frozenset[str]:
    """Return the modules of plug-ins among those that parts in these modules are made of."""
    return frozenset(name for name in modules("student", parts) if _top(name) != OWN)


def digests(names: Iterable[str]) -> dict[str, str]:
    """Return the digest of each module, by name, sorted."""
    return {name: read_module(name).digest for name in sorted(names)}


def path_text(name: str) -> str:
    """Return where a module lies, from the folder of its package on."""
    path, root = file_of(name), _root(_top(name))
    return name if path is None or root is None else path.relative_to(root).as_posix()


def package_digest() -> str:
    """Return the digest of all files of icckd: which icckd it is, where no commit tells it."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".sql", ".json") and path.is_file():
            digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:DIGITS]


def part_modules(values: Iterable[Any]) -> Iterator[str]:
    """Yield the modules of all settings inside some settings, and of what they build."""
    for value in values:
        if isinstance(value, BaseModel):
            yield type(value).__module__
            if type(value) in _builds():
                yield _builds()[type(value)]
            yield from part_modules(getattr(value, name) for name in type(value).model_fields)
        elif isinstance(value, Mapping):
            yield from part_modules(value.values())
        elif isinstance(value, (list, tuple)):
            yield from part_modules(value)


@functools.cache
def _builds() -> dict[type, str]:
    """Return the module that builds a part, by the class of its settings."""
    return {part.settings: part.build.__module__ for part in _parts()}


def _parts() -> list[Part[Any]]:
    load()
    return [part for registry in registered() for part in registry.parts()]


# The digests known to give equal numbers. `source.json` holds, for the training versions it names,
# by module: `equal`, the known digests, each with how it is known; and, of one file, the digest of
# its bytes with what is read from it, so that a file with those bytes need not be parsed.


@functools.cache
def known_file() -> dict[str, Any]:
    """Return the content of the list."""
    content: dict[str, Any] = json.loads(KNOWN_FILE.read_text(encoding="utf-8"))
    return content


@functools.cache
def known_digests() -> dict[str, frozenset[str]]:
    """Return the digests known to give equal numbers, by module."""
    return {name: frozenset(entry["equal"]) for name, entry in known_file()["modules"].items()}


# One module: its file, its digest, what it imports.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSource:
    """What a module's file says: the digests of its bytes and of its syntax tree, its imports."""

    bytes: str
    digest: str
    imports: tuple[str, ...]


def file_of(name: str) -> Path | None:
    """Return the file of a module of icckd or of a plug-in, None for any other."""
    root = _root(_top(name))
    if root is None:
        return None
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _root(top: str) -> Path | None:
    """Return the folder that holds a package of icckd, or a module or package of a plug-in."""
    if top == OWN:
        return PACKAGE.parent
    for folder in plugin_folders():
        if (folder / f"{top}.py").is_file() or any((folder / top).glob("*.py")):
            return folder
    if top not in _foreign_packages():
        return None
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        return None
    path = Path(file)
    return path.parents[1] if path.name == "__init__.py" else path.parent


@functools.cache
def _foreign_packages() -> frozenset[str]:
    return frozenset(map(_top, _builds().values())) - {OWN}


def _top(name: str) -> str:
    return name.partition(".")[0]


def read_module(name: str) -> ModuleSource:
    """Return what the file of a module says; it is read once in a process."""
    return _read_module(name)


@functools.cache
def _read_module(name: str) -> ModuleSource:
    path = file_of(name)
    assert path is not None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:DIGITS]
    entry = known_file()["modules"].get(name, {}).get("file", {})
    if entry.get("bytes") == digest:
        return ModuleSource(bytes=digest, digest=entry["digest"], imports=tuple(entry["imports"]))
    return parse_module(content, name, is_package=path.name == "__init__.py")


def parse_module(content: bytes, name: str, *, is_package: bool = False) -> ModuleSource:
    """Return what a module's text says. Text that is no Python has the digest of its bytes."""
    digest = hashlib.sha256(content).hexdigest()[:DIGITS]
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ModuleSource(bytes=digest, digest=digest, imports=())
    package = name if is_package else name.rpartition(".")[0]
    imports = sorted(set(_imports(tree, package)))
    return ModuleSource(
        bytes=digest, digest=_short(json.dumps(_plain(tree))), imports=tuple(imports)
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _plain(node: Any) -> Any:
    """Return a syntax tree as lists that are the same in every version of Python.

    Left out: docstrings and other texts that stand alone, positions, what is empty, and the version
    number of icckd.
    """
    if isinstance(node, ast.JoinedStr):
        return ["JoinedStr", *_pieces(node)]
    if isinstance(node, ast.AST):
        return [
            type(node).__name__,
            *([name, _plain(value)] for name, value in ast.iter_fields(node)
              if name not in ("ctx", "kind", "type_ignores") and value is not None and value != []),
        ]  # fmt: skip
    if isinstance(node, list):
        return [_plain(each) for each in node if not _says_nothing(each)]
    return repr(node)


def _pieces(node: ast.JoinedStr) -> Iterator[Any]:
    """Yield the parts of an f-string, text that stands side by side as one."""
    text = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        if text:
            yield text
        text = ""
        yield _plain(part)
    if text:
        yield text


def _says_nothing(node: Any) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    targets = node.targets if isinstance(node, ast.Assign) else ()
    return any(isinstance(each, ast.Name) and each.id == "__version__" for each in targets)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the modules of distributions with parts that are imported anywhere in a tree.

    What is imported for type checkers alone is left out.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (each.name for each in child.names if _root(_top(each.name)))
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*above, *filter(None, [child.module])])
            if _root(_top(base)):
                yield base
                inner = (f"{base}.{each.name}" for each in child.names)
                yield from (name for name in inner if file_of(name))
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module(body=[other], type_ignores=[]), package)
        else:
            yield from _imports(child, package)


def _is_type_checking(test: ast.expr) -> bool:
    name = getattr(test, "id", None) or getattr(test, "attr", None)
    return name == "TYPE_CHECKING"
