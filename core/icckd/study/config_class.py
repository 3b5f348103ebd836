"""The class that a task's config is of: a dataclass or pydantic model of the user, in a helper.

`config_class = "train.py:Config"` completes `[task.config]` by the defaults of the class, and each
arm's config is validated by it. The interpreter of the task imports it (`config_host.py`), in a
process that lives as long as the study is read and planned; this process imports nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icckd.errors import SpecError
from icckd.study import config_host
from icckd.study.origin import Origin
from icckd.study.plugin_process import PluginProcess
from icckd.study.registry import FILE
from icckd.study.tasks import ENTRY_PATTERN, interpreter_of, tables_of_tasks


@dataclass(frozen=True, kw_only=True)
class ConfigClass:
    """The class of one task's config.

    Attributes:
        name: As the study names it.
        process: Answers for it.
    """

    name: str
    process: PluginProcess

    def complete(self, config: Any, where: str) -> dict[str, Any]:
        """Return a config as the class has it, with its defaults.

        Args:
            config: The entries.
            where: What to call their table in messages, such as `task.config`.

        Raises:
            SpecError: One does not fit, or the class cannot be imported.
        """
        answer = self.process.ask({"ask": "config", "table": config})
        if "refused" in answer:
            told = answer["refused"]
            path = f"{where}.{told['path']}" if told["path"] else where
            raise SpecError(f"{path}: {told['message']}", hint=f"config_class = {self.name!r}")
        found: dict[str, Any] = answer["config"]
        return found


def classes_of(study: object) -> Mapping[str, ConfigClass]:
    """Return the classes of a study that was read from a file, by task; none of any other."""
    found: Mapping[str, ConfigClass] = getattr(study, "known_classes", {})
    return found


def config_classes(tables: Mapping[str, Any], origin: Origin) -> dict[str, ConfigClass]:
    """Return the classes of config that the tasks of a study's tables name, by task.

    Raises:
        SpecError: One cannot be imported.
    """
    found = {}
    for name, table in tables_of_tasks(tables).items():
        given = table.get("config_class")
        if isinstance(given, str) and re.match(ENTRY_PATTERN, given):
            python = table.get("python")
            found[name] = _config_class(
                given, python if isinstance(python, str) else None, origin.folder
            )
    return found


def with_whole_config(
    tables: Mapping[str, Any], classes: Mapping[str, ConfigClass], origin: Origin
) -> dict[str, Any]:
    """Return a study's tables with each config as its class has it.

    Raises:
        SpecError: An entry does not fit; the message names its line.
    """
    done = dict(tables)
    for name, known in classes.items():
        is_only = "config_class" in tables["task"]
        way = ("task",) if is_only else ("task", name)
        table = tables["task"] if is_only else tables["task"][name]
        place = origin.at(*way, "config")
        try:
            config = known.complete(table.get("config", {}), ".".join((*way, "config")))
        except SpecError as error:
            raise SpecError(f"{place}{error.message}", hint=error.hint) from error
        whole = {**table, "config": config}
        done["task"] = whole if is_only else {**done["task"], name: whole}
    return done


def place_of(name: str, folder: Path) -> dict[str, str]:
    """Return where a class or function lies, as helpers are told.

    Args:
        name: `train.py:Config` or `package.module:Config`.
        folder: The folder of the study.
    """
    module, _, own = name.rpartition(":")
    is_file = module.endswith(".py")
    return {
        "file": str((folder / module).absolute()) if is_file else "",
        "module": "" if is_file else module,
        "folder": str(folder.absolute()),
        "name": own,
    }


def _config_class(name: str, python: str | None, folder: Path) -> ConfigClass:
    place = place_of(name, folder)
    if place["file"] and not Path(place["file"]).is_file():
        raise SpecError(
            f"config_class = {name!r}: there is no file {place['file']}",
            hint='config_class = "train.py:Config" names a file beside the study',
        )
    reference = f"{FILE}{place['file'] or str(folder / place['module'])}"
    interpreter = interpreter_of(python, folder)
    process = PluginProcess(
        (name,),
        (reference, interpreter),
        what="config_class",
        command=(interpreter, config_host.__file__),
        hello=place,
    )
    process.ask({"ask": "describe"})
    return ConfigClass(name=name, process=process)
