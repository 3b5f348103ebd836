"""The study file: one question, its arms, seeds and metrics."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from icckd.spec.data import Data, DigitsData
from icckd.spec.method import Method
from icckd.spec.settings import Settings
from icckd.spec.student import Student
from icckd.spec.teacher import Teacher
from icckd.spec.training import Numerics

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._=+-]{0,127}$")]
SettingPath = Annotated[
    str, StringConstraints(pattern=r"^(data|teacher|student)(\.[a-z0-9_]+)*$", max_length=200)
]
Text = Annotated[str, StringConstraints(max_length=2000)]
DesignKind = Literal["explicit", "leave-one-out", "one-at-a-time", "factorial", "zip", "path"]


class Seeds(Settings):
    """`count` seeds from `first` on; equal seeds are pairs."""

    first: int = Field(default=0, ge=0, le=2**31)
    count: int = Field(ge=1, le=10_000)

    def all(self) -> tuple[int, ...]:
        """Return every seed in order."""
        return tuple(range(self.first, self.first + self.count))


class Convergence(Settings):
    """Validation accuracy, in percent, that counts as converged."""

    teacher: float = Field(default=90.0, gt=0, le=100)
    student: float = Field(default=90.0, gt=0, le=100)


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


class StudyHeader(Settings):
    """The `[study]` table."""

    name: Name
    question: Text = ""
    baseline: ArmName
    primary: str = Field(
        default="student.top1", description="the outcome that answers the question"
    )
    metrics: tuple[str, ...] = Field(default=(), description="further outcomes for the table")
    seeds: Seeds
    calibration_seeds: Seeds | None = Field(
        default=None, description="seeds outside the study, for the weights of matched controls"
    )
    students_per_teacher: int = Field(default=1, ge=1, le=1000)
    design: DesignKind = "explicit"
    forbid: tuple[dict[str, Any], ...] = Field(
        default=(), description="level combinations left out"
    )
    convergence: Convergence = Convergence()
    family: tuple[ArmName, ...] | None = Field(
        default=None, description="arms whose primary comparisons are corrected together"
    )
    smallest_effect: float | None = Field(
        default=None, gt=0, description="smallest difference of the primary metric that matters"
    )
    sequential: Sequential = Sequential()

    @model_validator(mode="after")
    def _calibrate_outside_the_study(self) -> "StudyHeader":
        if self.calibration_seeds is not None:
            shared = set(self.seeds.all()) & set(self.calibration_seeds.all())
            if shared:
                raise ValueError(f"seed {min(shared)} is in both seeds and calibration_seeds")
        return self


class Ablation(Settings):
    """One ablation in AblationBench's words; yields one arm, or one for each replacement."""

    name: Text
    arm: ArmName
    part: SettingPath
    action: Literal["REMOVE", "REPLACE", "ADD"]
    replacement: tuple[Any, ...] | None = None
    metrics: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _replacement_fits_action(self) -> "Ablation":
        if self.action == "REMOVE" and self.replacement is not None:
            raise ValueError("REMOVE takes no replacement; use action REPLACE")
        if self.action != "REMOVE" and not self.replacement:
            raise ValueError(f"{self.action} needs a replacement: a list of values for the part")
        return self


class ArmSpec(Settings):
    """An arm written out: the configuration as written, with some settings changed."""

    name: ArmName
    about: Text = ""
    set: dict[SettingPath, Any] = Field(default_factory=dict)
    control_for: ArmName | None = None


class Factor(Settings):
    """Something varied on purpose. The first level is the reference."""

    name: Name
    path: SettingPath
    levels: tuple[Any, ...] = Field(min_length=1, max_length=1000)
    when: dict[str, Any] | None = Field(
        default=None, description="vary only where these factors have these levels"
    )


class Study(Settings):
    """A whole study file."""

    study: StudyHeader
    data: Data = DigitsData()
    teacher: Teacher = Teacher()
    student: Student = Student()
    numerics: Numerics = Numerics()
    ablation: tuple[Ablation, ...] = ()
    arm: tuple[ArmSpec, ...] = ()
    factor: tuple[Factor, ...] = ()

    def method(self) -> Method:
        """Return the configuration as written, which every arm starts from."""
        return Method(data=self.data, teacher=self.teacher, student=self.student)

    def written(self) -> dict[str, Any]:
        """Return the settings an arm may change, without those left to their defaults."""
        return self.model_dump(
            mode="json", exclude_unset=True, include={"data", "teacher", "student"}
        )
