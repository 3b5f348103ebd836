"""Distillers: how a student learns from a teacher's outputs.

`DISTILLERS` maps the `kind` of the settings to a function of the settings.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from icckd.engine.distillers.kd import Kd
from icckd.engine.models import Output


class Distiller(Protocol):
    """Gives named loss terms before their weights; the student minimises their weighted sum.

    Terms and weights have the same names, in the same order; `ce` is the cross-entropy.
    """

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each term."""

    def __call__(self, student: Output, teacher: Output, labels_B: Tensor) -> dict[str, Tensor]:
        """Return the terms in nats, scalars. No gradient flows to the teacher."""


DISTILLERS: dict[str, Callable[[Any], Distiller]] = {"kd": Kd}
