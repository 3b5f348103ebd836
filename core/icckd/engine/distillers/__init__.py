"""Distillers: how a student learns from a teacher's outputs.

`DISTILLERS` maps the `kind` of the settings to a class.
"""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from icckd.engine.distillers.base import Distiller, Pairing, network_shape
from icckd.engine.distillers.methods import METHODS
from icckd.engine.distillers.sums import Sum
from icckd.errors import StageError
from icckd.spec.distiller_sum import Distiller as Settings

__all__ = ["DISTILLERS", "Distiller", "Pairing", "build_distiller", "save_learnt"]

DISTILLERS: dict[str, type[Distiller]] = {**METHODS, "sum": Sum}


def build_distiller(settings: Settings, pairing: Pairing) -> Distiller:
    """Return the distiller that joins two networks, on the CPU.

    Raises:
        StageError: If the method cannot join them; a plan that knows their shapes refuses earlier.
    """
    reason = settings.obstacle(network_shape(pairing.student), network_shape(pairing.teacher))
    if reason is not None:
        raise StageError(
            f"distiller {settings.kind!r} cannot join these networks: {reason}",
            hint="see what each method needs in docs/distillers.md",
        )
    return DISTILLERS[settings.kind](settings, pairing)


def save_learnt(distiller: nn.Module, folder: Path) -> None:
    """Write `distiller.safetensors`: the parameters that a distiller has learnt, if any."""
    learnt = {name: p.detach().cpu().contiguous() for name, p in distiller.named_parameters()}
    if learnt:
        save_file(learnt, folder / "distiller.safetensors")
