"""What trackers write, read without their libraries: W&B, MLflow, Optuna, Trackio.

Event files of TensorBoard alone are read by TensorBoard itself.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icckd.errors import MachineError, SpecError, StageError
from icckd.imports.files import GIB, digest_of_all, files_below, source_file
from icckd.imports.runs import TrackerRun, Value, chosen_group
from icckd.imports.sqlite import Tables, open_tables
from icckd.imports.tables import flat
from icckd.run.task_metrics import number
from icckd.run.tracker_files import has_tensorboard, scalars
from icckd.run.wandb_file import WandbRun, history
from icckd.study.metrics import Direction
from icckd.study.observed import SourceFile, visible

MOST_BYTES = 8 * GIB
MOST_TEXT = 1 << 20
"""Bytes of a file of settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """The runs of a tracker, and what is known of them together.

    Attributes:
        files: The files that they are read from.
        runs: The runs, read one after the other.
        directions: Which values of a metric are better, where the tracker knows.
        notes: What a reader must know.
    """

    files: tuple[SourceFile, ...]
    runs: Iterator[TrackerRun]
    directions: Mapping[str, Direction] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_tracker(kind: str, path: Path, group: str, stack: ExitStack) -> Tracked:
    """Return the runs that a tracker wrote.

    Args:
        kind: wandb, mlflow, tensorboard, optuna or trackio.
        path: Its file or folder.
        group: The experiment, project or study, where there are several; or "".
        stack: Keeps files open until the runs were read.

    Raises:
        UsageError: There is nothing, or it is not told which group.
        SpecError: The files are not what that tracker writes, or are damaged.
        MachineError: TensorBoard is needed, and not installed.
    """
    return _OPENED[kind](path, group, stack)


# Weights & Biases: a folder with offline runs.


def _wandb(path: Path, group: str, stack: ExitStack) -> Tracked:
    paths = [path] if path.is_file() else files_below(path, (".wandb",))
    if not paths:
        raise SpecError(
            f"{visible(path.name)} holds no offline run of W&B",
            hint="the folder wandb has folders offline-run-... with a file run-....wandb each",
        )
    files = digest_of_all(((each.name, each) for each in paths), most=MOST_BYTES)
    projects = [_project_of(each) for each in paths]
    project = chosen_group(projects, group, "projects")
    chosen = [each for each, own in zip(paths, projects, strict=True) if own == project]
    return Tracked(files=files, runs=map(_of_wandb, chosen))


def _project_of(path: Path) -> str:
    run = WandbRun()
    try:
        next(history(path, run), None)  # what a run is called stands before its values
    except StageError as error:
        raise SpecError(error.message, hint=error.hint) from error
    return run.project


def _wandb_run(path: Path) -> tuple[WandbRun, list[Value]]:
    run = WandbRun()
    values: list[Value] = []
    try:
        for count, (step, items) in enumerate(history(path, run)):
            at = items.get("_step") if step is None else step
            for name, value in flat(items):
                if not name.startswith("_") and (found := number(value)) is not None:
                    values.append((name, at if isinstance(at, int) else count, found))
    except StageError as error:
        raise SpecError(error.message, hint=error.hint) from error
    return run, values


def _of_wandb(path: Path) -> TrackerRun:
    run, values = _wandb_run(path)
    return TrackerRun(
        name=run.name or run.identity,
        place=visible(f"run {run.name} in {path.name}"),
        settings=dict(flat(run.config)),
        values=values,
        is_finished=run.has_ended,
    )


# MLflow: a file store (mlruns), or a SQLite file.

_FINISHED = ("FINISHED", "3")


def _mlflow(path: Path, group: str, stack: ExitStack) -> Tracked:
    if path.is_file():
        return _mlflow_sqlite(stack.enter_context(open_tables(path)), group)
    store = path / "mlruns" if (path / "mlruns").is_dir() else path
    experiments = {
        home: str(_yaml(home / "meta.yaml").get("name", home.name))
        for home in sorted(store.iterdir() if store.is_dir() else ())
        if (home / "meta.yaml").is_file() and not home.name.startswith(".")
    }
    if not experiments:
        raise SpecError(
            f"{visible(path.name)} is no file store of MLflow: no folder in it has a meta.yaml",
            hint="name the folder mlruns, or the SQLite file",
        )
    holding = {home: name for home, name in experiments.items() if any(home.glob("*/meta.yaml"))}
    name = chosen_group((holding or experiments).values(), group, "experiments")
    (home, *_) = (each for each, own in experiments.items() if own == name)
    listed = files_below(home)
    kept = [f for f in listed if "artifacts" not in f.relative_to(home).parts]
    files = digest_of_all(((f.relative_to(store).as_posix(), f) for f in kept), most=MOST_BYTES)
    runs = sorted(each.parent for each in home.glob("*/meta.yaml"))
    return Tracked(files=files, runs=filter(None, map(_of_file_store, runs)))


def _of_file_store(home: Path) -> TrackerRun | None:
    """Return a run of the file store; None for one that was deleted."""
    about = _yaml(home / "meta.yaml")
    if str(about.get("lifecycle_stage")) == "deleted":
        return None
    settings = {
        path.relative_to(home / kind).as_posix(): _text(path)
        for kind in ("tags", "params")
        if (home / kind).is_dir()
        for path in files_below(home / kind)
    }
    name = str(about.get("run_name") or settings.get("mlflow.runName") or home.name)
    return TrackerRun(
        name=name,
        place=visible(f"run {name} in {home.name}"),
        settings=settings,
        values=_of_metric_files(home / "metrics"),
        is_finished=str(about.get("status")) in _FINISHED,
    )


def _of_metric_files(folder: Path) -> Iterator[Value]:
    for path in files_below(folder) if folder.is_dir() else ():
        metric = path.relative_to(folder).as_posix()
        with path.open(encoding="utf-8", errors="replace") as file:
            for line, text in enumerate(file, start=1):
                words = text.split()
                step = words[2] if len(words) > 2 else "0"
                value = number(words[1]) if len(words) > 1 else None
                if value is None or not step.lstrip("-").isdecimal():
                    raise SpecError(
                        f"line {line} of the metric {visible(metric)} in"
                        f" {visible(folder.parent.name)} is not a time, a value and a step",
                        hint="is the file whole?",
                    )
                yield metric, int(step), value


def _yaml(path: Path) -> dict[str, Any]:
    """Return a small YAML file; {} where it is none."""
    import yaml

    try:
        found = yaml.load(_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError(
            f"{visible(path.name)} in {visible(path.parent.name)} is no YAML of MLflow",
            hint="is the file whole?",
        ) from error
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise SpecError(
            f"{visible(path.name)} in {visible(path.parent.name)} is larger than 1 MiB",
            hint="a parameter or a tag is a few words",
        )
    return data.decode("utf-8", "replace").strip()


def _mlflow_sqlite(tables: Tables, group: str) -> Tracked:
    tables.require(("experiments", "runs", "params", "tags", "metrics"), "SQLite file of MLflow")
    names = dict(
        tables.rows(
            "select name, experiment_id from experiments where lifecycle_stage = 'active'"
            " and experiment_id in (select experiment_id from runs)"
        )
    )
    experiment = names[chosen_group(map(str, names), group, "experiments")]
    found = list(
        tables.rows(
            "select run_uuid, name, status from runs where experiment_id = ?"
            " and lifecycle_stage = 'active' order by start_time, run_uuid",
            (experiment,),
        )
    )
    return Tracked(
        files=tables.files, runs=(_of_mlflow(tables, str(i), str(n), str(s)) for i, n, s in found)
    )


def _of_mlflow(tables: Tables, identity: str, name: str, status: str) -> TrackerRun:
    settings = {
        str(key): value
        for table in ("tags", "params")
        for key, value in tables.rows(
            f"select key, value from {table} where run_uuid = ?", (identity,)
        )
    }
    return TrackerRun(
        name=name,
        place=visible(f"run {name} ({identity[:8]})"),
        settings=settings,
        values=_mlflow_values(tables, identity),
        is_finished=status in _FINISHED,
    )


def _mlflow_values(tables: Tables, identity: str) -> Iterator[Value]:
    for key, value, step, is_nan in tables.rows(
        "select key, value, step, is_nan from metrics where run_uuid = ? order by key, step",
        (identity,),
    ):
        found = math.nan if is_nan else number(value)
        yield str(key), int(step), _infinite(found) if found is not None else None


def _infinite(value: float) -> float:
    """Return infinity for the largest number there is, by which MLflow's databases stand for it."""
    return math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else value


# TensorBoard: a folder with a folder of event files for each run.


def _tensorboard(path: Path, group: str, stack: ExitStack) -> Tracked:
    paths = [each for each in files_below(path) if "tfevents" in each.name]
    if not paths:
        raise SpecError(
            f"{visible(path.name)} holds no event files",
            hint="name the folder in which each run has a folder with events.out.tfevents...",
        )
    files = digest_of_all(
        ((each.relative_to(path).as_posix(), each) for each in paths), most=MOST_BYTES
    )
    if not has_tensorboard():
        raise MachineError(
            "event files are read by TensorBoard, which is not installed",
            hint="pip install 'icckd[export-tensorboard]'",
        )
    homes: dict[Path, list[Path]] = {}
    for each in paths:
        homes.setdefault(each.parent, []).append(each)
    return Tracked(
        files=files,
        runs=(
            TrackerRun(
                name=home.relative_to(path).as_posix(),
                place=visible(f"{home.relative_to(path).as_posix()}/{own[0].name}"),
                settings={},
                values=[(tag, step, value) for each in own for step, tag, value in scalars(each)],
            )
            for home, own in homes.items()
        ),
    )


# Optuna: the trials of a study, from a SQLite file or a journal file.

_STATES = {0: "RUNNING", 1: "COMPLETE", 2: "PRUNED", 3: "FAIL", 4: "WAITING"}
_NOT_RUN = ("RUNNING", "WAITING")
_WAYS: dict[Any, Direction] = {"MAXIMIZE": "higher", "MINIMIZE": "lower", 2: "higher", 1: "lower"}


@dataclass(slots=True)
class _OptunaTrial:
    number: int
    state: str = "WAITING"
    settings: dict[str, Any] = field(default_factory=dict)
    values: list[float | None] = field(default_factory=list)
    steps: dict[int, float | None] = field(default_factory=dict)


def _optuna(path: Path, group: str, stack: ExitStack) -> Tracked:
    files: tuple[SourceFile, ...] = (source_file(path, most=MOST_BYTES),)
    with path.open("rb") as file:
        is_sqlite = file.read(16).startswith(b"SQLite format 3")
    if is_sqlite:
        tables = stack.enter_context(open_tables(path))
        directions, trials = _optuna_sqlite(tables, group)
        files = tables.files
    else:
        directions, trials = _optuna_journal(path, group)
    ran = [trial for trial in trials if trial.state not in _NOT_RUN]
    left = len(trials) - len(ran)
    names = ["value"] if len(directions) == 1 else [f"value_{n}" for n in range(len(directions))]
    return Tracked(
        files=files,
        runs=(_of_optuna(trial, names) for trial in ran if _is_told(trial)),
        directions={n: _WAYS.get(way, "none") for n, way in zip(names, directions, strict=True)},
        notes=(f"{left} trials that had not ended are left out.",) if left else (),
    )


def _is_told(trial: _OptunaTrial) -> bool:
    """Whether a trial is one of the study: one that failed before it had settings is none."""
    return trial.state == "COMPLETE" or bool(trial.settings)


def _of_optuna(trial: _OptunaTrial, names: list[str]) -> TrackerRun:
    values: list[Value] = [
        (name, None, value) for name, value in zip(names, trial.values, strict=False)
    ]
    values += [("intermediate", step, value) for step, value in sorted(trial.steps.items())]
    values += [
        (name, None, found)
        for name, value in trial.settings.items()
        if not isinstance(value, str) and (found := number(value)) is not None
    ]
    return TrackerRun(
        name=f"trial {trial.number}",
        place=f"trial {trial.number}",
        settings=trial.settings,
        values=values,
        is_finished=trial.state == "COMPLETE",
    )


def _optuna_sqlite(tables: Tables, group: str) -> tuple[list[Any], list[_OptunaTrial]]:
    tables.require(
        ("studies", "study_directions", "trials", "trial_params", "trial_values",
         "trial_user_attributes", "trial_intermediate_values"),
        "SQLite file of Optuna",
    )  # fmt: skip
    names = dict(tables.rows("select study_name, study_id from studies"))
    study = names[chosen_group(map(str, names), group, "studies")]
    directions = [
        row[0]
        for row in tables.rows(
            "select direction from study_directions where study_id = ? order by objective", (study,)
        )
    ]
    trials = {
        identity: _OptunaTrial(number=number, state=str(state))
        for identity, number, state in tables.rows(
            "select trial_id, number, state from trials where study_id = ? order by number",
            (study,),
        )
    }
    mine = "where trial_id in (select trial_id from trials where study_id = ?)"
    for trial, name, value, kind in tables.rows(
        f"select trial_id, param_name, param_value, distribution_json from trial_params {mine}",
        (study,),
    ):
        trials[trial].settings[str(name)] = _optuna_value(kind, value)
    for trial, key, text in tables.rows(
        f"select trial_id, key, value_json from trial_user_attributes {mine}", (study,)
    ):
        trials[trial].settings |= dict(flat({str(key): _json(text)}))
    for trial, value, kind in tables.rows(
        f"select trial_id, value, value_type from trial_values {mine} order by objective", (study,)
    ):
        trials[trial].values.append(_typed(value, kind))
    for trial, step, value, kind in tables.rows(
        "select trial_id, step, intermediate_value, intermediate_value_type from"
        f" trial_intermediate_values {mine}",
        (study,),
    ):
        trials[trial].steps[int(step)] = _typed(value, kind)
    return directions, list(trials.values())


def _typed(value: Any, kind: Any) -> float | None:
    words = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
    return words.get(str(kind), number(value))


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def _optuna_value(distribution: Any, value: Any) -> Any:
    """Return a parameter: of a categorical one the choice that the stored index means."""
    told = _json(distribution)
    attributes = told.get("attributes") if isinstance(told, dict) else None
    choices = attributes.get("choices") if isinstance(attributes, dict) else None
    index = number(value)
    if isinstance(choices, list) and index is not None and 0 <= index < len(choices):
        return choices[int(index)]
    return value


def _optuna_journal(path: Path, group: str) -> tuple[list[Any], list[_OptunaTrial]]:
    """Return the trials that the lines of a journal come to (optuna.storages.journal)."""
    studies: list[tuple[str, list[Any]]] = []
    trials: list[tuple[int, _OptunaTrial]] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            entry = _json(text)
            if not isinstance(entry, dict):
                if text.endswith("\n"):
                    raise SpecError(
                        f"line {line} of {visible(path.name)} is no line of an Optuna journal",
                        hint="is it the right file?",
                    )
                break  # a process was killed amid its last line
            try:
                _take_entry(entry, studies, trials)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise SpecError(
                    f"line {line} of {visible(path.name)} makes no sense in an Optuna journal",
                    hint="is it the right file?",
                ) from error
    name = chosen_group([name for name, _ in studies], group, "studies")
    study = [name for name, _ in studies].index(name)
    return studies[study][1], [trial for own, trial in trials if own == study]


def _take_entry(
    entry: dict[str, Any],
    studies: list[tuple[str, list[Any]]],
    trials: list[tuple[int, _OptunaTrial]],
) -> None:
    """Take one operation: a study or a trial is made, or something of a trial is set."""
    code = entry["op_code"]
    if code == 0:
        studies.append((str(entry["study_name"]), list(entry["directions"])))
    elif code == 4:
        study = int(entry["study_id"])
        trial = _OptunaTrial(number=sum(own == study for own, _ in trials))
        trials.append((study, trial))
        _take_template(trial, entry)
    elif code in (5, 6, 7, 8):
        _take_setting(trials[int(entry["trial_id"])][1], code, entry)


def _take_template(trial: _OptunaTrial, entry: dict[str, Any]) -> None:
    trial.state = _STATES.get(entry.get("state", 0), "FAIL")
    kinds = entry.get("distributions") or {}
    for name, value in (entry.get("params") or {}).items():
        trial.settings[str(name)] = _optuna_value(kinds.get(name), value)
    trial.settings |= dict(flat(entry.get("user_attrs") or {}))
    for step, value in (entry.get("intermediate_values") or {}).items():
        trial.steps[int(step)] = number(value)
    given = entry.get("values") or ([entry["value"]] if entry.get("value") is not None else [])
    trial.values = [number(value) for value in given]


def _take_setting(trial: _OptunaTrial, code: int, entry: dict[str, Any]) -> None:
    if code == 5:
        value = _optuna_value(entry["distribution"], entry["param_value_internal"])
        trial.settings[str(entry["param_name"])] = value
    elif code == 6:
        trial.state = _STATES.get(entry["state"], "FAIL")
        if entry.get("values") is not None:
            trial.values = [number(value) for value in entry["values"]]
    elif code == 7:
        trial.steps[int(entry["step"])] = number(entry["intermediate_value"])
    else:
        trial.settings |= dict(flat(entry["user_attr"]))


# Trackio: a project is a SQLite file; TRACKIO_DIR is a folder of them.


def _trackio(path: Path, group: str, stack: ExitStack) -> Tracked:
    if path.is_dir():
        found = {each.stem: each for each in sorted(path.glob("*.db")) if each.is_file()}
        path = found[chosen_group(found, group, "projects")]
    tables = stack.enter_context(open_tables(path))
    tables.require(("metrics", "configs"), "project of Trackio")
    known = [row[1] for row in tables.rows("pragma table_info(metrics)")]
    key = "run_id" if "run_id" in known else "run_name"
    settings = {
        identity: dict(flat(config))
        for identity, text in tables.rows(f"select {key}, config from configs order by id")
        if isinstance(config := _json(text), dict)
    }
    runs = list(
        tables.rows(f"select {key}, min(run_name) from metrics group by {key} order by min(id)")
    )
    return Tracked(
        files=tables.files,
        runs=(
            TrackerRun(
                name=str(name),
                place=visible(f"run {name}"),
                settings=settings.get(identity, {}),
                values=_trackio_values(tables, key, identity),
            )
            for identity, name in runs
        ),
    )


def _trackio_values(tables: Tables, key: str, identity: Any) -> Iterator[Value]:
    for step, text in tables.rows(
        f"select step, metrics from metrics where {key} = ? order by step, id", (identity,)
    ):
        logged = _json(text)
        for name, value in flat(logged if isinstance(logged, dict) else {}):
            found = number(value)
            if found is not None:
                yield name, int(step), found


_OPENED: dict[str, Callable[[Path, str, ExitStack], Tracked]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "optuna": _optuna,
    "trackio": _trackio,
}
