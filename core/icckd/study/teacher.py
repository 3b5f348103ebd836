"""The teacher, and what all its losses besides cross-entropy have; each is a part of its own.

The losses are registered in the files of `icckd.train.losses`; docs/method.md defines them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from icckd.study.metrics import Direction, Metric, Recorded
from icckd.study.network import MODELS, Model
from icckd.study.registry import Part, Registry, load, when_loaded
from icckd.study.settings import Off, Settings, StandIn, known_as
from icckd.study.training import Training

B = TypeVar("B", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """What a teacher's loss tells besides its value, recorded as `teacher.<name>`.

    Attributes:
        name: Name without the kind of stage.
        unit: Its unit.
        direction: Which way is better.
        about: What it is, for the catalogue of metrics.
        told: At each `step` beside the loss, recorded as the mean over an epoch; at the end of a
            diagnosed `epoch`; or once, at the end of the `stage`.
        outcome: How the values of all steps make an outcome too, if they do.
        when_off: Outcome of a teacher without the loss, if it has one.
    """

    name: str
    unit: str
    direction: Direction = "none"
    about: str
    told: Literal["step", "epoch", "stage"] = "step"
    outcome: Literal["mean", "sum"] | None = None
    when_off: float | None = None

    def metric(self) -> Metric:
        """Return its entry in the catalogue."""
        per_epoch: Recorded = "both" if self.outcome else "series"
        return Metric(
            name=f"teacher.{self.name}",
            unit=self.unit,
            direction=self.direction,
            about=self.about,
            recorded="outcome" if self.told == "stage" else per_epoch,
        )


class LossSettings(Settings):
    """Settings of a teacher's loss; the setting of that name in `[teacher]` holds them.

    Attributes:
        title: What the loss is called in a sentence.
        about: What its value is, for the catalogue of metrics.
        diagnostics: What else it tells.
        views: Views of each image that it compares.
        aliases: What else papers call it.
    """

    title: ClassVar[str]
    about: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = ()
    views: ClassVar[int] = 1

    weight: float = Field(ge=0, description="factor of the loss beside cross-entropy")

    def cost(self) -> bool | Settings:
        """Return what of the settings decides what a step costs; stages are timed by it."""
        return True

    @classmethod
    def told(cls, when: Literal["step", "epoch", "stage"]) -> tuple[Diagnostic, ...]:
        """Return the diagnostics of that time, in their order."""
        return tuple(each for each in cls.diagnostics if each.told == when)


def _metrics(part: Part[LossSettings]) -> tuple[Metric, ...]:
    loss = Metric(
        name=f"teacher.{part.kind}",
        unit="nats",
        direction="lower",
        about=part.settings.about,
        recorded="series",
    )
    ratio = Metric(
        name=f"teacher.{part.kind}_ratio",
        unit="1",
        direction="none",
        about=f"step mean of weight * |grad L_{part.kind}| / |grad CE| at the pooled feature",
        recorded="both",
    )
    told = {when: part.settings.told(when) for when in ("stage", "step", "epoch")}
    per_stage, per_step, per_epoch = ([d.metric() for d in each] for each in told.values())
    return (loss, *per_stage, ratio, *per_step, *per_epoch)


TEACHER_LOSSES: Registry[LossSettings] = Registry("teacher loss", metrics=_metrics)


def teacher_loss(name: str, settings: type[LossSettings], **options: Any) -> Callable[[B], B]:
    """Return a decorator that registers a loss; see docs/extending.md.

    Args:
        name: The setting in `[teacher]`, and the loss's name in metrics.
        settings: The class of its settings.
        **options: `order`, where it stands in lists.
    """
    return TEACHER_LOSSES.register(settings, kind=name, **options)


class BalancedSampler(Settings):
    """Every batch holds `per_class` images of each of `classes` classes."""

    classes: int = Field(ge=1, le=65_536, description="classes in a batch")
    per_class: int = Field(ge=2, le=65_536, description="images of each of them")


class Teacher(Settings):
    """The teacher: cross-entropy on one view, and the losses that the study gives it."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return the settings of a registered loss, or "off"."""

    model: Model = MODELS.default("cnn")
    views: Literal[1, 2] = Field(
        default=1,
        description="augmented views forwarded per image; 2 beside a loss that compares two",
    )
    views_in_ce: Literal[1, 2] = Field(default=1, description="views the cross-entropy looks at")
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the target spread over all classes",
        json_schema_extra=known_as("label smoothing", unit="1", off=0.0),
    )
    sampler: BalancedSampler | Off = "off"
    training: Training = Training()

    @model_validator(mode="wrap")
    @classmethod
    def _with_losses_of_plugins(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Take a table as that of a teacher with the losses that the study's plug-ins bring."""
        if cls is not Teacher or isinstance(given, StandIn):
            return given if isinstance(given, cls) else handler(given)
        whole = _with_stand_ins(cls)
        is_other = isinstance(given, dict) and whole is not cls
        return whole.model_validate(given) if is_other else handler(given)

    @model_serializer(mode="wrap")
    def _write_all_losses(
        self, write: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Write the losses of plug-ins, too, where a table holds them."""
        if not isinstance(self, StandIn):
            return write(self)  # type: ignore[no-any-return]
        return self.model_dump(mode=info.mode, exclude_unset=info.exclude_unset)

    @model_validator(mode="after")
    def _losses_have_their_views(self) -> "Teacher":
        for name, loss in self.losses().items():
            if loss.views > self.views:
                raise ValueError(f'{loss.title} needs views = {loss.views}, or {name} = "off"')
        if self.views_in_ce > self.views:
            raise ValueError("views_in_ce = 2 needs views = 2")
        return self

    @model_validator(mode="after")
    def _sampler_fills_the_batch(self) -> "Teacher":
        if self.sampler == "off":
            return self
        images = self.sampler.classes * self.sampler.per_class
        if images != self.training.batch_size:
            raise ValueError(
                f"sampler.classes * sampler.per_class = {images} is not training.batch_size"
                f" = {self.training.batch_size}"
            )
        return self

    def losses(self) -> dict[str, LossSettings]:
        """Return the settings of the losses that are on, by name, in the order of the registry."""
        found = {name: getattr(self, name) for name in self.loss_names()}
        return {name: loss for name, loss in found.items() if loss != "off"}

    @classmethod
    def loss_names(cls) -> tuple[str, ...]:
        """Return the names of all losses that it may have, in their order."""
        return TEACHER_LOSSES.kinds()

    @classmethod
    def kinds(cls) -> tuple[type[Settings], ...]:
        """Return the class itself, with the losses of plug-ins where the study has some."""
        return (_with_stand_ins(cls),)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Return the schema, every registered loss a setting of its own."""
        load()
        return handler(source)


def _give_losses_their_settings() -> None:
    """Make each registered loss a setting of the teacher, before the sampler."""
    fields = dict(Teacher.__pydantic_fields__)
    after = {name: fields.pop(name) for name in ("sampler", "training")}
    for part in TEACHER_LOSSES.parts():
        fields[part.kind] = FieldInfo.from_annotated_attribute(
            cast(type[Any], part.settings | Off), _off_unless_named(part.settings)
        )
    Teacher.__pydantic_fields__ = fields | after


def _off_unless_named(loss: type[LossSettings]) -> Any:
    """Return the field of a loss: off where a teacher does not name it."""
    return Field(default="off", json_schema_extra=known_as(loss.title, *loss.aliases))


when_loaded(_give_losses_their_settings)


# The losses of plug-ins, where this process knows them by stand-ins.


def _with_stand_ins(teacher: type[Teacher]) -> type[Teacher]:
    parts = TEACHER_LOSSES.stand_ins()
    if teacher is not Teacher or not parts:
        return teacher
    return _teacher_with(tuple((part.kind, part.settings) for part in parts))


@functools.cache
def _teacher_with(losses: tuple[tuple[str, type[LossSettings]], ...]) -> type[Teacher]:
    """Return the class of a teacher that has these losses besides the registered ones."""

    class TeacherWithPlugins(StandIn, Teacher):
        __doc__ = Teacher.__doc__

        @model_serializer(mode="wrap")
        def _write_all_losses(
            self, write: SerializerFunctionWrapHandler, info: SerializationInfo
        ) -> dict[str, Any]:
            return write(self)  # type: ignore[no-any-return]

        @classmethod
        def loss_names(cls) -> tuple[str, ...]:
            return (*TEACHER_LOSSES.kinds(), *(name for name, _ in losses))

    fields: dict[str, Any] = {
        name: (cast(type[Any], loss | Off), _off_unless_named(loss)) for name, loss in losses
    }
    made: type[Teacher] = create_model("Teacher", __base__=TeacherWithPlugins, **fields)
    own = {name: made.__pydantic_fields__[name] for name, _ in losses}
    made.__pydantic_fields__ = Teacher.__pydantic_fields__ | own  # the registered losses, too
    return made


def with_views_of_losses(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's tables in which a teacher has the views that its own losses compare.

    A file need not say `views` beside such a loss. It is settled before arms are made: an arm that
    turns the loss off keeps the views, and so differs in the loss alone.
    """
    teacher = tables.get("teacher")
    if not isinstance(teacher, dict) or "views" in teacher:
        return dict(tables)
    parts = (*TEACHER_LOSSES.parts(), *TEACHER_LOSSES.stand_ins())
    on = [part for part in parts if teacher.get(part.kind, "off") != "off"]
    views = max((part.settings.views for part in on), default=1)
    return {**tables, "teacher": {**teacher, "views": views}} if views > 1 else dict(tables)
