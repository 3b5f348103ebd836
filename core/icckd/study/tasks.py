"""Tasks: code of the user as stages of a trial. Settings, names, placeholders, metrics. Pure.

A study trains with icckd's own engine (`[data]`, `[teacher]`, `[student]`) or runs tasks. `[task]`
is one task, named "task"; `[task.pretrain]` and `[task.finetune]` are two. Arms change what stands
in `[task.config]`; icckd knows nothing else of what the code does.
"""

import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    model_serializer,
    model_validator,
)

from icckd.errors import SpecError
from icckd.study.items import TaskItems
from icckd.study.metrics import OUTCOMES, SERIES, Direction, Metric
from icckd.study.paths import nearest
from icckd.study.records import ENGINE_KINDS
from icckd.study.settings import Many, Settings, matching

ONLY = "task"
"""Name of the one task of a study that does not name its tasks."""
ANY_VALUE = (bool, int, float, str)
SOURCES = ("csv", "jsonl", "json", "stdout", "tensorboard", "wandb")
Source = Literal["log", "csv", "jsonl", "json", "stdout", "tensorboard", "wandb"]

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LIMIT = r"^\s*[0-9]+(\.[0-9]+)?\s*(s|m|min|h|d)\s*$"
Duration = Annotated[str, matching(_LIMIT, 'a time such as "90 s", "30 min" or "2 h"', most=40)]
MetricName = Annotated[
    str,
    matching(
        r"^[A-Za-z][A-Za-z0-9_/-]{0,63}$",
        "a name of letters, digits and _ - /, beginning with a letter, at most 64 long",
    ),
]
TaskName = Annotated[
    str,
    matching(
        r"^[a-z][a-z0-9_-]{0,31}$",
        "a name of small letters, digits, _ and -, beginning with a letter, at most 32 long",
    ),
]
ENTRY_PATTERN = r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$"
ShortText = Annotated[str, StringConstraints(max_length=2000)]
Word = Annotated[
    str, matching(r"^[^\x00]*$", "a text without NUL, which no program can be given", most=2000)
]
UnitText = Annotated[
    str,
    matching(
        r"^[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$",
        "a unit without control characters",
        most=20,
    ),
]


VariableName = Annotated[
    str,
    matching(
        r"^[A-Za-z_][A-Za-z0-9_]*$",
        "a variable's name of letters, digits and _, not beginning with a digit",
        most=200,
    ),
]


def _without_empty_aliases(written: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in written.items() if key != "aliases" or value}


class TaskMetric(Settings):
    """A number that a task gives: where it is found, and what it means.

    At most one of `csv`, `jsonl`, `json`, `stdout`, `tensorboard` and `wandb` is given; without
    one the function of an `entry` reports it by `run.log` or `run.summary`.
    """

    unit: UnitText = Field(default="1", description="of the number, for tables; % for percent")
    direction: Direction = Field(default="none", description="which values are better")
    about: ShortText = Field(default="", description="what it is, for a reader")
    csv: ShortText | None = Field(default=None, description="file or pattern in the run folder")
    jsonl: ShortText | None = Field(default=None, description="file or pattern in the run folder")
    json_: ShortText | None = Field(
        default=None, alias="json", description="file in the run folder, read once at the end"
    )
    model_config = ConfigDict(serialize_by_alias=True)
    aliases: Many[ShortText] = Field(default=(), description="what papers call it")
    stdout: ShortText | None = Field(
        default=None,
        description="regular expression over printed lines: group 1, or groups value and step",
    )
    tensorboard: ShortText | None = Field(
        default=None, description="folder of event files in the run folder"
    )
    wandb: ShortText | None = Field(
        default=None, description="folder of an offline run in the run folder"
    )
    key: ShortText = Field(
        default="", description='column, key ("val.acc") or tag; by default the metric\'s name'
    )
    step: ShortText = Field(
        default="step", description="column or key of the step; without one, lines are counted"
    )
    take: Literal["last", "max", "min", "mean"] = Field(
        default="last", description="which value of the series is the outcome"
    )
    test_images: int | None = Field(
        default=None, ge=1, description="the metric is the share, in percent, of so many test cases"
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is at its default and came later: revisions of studies stay the same."""
        return _without_empty_aliases(write(self))

    @property
    def source(self) -> Source:
        """Where it comes from."""
        given = [name for name in SOURCES if self.place(name) is not None]
        return given[0] if given else "log"  # type: ignore[return-value]

    def place(self, source: str) -> str | None:
        """Return the file, folder or expression of a source; None where it is not the source."""
        place: str | None = getattr(self, "json_" if source == "json" else source)
        return place

    @model_validator(mode="after")
    def _one_source(self) -> "TaskMetric":
        given = [name for name in SOURCES if self.place(name) is not None]
        if len(given) > 1:
            raise ValueError(f"it comes from {given[0]} and from {given[1]}: keep one of them")
        if self.stdout is not None:
            try:
                groups = re.compile(self.stdout).groups
            except re.error as error:
                raise ValueError(
                    f"stdout = {self.stdout!r} is no regular expression: {error}"
                ) from error
            if groups == 0:
                raise ValueError(
                    f"stdout = {self.stdout!r} has no group that holds the value, such as"
                    " 'loss=([0-9.]+)'"
                )
        for name in ("csv", "jsonl", "json", "tensorboard", "wandb"):
            place = self.place(name)
            if place is not None and (
                not place or place.startswith("/") or ".." in place.split("/")
            ):
                raise ValueError(f"{name} = {place!r} is not inside the run folder")
        return self


Entry = Annotated[
    str,
    matching(
        ENTRY_PATTERN,
        '"train.py:name" (a file and a name in it) or "package.module:name"',
        most=400,
    ),
]


class Task(Settings):
    """Code of the user that one stage runs: a function, or any command."""

    entry: Entry | None = Field(
        default=None, description="function of `config` and `run`: a file and its name in it"
    )
    command: Many[Word] | None = Field(
        default=None, min_length=1, description="words of a command, run without a shell"
    )
    python: ShortText | None = Field(
        default=None, description="interpreter of the task; by default the one that runs icckd"
    )
    needs: Many[str] = Field(default=(), description="tasks whose run folders this one reads")
    inputs: Many[ShortText] = Field(
        default=(), description="files and patterns that decide its results, beside the study"
    )
    steps: int | str | None = Field(
        default=None, description="steps that a run logs: a number, or the entry of config with it"
    )
    limit: Duration | None = Field(default=None, description="longest time of an attempt")
    resume: bool = Field(
        default=False, description="a new attempt gets the same run folder and ICCKD_RESUME=1"
    )
    config_file: Literal["json", "yaml", "toml"] = Field(
        default="json", description="format of the file {config}"
    )
    config: dict[str, Any] = Field(default_factory=dict, description="what arms may change")
    config_class: Entry | None = Field(
        default=None, description="dataclass or pydantic model that config is of"
    )
    off: dict[str, Any] = Field(
        default_factory=dict, description='what REMOVE and the level "off" put in'
    )
    env: dict[VariableName, Word] = Field(
        default_factory=dict, description="environment variables to set"
    )
    metrics: dict[MetricName, TaskMetric] = Field(
        default_factory=dict, description="the numbers that a run gives"
    )
    items: TaskItems | None = Field(
        default=None, description="rows of single test cases, of which metrics are the mean"
    )
    aliases: dict[str, Many[ShortText]] = Field(
        default_factory=dict, description="what papers call entries of config"
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is at its default and came later: revisions of studies stay the same."""
        return _without_empty_aliases(write(self))

    @property
    def item_metrics(self) -> tuple[str, ...]:
        """The metrics that items may give: the mean of their scores is the outcome."""
        named = self.items.metrics if self.items is not None else ()
        return named or tuple(n for n, metric in self.metrics.items() if metric.source == "log")

    @property
    def limit_seconds(self) -> float | None:
        """The longest time of an attempt in seconds; None: no limit."""
        if self.limit is None:
            return None
        number, unit = re.findall(r"[0-9.]+|[a-z]+", self.limit)
        return float(number) * _UNITS[unit]

    @property
    def last_step(self) -> int:
        """How many steps a run logs; 0 where that is not known."""
        steps = self.config.get(self.steps) if isinstance(self.steps, str) else self.steps
        return steps if isinstance(steps, int) and steps > 0 else 0

    @model_validator(mode="after")
    def _runs_something(self) -> "Task":
        if (self.entry is None) == (self.command is None):
            raise ValueError(
                'it needs either entry = "train.py:train" or command = ["python", ...]'
            )
        if not self.metrics:
            raise ValueError("it declares no metrics: add [task.metrics.NAME] with its unit")
        if self.items is not None:
            sources = {name: metric.source for name, metric in self.metrics.items()}
            self.items.refuse_unless_fit(sources, is_command=self.command is not None)
        given = self.item_metrics if self.items is not None else ()
        silent = [n for n, m in self.metrics.items() if m.source == "log" and n not in given]
        silent = silent if self.command else []
        if silent:
            raise ValueError(
                f"metrics.{silent[0]} says not where it comes from: add csv, jsonl, json, stdout,"
                " tensorboard or wandb"
            )
        if isinstance(self.steps, str) and not isinstance(self.config.get(self.steps), int):
            raise ValueError(f"steps = {self.steps!r} is no whole number of config")
        return self

    @model_validator(mode="after")
    def _aliases_are_of_entries(self) -> "Task":
        for path in self.aliases:
            if entry_at(self.config, path.split(".")) is None:
                raise ValueError(f"aliases.{path}: config has no such entry")
        return self

    @model_validator(mode="after")
    def _config_is_plain(self) -> "Task":
        for name, table in (("config", self.config), ("off", self.off)):
            for path, value in leaves(table):
                if not _is_plain(value):
                    raise ValueError(
                        f"{name}.{path}: only booleans, finite numbers, texts and lists"
                    )
        return self

    @model_validator(mode="after")
    def _placeholders_are_known(self) -> "Task":
        for text in (*(self.command or ()), *self.env.values()):
            for name in placeholders(text):
                if name in ("args", "overrides"):
                    if text != f"{{{name}}}":
                        raise ValueError(f"{{{name}}} stands for several words: write it alone")
                elif not self._knows(name):
                    known = [*_FIXED, *(path for path, _ in leaves(self.config))]
                    raise ValueError(
                        f"{text!r} has the unknown placeholder {{{name}}} ({nearest(name, known)};"
                        " braces themselves are {{ and }})"
                    )
        return self

    def _knows(self, name: str) -> bool:
        if name.startswith("needs."):
            return name.removeprefix("needs.") in self.needs
        return name in _FIXED or entry_at(self.config, name.split(".")) is not None


_FIXED = ("seed", "folder", "study_folder", "device", "config", "args", "overrides")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def tables_of_tasks(tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of a study's tasks by name, not yet validated."""
    given = tables.get(ONLY)
    if not isinstance(given, dict):
        return {}
    if given.keys() & Task.model_fields.keys():
        return {ONLY: given}
    return {name: table for name, table in given.items() if isinstance(table, dict)}


def interpreter_of(python: str | None, folder: Path) -> str:
    """Return the interpreter that `python` of a task means: by default the one that runs icckd."""
    if python is None:
        return sys.executable
    given = os.path.expanduser(python)
    return str(folder / given) if os.sep in given else (shutil.which(given) or given)


def _read_tasks(given: Any) -> Any:
    """Return a task, tasks by name, or None; a table of a file is one or the other."""
    if given is None or isinstance(given, Task):
        return given
    if not isinstance(given, dict):
        raise ValueError('wanted a table: [task] with entry = "train.py:train" or command = [...]')
    if given and all(isinstance(value, Task) for value in given.values()):
        return given
    if not given or given.keys() & Task.model_fields.keys():
        return Task.model_validate(given)
    return _check_names(_NAMED.validate_python(given))


def _write_tasks(tasks: Any, info: SerializationInfo) -> Any:
    def table(task: Task) -> dict[str, Any]:
        return task.model_dump(mode=info.mode, exclude_unset=info.exclude_unset)

    if isinstance(tasks, dict):
        return {name: table(task) for name, task in tasks.items()}
    return None if tasks is None else table(tasks)


_NAMED: TypeAdapter[dict[str, Task]] = TypeAdapter(dict[TaskName, Task])
Tasks = Annotated[
    Task | dict[TaskName, Task] | None,
    PlainValidator(_read_tasks, json_schema_input_type=Task | dict[TaskName, Task]),
    PlainSerializer(_write_tasks),
]


def _check_names(tasks: dict[str, Task]) -> dict[str, Task]:
    for name, task in tasks.items():
        if name in (*ENGINE_KINDS, "data", *Task.model_fields):
            raise ValueError(f"a task cannot be called {name!r}")
        for needed in task.needs:
            if needed not in tasks and needed not in ENGINE_KINDS:
                known = [*(other for other in tasks if other != name), *ENGINE_KINDS]
                raise ValueError(f"{name} needs {needed!r}: {nearest(needed, known)}")
    in_order(tasks)
    return tasks


def by_name(tasks: Task | Mapping[str, Task] | None) -> dict[str, Task]:
    """Return the tasks of a study by name, those that others need before them."""
    if tasks is None:
        return {}
    return {ONLY: tasks} if isinstance(tasks, Task) else in_order(tasks)


def in_order(tasks: Mapping[str, Task]) -> dict[str, Task]:
    """Return tasks with those that others need before them.

    Raises:
        ValueError: They need each other in a circle.
    """
    ordered: dict[str, Task] = {}
    waiting = dict(tasks)
    while waiting:
        ready = [
            name
            for name, task in waiting.items()
            if all(n in ordered or n in ENGINE_KINDS for n in task.needs)
        ]
        if not ready:
            raise ValueError(f"{' and '.join(waiting)} need each other")
        ordered |= {name: waiting.pop(name) for name in ready}
    return ordered


def uses_engine(tasks: Task | Mapping[str, Task] | None) -> bool:
    """Whether trials train teacher and student: there are no tasks, or some task reads one."""
    found = by_name(tasks)
    return not found or any(n in ENGINE_KINDS for task in found.values() for n in task.needs)


def stage_kinds(tasks: Task | Mapping[str, Task] | None) -> tuple[str, ...]:
    """Return the kinds of the stages of a trial, in the order in which it needs them."""
    return (*(ENGINE_KINDS if uses_engine(tasks) else ()), *by_name(tasks))


# What tasks record: declared metrics, and what is measured of every process.

_OF_EVERY_TASK = (
    ("seconds", "s", "lower", "time of the process, of all attempts that it resumed"),
    ("memory_rss", "bytes", "lower", "largest resident memory of one of its processes"),
    ("nonfinite_steps", "metrics", "lower", "numbers that were NaN or infinite at the end"),
)


def task_metrics(tasks: Task | Mapping[str, Task] | None) -> dict[str, Metric]:
    """Return what tasks record by name, such as `task.top1`: declared ones first."""
    found = by_name(tasks)
    declared = [
        Metric(
            name=f"{kind}.{name}",
            unit=metric.unit,
            direction=metric.direction,
            about=metric.about,
            recorded="both",
            counts="test images" if metric.test_images else "",
            images=metric.test_images,
            aliases=metric.aliases,
        )
        for kind, task in found.items()
        for name, metric in task.metrics.items()
    ]
    measured = [
        Metric(name=f"{kind}.{name}", unit=unit, direction=direction, about=about)  # type: ignore[arg-type]
        for kind, task in found.items()
        for name, unit, direction, about in _OF_EVERY_TASK
        if name not in task.metrics
    ]
    return {metric.name: metric for metric in (*declared, *measured)}


def outcomes_of(tasks: Task | Mapping[str, Task] | None) -> Mapping[str, Metric]:
    """Return the outcomes that trials of a study have, by name."""
    if tasks is None:
        return OUTCOMES
    own = task_metrics(tasks)
    return {**own, **OUTCOMES} if uses_engine(tasks) else own


def series_of(tasks: Task | Mapping[str, Task] | None) -> Mapping[str, Metric]:
    """Return the declared series of trials of a study, by name."""
    if tasks is None:
        return SERIES
    own = {
        name: metric for name, metric in task_metrics(tasks).items() if metric.recorded == "both"
    }
    return {**own, **SERIES} if uses_engine(tasks) else own


def read_back(resolved: Mapping[str, Any]) -> Task | dict[str, Task] | None:
    """Return the tasks of a study that a journal tells; None where there are none to read."""
    try:
        tasks: Task | dict[str, Task] | None = _read_tasks(resolved.get("task"))
    except ValueError:  # another version wrote it: its numbers still count
        return None
    return tasks


# What arms change: entries of config, and what they are when their part is off.


def is_task_path(path: str) -> bool:
    """Whether a setting belongs to a task."""
    return path == ONLY or path.startswith(f"{ONLY}.")


def split_path(tasks: Task | Mapping[str, Task] | None, path: str) -> tuple[Task | None, list[str]]:
    """Return the task that a setting path such as `task.pretrain.config.lr` is of, and the rest."""
    keys = path.split(".")[1:]
    if isinstance(tasks, Task):
        return tasks, keys
    task = (tasks or {}).get(keys[0]) if keys else None
    return task, keys[1:] if task is not None else keys


def value_for(tasks: Task | Mapping[str, Task] | None, path: str, value: Any, place: str) -> Any:
    """Return what an arm puts at a path of a task: for "off" what its part is when it is off.

    Args:
        tasks: The tasks of the study.
        path: The path.
        value: What the arm declares.
        place: Where, for messages.

    Raises:
        SpecError: There is no such entry of config, the value is of another type than the one
            there, or nobody said what "off" is.
    """
    task, keys = split_path(tasks, path)
    if task is None:
        known = (
            [ONLY] if tasks is None or isinstance(tasks, Task) else [f"{ONLY}.{n}" for n in tasks]
        )
        what = "the study has no [task]" if tasks is None else f"no setting {path!r}"
        raise SpecError(f"{place}{what}", hint=nearest(path, known))
    if keys[:1] != ["config"]:
        if not keys or keys[0] not in Task.model_fields:
            hint = nearest(keys[0] if keys else "", list(Task.model_fields))
            raise SpecError(f"{place}no setting {path!r}", hint=hint)
        return value
    before = entry_at(task.config, keys[1:])
    if before is None:
        known = [f"{path.rsplit('config', 1)[0]}config.{name}" for name, _ in entries(task.config)]
        raise SpecError(
            f"{place}no setting {path!r}",
            hint=nearest(path, known) if known else "add it to [task.config]",
        )
    if value == "off":
        return _off(task, keys[1:], path, before, place)
    if not is_alike(before, value):
        raise SpecError(
            f"{place}{path} = {json.dumps(value)} is of another type than {json.dumps(before)} in"
            " the study",
            hint="give the arm a value of the same type",
        )
    return value


def has_off(tasks: Task | Mapping[str, Task] | None, path: str, place: str) -> bool:
    """Whether the setting at a path of a task can be "off"; errors as `value_for`."""
    task, keys = split_path(tasks, path)
    if task is not None and keys[:1] == ["config"]:
        before = entry_at(task.config, keys[1:])
        if before is not None:
            return before is True or entry_at(task.off, keys[1:]) is not None
    value_for(tasks, path, None, place)
    return False


def _off(task: Task, keys: list[str], path: str, before: Any, place: str) -> Any:
    declared = entry_at(task.off, keys)
    if declared is not None:
        return declared
    if before is True:
        return False
    if isinstance(before, str):
        return "off"
    name = ".".join(keys)
    raise SpecError(
        f"{place}{path} is {json.dumps(before)}, and nothing says what it is when it is off",
        hint=f"add [{path.rsplit('.config', 1)[0]}.off] with {name} = the value, such as 0.0",
    )


def is_alike(before: Any, value: Any) -> bool:
    """Whether a value may stand where another one did: of the same type, or both are numbers."""
    if isinstance(before, bool) or isinstance(value, bool):
        return isinstance(before, bool) and isinstance(value, bool)
    if isinstance(before, (int, float)):
        return isinstance(value, (int, float))
    return type(before) is type(value)


def entry_at(table: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """Return the entry that keys lead to, None where there is none."""
    here: Any = table
    for key in keys:
        if not isinstance(here, Mapping) or key not in here:
            return None
        here = here[key]
    return here


def entries(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every entry of a table with its dotted name, tables inside it too."""
    for key, value in table.items():
        yield f"{above}{key}", value
        if isinstance(value, Mapping):
            yield from entries(value, f"{above}{key}.")


def leaves(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every entry of a table that is no table, with its dotted name."""
    for name, value in entries(table):
        if not isinstance(value, Mapping):
            yield name, value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(each) for each in value)
    if isinstance(value, Mapping):
        return all(_is_plain(each) for each in value.values())
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, ANY_VALUE)


# What decides the numbers of a task, as far as icckd can know it.


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """The files behind a task, as they were when the plan was made.

    Attributes:
        files: Digest by name of its script, of the modules beside it that it imports, and of the
            other files that its command names.
        inputs: Digest by name of the declared inputs.
        python: Version of the interpreter; "" where the command names none.
        folders: Folders that its command names, whose content is not looked at.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    folders: tuple[str, ...] = ()


def identity(task: Task) -> dict[str, Any]:
    """Return the settings of a task that decide what it computes, and how it is read.

    Left out is what only tells how long to wait, what a number means, or where an interpreter is.
    """
    apart = {"python", "inputs", "steps", "limit", "off", "resume", "aliases"}
    kept = task.model_dump(mode="json", exclude_defaults=True, exclude=apart)
    words_apart = ("unit", "direction", "about", "test_images", "aliases")
    for name, metric in kept.get("metrics", {}).items():
        kept["metrics"][name] = {k: v for k, v in metric.items() if k not in words_apart}
    return kept


# The words of a command.


def placeholders(text: str) -> Iterator[str]:
    """Yield the names in braces of a text; doubled braces are braces."""
    for found in _PLACEHOLDER.finditer(text):
        if found[1] is not None:
            yield found[1]


def words(task: Task, known: Mapping[str, str], literal: Callable[[str], str]) -> list[str]:
    """Return the words of a task's command with their placeholders filled.

    Args:
        task: The task, which has a command.
        known: Values of `seed`, `folder`, `study_folder`, `device`, `config` and `needs.NAME`.
        literal: Makes of a word without placeholders, behind the first, what is passed on.
    """
    filled: list[str] = []
    for place, word in enumerate(task.command or ()):
        if word == "{args}":
            filled += _arguments(task.config)
        elif word == "{overrides}":
            filled += [f"{name}={_override(value)}" for name, value in leaves(task.config)]
        else:
            text = fill(word, task, known)
            filled.append(literal(text) if place and not any(placeholders(word)) else text)
    return filled


def fill(text: str, task: Task, known: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled; see `words`."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        if name in known:
            return known[name]
        entry = entry_at(task.config, name.split("."))
        return entry if isinstance(entry, str) else json.dumps(entry)

    return _PLACEHOLDER.sub(value, text)


def _arguments(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in leaves(config):
        if value is True:
            yield f"--{name}"
        elif isinstance(value, (list, tuple)):
            yield from (f"--{name}", *(_plain_text(each) for each in value))
        elif value is not False:
            yield from (f"--{name}", _plain_text(value))


def _plain_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _override(value: Any) -> str:
    """Return a value as Hydra's command line takes it."""
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_./+-]+", value):
        return json.dumps(value)
    return _plain_text(value)


def command_text(task: Task) -> str:
    """Return what a task runs, for people."""
    return task.entry if task.entry is not None else shlex.join(task.command or ())
