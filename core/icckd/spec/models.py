"""Which networks there are."""

from typing import Annotated, Literal

from pydantic import Field

from icckd.spec.settings import Settings


class CnnModel(Settings):
    """Three blocks of 3x3 convolution, batch norm, ReLU; pooled between; one linear classifier."""

    kind: Literal["cnn"] = "cnn"
    widths: tuple[
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ] = (16, 32, 64)
