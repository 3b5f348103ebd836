"""Runs the function of a task: `python task_entry.py ORDER.json`. Standard library only.

The interpreter of the task runs it, Python 3.9 or newer, which need not have icckd; it sees the
modules that a script in the folder of the function would see. The function is called with `config`
and `run`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

ITEMS = "items.jsonl"
"""File beside the log with what `run.item` reports."""
LONGEST_ID = 200
MOST_ITEMS = 100_000


class Config(dict[str, Any]):
    """Settings, as attributes and as entries: `config.lr` and `config["lr"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} in [task.config]") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _config(value: Any) -> Any:
    if isinstance(value, dict):
        return Config((key, _config(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_config(inner) for inner in value]
    return value


class Run:
    """What icckd tells a function about its run, and what the function reports.

    Attributes:
        seed: The seed of the trial. Equal seeds of different arms are pairs.
        folder: The run folder, which is the current folder, too.
        device: `cpu` or `cuda`.
        inputs: The run folders of the tasks that it needs, by name.
        resume: Whether an earlier attempt worked in this folder.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.seed = order["seed"]
        self.folder = Path(order["folder"])
        self.device = order["device"]
        self.inputs = {name: Path(path) for name, path in order["inputs"].items()}
        self.resume = order["resume"]
        self.should_stop = False
        self._next_step = 1
        self._log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._items_path = os.path.join(os.path.dirname(order["log"]), ITEMS)
        self._items: int | None = None
        self._item_ids: set[str] = set()
        if self.resume and os.path.exists(self._items_path):  # items may come anew from here on
            self._items = os.open(self._items_path, os.O_WRONLY | os.O_APPEND)
            os.write(self._items, b'\n{"begins": true}\n')
        signal.signal(signal.SIGTERM, self._stop)
        os.register_at_fork(after_in_child=_die_of_sigterm)

    def log(self, step: int | None = None, **values: Any) -> None:
        """Report values at a step, a whole number; without one, calls are counted from 1."""
        step = self._next_step if step is None else _whole(step)
        self._next_step = step + 1
        self._write({"kind": "log", "step": step, "values": _numbers(values)})

    def summary(self, right: Any = None, **values: Any) -> None:
        """Report values of the run as a whole.

        `right` says of each test case whether the model was right, in the order of the test set:
        any sequence of true and false.
        """
        record: dict[str, Any] = {"kind": "summary", "values": _numbers(values)}
        if right is not None:
            record["right"] = "".join("1" if each else "0" for each in _listed(right))
        self._write(record)

    def item(self, id: Any, group: Any = None, **scores: Any) -> None:  # noqa: A002  # as in tables
        """Report the scores of one item, such as a question: true or false, or a number.

        `id` names the item and `group` what it shares with others that err with it, such as its
        topic: texts or whole numbers. The mean over all items is the outcome of the run.
        """
        name = _name(id, "id")
        if name in self._item_ids:
            raise ValueError(f"run.item: item {name!r} came twice")
        record = {
            "id": name,
            "group": None if group is None else _name(group, "group"),
            "scores": {key: _item_score(value, name, key) for key, value in scores.items()},
        }
        if not scores:
            raise ValueError(f"run.item: item {name!r} has no score: run.item(id, score=...)")
        if len(self._item_ids) >= MOST_ITEMS:
            raise ValueError(f"run.item: more than {MOST_ITEMS} items")
        self._item_ids.add(name)
        if self._items is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._items = os.open(self._items_path, flags, 0o666)
        os.write(self._items, json.dumps(record).encode() + b"\n")

    def fingerprint(self, name: str, array: Any) -> None:
        """Report the content of an array, such as initial weights, for `icckd check`."""
        content = repr(_listed(array)).encode()
        digest = hashlib.sha256(content).hexdigest()[:32]
        self._write({"kind": "fingerprint", "name": str(name), "digest": digest})

    def _write(self, record: dict[str, Any]) -> None:
        os.write(self._log, json.dumps(record).encode() + b"\n")  # NaN is a word that Python reads

    def _stop(self, number: int, frame: Any) -> None:
        """Note that the run is to save what it needs and end; told again, end now."""
        if self.should_stop:
            sys.exit(128 + number)
        self.should_stop = True


def _die_of_sigterm() -> None:
    """End the processes that a function forks as usual: pools wait for that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _whole(step: Any) -> int:
    found = int(step)
    if found != step or found < 0:
        raise ValueError(f"run.log: step {step!r} is not a whole number from 0 on")
    return found


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _name(given: Any, what: str) -> str:
    is_whole = hasattr(given, "__index__") and not isinstance(given, bool)
    if not (is_whole or isinstance(given, str)) or given == "":
        raise ValueError(f"run.item: {what} {given!r} is no text and no whole number")
    text = str(given)
    if len(text) > LONGEST_ID or not text.isprintable():
        raise ValueError(
            f"run.item: {what} {text[:40]!r} is longer than {LONGEST_ID} or not printable: take a"
            " short name, such as a number"
        )
    return text


def _item_score(value: Any, item: str, name: str) -> Any:
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's, too
        return bool(value)
    number = float(value)
    if not -math.inf < number < math.inf:
        raise ValueError(f"run.item: {name} of item {item!r} is {number}")
    return number


def _listed(array: Any) -> Any:
    for method in ("tolist", "to_list"):
        if hasattr(array, method):
            return getattr(array, method)()
    return list(array)


def _typed(order: dict[str, Any]) -> Any:
    """Return the config, as an object of its class where it has one."""
    place = order["config_class"]
    if not place:
        return _config(order["config"])
    spec = importlib.util.spec_from_file_location("_icckd_config_host", place["host"])
    assert spec is not None
    assert spec.loader is not None
    host = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = host
    spec.loader.exec_module(host)
    return host.build(host.load_class(place), order["config"])


def _function(order: dict[str, Any]) -> Any:
    if order["file"]:
        path = Path(order["file"])
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, str(path))
        assert spec is not None  # it has a loader: the file ends with .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, order["study_folder"])
        module = importlib.import_module(order["module"])
    return getattr(module, order["function"])


def main() -> None:
    """Call the function."""
    with open(sys.argv[1], encoding="utf-8") as file:
        order = json.load(file)
    sys.argv = [order["file"] or order["module"]]
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    run = Run(order)
    function = _function(order)
    function(_typed(order), run)


if __name__ == "__main__":
    main()
