"""What ablation plans ask of a study: which of it is bound to arms, which is open, and why.

It is data beside the study: no arm, no stage and no revision follows from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from icckd.errors import SpecError
from icckd.study.model import Requested, Study
from icckd.study.observed import visible

UNBOUND = "nobody has said yet which setting its part is"
MOST_NAMED = 3


def open_of(study: Study) -> tuple[Requested, ...]:
    """Return the requested ablations that are open."""
    return tuple(each for each in study.requested if each.arm is None)


def refuse_open(study: Study) -> None:
    """Do nothing where all that plans ask for is bound to arms, or is not to be run.

    Raises:
        SpecError: Something is open.
    """
    found = open_of(study)
    if not found:
        return
    names = ", ".join(repr(visible(each.name, 80)) for each in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    plural = "requested ablation is" if len(found) == 1 else "requested ablations are"
    raise SpecError(
        f"{len(found)} {plural} open: {names}{more}",
        hint="icckd bind STUDY binds them; run --bound-only leaves them out",
    )


def read_requested(resolved: Mapping[str, Any]) -> tuple[Requested, ...]:
    """Return what plans asked for, of a study in a journal; nothing of another version's."""
    found = resolved.get("requested", ())
    if not isinstance(found, (list, tuple)):
        return ()
    try:
        return tuple(Requested.model_validate(each) for each in found)
    except ValidationError:
        return ()


def requested_lines(asked: Sequence[Requested]) -> Iterator[str]:
    """Yield a line for each requested ablation: its arms, or why it has none."""
    for each in asked:
        name = visible(each.name, 120)
        if each.arm is None:
            yield f"{name}: open: {visible(each.reason, 400) or UNBOUND}"
        elif each.arm:
            yield f"{name}: {', '.join(each.arm)}"
        else:
            yield f"{name}: no arm: {visible(each.reason, 400) or 'each of its items is left out'}"
        for item in each.left_out:
            yield f"    left out: {visible(str(item.item), 80)}: {visible(item.reason, 300)}"
