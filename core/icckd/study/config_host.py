"""`python config_host.py N`: knows the class that a task's config is of. Standard library only.

The interpreter of the task runs it, Python 3.9 or newer, which need not have icckd; what runs the
function of a task loads it, too. The class is a dataclass, or a model of pydantic where that is
installed there. Standard input brings a line of JSON that names the class, then a question a line;
descriptor N takes the answers. The process ends when standard input does, whatever the code does.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import enum
import faulthandler
import hashlib
import importlib
import importlib.util
import json
import math
import os
import queue
import signal
import sys
import threading
import traceback
import typing
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """A table does not fit the class.

    Attributes:
        path: The entry of the table, dotted; "" for the table as a whole.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def load_class(place: dict[str, str]) -> Any:
    """Return the class that `file` or `module` has under `name`."""
    if place["file"]:
        path = Path(place["file"])
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        if path.stem in sys.modules:  # the function of the task lies there, too
            return getattr(sys.modules[path.stem], place["name"])
        spec = importlib.util.spec_from_file_location(path.stem, str(path))
        assert spec is not None  # it has a loader: the file ends with .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        if place["folder"] not in sys.path:
            sys.path.insert(0, place["folder"])
        module = importlib.import_module(place["module"])
    return getattr(module, place["name"])


def build(kind: Any, table: dict[str, Any]) -> Any:
    """Return an object of the class with the values of a table; those left out at their defaults.

    Raises:
        ConfigError: A value does not fit.
    """
    if hasattr(kind, "model_validate"):
        return _of_pydantic(kind.model_validate, table)
    if hasattr(kind, "parse_obj"):
        return _of_pydantic(kind.parse_obj, table)
    if not dataclasses.is_dataclass(kind):
        raise ConfigError("", f"{kind!r} is neither a dataclass nor a model of pydantic")
    return _of_dataclass(kind, table, "")


def _of_pydantic(validate: Any, table: dict[str, Any]) -> Any:
    try:
        return validate(table)
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        first = error.errors()[0]
        raise ConfigError(".".join(map(str, first["loc"])), first["msg"]) from error


def _of_dataclass(kind: Any, table: Any, path: str) -> Any:
    if not isinstance(table, dict):
        raise ConfigError(path, f"{json.dumps(table)} is no table")
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init}
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            known = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(fields)}"
            raise ConfigError(_below(path, key), f"{kind.__name__} has no {key!r}; {known}")
    values = {key: _value(hints.get(key, Any), given, _below(path, key))
              for key, given in table.items()}  # fmt: skip
    for name, each in fields.items():
        if name not in values and each.default is each.default_factory is dataclasses.MISSING:
            raise ConfigError(_below(path, name), f"{kind.__name__} needs {name!r}")
    return kind(**values)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _value(kind: Any, given: Any, path: str) -> Any:
    """Return a value of JSON as what an annotation asks for."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union or type(kind).__name__ == "UnionType":
        return _one_of(inner, given, path)
    if origin is typing.Literal:
        if given in inner and type(given) in map(type, inner):
            return given
        raise ConfigError(path, f"{json.dumps(given)}: wanted {', '.join(map(repr, inner))}")
    if origin in (list, tuple, set, collections.abc.Sequence) or kind in (list, tuple, set):
        return _many(origin or kind, inner, given, path)
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind, given, path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        for member in kind:
            if given in (member.value, member.name):
                return member
        names = ", ".join(str(member.value) for member in kind)
        raise ConfigError(path, f"{json.dumps(given)}: wanted one of {names}")
    return _plain_value(kind, given, path)


def _plain_value(kind: Any, given: Any, path: str) -> Any:
    if kind is float and type(given) in (int, float):
        return float(given)
    if kind is Path and isinstance(given, str):
        return Path(given)
    if kind in (bool, int, float, str) and type(given) is not kind:
        raise ConfigError(path, f"{json.dumps(given)} is no {kind.__name__}")
    return given


def _one_of(kinds: tuple[Any, ...], given: Any, path: str) -> Any:
    exact = [kind for kind in kinds if kind is type(given)]
    problem = ConfigError(path, f"{json.dumps(given)} fits none of {len(kinds)} types")
    for kind in (*exact, *kinds):
        if kind is type(None):
            continue
        try:
            return _value(kind, given, path)
        except ConfigError as error:
            problem = error
    raise problem


def _many(kind: Any, inner: tuple[Any, ...], given: Any, path: str) -> Any:
    if not isinstance(given, list):
        raise ConfigError(path, f"{json.dumps(given)} is no list")
    kinds = list(inner) or [Any]
    if kind is tuple and Ellipsis not in kinds and inner:
        if len(kinds) != len(given):
            raise ConfigError(path, f"{json.dumps(given)}: wanted {len(kinds)} values")
    else:
        kinds = [kinds[0]] * len(given)
    values = [_value(kinds[n], each, f"{path}[{n}]") for n, each in enumerate(given)]
    return values if kind not in (tuple, set) else kind(values)


def plain(value: Any) -> Any:
    """Return an object as JSON values; what is None is left out of tables."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({each.name: getattr(value, each.name)
                      for each in dataclasses.fields(value) if each.init})  # fmt: skip
    if hasattr(value, "__fields__") and hasattr(value, "dict"):
        return plain(value.dict())
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def _answer(kind: Any, question: dict[str, Any], folder: str) -> dict[str, Any]:
    if question["ask"] == "describe":
        return {"files": _files(folder)}
    try:
        return {"config": plain(build(kind, question["table"]))}
    except ConfigError as error:
        return {"refused": {"path": error.path, "message": str(error)}}
    except ValueError as error:  # what __post_init__ says
        return {"refused": {"path": "", "message": str(error)}}


def _files(folder: str) -> dict[str, str]:
    """Return the digests of the files of all modules that came from a folder."""
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and os.path.abspath(file).startswith(folder + os.sep) and os.path.isfile(file):
            content = Path(file).read_bytes()
            found[os.path.abspath(file)] = hashlib.sha256(content).hexdigest()
    return found


def _told(error: BaseException, folder: str) -> dict[str, Any]:
    stack = traceback.extract_tb(error.__traceback__)
    place = [(f.filename, f.lineno) for f in stack if f.filename.startswith(folder + os.sep)]
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        place, text = [(error.filename or "", error.lineno)], f"SyntaxError: {error.msg}"
    if isinstance(error, SystemExit):
        text = "calls sys.exit: guard what runs the script by `if __name__ == '__main__':`"
    file, line = place[-1] if place else ("", 0)
    return {"text": text.replace("\n", "; ")[:1000], "file": os.path.basename(file), "line": line}


def _lines() -> queue.SimpleQueue[str]:
    found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            found.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return found


def main() -> None:
    """Answer until standard input ends."""
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    descriptor = int(sys.argv.pop(1))
    os.set_inheritable(descriptor, False)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]
    lines = _lines()
    place = json.loads(lines.get())
    folder = os.path.dirname(os.path.abspath(place["file"])) if place["file"] else place["folder"]
    sys.argv = [place["file"] or place["module"]]
    kind: Any = None
    answer: dict[str, Any] = {}
    while True:
        try:
            kind = load_class(place) if kind is None else kind
        except (Exception, SystemExit) as error:
            answer = {"error": _told(error, folder)}
        sys.stdout.flush()
        os.write(descriptor, json.dumps(answer).encode() + b"\n")
        question = json.loads(lines.get())
        try:
            answer = _answer(kind, question, folder)
        except (Exception, SystemExit) as error:
            answer = {"error": _told(error, folder)}


if __name__ == "__main__":
    main()
