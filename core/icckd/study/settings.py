"""What all settings share, and settings that a registry completes."""

import functools
from collections.abc import Iterable
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
    Strict,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails

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


class Settings(BaseModel):
    """Base of all settings: immutable, closed, strict, finite.

    Schemas are built when they are first used: by then every part is registered.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )

    places: ClassVar[frozenset[str]] = frozenset()
    """Settings that only say where something lies: no part of a stage's identity."""

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
    def kinds(cls) -> tuple[type["OneOf"], ...]:
        """Return the settings of every kind that the annotation `cls` takes."""
        if kind_of(cls):
            return (cls,)
        return tuple(part.settings for part in cls.registry.parts(cls))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Return the schema of the settings, or of the union of all kinds."""
        if kind_of(cls):
            return handler(source)
        kinds = cls.kinds()
        if cls.kind_if_missing is None:
            return handler.generate_schema(
                Annotated[Union[kinds], Field(discriminator="kind")]  # noqa: UP007
            )
        tagged = tuple(Annotated[kind, Tag(kind_of(kind))] for kind in kinds)
        return handler.generate_schema(
            Annotated[Union[tagged], _by_kind(cls.kind_if_missing, map(kind_of, kinds))]  # noqa: UP007
        )


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
