"""Read a study file: limits, TOML, overrides, validation, one clear error."""

import codecs
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError

from icckd.errors import SpecError
from icckd.study.config_class import ConfigClass, config_classes, with_whole_config
from icckd.study.model import Study
from icckd.study.origin import Origin
from icckd.study.paths import assign, is_under, nearest
from icckd.study.plugins import NONE, SORTS, PartFacts, Plugins, read_plugins
from icckd.study.presets import resolve_presets
from icckd.study.problems import first_problem, toml_problem
from icckd.study.registry import Registry
from icckd.study.shipped import MARK, shipped_names, study_path
from icckd.study.tasks import ONLY, entries, entry_at, is_alike, uses_engine
from icckd.study.teacher import TEACHER_LOSSES, with_views_of_losses

MAX_BYTES = 1 << 20
MAX_LINE = 1 << 14
MAX_KEY_PARTS = 32
MAX_DEPTH = 32
OVERRIDABLE = ("study", "data", "teacher", "student", "task", "numerics")
SEEDS = ("study.seeds", "study.calibration_seeds")


class LoadedStudy(Study):
    """A study that knows where it was written, and the plug-ins that it names."""

    _origin: Origin = PrivateAttr(default=Origin())
    _plugins: Plugins = PrivateAttr(default=NONE)
    _classes: Mapping[str, ConfigClass] = PrivateAttr(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Where it was written, for messages."""
        return self._origin

    @property
    def known_plugins(self) -> Plugins:
        """Its plug-ins, with what is known of their parts."""
        return self._plugins

    @property
    def known_classes(self) -> Mapping[str, ConfigClass]:
        """The classes that configs of its tasks are of, by task."""
        return self._classes

    def written_in(
        self, origin: Origin, plugins: Plugins, classes: Mapping[str, ConfigClass]
    ) -> "LoadedStudy":
        """Return this study, with the place where it was written, its plug-ins and classes."""
        self._origin, self._plugins, self._classes = origin, plugins, classes
        return self


def load(path: Path, overrides: Sequence[str] = (), sweeps: Sequence[str] = ()) -> Study:
    """Return the study in a TOML file, with `key=value` overrides applied.

    Args:
        path: The file, or `shipped:NAME` for a study that comes with icckd.
        overrides: As for `parse`.
        sweeps: `PATH=v1,v2` each: arms that take the place of the study's own.

    Raises:
        SpecError: The file cannot be read or is not a valid study; the message names the place.
        UsageError: No study of that name comes with icckd.
    """
    path = study_path(path)
    if sweeps:
        return _study(swept_tables(path, overrides, sweeps), Origin(where=str(path)), ())
    return parse(read_text(path), where=str(path), overrides=overrides)


def swept_tables(path: Path, overrides: Sequence[str], sweeps: Sequence[str]) -> dict[str, Any]:
    """Return the tables of the study that sweeps make of the one in a file; errors as `load`."""
    from icckd.study.sweep import swept

    study = load(path, overrides)
    tables = _tables(read_text(study_path(path)), str(path))
    _override(tables, overrides)
    return swept(study, sweeps, tables)


def _override(tables: dict[str, Any], overrides: Sequence[str]) -> None:
    _spread_counts(tables)
    for override in overrides:
        assign(tables, *_read_override(override))
        _spread_counts(tables)


def read_text(path: Path) -> str:
    """Return the text of a study file that is small enough and UTF-8.

    Raises:
        SpecError: It is missing, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "give a study file; icckd init writes one"
        if (name := path.name.removesuffix(".toml")) in shipped_names():
            hint = f"{MARK}{name} is a study of that name that comes with icckd"
        raise SpecError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    if len(data) > MAX_BYTES:
        raise SpecError(f"{path} is larger than 1 MiB", hint="a study file is a few kilobytes")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or data[:2].count(0) == 1:
        raise SpecError(f"{path} is not UTF-8 but UTF-16", hint="save it as UTF-8")
    if b"\r" in data and b"\n" not in data:
        raise SpecError(
            f"{path} is one line to TOML: its lines end with a carriage return alone",
            hint="save it with line ends of Unix or Windows",
        )
    try:
        return data.decode("utf-8-sig")  # editors of Windows begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path} is not UTF-8 (line {line})", hint="save it as UTF-8") from error


def parse(text: str, *, where: str, overrides: Sequence[str] = ()) -> Study:
    """Return the study in a TOML text.

    Args:
        text: The TOML.
        where: What to call it in messages.
        overrides: `path=value` each, full paths, values as in TOML (a bare word is a string).
    """
    return _study(_tables(text, where), Origin(where=where, text=text), overrides)


def from_tables(tables: Mapping[str, Any], overrides: Sequence[str] = ()) -> Study:
    """Return the study in the tables of a study file that never was one.

    Args:
        tables: As TOML has them: `{"study": {...}, "teacher": {...}, "arm": [{...}]}`.
        overrides: As for `parse`.

    Raises:
        SpecError: They are not a valid study.
    """
    try:
        is_deep = _is_deep(tables, MAX_DEPTH)
    except RecursionError:
        is_deep = True
    if is_deep:
        raise SpecError(f"tables and lists nest deeper than {MAX_DEPTH}")
    return _study({str(key): _plain(value) for key, value in tables.items()}, Origin(), overrides)


def _study(tables: dict[str, Any], origin: Origin, overrides: Sequence[str]) -> Study:
    _spread_counts(tables)
    done: list[tuple[str, str]] = []
    classes = _classes(tables, origin)
    tables = with_whole_config(tables, classes, origin)
    for override in overrides:
        path, value = _read_override(override)
        _refuse_second(done, path, value, override)
        _refuse_odd_config(tables, path, value, override)
        assign(tables, path, value)
        _spread_counts(tables)
        done.append((path, override))
    origin = replace(origin, overrides=tuple(done))
    plugins = _plugins(tables, origin)
    tables = with_whole_config(tables, classes, origin)
    with plugins.present():
        try:
            tables = with_views_of_losses(resolve_presets(tables))
            study = LoadedStudy.model_validate(tables).written_in(origin, plugins, classes)
        except ValidationError as error:
            raise first_problem(error, origin) from error
    _refuse_idle_tables(study, tables, origin)
    return study


def study_in_journal(resolved: Mapping[str, Any], plugins: Plugins) -> Study:
    """Return a study as a journal tells it.

    Args:
        resolved: The resolved study; what is no table of a study is left out.
        plugins: Its plug-ins as the journal tells them.

    Raises:
        ValidationError: Another version wrote it.
    """
    tables = {key: resolved[key] for key in Study.model_fields if key in resolved}
    with plugins.present():
        return LoadedStudy.model_validate(tables).written_in(Origin(), plugins, {})


def _classes(tables: Mapping[str, Any], origin: Origin) -> dict[str, ConfigClass]:
    try:
        return config_classes(tables, origin)
    except SpecError as error:
        raise SpecError(f"{origin.at('task')}{error.message}", hint=error.hint) from error


def _plugins(tables: Mapping[str, Any], origin: Origin) -> Plugins:
    """Return the plug-ins that a study names; what is no list of names is left to validation."""
    names = tables.get("plugins", ())
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return NONE
    repeated = {name for name in names if names.count(name) > 1}
    try:
        if repeated:
            raise SpecError(f"plugins names {sorted(repeated)[0]!r} twice")
        return read_plugins(names, origin.folder)
    except SpecError as error:
        raise SpecError(f"{origin.at('plugins')}{error.message}", hint=error.hint) from error


def _refuse_idle_tables(study: Study, tables: Mapping[str, Any], origin: Origin) -> None:
    """Refuse settings of the engine in a study none of whose tasks reads what it trains."""
    if uses_engine(study.task):
        return
    for name in ("data", "teacher", "student"):
        if name in tables:
            raise SpecError(
                f"{origin.at(name)}[{name}] is read by nothing: the study runs tasks, and none of"
                " them needs teacher or student",
                hint=f'take [{name}] out, or write needs = ["student"] in a named task',
            )


def _tables(text: str, where: str) -> dict[str, Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE:
            raise SpecError(f"{where}, line {number} is longer than {MAX_LINE} characters")
        if _key_parts(line) > MAX_KEY_PARTS:
            raise SpecError(f"{where}, line {number}: a key has more than {MAX_KEY_PARTS} parts")
    try:
        tables = tomllib.loads(text)
        is_deep = _is_deep(tables, MAX_DEPTH)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise toml_problem(text, where, error) from error
    if is_deep:
        raise SpecError(f"{where}: tables and lists nest deeper than {MAX_DEPTH}")
    return {key: _plain(value) for key, value in tables.items()}


def _key_parts(line: str) -> int:
    """Return how many dots the key of a line has; those in quotes, as in a list of texts, not."""
    count = line.split("=", 1)[0].count(".")
    if count > MAX_KEY_PARTS:
        return re.sub(r'"(?:\\.|[^"\\])*"', "", line).split("=", 1)[0].count(".")
    return count


def _plain(value: Any) -> Any:
    """Return a value of TOML as JSON has it: dates become text, for no setting is a date."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, (date, time)) else value


def _is_deep(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deep(item, depth - 1) for item in inner)


def _spread_counts(tables: dict[str, Any]) -> None:
    """Replace `seeds = 8` by the seeds that it stands for: 0 to 7."""
    header = tables.get("study")
    if not isinstance(header, dict):
        return
    for key in (path.removeprefix("study.") for path in SEEDS):
        count = header.get(key)
        if isinstance(count, int) and not isinstance(count, bool):
            header[key] = {"first": 0, "count": count}


def _read_override(override: str) -> tuple[str, Any]:
    """Return the path and the value of an override."""
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise SpecError(
            f"override {override!r} is not key=value",
            hint="for example teacher.intra.margin.threshold=0.3",
        )
    if path.split(".")[0] not in OVERRIDABLE:
        raise SpecError(
            f"override {override!r}: {path.split('.')[0]!r} is not a table of settings",
            hint=nearest(path.split(".")[0], list(OVERRIDABLE)),
        )
    try:
        return path, _plain(tomllib.loads(f"value = {text}")["value"])
    except (tomllib.TOMLDecodeError, RecursionError):
        return path, text


def _refuse_second(done: Sequence[tuple[str, str]], path: str, value: Any, override: str) -> None:
    """Refuse an override of what an earlier one set: which of the two counts, nobody would see."""
    for earlier, typed in done:
        if earlier == path or is_under(earlier, path) or _sets(typed, path):
            raise SpecError(
                f"{path!r} is overridden twice: {typed!r} and {override!r}",
                hint="leave one of them out (--seeds A:B overrides study.seeds)",
            )


def _refuse_odd_config(tables: Mapping[str, Any], path: str, value: Any, override: str) -> None:
    """Refuse an override of config that the file does not have, or has of another type.

    A mistyped name would run a study like the one before under another identity.
    """
    keys = path.split(".")
    if keys[0] != ONLY or "config" not in keys[1:3]:
        return
    before = entry_at(tables, keys)
    place = keys.index("config", 1)
    config = entry_at(tables, keys[: place + 1])
    if before is None and isinstance(config, dict):
        known = [".".join([*keys[: place + 1], name]) for name, _ in entries(config)]
        raise SpecError(
            f"override {override!r}: no setting {path!r}",
            hint=nearest(path, known) if known else "add it to [task.config]",
        )
    if before is not None and not is_alike(before, value):
        raise SpecError(
            f"override {override!r}: {json.dumps(value)} is of another type than"
            f" {json.dumps(before)} in the study",
            hint="give a value of the same type",
        )


def _sets(override: str, path: str) -> bool:
    """Whether an override sets this path with its table."""
    name, value = _read_override(override)
    if not is_under(path, name):
        return False
    if name in SEEDS and isinstance(value, int):
        return True  # a count stands for a table
    for key in path[len(name) + 1 :].split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


# JSON Schema of the study file, for editors.
#
# `python -m icckd.study.load > studies/study.schema.json` writes the committed one anew.


def study_schema(plugins: Plugins = NONE) -> str:
    """Return the schema as text, the way it is committed in `studies/study.schema.json`.

    Args:
        plugins: Plug-ins whose parts it is to know, too.
    """
    schema = Study.model_json_schema()
    for part in plugins.parts:
        _add_part(schema["$defs"], part)
    seeds = schema["$defs"]["StudyHeader"]["properties"]["seeds"]
    count = {"type": "integer", "minimum": 1}  # seeds = 8: `_spread_counts`
    seeds["anyOf"] = [{"$ref": seeds.pop("$ref")}, count]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "icckd study"
    return json.dumps(schema, indent=2) + "\n"


def _add_part(defs: dict[str, Any], part: PartFacts) -> None:
    """Put a part of a plug-in beside those of its sort."""
    if not part.schema:
        return  # a metric has no settings
    mark = f"{part.kind}-"
    own = json.loads(json.dumps(part.schema).replace('"#/$defs/', f'"#/$defs/{mark}'))
    defs |= {f"{mark}{name}": schema for name, schema in own.pop("$defs", {}).items()}
    name = f"{mark}{own.get('title', part.noun)}"
    defs[name] = own
    reference = {"$ref": f"#/$defs/{name}"}
    if part.noun == TEACHER_LOSSES.noun:
        off = {"const": "off", "type": "string"}
        setting = {"anyOf": [reference, off], "default": "off"}
        defs["Teacher"]["properties"][part.kind] = setting
        return
    for union in _unions(defs, next(each for each in SORTS if each.noun == part.noun)):
        union["oneOf"].append(reference)
        if "discriminator" in union:
            union["discriminator"]["mapping"][part.kind] = reference["$ref"]


def _unions(value: Any, sort: Registry[Any]) -> Iterator[dict[str, Any]]:
    """Yield the unions of all kinds of a sort of parts, wherever they are."""
    if isinstance(value, dict):
        known = {f"#/$defs/{part.settings.__name__}" for part in sort.parts()}
        branches = value.get("oneOf")
        found = {each.get("$ref") for each in branches} if isinstance(branches, list) else set()
        if found and found <= known:
            yield value
        for inner in value.values():
            yield from _unions(inner, sort)
    elif isinstance(value, list):
        for inner in value:
            yield from _unions(inner, sort)


if __name__ == "__main__":
    print(study_schema(), end="")
