"""The study file as settings: its question, arms, seeds and metrics, and what an arm may set."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from icckd.study.data import DATASETS, Data
from icckd.study.distillers import DISTILLERS, Distiller
from icckd.study.items import Varies
from icckd.study.network import MODELS, Model, image_shape, network_shape
from icckd.study.plugins import PluginName
from icckd.study.registry import default
from icckd.study.settings import Many, Off, Settings, known_as
from icckd.study.tasks import Tasks, by_name
from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training


class Student(Settings):
    """The student and how it learns from the teacher; "off" trains it by cross-entropy alone."""

    model: Model = MODELS.default("cnn", widths=(4, 8, 16))
    distiller: Distiller | Off = DISTILLERS.default(
        "kd",
        known_as=known_as(
            "knowledge distillation",
            "distillation",
            "distillation loss",
            "knowledge distillation loss",
            "distillation method",
            "distiller",
        ),
    )
    training: Training = Training()


# What an arm may change: everything about data, teacher, student and tasks that changes numbers.


class Method(Settings):
    """The settings that an arm may change."""

    data: Data = DATASETS.default("digits")
    teacher: Teacher = default(lambda: Teacher.model_validate({}))
    student: Student = default(Student)
    task: Tasks = None

    @model_validator(mode="after")
    def _batches_fit(self) -> "Method":
        train = getattr(self.data, "train", None)
        for role, training in (
            ("teacher", self.teacher.training),
            ("student", self.student.training),
        ):
            if train is not None and training.batch_size > train:
                raise ValueError(
                    f"{role}.training.batch_size {training.batch_size} is more than the"
                    f" {train} training images"
                )
        return self

    @model_validator(mode="after")
    def _images_fit(self) -> "Method":
        image = image_shape(self.data)
        for role, model in (("teacher", self.teacher.model), ("student", self.student.model)):
            try:
                network_shape(model, image)
            except ValueError as error:
                raise ValueError(f"{role}.model: {error} ({self.data.kind})") from error
        return self


# The tables of the file.

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._=+-]{0,127}$")]
SettingPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^((data|teacher|student)(\.[a-z0-9_]+)*|task(\.[A-Za-z0-9_-]+)*)$", max_length=200
    ),
]
Text = Annotated[str, StringConstraints(max_length=2000)]
DesignKind = Literal["explicit", "leave-one-out", "one-at-a-time", "factorial", "zip", "path"]


class Seeds(Settings):
    """`count` seeds from `first` on; equal seeds are pairs."""

    first: int = Field(default=0, ge=0, le=2**31, description="the smallest seed")
    count: int = Field(ge=1, le=10_000, description="how many, one after the other")

    def all(self) -> tuple[int, ...]:
        """Return every seed in order."""
        return tuple(range(self.first, self.first + self.count))


class Convergence(Settings):
    """Validation accuracy, in percent, that counts as converged."""

    teacher: float = Field(default=90.0, gt=0, le=100, description="in percent")
    student: float = Field(default=90.0, gt=0, le=100, description="in percent")


class Sequential(Settings):
    """The rule for reports after seeds were added: a confidence sequence, valid at every look."""

    effect: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="standardized paired effect (d_z) that the rule is made for",
    )
    always: bool = Field(
        default=False, description="use it from the first seed, added seeds or not"
    )


def _without_defaults(
    model: Settings, written: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    fields = type(model).model_fields
    return {
        key: value
        for key, value in written.items()
        if key not in names or getattr(model, key) != fields[key].default
    }


class StudyHeader(Settings):
    """The `[study]` table."""

    name: Name = Field(description="what it is called: lower-case letters, digits and . _ -")
    question: Text = Field(default="", description="printed above the answers")
    baseline: ArmName = Field(description="the arm that the others are compared with")
    primary: str = Field(
        default="student.top1", description="the outcome that answers the question"
    )
    metrics: Many[str] = Field(default=(), description="further outcomes for the table")
    seeds: Seeds = Field(description="how often everything is repeated; equal seeds are pairs")
    calibration_seeds: Seeds | None = Field(
        default=None, description="seeds outside the study, for the weights of matched controls"
    )
    students_per_teacher: int = Field(
        default=1, ge=1, le=1000, description="averaged before arms are compared"
    )
    design: DesignKind = Field(default="explicit", description="how factors become arms")
    forbid: Many[dict[str, Any]] = Field(default=(), description="level combinations left out")
    convergence: Convergence = Convergence()
    family: Many[ArmName] | None = Field(
        default=None, description="arms whose primary comparisons are corrected together"
    )
    smallest_effect: float | None = Field(
        default=None, gt=0, description="smallest difference of the primary metric that matters"
    )
    sequential: Sequential = Sequential()
    extension: Literal["one", "none"] = Field(
        default="one", description="how often seeds may be added to a first report and still count"
    )
    generalise_to: Many[Varies] = Field(
        default=(), description="what verdicts speak about; by default what varies in the study"
    )
    items: Literal["same", "common"] = Field(
        default="same", description="whether arms must have seen the same items, or share some"
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is at its default and came later: revisions of studies stay the same."""
        return _without_defaults(self, write(self), ("extension", "generalise_to", "items"))

    @field_validator("generalise_to")
    @classmethod
    def _each_once(cls, value: tuple[Varies, ...]) -> tuple[Varies, ...]:
        if len(set(value)) < len(value):
            raise ValueError("generalise_to names one of them twice")
        return tuple(sorted(value, reverse=True))

    @model_validator(mode="after")
    def _calibrate_outside_the_study(self) -> "StudyHeader":
        if self.calibration_seeds is not None:
            shared = set(self.seeds.all()) & set(self.calibration_seeds.all())
            if shared:
                raise ValueError(f"seed {min(shared)} is in both seeds and calibration_seeds")
        return self


class Ablation(Settings):
    """One ablation in AblationBench's words; yields one arm, or one for each replacement."""

    name: Text = Field(description="what is done, for a reader")
    arm: ArmName = Field(description="the arm's name; of several values, its beginning")
    part: SettingPath = Field(description="the setting or table that is ablated, by its path")
    action: Literal["REMOVE", "REPLACE", "ADD"] = Field(
        description="turn it off, give it other values, or add what the baseline has off"
    )
    replacement: Many[Any] | None = Field(default=None, description="values; an arm for each")
    metrics: Many[str] = Field(default=(), description="outcomes to show because of this ablation")
    primary: Many[str] = Field(
        default=(), description="outcomes that answer for this ablation, instead of study.primary"
    )
    smallest_effect: float | dict[str, float] | None = Field(
        default=None,
        description="smallest difference that matters; of several outcomes, by outcome",
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is at its default and came later: revisions of studies stay the same."""
        return _without_defaults(self, write(self), ("primary", "smallest_effect"))

    @field_validator("primary", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _effects_fit_outcomes(self) -> "Ablation":
        effects = self.smallest_effect
        given = effects.values() if isinstance(effects, dict) else [effects]
        if any(value is not None and not 0 < value < math.inf for value in given):
            raise ValueError("smallest_effect must be above 0")
        if isinstance(effects, dict):
            unknown = [name for name in effects if name not in self.primary]
            if unknown:
                raise ValueError(
                    f"smallest_effect is about {unknown[0]!r}, which is not in primary"
                )
        elif effects is not None and len(self.primary) > 1:
            raise ValueError("several primary outcomes need smallest_effect = { outcome = value }")
        return self

    @model_validator(mode="after")
    def _replacement_fits_action(self) -> "Ablation":
        if self.action == "REMOVE" and self.replacement is not None:
            raise ValueError("REMOVE takes no replacement; use action REPLACE")
        if self.action != "REMOVE" and not self.replacement:
            raise ValueError(f"{self.action} needs a replacement: a list of values for the part")
        return self


class ArmSpec(Settings):
    """An arm written out: the configuration as written, with some settings changed."""

    name: ArmName = Field(description="what it is called")
    about: Text = Field(default="", description="what it is, for a reader")
    set: dict[SettingPath, Any] = Field(
        default_factory=dict, description="what it changes, by paths; nothing else may differ"
    )
    control_for: ArmName | None = Field(
        default=None, description="the arm that it is a control for"
    )


class Factor(Settings):
    """Something varied on purpose. The first level is the reference."""

    name: Name = Field(description="what it is called; arms are named by it and their level")
    path: SettingPath = Field(description="the setting or table that is varied")
    levels: Many[Any] = Field(
        min_length=1, max_length=1000, description="its values, the reference first"
    )
    when: dict[str, Any] | None = Field(
        default=None, description="vary only where these factors have these levels"
    )


LongText = Annotated[str, StringConstraints(max_length=8000)]


class LeftOut(Settings):
    """An item of a requested ablation that no arm has, and why."""

    item: Any = Field(description="as the plan has it")
    reason: Text = Field(description="why no arm has it")


class Requested(Settings):
    """An ablation that a plan asks for, in its own words: data beside the study, in no digest.

    Without `arm` it is open: nobody has said yet which setting its part is.
    """

    name: LongText = Field(min_length=1, description="the ablation, in the plan's words")
    part: LongText = Field(description="the ablated part, in the plan's words")
    action: Literal["REMOVE", "REPLACE", "ADD"] = Field(description="what the plan asks to do")
    items: Many[Any] = Field(default=(), description="what the plan puts in the part's place")
    metrics: Many[LongText] = Field(default=(), description="in the plan's words")
    source: Text = Field(default="", description="the plan that asks for it")
    arm: Many[str] | None = Field(
        default=None, description="arms that answer it; [] where none is to, without it it is open"
    )
    reason: Text = Field(default="", description="why no arm answers it")
    left_out: Many[LeftOut] = Field(default=(), description="items that no arm has, and why")

    @field_validator("arm", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_why_nothing_is_run(self) -> "Requested":
        if self.arm == () and not (self.reason or self.left_out):
            raise ValueError("arm = [] needs a reason")
        if self.arm and self.reason:
            raise ValueError("it has arms, and a reason why it has none: remove one of the two")
        try:
            json.dumps(self.items, allow_nan=False)
        except ValueError as error:
            raise ValueError("an item is not finite") from error
        return self


class Study(Settings):
    """A whole study file."""

    plugins: Many[PluginName] = Field(
        default=(),
        max_length=100,
        description="files and installed packages that bring parts of your own",
    )
    study: StudyHeader
    data: Data = DATASETS.default("digits")
    teacher: Teacher = default(lambda: Teacher.model_validate({}))
    student: Student = default(Student)
    task: Tasks = Field(default=None, description="code of your own: one task, or several by name")
    numerics: Numerics = Numerics()
    ablation: Many[Ablation] = ()
    arm: Many[ArmSpec] = ()
    factor: Many[Factor] = ()
    requested: Many[Requested] = Field(
        default=(), description="what ablation plans ask for, beside what is run"
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is at its default and came later: revisions of studies stay the same."""
        return _without_defaults(self, write(self), ("plugins", "task", "requested"))

    @model_validator(mode="after")
    def _one_student_for_tasks(self) -> "Study":
        for name, task in by_name(self.task).items():
            if "student" in task.needs and self.study.students_per_teacher > 1:
                raise ValueError(
                    f"{name} needs student, and study.students_per_teacher makes several of them"
                )
        return self

    def method(self) -> Method:
        """Return the configuration as written, which every arm starts from."""
        return Method(data=self.data, teacher=self.teacher, student=self.student, task=self.task)

    def written(self) -> dict[str, Any]:
        """Return the settings an arm may change, without those left to their defaults."""
        return self.model_dump(
            mode="json", exclude_unset=True, include={"data", "teacher", "student", "task"}
        )
