"""From trials to stages: content digests, shared teachers, nothing run twice. Pure.

A stage is identified by what it reads (design law 6, docs/laws.md): its settings without those
equal to their default, the digests of its inputs, seed, data fingerprint, numerics, training
version, and source that is not known to give equal numbers. Names, executors and paths are not part
of it. A task is identified by its settings, the digests of its inputs, seed, the files that icckd
knows to be read, the version of its interpreter, device and threads.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel

from icckd.study.arms import Design
from icckd.study.data import Data
from icckd.study.distillers import Distiller
from icckd.study.graphs import refuse_uncapturable
from icckd.study.model import Method, Student
from icckd.study.network import Model, WeightsFile
from icckd.study.numerics import NumericsClass as NumericsClass
from icckd.study.numerics import numerics_class as numerics_class
from icckd.study.numerics import of_stage
from icckd.study.packing import (
    ALONE,
    Packing,
    in_pack,
    is_packed,
    largest_pack,
    shared_shape,
    unit_of,
)
from icckd.study.records import ENGINE_KINDS, Arm, Device, EngineKind, Stage, Trial
from icckd.study.settings import Off
from icckd.study.source import StageSource, source_of
from icckd.study.tasks import Task, TaskSource, by_name, command_text, identity, uses_engine
from icckd.study.teacher import Teacher
from icckd.study.training import Training

ALL_KNOWN = StageSource()
UNKNOWN_DATA = "unknown"
"""Fingerprint of data that are not on this machine: nothing is trained from such a plan."""
TASK_EPOCH = 1
"""Raised when icckd runs tasks, or reads their metrics, in a way that changes their numbers."""


def _no_task_source(task: Task) -> TaskSource:
    return TaskSource()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What a plan depends on besides the design: device class, data, code.

    `code_epoch` gives the training version of numerics by its device, precision and `compiled`.
    With `compile_long` the long stages on CUDA are compiled. With `accept_code` source that is not
    known to give equal numbers is taken to give them. `task_source` looks at the files of a task;
    `packing` says which stages are trained in packs: those where it pays, all, or none;
    `accepted_files` has, by kind of stage, the digests of files under which earlier ones stand.
    """

    numerics: NumericsClass
    fingerprints: tuple[tuple[Data, str], ...]
    code_epoch: Callable[..., int]
    compile_long: bool = False
    packing: Literal["auto", "on", "off"] = "off"
    source: Callable[[EngineKind, BaseModel, BaseModel, bool], StageSource] = source_of
    accept_code: bool = False
    task_source: Callable[[Task], TaskSource] = _no_task_source
    accepted_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def fingerprint(self, data: Data) -> str:
        """Return the fingerprint of the raw files behind `data`."""
        return next(digest for known, digest in self.fingerprints if known == data)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob(Stage):
    """A stage with everything that it is trained from; `settings` are complete.

    `packing` tells with what it may be trained. `files` are those of a task, or the modules of
    plug-ins, by name with the digests that its identity has; `changed_files` has the digests of
    those that differ now and are taken to give the same numbers.
    """

    settings: dict[str, Any]
    fingerprint: str
    numerics: NumericsClass
    code_epoch: int
    source: StageSource = ALL_KNOWN
    files: Mapping[str, str] = field(default_factory=dict)
    changed_files: Mapping[str, str] = field(default_factory=dict)
    packing: Packing = ALONE

    @property
    def is_task(self) -> bool:
        """Whether it runs code of the user."""
        return self.kind not in ENGINE_KINDS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages, each once, inputs before the stages that read them."""

    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    stages: dict[str, StageJob]

    @property
    def device(self) -> Device:
        """The kind of device that its stages are trained on."""
        return next(iter(self.stages.values())).numerics.device

    def users(self, digest: str) -> tuple[Trial, ...]:
        """Return the trials that need a stage."""
        return tuple(self._users.get(digest, ()))

    @functools.cached_property
    def _users(self) -> dict[str, list[Trial]]:
        """The trials by stage: sessions ask for those of every stage that begins or ends."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            for digest in dict.fromkeys(trial.stages):
                found.setdefault(digest, []).append(trial)
        return found


def build(design: Design, context: PlanContext, *, students_per_teacher: int = 1) -> Plan:
    """Return the plan that gives every trial of a design its result."""
    stages: dict[str, StageJob] = {}
    planned: list[Trial] = []
    recipes: dict[str, tuple[_Recipe, ...]] = {}
    for trial in design.trials:
        if trial.arm not in recipes:
            recipes[trial.arm] = tuple(_recipes(design.methods[trial.arm], context))
        known: dict[str, str] = {}
        needed: list[StageJob] = []
        for recipe in recipes[trial.arm]:
            replicates = students_per_teacher if recipe.kind == "student" else 1
            made = [recipe.stage(trial.seed, replicate, known) for replicate in range(replicates)]
            known[recipe.kind] = made[0].digest
            needed += made
        for stage in needed:
            stages.setdefault(stage.digest, stage)
        planned.append(replace(trial, stages=tuple(stage.digest for stage in needed)))
    given = {trial.arm for trial in planned}
    return Plan(
        arms=tuple(arm for arm in design.arms if arm.name in given),
        trials=tuple(planned),
        stages=stages,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """All of a stage but its seed: what the trials of an arm share.

    Attributes:
        kind: The kind of stage.
        identity: What decides its digest, without `seed`, `inputs` and, of the engine, `replicate`.
        facts: What else `StageJob` has.
        needs: The kinds of stages that it reads.
    """

    kind: str
    identity: "_Template"
    facts: Mapping[str, Any]
    needs: tuple[str, ...]

    def stage(self, seed: int, replicate: int, known: Mapping[str, str]) -> StageJob:
        """Return the stage of one trial; `known` has the digests of its stages before by kind."""
        inputs = {kind: known[kind] for kind in self.needs}
        is_engine = self.kind in ENGINE_KINDS
        own = {"inputs": list(inputs.values()), "replicate": replicate} if is_engine else {
            "inputs": inputs
        }  # fmt: skip
        return StageJob(
            digest=self.identity.digest(seed=seed, **own),
            kind=self.kind,
            seed=seed,
            replicate=replicate,
            inputs=inputs,
            **self.facts,
        )


class _Template:
    """Digests of contents that differ in a few entries alone: the rest is written once.

    Args:
        content: The entries that all have.
        open_entries: Names of the others.
    """

    def __init__(self, content: dict[str, Any], open_entries: tuple[str, ...]) -> None:
        self._content, self._names = content, open_entries
        marks = {name: f"\0{name}\0" for name in open_entries}
        text = _canonical_text({**content, **marks})
        order = sorted(open_entries)
        self._pieces: list[bytes] = []
        for name in order:
            before, mark, text = text.partition(_canonical_text(marks[name]))
            if not mark or _canonical_text(marks[name]) in text:  # a setting has the mark's text
                self._pieces = []
                return
            self._pieces.append(before.encode())
        self._pieces.append(text.encode())

    def digest(self, **entries: Any) -> str:
        """Return the digest of the content with these entries, as `digest_of`."""
        if not self._pieces:
            return digest_of({**self._content, **entries})
        total = hashlib.sha256(self._pieces[0])
        for name, piece in zip(sorted(entries), self._pieces[1:], strict=True):
            total.update(_canonical_text(entries[name]).encode())
            total.update(piece)
        return total.hexdigest()


def _recipes(method: Method, context: PlanContext) -> Iterator[_Recipe]:
    """Yield the recipes of the stages of an arm, inputs first."""
    if uses_engine(method.task):
        yield _teacher(method, context)
        yield _student(method, context)
    for kind, task in by_name(method.task).items():
        yield _task(kind, task, context)


def canonical(model: BaseModel) -> dict[str, Any]:
    """Return the settings that differ from their default, `kind` always, as JSON values.

    A field added later with a default therefore leaves existing digests alone. Settings that say
    where something lies are left out.
    """
    kept: dict[str, Any] = {}
    for name, default in _defaults(type(model)).items():
        if name in getattr(model, "places", ()):
            continue
        value = getattr(model, name)
        if name != "kind" and value == default:
            continue
        kept[name] = _canonical_value(value)
    return kept


@functools.cache
def _defaults(settings: type[BaseModel]) -> dict[str, Any]:
    """Return the default of each setting, pydantic's mark where it has none."""
    fields = settings.model_fields.items()
    return {name: each.get_default(call_default_factory=True) for name, each in fields}


def _canonical_value(value: Any) -> Any:
    """Return a setting as JSON values; of a table with free keys, an "off" entry is as none."""
    if isinstance(value, BaseModel):
        return canonical(value)
    if isinstance(value, dict):
        return {key: _canonical_value(entry) for key, entry in value.items() if entry != "off"}
    return value


def digest_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of canonical JSON, in hexadecimal."""
    return hashlib.sha256(_canonical_text(content).encode()).hexdigest()


def _canonical_text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _teacher(method: Method, context: PlanContext) -> _Recipe:
    teacher = method.teacher
    return _stage(
        kind="teacher",
        role=teacher,
        data=method.data,
        training=teacher.training,
        context=context,
        shape={
            "model": canonical(teacher.model),
            "views": teacher.views,
            **_loss_costs(teacher),
        },
        needs=(),
    )


def _loss_costs(teacher: Teacher) -> dict[str, Any]:
    """Return what tells the cost of each loss that is on."""
    costs = {name: loss.cost() for name, loss in teacher.losses().items()}
    return {name: _canonical_value(cost) for name, cost in costs.items()}


def _student(method: Method, context: PlanContext) -> _Recipe:
    is_alone = method.student.distiller == "off"
    return _stage(
        kind="student",
        role=method.student,
        learns_from=None if is_alone else method.teacher.model,
        data=method.data,
        training=method.student.training,
        context=context,
        shape={
            "model": canonical(method.student.model),
            "teacher": None if is_alone else canonical(method.teacher.model),
            "distiller": _methods(method.student.distiller),
        },
        needs=() if is_alone else ("teacher",),
    )


def _methods(distiller: Distiller | Off) -> str:
    """Return which methods a distiller consists of: what decides the cost of a step."""
    return "off" if distiller == "off" else "+".join(distiller.methods())


def _stage(  # noqa: PLR0913  # all that a stage is made of, by keyword
    *,
    kind: EngineKind,
    role: Teacher | Student,
    data: Data,
    training: Training,
    context: PlanContext,
    shape: dict[str, Any],
    needs: tuple[str, ...],
    learns_from: Model | None = None,
) -> _Recipe:
    fingerprint = context.fingerprint(data)
    numerics = of_stage(context.numerics, data, training, compile_long=context.compile_long)
    if numerics.captured:
        refuse_uncapturable(role, learns_from)
    if is_packed(context.packing, role, data, numerics, learns_from):
        numerics = in_pack(numerics)
    code_epoch = context.code_epoch(
        device=numerics.device,
        precision=numerics.precision,
        compiled=numerics.compiled,
        packed=numerics.packed,
    )
    found = context.source(kind, role, data, numerics.packed)
    source = replace(found, accepted=context.accept_code)
    accepted = context.accepted_files.get(kind, {}) if context.accept_code else {}
    files = {name: accepted.get(name, digest) for name, digest in source.foreign.items()}
    other_source = {**files, **source.identity()}
    identity = {
        "kind": kind,
        "settings": {"data": canonical(data), kind: canonical(role)},
        "fingerprint": fingerprint,
        "numerics": numerics.identity(),
        "code_epoch": code_epoch,
        **({"source": other_source} if other_source else {}),
    }
    cost = {
        "kind": kind,
        "data": fingerprint,
        "train": getattr(data, "train", None),
        "epochs": training.last_epoch,
        "batch": training.batch_size,
        "numerics": numerics.identity(),
        **shape,
    }
    facts = {
        "shape": digest_of(cost)[:16],
        "epochs": training.last_epoch,
        "settings": {"data": data.model_dump(mode="json"), kind: role.model_dump(mode="json")},
        "fingerprint": fingerprint,
        "numerics": numerics,
        "code_epoch": code_epoch,
        "source": source,
        "files": files,
        "changed_files": {n: d for n, d in source.foreign.items() if files[n] != d},
    }
    if numerics.packed:
        shared = {
            **identity,
            "settings": {"data": canonical(data), kind: shared_shape(role)},
            "learns_from": None if learns_from is None else canonical(learns_from),
        }
        facts["packing"] = Packing(
            key=digest_of(shared)[:16],
            largest=largest_pack(role, data, numerics.device),
            unit=unit_of(role.model, numerics.device),
        )
    template = _Template(identity, ("inputs", "replicate", "seed"))
    return _Recipe(kind=kind, identity=template, facts=facts, needs=needs)


def _task(kind: str, task: Task, context: PlanContext) -> _Recipe:
    source = context.task_source(task)
    accepted = context.accepted_files.get(kind, {}) if context.accept_code else {}
    files = {name: accepted.get(name, digest) for name, digest in source.files.items()}
    numerics = NumericsClass(
        device=context.numerics.device, threads=context.numerics.threads, layout="contiguous"
    )
    fingerprint = digest_of({"inputs": dict(source.inputs)})
    content = {
        "kind": kind,
        "settings": identity(task),
        "fingerprint": fingerprint,
        "files": files,
        "python": source.python,
        "device": numerics.device,
        "threads": numerics.threads,
        "task_epoch": TASK_EPOCH,
    }
    cost = {"kind": kind, "runs": command_text(task), "steps": task.last_step}
    facts = {
        "shape": digest_of({**cost, "device": numerics.device})[:16],
        "epochs": task.last_step,
        "settings": {kind: task.model_dump(mode="json", exclude_defaults=True)},
        "fingerprint": fingerprint,
        "numerics": numerics,
        "code_epoch": 0,
        "files": files,
        "changed_files": {n: digest for n, digest in source.files.items() if files[n] != digest},
    }
    return _Recipe(
        kind=kind,
        identity=_Template(content, ("inputs", "seed")),
        facts=facts,
        needs=tuple(task.needs),
    )


def changed_source(plan: Plan) -> dict[str, dict[str, str]]:
    """Return the changed source of each stage that has any, by the stage's digest."""
    return {
        digest: dict(stage.source.changed)
        for digest, stage in plan.stages.items()
        if stage.source.changed
    }


def accepted_source(plan: Plan) -> dict[str, str]:
    """Return all source of a plan that is taken to give equal numbers: digests by module."""
    accepted = [stage.source for stage in plan.stages.values() if stage.source.accepted]
    return {
        **{name: digest for source in accepted for name, digest in source.changed.items()},
        **{n: d for stage in plan.stages.values() for n, d in stage.changed_files.items()},
    }


def datasets(design: Design) -> tuple[Data, ...]:
    """Return the distinct data settings of a design's trials."""
    methods = (design.methods[trial.arm] for trial in design.trials)
    return tuple(dict.fromkeys(m.data for m in methods if uses_engine(m.task)))


def weights_files(design: Design) -> tuple[WeightsFile, ...]:
    """Return the distinct weights that networks of a design's trials start from."""
    all_methods = (design.methods[trial.arm] for trial in design.trials)
    methods = [method for method in all_methods if uses_engine(method.task)]
    models = [model for m in methods for model in (m.teacher.model, m.student.model)]
    given = [model.weights_file for model in models]
    return tuple(dict.fromkeys(weights for weights in given if weights != "off"))
