"""Which stages can be captured as CUDA graphs: those whose steps differ in values alone. Pure.

docs/cuda.md tells what a captured step is. Of a plug-in's parts nobody knows.
"""

from typing import Any

from pydantic import BaseModel

from icckd.errors import SpecError
from icckd.study.distillers import Distiller
from icckd.study.network import Model
from icckd.study.packing import is_own
from icckd.study.settings import Off
from icckd.study.teacher import Teacher

ON_THE_HOST = {"crd": "draws its negatives on the host at every step"}
"""Distillers of icckd whose steps need the host."""


def refuse_uncapturable(role: Teacher | Any, learns_from: Model | None) -> None:
    """Refuse a stage whose step cannot be captured.

    Args:
        role: Settings of the teacher or of the student.
        learns_from: The network that a student learns from, None without one.

    Raises:
        SpecError: It names the part that cannot.
    """
    kind = "teacher" if isinstance(role, Teacher) else "student"
    why_not = _obstacle(role, learns_from)
    if why_not:
        raise SpecError(
            f'numerics.graphs = "on", but the step of a {kind} cannot be captured: {why_not}',
            hint='set numerics.graphs = "off" for this study, see docs/cuda.md',
        )


def _obstacle(role: Teacher | Any, learns_from: Model | None) -> str:
    networks = [network for network in (role.model, learns_from) if network is not None]
    if isinstance(role, Teacher):
        losses = [(f"the loss {name!r}", loss) for name, loss in role.losses().items()]
        return _foreign(networks, losses)
    methods = _methods(role.distiller)
    for method in methods:
        if method.kind in ON_THE_HOST and is_own(method):
            return f"the distiller {method.kind!r} {ON_THE_HOST[method.kind]}"
    return _foreign(networks, [(f"the distiller {each.kind!r}", each) for each in methods])


def _methods(distiller: Distiller | Off) -> list[Distiller]:
    if distiller == "off":
        return []
    terms = getattr(distiller, "terms_on", None)  # of a sum
    return [distiller] if terms is None else [distiller, *(term for _, term in terms())]


def _foreign(networks: list[Model], others: list[tuple[str, Any]]) -> str:
    """Return which part is a plug-in's, "" if none is."""
    parts: list[tuple[str, BaseModel]] = [(f"the network {n.kind!r}", n) for n in networks]
    for name, part in [*parts, *others]:
        if not is_own(part):
            return f"{name} is a plug-in's, of which that is not known"
    return ""
