"""Registries: a distiller, a teacher loss, a model, a data set or a metric is registered once.

A *part* is one file with the settings of a thing, its code, its metric names and the sentences that
the documentation says of it. The code is registered for its settings by a decorator:

    @distiller(MyDistiller)
    class My(Method): ...

The file of settings, the JSON schema, the metric catalogue, the tables of the documentation and the
contract tests are made from the registries; nothing else lists the parts. This module knows none:
`icckd/__init__.py` names the packages whose modules are parts. They are imported when a registry is
first read. Importing a part must not import torch (`icckd.train.lazy`).

A study may name *plug-ins*: files of the user, or entry points of the group `icckd.parts`. Workers
and the helper that describes plug-ins import them (`add_plugins`). Every other process has
stand-ins for their parts, those of the study that it looks at (`standing_in`,
`icckd.study.plugins`).
"""

import contextlib
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from icckd.errors import MachineError

GROUP = "icckd.parts"
FILE, ENTRY = "file:", "entry:"
"""How a reference to a plug-in begins: the absolute path of a file, the name of an entry point."""
LAST = 1000
"""Order of a part that does not say where it stands in lists: after the others, by its kind."""

S = TypeVar("S")
B = TypeVar("B", bound=Callable[..., Any])

_packages: list[str] = []
_registries: dict[str, "Registry[Any]"] = {}
_then: list[Callable[[], None]] = []
_plugins: list[str] = []
_stand_ins: ContextVar[Mapping[str, "tuple[Part[Any], ...]"] | None] = ContextVar(
    "stand-ins", default=None
)
_lock = threading.RLock()
_state: Literal["unread", "loading", "loaded"] = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[S]):
    """One registered thing.

    Attributes:
        kind: Its name in a study file.
        settings: The class of its settings; its docstring is what the documentation says.
        build: Makes it from its settings, or computes it.
        order: Where it stands in lists; equal ones by kind.
        options: What else its registry knows of it.
    """

    kind: str
    settings: type[S]
    build: Callable[..., Any]
    order: int
    options: dict[str, Any]


class Registry(Generic[S]):
    """Parts of one sort by kind.

    Args:
        noun: What a part is called in messages, such as `distiller`.
        metrics: Gives what a part of this sort records, for the catalogue of metrics.
    """

    def __init__(
        self, noun: str, *, metrics: Callable[["Part[S]"], Iterable[Any]] | None = None
    ) -> None:
        self.noun = noun
        self._parts: dict[str, Part[S]] = {}
        self._metrics_of = metrics
        _registries[noun] = self

    def register(
        self, settings: type[S], *, kind: str = "", order: int = LAST, **options: Any
    ) -> Callable[[B], B]:
        """Return a decorator that registers code for its settings.

        Args:
            settings: Their `kind`, a `Literal` with one value, is the part's name.
            kind: The name where the settings have no field `kind`.
            order: Where the part stands in lists.
            **options: Kept with the part, for its registry's readers.

        Raises:
            ValueError: The kind is taken, or everything made from the registry exists already.
        """
        name = kind or kind_of(settings)
        if not name:
            raise ValueError(f"{settings.__name__} needs a field `kind` of type Literal")

        def add(build: B) -> B:
            other = self._parts.get(name)
            if other is not None:
                raise ValueError(
                    f"{self.noun} {name!r} is registered twice: by {other.build.__module__} and by"
                    f" {build.__module__}"
                )
            if _state == "loaded":
                raise ValueError(
                    f"{self.noun} {name!r} comes too late: settings were read already. Import"
                    f" {build.__module__} first, or name it by an entry point of group {GROUP}"
                )
            self._parts[name] = Part(
                kind=name, settings=settings, build=build, order=order, options=options
            )
            return build

        return add

    def parts(self, base: type[Any] = object) -> tuple[Part[S], ...]:
        """Return the parts whose settings derive from `base`, in their order."""
        load()
        chosen = (part for part in self._parts.values() if issubclass(part.settings, base))
        return tuple(sorted(chosen, key=lambda part: (part.order, part.kind)))

    def registered_now(self) -> tuple[Part[S], ...]:
        """Return the parts that are registered so far, and import none."""
        return tuple(self._parts.values())

    def stand_ins(self, base: type[Any] = object) -> tuple[Part[S], ...]:
        """Return the parts of plug-ins that this process knows by stand-ins, as `parts`."""
        known = (_stand_ins.get() or {}).get(self.noun, ())
        return tuple(part for part in known if issubclass(part.settings, base))

    def kinds(self, base: type[Any] = object) -> tuple[str, ...]:
        """Return the names of these parts, in their order."""
        return tuple(part.kind for part in self.parts(base))

    def __iter__(self) -> Iterator[str]:
        """Return the names of all parts, in their order."""
        return iter(self.kinds())

    def part(self, kind: str) -> Part[S]:
        """Return the part of that name.

        Raises:
            KeyError: There is none.
        """
        load()
        return self._parts[kind]

    def metrics(self) -> Iterator[Any]:
        """Yield the metrics that all parts record, in their order."""
        for part in self.parts():
            yield from self.metrics_of(part)

    def metrics_of(self, part: Part[S]) -> Iterable[Any]:
        """Return the metrics that a part records."""
        return () if self._metrics_of is None else self._metrics_of(part)

    def __getitem__(self, kind: str) -> Callable[..., Any]:
        """Return what builds or computes the part of that name."""
        return self.part(kind).build

    def default(
        self, kind: str, *, known_as: Mapping[str, Any] | None = None, **settings: Any
    ) -> Any:
        """Return a pydantic field whose default are settings of that kind; see `default`."""
        return default(lambda: self.part(kind).settings(**settings), known_as=known_as)


def registered() -> tuple[Registry[Any], ...]:
    """Return all registries, by what their parts are called."""
    return tuple(registry for _, registry in sorted(_registries.items()))


def default(make: Callable[[], Any], *, known_as: Mapping[str, Any] | None = None) -> Any:
    """Return a pydantic field whose default is made when it is first needed, not at import.

    Args:
        make: Makes it.
        known_as: What else its schema says, see `icckd.study.settings.known_as`.
    """
    from pydantic import Field
    from pydantic_core import to_jsonable_python

    def describe(schema: dict[str, Any]) -> None:
        schema["default"] = to_jsonable_python(make())
        schema.update(known_as or {})

    return Field(default_factory=make, json_schema_extra=describe)


def kind_of(settings: type[Any]) -> str:
    """Return the kind that settings are of, "" for a base of several kinds."""
    field = getattr(settings, "model_fields", {}).get("kind")
    annotation = None if field is None else field.annotation
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Literal else ""


def packages_digest() -> str:
    """Return what names the source of the packages of parts, none of which is imported for it."""
    found = hashlib.sha256()
    for package in _packages:
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        for file in sorted(file for each in folders or () for file in Path(each).glob("*.py")):
            found.update(f"{package}.{file.stem}\0".encode() + file.read_bytes())
    return found.hexdigest()


def add_packages(names: Iterable[str]) -> None:
    """Name packages all of whose modules are parts, or what parts need; none is imported yet."""
    _packages.extend(names)


def when_loaded(action: Callable[[], None]) -> None:
    """Call `action` once all parts are registered: at once if they are."""
    with _lock:
        if _state == "loaded":
            action()
        else:
            _then.append(action)


def add_plugins(references: Iterable[str]) -> None:
    """Name plug-ins whose parts this process has, after those of icckd; none is imported yet.

    Args:
        references: Each begins with `FILE` or `ENTRY`.

    Raises:
        ValueError: The parts were read already, without one of them.
    """
    new = [each for each in references if each not in _plugins]
    if new and _state == "loaded":
        raise ValueError(f"plug-in {new[0]!r} comes too late: the parts were read already")
    _plugins.extend(new)


def plugin_folders() -> tuple[Path, ...]:
    """Return the folders of the files that are plug-ins of this process."""
    files = [Path(each.removeprefix(FILE)) for each in _plugins if each.startswith(FILE)]
    return tuple(dict.fromkeys(file.parent for file in files))


@contextlib.contextmanager
def standing_in(parts: Mapping[str, tuple[Part[Any], ...]]) -> Iterator[None]:
    """Let settings of these parts, by what they are called, be valid inside; and of no others."""
    token = _stand_ins.set(parts)
    try:
        yield
    finally:
        _stand_ins.reset(token)


def load(import_plugin: Callable[[str], None] | None = None) -> None:
    """Import all parts, once in a process. Called by whatever reads a registry.

    Args:
        import_plugin: Imports one plug-in, by its reference.

    Raises:
        MachineError: A plug-in cannot be imported.
    """
    global _state
    if _state == "loaded":
        return
    with _lock:
        if _state != "unread":  # loaded meanwhile, or asked by a part that is being imported
            return
        _state = "loading"
        try:
            for package in _packages:
                found = importlib.import_module(package)
                for module in pkgutil.iter_modules(found.__path__):
                    importlib.import_module(f"{package}.{module.name}")
            for reference in _plugins:
                (import_plugin or _import_in_worker)(reference)
            for action in _then:
                action()
        except BaseException:
            _state = "unread"
            raise
        _state = "loaded"


def import_reference(reference: str) -> None:
    """Import a plug-in, whatever that raises.

    A file is a module under its own name, and finds modules beside it after all installed ones.

    Raises:
        MachineError: There is no such file or entry point.
    """
    if reference.startswith(ENTRY):
        from importlib.metadata import entry_points  # slow to import, and rarely needed

        name = reference.removeprefix(ENTRY)
        for entry in entry_points(group=GROUP):
            if entry.name == name:
                entry.load()
                return
        raise MachineError(
            f"no installed distribution has an entry point {name!r} of group {GROUP}",
            hint="install what brings it wherever stages are trained",
        )
    file = Path(reference.removeprefix(FILE))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise MachineError(f"{file} is no Python file", hint="name a file that ends with .py")
    if is_imported(reference):  # by another plug-in that imports it
        return
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)


def is_imported(reference: str) -> bool:
    """Whether a plug-in's file is a module of this process already."""
    file = Path(reference.removeprefix(FILE))
    loaded = getattr(sys.modules.get(file.stem), "__file__", None)
    return reference.startswith(FILE) and loaded is not None and Path(loaded).resolve() == file


def _import_in_worker(reference: str) -> None:
    try:
        import_reference(reference)
    except MachineError:
        raise
    except Exception as error:
        raise MachineError(
            f"plug-in {reference.partition(':')[2]} cannot be imported:"
            f" {type(error).__name__}: {error}",
            hint="`icckd plan` on this machine says where",
        ) from error
