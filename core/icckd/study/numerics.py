"""Classes of numerics: what a study's settings come to on a device, stage by stage. Pure."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from icckd.errors import SpecError
from icckd.study.data import Data
from icckd.study.records import Device
from icckd.study.training import Numerics, Precision, Training

LONG_IMAGES = 2_000_000
"""Training images, all epochs counted, from which `compile = "auto"` compiles a stage on CUDA."""


Layout = Literal["contiguous", "channels-last"]


def layout_of(device: str, precision: Precision) -> Layout:
    """Return the memory layout of images, maps and filters.

    Channels last is what tensor cores read: in TF32 and half precision a GPU transposes anything
    else. On a CPU it makes a step of the default teacher a third shorter.
    """
    return "contiguous" if device != "cpu" and precision == "fp32" else "channels-last"


LATER_FIELDS = {"deterministic": True, "packed": False, "replicas": 0, "captured": False}
"""Fields of a class that came after its first, with their defaults."""
NEWEST_FIELDS = ("replicas", "captured")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsClass:
    """What else decides the bits: results of two classes are never taken for each other.

    `replicas` are those of a pack where bits may depend on their number, else 0.
    """

    device: Device
    threads: int
    layout: Layout
    precision: Precision = "fp32"
    compiled: bool = False
    deterministic: bool = True
    packed: bool = False
    replicas: int = 0
    captured: bool = False

    def settings(self) -> Numerics:
        """Return the settings that give this class on its device, the compiler's policy decided."""
        return Numerics(
            threads=self.threads,
            precision=self.precision,
            deterministic=self.deterministic,
            compile="on" if self.compiled else "off",
            packing="on" if self.packed else "off",
            graphs="on" if self.captured else "off",
        )

    def told(self) -> dict[str, Any]:
        """Return this as a journal tells it; attempts before the newest fields are told alike."""
        kept = asdict(self)
        return {n: v for n, v in kept.items() if n not in NEWEST_FIELDS or v != LATER_FIELDS[n]}

    def identity(self) -> dict[str, Any]:
        """Return this as a part of a stage's identity; later fields are left out at a default."""
        kept = asdict(self)
        for name, default in LATER_FIELDS.items():
            if kept[name] == default:
                del kept[name]
        return kept


def numerics_class(numerics: Numerics, device: Device) -> NumericsClass:
    """Return the class of bits that a study gets on a device; threads matter on a CPU only.

    Raises:
        SpecError: The device cannot compute that way.
    """
    precision = numerics.precision
    if device == "cpu" and precision in ("tf32", "fp16"):
        why = "only GPUs have TF32" if precision == "tf32" else "fp16 needs a GPU's loss scaling"
        raise SpecError(
            f"numerics.precision = {precision!r} is not possible on a CPU: {why}",
            hint='set "fp32" or "bf16", or run with --device cuda',
        )
    if numerics.graphs == "on":
        _refuse_graphs(numerics, device)
    return NumericsClass(
        device=device,
        threads=1 if device == "cuda" else numerics.threads,
        layout=layout_of(device, precision),
        precision=precision,
        compiled=numerics.compile == "on",
        deterministic=numerics.deterministic,
        captured=numerics.graphs == "on",
    )


def _refuse_graphs(numerics: Numerics, device: Device) -> None:
    """Raise a SpecError where steps cannot be captured whatever they consist of."""
    if device == "cpu":
        raise SpecError(
            'numerics.graphs = "on" is not possible on a CPU: CUDA has such graphs',
            hint='set "off", or run with --device cuda',
        )
    if numerics.compile == "on":
        raise SpecError(
            'numerics.graphs = "on" and numerics.compile = "on" exclude each other',
            hint='set one of them; with graphs, compile = "auto" compiles nothing',
        )


def of_stage(
    numerics: NumericsClass, data: Data, training: Training, *, compile_long: bool
) -> NumericsClass:
    """Return the numerics of one stage: those of its study, compiled if that is for long stages.

    Data that do not tell their number of training images count as 45,000.
    """
    images = training.last_epoch * (getattr(data, "train", None) or 45_000)
    can_compile = compile_long and numerics.device == "cuda" and not numerics.captured
    if can_compile and images >= LONG_IMAGES:
        return replace(numerics, compiled=True)
    return numerics
