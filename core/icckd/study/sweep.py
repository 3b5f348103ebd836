"""Sweeps: `--sweep student.training.lr=0.01,0.05` puts arms beside a study's baseline.

    swept(study, ["lr=0.01,0.05", "teacher.intra.weight=off,0.1"])

gives the tables of a study with the same header, settings and baseline, whose other arms are every
combination of these values. All of them are primary questions, corrected together.
"""

import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from icckd.errors import UsageError
from icckd.study.arms import baseline_settings, label
from icckd.study.model import Method, Study
from icckd.study.paths import is_under, nearest, off_state, setting_paths
from icckd.study.tasks import by_name, entries, entry_at, has_off, is_task_path, uses_engine

MOST_ARMS = 1000
OFF = "off"


class Sweep(NamedTuple):
    """A setting and the values that it takes."""

    path: str
    values: tuple[Any, ...]


def swept(study: Study, given: Sequence[str], tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of the study that sweeps make of another one.

    Args:
        study: The study whose baseline it keeps.
        given: `PATH=v1,v2` each, the path in full or by its last parts.
        tables: The study's own tables, as TOML has them.

    Raises:
        UsageError: A path names no setting, or several; a value cannot be; or nothing is varied.
        SpecError: As `icckd.study.arms.arms`.
    """
    sweeps = [read_sweep(study, text) for text in given]
    repeated = [s.path for s in sweeps if sum(other.path == s.path for other in sweeps) > 1]
    if repeated:
        raise UsageError(
            f"--sweep varies {repeated[0]} twice", hint="give all its values behind one --sweep"
        )
    base, method = baseline_settings(study)
    resolved = method.model_dump(mode="json")
    arms: dict[str, dict[str, Any]] = {}
    names = _short_names([sweep.path for sweep in sweeps])
    for values in itertools.product(*(sweep.values for sweep in sweeps)):
        chosen = dict(zip((sweep.path for sweep in sweeps), values, strict=True))
        changed = _changed(study, chosen, resolved)
        if not changed:
            continue  # the baseline itself
        kept = {p: v for p, v in base.items() if not any(is_under(p, path) for path in changed)}
        known = [each["set"] for each in arms.values()]
        if {**kept, **changed} not in known:
            name = "+".join(f"{names[path]}={label(value)}" for path, value in chosen.items())
            arms[name[:128]] = {"name": name[:128], "set": {**kept, **changed}}
        if len(arms) > MOST_ARMS:
            raise UsageError(
                f"the sweeps have more than {MOST_ARMS} combinations", hint="take fewer values"
            )
    if not arms:
        raise UsageError(
            "the sweeps vary nothing: every value is the baseline's own",
            hint="give values that the baseline has not",
        )
    return _tables(study, tables, base, list(arms.values()))


def _tables(
    study: Study, tables: Mapping[str, Any], base: Mapping[str, Any], arms: list[dict[str, Any]]
) -> dict[str, Any]:
    header = {k: v for k, v in tables["study"].items() if k not in ("design", "forbid")}
    baseline = study.study.baseline
    about = next((each.about for each in study.arm if each.name == baseline), "")
    kept = {key: value for key, value in tables.items() if key not in ("ablation", "factor")}
    first = {"name": baseline, **({"about": about} if about else {}),
             **({"set": dict(base)} if base else {})}  # fmt: skip
    return {
        **kept,
        "study": {**header, "family": [each["name"] for each in arms]},
        "arm": [first, *arms],
    }


# One sweep: its path, its values.


def read_sweep(study: Study, text: str) -> Sweep:
    """Return a sweep as it was typed, with its path in full."""
    path, equals, listed = text.partition("=")
    values = [_value(each) for each in _split(listed)]
    if not equals or not path.strip() or not values:
        raise UsageError(
            f"--sweep {text!r} is not PATH=v1,v2", hint="--sweep student.training.lr=0.01,0.05"
        )
    full = _full_path(study, path.strip())
    found: list[Any] = []
    for value in values:
        if value not in found or any(type(value) is not type(each) for each in found):
            found.append(value)
    return Sweep(full, tuple(found))


def _split(text: str) -> Iterator[str]:
    """Yield what commas separate outside of brackets and quotes."""
    depth, quote, start = 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
            if letter == "," and depth == 0:
                yield text[start:place]
                start = place + 1
    if text.strip():
        yield text[start:]


def _value(text: str) -> Any:
    """Return a value as in TOML; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text.strip()


def _full_path(study: Study, path: str) -> str:
    """Return the setting that a path, or its last parts, name: of the baseline, or of another kind.

    Raises:
        UsageError: None does, or several do.
    """
    _, method = baseline_settings(study)
    used = [name for name, _ in entries(method.model_dump(mode="json"))]
    tasks = [
        f"task.config.{name}" if task is study.task else f"task.{kind}.config.{name}"
        for kind, task in by_name(study.task).items()
        for name, _ in entries(task.config)
    ]
    is_engine = uses_engine(study.task)
    used = [*tasks, *(each for each in used if is_engine and not is_task_path(each))]
    of_kinds = [each for each in setting_paths(Method) if is_engine and not is_task_path(each)]
    everything = [*tasks, *of_kinds]
    if path in everything or path in used:
        return path
    for known in (used, everything):
        found = sorted({each for each in known if each.endswith(f".{path}")})
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"--sweep {path} may mean {' or '.join(found)}", hint="write the path in full"
            )
    last = dict.fromkeys(each.rpartition(".")[2] for each in used)
    hint = nearest(path, everything if "." in path else list(last))
    raise UsageError(f"--sweep: there is no setting {path!r}", hint=hint)


# What a combination of values changes.


def _changed(
    study: Study, chosen: Mapping[str, Any], resolved: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings that an arm sets: those that are not the baseline's own.

    A part that is off has no settings, and "off" for a setting without an off value means its part.
    """
    wanted = dict(_off_part(study, p) if v == OFF else (p, v) for p, v in chosen.items())
    off = [path for path, value in wanted.items() if value == OFF]
    wanted = {
        path: value
        for path, value in wanted.items()
        if not any(path != part and is_under(path, part) for part in off)
    }
    return {
        path: value
        for path, value in wanted.items()
        if not _equal(entry_at(resolved, path.split(".")), value)
    }


def _equal(before: Any, value: Any) -> bool:
    is_truth = isinstance(before, bool) or isinstance(value, bool)
    return bool(before == value) and not (is_truth and type(before) is not type(value))


def _off_part(study: Study, path: str) -> tuple[str, Any]:
    """Return the part to turn off for a setting: itself, or the nearest table around it.

    Raises:
        UsageError: Nothing of the kind can be off.
    """
    keys = path.split(".")
    if is_task_path(path):
        if has_off(study.task, path, ""):
            return path, OFF
    else:
        for end in range(len(keys), 1, -1):
            part = ".".join(keys[:end])
            if off_state(Method, part):
                return part, OFF
    hint = f"say in [{path.partition('.config')[0]}.off] what it is when it is off"
    raise UsageError(
        f"--sweep {path}=off: nothing there has an off value",
        hint=hint if is_task_path(path) else "give values",
    )


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the last parts of paths, as many as tell them apart."""
    found = {}
    for path in paths:
        keys = path.split(".")
        for count in range(1, len(keys) + 1):
            short = ".".join(keys[-count:])
            if sum(other == path or other.endswith(f".{short}") for other in paths) == 1:
                break
        found[path] = re.sub(r"[^a-z0-9._-]", "-", short.lower()).strip("._-") or "value"
    return found


# The same study as a file.


def study_toml(tables: Mapping[str, Any], remarks: Sequence[str] = ()) -> str:
    """Return tables of a study as TOML."""
    lines = [*(f"# {remark}" for remark in remarks)]
    plain = {key: value for key, value in tables.items() if not _is_section(value)}
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for key, value in tables.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *_section(value)]
        elif _is_section(value):
            for each in value:
                lines += ["", f"[[{key}]]", *_section(each)]
    return "\n".join(lines).strip("\n") + "\n"


def _is_section(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _section(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_toml(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
