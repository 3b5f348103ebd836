"""From trials to stages: content digests, shared teachers, nothing run twice. Pure.

A stage is identified by what it reads (law 6): its settings without those equal to their default,
the digests of its inputs, seed, data fingerprint, numerics class, code epoch. Names, executors
and paths are not part of it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from icckd.design import Arm, Trial
from icckd.spec.data import Data
from icckd.spec.distiller_sum import Distiller
from icckd.spec.models import WeightsFile
from icckd.spec.numerics import NumericsClass as NumericsClass
from icckd.spec.numerics import numerics_class as numerics_class
from icckd.spec.numerics import of_stage
from icckd.spec.settings import Off
from icckd.spec.teacher import Teacher
from icckd.spec.training import Training

StageKind = Literal["teacher", "student"]
UNKNOWN_DATA = "unknown"
"""Fingerprint of data that are not on this machine: nothing is trained from such a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a plan stands on besides the study: device class, data, code.

    With `compile_long` the long stages on CUDA are compiled.
    """

    numerics: NumericsClass
    fingerprints: tuple[tuple[Data, str], ...]
    code_epoch: int
    compile_long: bool = False

    def fingerprint(self, data: Data) -> str:
        """Return the fingerprint of the raw files behind `data`."""
        return next(digest for known, digest in self.fingerprints if known == data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One content-addressed job.

    `settings` are complete and are what the worker trains from; `shape` is equal for stages that
    cost about the same.
    """

    kind: StageKind
    settings: dict[str, Any]
    seed: int
    replicate: int
    inputs: tuple[str, ...]
    fingerprint: str
    numerics: NumericsClass
    code_epoch: int
    epochs: int
    digest: str
    shape: str

    def inputs_by_kind(self) -> dict[str, str]:
        """Return the digest of each input, under the kind of stage that yields it."""
        return dict(zip(("teacher",), self.inputs, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial with the digests of its teacher and students."""

    trial: Trial
    teacher: str
    students: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All stages, each once, inputs before the stages that read them."""

    arms: tuple[Arm, ...]
    trials: tuple[PlannedTrial, ...]
    stages: dict[str, Stage]

    def users(self, digest: str) -> tuple[Trial, ...]:
        """Return the trials that need a stage."""
        return tuple(
            planned.trial
            for planned in self.trials
            if digest == planned.teacher or digest in planned.students
        )


def build(trials: Sequence[Trial], ground: Ground, *, students_per_teacher: int = 1) -> Plan:
    """Return the plan that gives every trial its result."""
    stages: dict[str, Stage] = {}
    planned: list[PlannedTrial] = []
    for trial in trials:
        teacher = _teacher(trial, ground)
        stages.setdefault(teacher.digest, teacher)
        students = []
        for replicate in range(students_per_teacher):
            student = _student(trial, ground, teacher, replicate)
            stages.setdefault(student.digest, student)
            students.append(student.digest)
        planned.append(PlannedTrial(trial=trial, teacher=teacher.digest, students=tuple(students)))
    arms = tuple({trial.arm.name: trial.arm for trial in trials}.values())
    return Plan(arms=arms, trials=tuple(planned), stages=stages)


def canonical(model: BaseModel) -> dict[str, Any]:
    """Return the settings that differ from their default, `kind` always, as JSON values.

    A field added later with a default therefore leaves existing digests alone. Settings that say
    where something lies are left out.
    """
    kept: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        if name in getattr(model, "places", ()):
            continue
        value = getattr(model, name)
        if name != "kind" and value == field.get_default(call_default_factory=True):
            continue
        kept[name] = _canonical_value(value)
    return kept


def _canonical_value(value: Any) -> Any:
    """Return a setting as JSON values; of a table with free keys, an "off" entry is as none."""
    if isinstance(value, BaseModel):
        return canonical(value)
    if isinstance(value, dict):
        return {key: _canonical_value(entry) for key, entry in value.items() if entry != "off"}
    return value


def digest_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of canonical JSON, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _teacher(trial: Trial, ground: Ground) -> Stage:
    method = trial.arm.method
    teacher = method.teacher
    return _stage(
        kind="teacher",
        role=teacher,
        data=method.data,
        training=teacher.training,
        trial=trial,
        ground=ground,
        shape={
            "model": canonical(teacher.model),
            "views": teacher.views,
            "intra": _intra_cost(teacher),
        },
    )


def _intra_cost(teacher: Teacher) -> bool | dict[str, Any]:
    """Return what tells the cost of the loss: encoding a cache anew is many times a step's."""
    if teacher.intra == "off":
        return False
    cache = teacher.intra.cache
    return canonical(cache) if cache != "off" and cache.mode == "reencode" else True


def _student(trial: Trial, ground: Ground, teacher: Stage, replicate: int) -> Stage:
    method = trial.arm.method
    is_alone = method.student.distiller == "off"
    return _stage(
        kind="student",
        role=method.student,
        data=method.data,
        training=method.student.training,
        trial=trial,
        ground=ground,
        shape={
            "model": canonical(method.student.model),
            "teacher": None if is_alone else canonical(method.teacher.model),
            "distiller": _methods(method.student.distiller),
        },
        inputs=() if is_alone else (teacher.digest,),
        replicate=replicate,
    )


def _methods(distiller: Distiller | Off) -> str:
    """Return which methods a distiller consists of: what decides the cost of a step."""
    if distiller == "off":
        return "off"
    if distiller.kind == "sum":
        return "+".join(sorted(term.kind for _, term in distiller.terms_on()))
    return distiller.kind


def _stage(
    *,
    kind: StageKind,
    role: BaseModel,
    data: Data,
    training: Training,
    trial: Trial,
    ground: Ground,
    shape: dict[str, Any],
    inputs: tuple[str, ...] = (),
    replicate: int = 0,
) -> Stage:
    fingerprint = ground.fingerprint(data)
    numerics = of_stage(ground.numerics, data, training, compile_long=ground.compile_long)
    identity = {
        "kind": kind,
        "settings": {"data": canonical(data), kind: canonical(role)},
        "seed": trial.seed,
        "replicate": replicate,
        "inputs": list(inputs),
        "fingerprint": fingerprint,
        "numerics": numerics.identity(),
        "code_epoch": ground.code_epoch,
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
    return Stage(
        kind=kind,
        settings={"data": data.model_dump(mode="json"), kind: role.model_dump(mode="json")},
        seed=trial.seed,
        replicate=replicate,
        inputs=inputs,
        fingerprint=fingerprint,
        numerics=numerics,
        code_epoch=ground.code_epoch,
        epochs=training.last_epoch,
        digest=digest_of(identity),
        shape=digest_of(cost)[:16],
    )


def datasets(trials: Sequence[Trial]) -> tuple[Data, ...]:
    """Return the distinct data settings of some trials."""
    return tuple(dict.fromkeys(trial.arm.method.data for trial in trials))


def weights_files(trials: Sequence[Trial]) -> tuple[WeightsFile, ...]:
    """Return the distinct weights that networks of some trials start from."""
    methods = [trial.arm.method for trial in trials]
    models = [model for m in methods for model in (m.teacher.model, m.student.model)]
    given = [model.weights for model in models if model.kind == "torchvision"]
    return tuple(dict.fromkeys(weights for weights in given if weights != "off"))
