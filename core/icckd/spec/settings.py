"""What all settings share."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Off = Literal["off"]


class Settings(BaseModel):
    """Base of all settings: immutable, closed, strict, finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    places: ClassVar[frozenset[str]] = frozenset()
    """Settings that only say where something lies: no part of a stage's identity."""
