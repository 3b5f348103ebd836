"""Distillers: how a student learns from a teacher's outputs.

`DISTILLERS` maps the `kind` of the settings to a class.
"""

from icckd.engine.distillers.base import Distiller, Pairing
from icckd.engine.distillers.kd import Kd

__all__ = ["DISTILLERS", "Distiller", "Pairing"]

DISTILLERS: dict[str, type[Distiller]] = {"kd": Kd}
