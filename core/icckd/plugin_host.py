"""`python -m icckd.plugin_host N`: imports plug-ins and answers questions about their parts.

Standard input brings a line of JSON with the plug-ins, then a question a line; descriptor N takes
the answers. It is the only process besides workers that imports code of the user. What the code
prints goes elsewhere; when standard input ends, so does the process, whatever the code does.
"""

import base64
import builtins
import faulthandler
import hashlib
import io
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined, to_jsonable_python

from icckd.errors import IcckdError, MachineError
from icckd.resources.processes import answers
from icckd.study import load, registry
from icckd.study.data import Data, ImageShape, Inventory
from icckd.study.distillers import Term
from icckd.study.metrics import METRICS
from icckd.study.model import Student
from icckd.study.network import Model, NetworkShape
from icckd.study.plugins import base_of
from icckd.study.registry import FILE, Part, Registry
from icckd.study.source import OWN, digests, file_of, modules_beside, source_of
from icckd.study.teacher import LossSettings, Teacher

assert load  # with it, everything that a study file is read by is there before a plug-in is
_CLASS_FACTS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (Model, ("about",)),
    (Data, ("about", "absent_hint", "is_downloaded", "drawn")),
    (Term, ("source", "needs", "losses", "compares")),
    (LossSettings, ("title", "about", "diagnostics", "views", "aliases")),
)
"""What the classes of settings say of all their settings."""
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "shape": (ImageShape,),
    "obstacle": (NetworkShape, NetworkShape),
    "counts_in": (Path,),
    "counts_of": (Inventory,),
    "raw_files": (Path,),
    "raw_folder": (Path,),
    "inventory": (Path,),
}


class PluginError(Exception):
    """A plug-in cannot be used.

    Attributes:
        told: Plug-in, what happened, file and line, hint; as JSON values.
    """

    def __init__(self, **told: Any) -> None:
        super().__init__(told["text"])
        self.told = told


def main() -> None:
    """Answer until standard input ends."""
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    out, lines = answers(), _lines()
    host: Host | None = None
    while True:
        question = json.loads(lines.get())
        try:
            if host is None:
                host = Host(question["names"], question["references"])
                answer: Any = {}
            else:
                answer = host.answer(question)
        except PluginError as error:
            answer = {"error": error.told}
        except (Exception, SystemExit) as error:
            folders = [str(folder) for folder in registry.plugin_folders()]
            answer = {"error": _told(error, folders, "")}
        sys.stdout.flush()
        out.write(json.dumps(answer).encode() + b"\n")


def _lines() -> "queue.SimpleQueue[bytes]":
    """Return the lines of standard input; the process ends with them."""
    found: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            found.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return found


class Host:
    """Has imported the plug-ins of a study.

    Args:
        names: As the study names them.
        references: Where they are imported from.

    Raises:
        PluginError: One cannot be imported, registers nothing, or changes what is built in.
    """

    def __init__(self, names: list[str], references: list[str]) -> None:
        self._names = dict(zip(references, names, strict=True))
        self._by_plugin: dict[str, list[tuple[Registry[Any], Part[Any]]]] = {}
        self._formats: dict[str, list[str]] = {}
        registry.add_plugins(references)
        registry.load(self._import)

    def answer(self, question: Mapping[str, Any]) -> Any:
        """Return the answer to a question, as JSON values."""
        kinds: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "describe": self._describe,
            "settings": _settings,
            "call": _call,
            "source": _source,
            "report": _report,
        }
        return kinds[question["ask"]](question)

    def parts_of(self, reference: str) -> list[tuple[Registry[Any], Part[Any]]]:
        """Return the parts that a plug-in registers, each with its registry."""
        return self._by_plugin[reference]

    def _import(self, reference: str) -> None:
        name = self._names[reference]
        if registry.is_imported(reference):  # another plug-in imports it, and so brings its parts
            self._by_plugin[reference], self._formats[reference] = [], []
            return
        _refuse_other_module(reference, name)
        built_in, parts, formats = _BuiltIn(), _all_parts(), _report_formats()
        try:
            registry.import_reference(reference)
        except (Exception, SystemExit) as error:
            folders = [str(Path(reference.removeprefix(FILE)).parent)]
            raise PluginError(**_told(error, folders, name)) from error
        new = [each for each in _all_parts() if each not in parts]
        own = {each.__module__ for _, part in new for each in (part.settings, part.build)}
        if reference.startswith(FILE):
            own.add(reference_module(reference))
        if changed := built_in.changed(own - {"builtins"}):
            raise PluginError(
                plugin=name,
                text=f"it changes {changed}, which is built in: results of others' parts would no"
                " longer be what their names say",
                hint="register a part of your own beside it",
            )
        self._formats[reference] = [n for n in _report_formats() if n not in formats]
        if not new and not self._formats[reference]:
            raise PluginError(
                plugin=name,
                text="it registers no part",
                hint="put @distiller(...), @model(...) or the like over the class: docs/plugins.md",
            )
        self._by_plugin[reference] = new

    def _describe(self, question: Mapping[str, Any]) -> dict[str, Any]:
        plugins, parts, files = [], [], {}
        for reference, mine in self._by_plugin.items():
            name = self._names[reference]
            used = {reference_module(reference)} if reference.startswith(FILE) else set()
            used |= {each.__module__ for _, p in mine for each in (p.settings, p.build)}
            modules = set(modules_beside(used - {"builtins"}))
            _refuse_shadowed(modules, name)
            found = digests(modules)
            plugins.append(
                {
                    "name": name,
                    "reference": reference,
                    "modules": found,
                    "formats": self._formats[reference],
                }
            )
            for module in modules | {each for each in used if file_of(each)}:
                path = file_of(module)
                assert path is not None
                files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            parts += [_part_facts(sort, part, name) for sort, part in mine]
        return {"plugins": plugins, "parts": parts, "files": files}


def reference_module(reference: str) -> str:
    """Return the module that a plug-in's file is imported as."""
    return Path(reference.removeprefix(FILE)).stem


def _refuse_other_module(reference: str, name: str) -> None:
    """Refuse a file whose name another module has: the import of either would find the other."""
    if not reference.startswith(FILE):
        return
    module = reference_module(reference)
    is_installed = module in sys.modules or module in sys.stdlib_module_names
    if not is_installed:
        import importlib.util

        spec = importlib.util.find_spec(module)
        is_installed = spec is not None and spec.origin != reference.removeprefix(FILE)
    if is_installed:
        raise PluginError(
            plugin=name,
            text=f"there is another module of the name {module!r} here",
            hint="rename the file, for example my_parts.py",
        )


def _refuse_shadowed(modules: set[str], name: str) -> None:
    """Refuse a module beside the plug-in that Python does not find there."""
    for module in modules:
        loaded = getattr(sys.modules.get(module), "__file__", None)
        path = file_of(module)
        if loaded is not None and path is not None and Path(loaded).resolve() != path.resolve():
            raise PluginError(
                plugin=name,
                text=f"it imports {module!r}, which is {loaded} and not {path.name} beside it",
                hint=f"rename {path.name}",
            )


def _all_parts() -> list[tuple[Registry[Any], Part[Any]]]:
    return [(sort, part) for sort in registry.registered() for part in sort.registered_now()]


def _report_formats() -> list[str]:
    from icckd.report.formats import registered_names

    return registered_names()


def _told(error: BaseException, folders: list[str], plugin: str) -> dict[str, Any]:
    """Return an error as JSON values: what, and the innermost line that is the user's."""
    if isinstance(error, SyntaxError):
        place = [(error.filename or "", error.lineno or 0)]
        error = SyntaxError(error.msg)
    else:
        stack = traceback.extract_tb(error.__traceback__)
        place = [
            (f.filename, f.lineno or 0) for f in stack if str(Path(f.filename).parent) in folders
        ]
    what = "calls sys.exit" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    if isinstance(error, IcckdError):
        what, place = error.message, []
    hint = error.hint if isinstance(error, IcckdError) else ""
    file, line = place[-1] if place else ("", 0)
    return {
        "plugin": plugin,
        "text": what.strip().replace("\n", "; ")[:1000],
        "file": Path(file).name,
        "line": line,
        "hint": hint,
    }


class _BuiltIn:
    """What modules of icckd, and Python's built-in names, are before a plug-in is imported."""

    def __init__(self) -> None:
        self._before = self._now()

    def changed(self, own: set[str]) -> str:
        """Return the name of something that is another object now, or holds something else.

        Args:
            own: Modules of the plug-in: a module of icckd that it was the first to import has
                nothing that was made there.
        """
        now = self._now()
        for name, (value, _) in now.items():
            is_own = name.startswith(tuple(f"{module}." for module in own)) or " " in name
            is_new = name not in self._before and not is_own
            if is_new and getattr(value, "__module__", "") in own:
                return name
        for name, (value, text) in self._before.items():
            later = now.get(name)
            if later is None or later[0] is not value or later[1] != text:
                return name
        return ""

    @staticmethod
    def _now() -> dict[str, tuple[Any, str]]:
        found: dict[str, tuple[Any, str]] = {}
        modules = {n: m for n, m in sys.modules.items() if n == OWN or n.startswith(f"{OWN}.")}
        for module_name, module in {**modules, "builtins": builtins}.items():
            for name, value in list(vars(module).items()):
                if _is_private(name):
                    continue
                whole = f"{module_name}.{name}"
                found[whole] = value, "" if whole in _GROWS else _content(value)
                if isinstance(value, type) and value.__module__ == module_name != "builtins":
                    for inner, own in list(vars(value).items()):
                        if not _is_private(inner):
                            found[f"{module_name}.{name}.{inner}"] = own, ""
        return found | {
            f"{sort.noun} {part.kind}": (part.build, "")
            for sort, part in _all_parts()
            if part.build.__module__.startswith(f"{OWN}.")
        }


_GROWS = frozenset(("icckd.study.settings.PATTERNS",))
"""Tables that parts of the user's own add to, as icckd's do."""


def _is_private(name: str) -> bool:
    """Whether Python, pydantic or a module itself may change it at any time."""
    return name.startswith("_")


def _content(value: Any) -> str:
    return repr(value) if type(value) in (dict, list, set) else ""


# Answers.


def _part_facts(sort: Registry[Any], part: Part[Any], plugin: str) -> dict[str, Any]:
    told = {"noun": sort.noun, "kind": part.kind, "plugin": plugin, "about": "", "base": ""}
    if sort is METRICS:
        facts = {name: to_jsonable_python(part.options[name]) for name in ("rows", "measured")}
        return {**told, "schema": {}, "defaults": {}, "facts": facts}
    settings = part.settings
    names = [n for base, names in _CLASS_FACTS if issubclass(settings, base) for n in names]
    for name in names:
        if not hasattr(settings, name):
            text = f"{settings.__name__} says no {name!r}: see docs/plugins.md"
            raise PluginError(plugin=plugin, text=text, hint=f"write {name} = ... in the class")
    facts = {name: _jsonable(getattr(settings, name)) for name in names}
    return {
        **told,
        "base": base_of(settings),
        "about": settings.__doc__ or "",
        "schema": settings.model_json_schema(by_alias=False),
        "defaults": _defaults(settings),
        "facts": facts,
    }


def _defaults(settings: type[BaseModel]) -> dict[str, Any]:
    found = {}
    for name, field in settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        if value is not PydanticUndefined:
            found[name] = _jsonable(value)
    return found


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return to_jsonable_python(asdict(value))
    return to_jsonable_python(value)


def _part(question: Mapping[str, Any]) -> Part[Any]:
    sorts = {sort.noun: sort for sort in registry.registered()}
    return sorts[question["noun"]].part(question["kind"])


def _settings(question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        made = _part(question).settings.model_validate_json(json.dumps(question["table"]))
    except ValidationError as error:
        return {
            "errors": [
                {
                    "type": each["type"],
                    "loc": list(each["loc"]),
                    "msg": each["msg"],
                    "input": to_jsonable_python(each["input"], fallback=str),
                    "ctx": to_jsonable_python(each.get("ctx", {}), fallback=str),
                }
                for each in error.errors(include_url=False)
            ]
        }
    return {"table": made.model_dump(mode="json")}


def _call(question: Mapping[str, Any]) -> dict[str, Any]:
    made = _part(question).settings.model_validate_json(json.dumps(question["table"]))
    kinds = _ARGUMENTS.get(question["name"], ())
    given = [
        TypeAdapter(kind).validate_python(each)
        for kind, each in zip(kinds, question["arguments"], strict=True)
    ]
    found = getattr(made, question["name"])
    try:
        value = found(*given) if callable(found) else found
    except ValueError as error:
        return {"refused": str(error)}
    except MachineError as error:
        return {"missing": error.message, "hint": error.hint}
    return {"value": _jsonable(value)}


def _report(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report, written by a format that a plug-in registers."""
    from icckd.journal.folder import StateFolder
    from icckd.report.document import build_document
    from icckd.report.formats import report_format
    from icckd.results.query import open_results

    wanted, row = question["report"], report_format(question["name"])
    with open_results(StateFolder(Path(wanted["folder"]))) as results:
        revisions = results.revisions(wanted["study"])
        study = next(each for each in revisions if each.revision == wanted["revision"])
        document = build_document(results, study)
    if row.write is not None:
        text = io.StringIO()
        row.write(document, text)
        content = text.getvalue().encode()
    else:
        assert row.write_file is not None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"report{question['suffix']}"
            row.write_file(document, file)
            content = file.read_bytes()
    return {"content": base64.b64encode(content).decode()}


_DATA: TypeAdapter[Data] = TypeAdapter(Data)


def _source(question: Mapping[str, Any]) -> dict[str, Any]:
    kind, table = question["kind"], json.dumps(question["role"])
    is_teacher = kind == "teacher"
    role = (Teacher if is_teacher else Student).model_validate_json(table)
    data = _DATA.validate_json(json.dumps(question["data"]))
    return asdict(source_of(kind, role, data, question["packed"]))


if __name__ == "__main__":
    main()
