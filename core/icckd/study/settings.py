"""What all settings share, and settings that a registry completes."""

import functools
from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    Strict,
    StringConstraints,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from icckd.study.registry import Registry, kind_of

T = TypeVar("T")
Off = Literal["off"]
Many = Annotated[tuple[T, ...], Strict(False)]
"""A list of values. TOML and JSON have lists and settings are immutable: a list becomes a tuple."""

PATTERNS: dict[str, str] = {}
"""Regular expressions of texts, and in words what they ask for."""


def matching(pattern: str, words: str, *, most: int | None = None) -> StringConstraints:
    """Return the constraint of a text; an error about it says the words.

    Args:
        pattern: The regular expression.
        words: What it asks for, as in "wanted ...".
        most: Most characters.
    """
    PATTERNS[pattern] = words
    return StringConstraints(pattern=pattern, max_length=most)


def known_as(
    *aliases: str, unit: str = "", off: Any = None, odd: tuple[float, str] | None = None
) -> dict[str, Any]:
    """Return what a setting's schema says of it as a part that can be ablated.

    Args:
        *aliases: What papers call it.
        unit: Its unit.
        off: What it is when it is off, where "off" is no value of it.
        odd: A number from which on a value is legal and means nothing, and why.
    """
    said = {
        "x-aliases": list(aliases),
        "x-unit": unit,
        "x-off": off,
        "x-odd": None if odd is None else {"from": odd[0], "says": odd[1]},
    }
    return {key: value for key, value in said.items() if value not in ([], "", None)}


class Settings(BaseModel):
    """Base of all settings: immutable, closed, strict, finite.

    Schemas are built when they are first used: by then every part is registered.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )

    places: ClassVar[frozenset[str]] = frozenset()
    """Settings that only say where something lies: no part of a stage's identity."""

    @classmethod
    def kinds(cls) -> tuple[type["Settings"], ...]:
        """Return the classes of settings that an annotation `cls` takes."""
        return (cls,)

    @model_validator(mode="before")
    @classmethod
    def _choices_of_their_own_type(cls, given: Any) -> Any:
        """Refuse true and 1.0 for 1, which are equal to Python and so to a choice of numbers."""
        wrong: list[InitErrorDetails] = [
            {"type": "literal_error", "loc": (name,), "input": value,
             "ctx": {"expected": " or ".join(map(repr, choices))}}
            for name, value in (given.items() if isinstance(given, dict) else ())
            if isinstance(value, (bool, float)) and (choices := _choices_of(cls).get(name))
            and type(value) not in map(type, choices)
        ]  # fmt: skip
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return given


@functools.cache
def _choices_of(table: type[Settings]) -> dict[str, tuple[Any, ...]]:
    """Return, by setting, the values of those that are a choice of values and nothing else."""
    annotations = {name: field.annotation for name, field in table.model_fields.items()}
    return {name: get_args(a) for name, a in annotations.items() if get_origin(a) is Literal}


class StandIn(Settings):
    """Settings of a part of a plug-in, in a process that has not imported it."""


def _or_stand_in(schema: CoreSchema, choose: Callable[[Any], type[Settings] | None]) -> CoreSchema:
    """Return a schema that takes settings of parts of plug-ins besides those that it knows.

    Args:
        schema: What is taken as a rule.
        choose: Gives the class that a value is validated by instead, or None.
    """

    def validate(value: Any, otherwise: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, StandIn):
            return value
        other = choose(value)
        return otherwise(value) if other is None else other.model_validate(value)

    def write(value: Any, otherwise: SerializerFunctionWrapHandler, info: Any) -> Any:
        if not isinstance(value, StandIn):
            return otherwise(value)
        return value.model_dump(
            mode=info.mode,
            exclude_unset=info.exclude_unset,
            exclude_defaults=info.exclude_defaults,
        )

    return core_schema.no_info_wrap_validator_function(
        validate,
        schema,
        serialization=core_schema.wrap_serializer_function_ser_schema(
            write, schema=schema, info_arg=True
        ),
    )


class OneOf(Settings):
    """Settings of one of the registered kinds.

    A setting annotated with a base, which has no `kind` of its own, takes any kind that is
    registered with settings derived from that base.

    Attributes:
        registry: Knows the kinds.
        kind_if_missing: The kind of a table that names none; without it a table must name one.
    """

    registry: ClassVar[Registry[Any]]
    kind_if_missing: ClassVar[str | None] = None

    if TYPE_CHECKING:
        kind: str

    @classmethod
    def kinds(cls) -> tuple[type[Settings], ...]:
        """Return the settings of every kind that the annotation `cls` takes."""
        if kind_of(cls):
            return (cls,)
        parts = (*cls.registry.parts(cls), *cls.registry.stand_ins(cls))
        return tuple(part.settings for part in parts)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Return the schema of the settings, or of the union of all kinds."""
        if kind_of(cls):
            return handler(source)
        kinds = tuple(part.settings for part in cls.registry.parts(cls))
        if cls.kind_if_missing is None:
            union = handler.generate_schema(
                Annotated[Union[kinds], Field(discriminator="kind")]  # noqa: UP007
            )
        else:
            tagged = tuple(Annotated[kind, Tag(kind_of(kind))] for kind in kinds)
            union = handler.generate_schema(
                Annotated[Union[tagged], _by_kind(cls.kind_if_missing, map(kind_of, kinds))]  # noqa: UP007
            )
        return _or_stand_in(union, cls._stand_in_for)

    @classmethod
    def _stand_in_for(cls, value: Any) -> type[Settings] | None:
        """Return the stand-in whose settings a value is to be, None where it is of a known kind."""
        if not isinstance(value, dict):
            return None
        kind = value.get("kind")
        stand_ins = (p.settings for p in cls.registry.stand_ins(cls) if p.kind == kind)
        return next(stand_ins, None)


def _by_kind(missing: str, kinds: Iterable[str]) -> Discriminator:
    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("kind", missing)
        return getattr(value, "kind", None)

    return Discriminator(
        kind,
        custom_error_type="union_tag_kind",
        custom_error_message=f'no known kind; valid: {", ".join(kinds)}, or "off" for the table',
    )
