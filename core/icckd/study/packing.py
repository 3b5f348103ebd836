"""Which stages train in packs: several at once, as one model. Pure.

Whether a stage is packed decides its bits and follows from its settings alone; how many share a
pack does not, and is chosen for speed. docs/packing.md tells the rules and where the numbers are
from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from icckd.errors import SpecError
from icckd.study.data import Data, ImageShape
from icckd.study.distillers import Distiller
from icckd.study.network import Model
from icckd.study.numerics import NumericsClass
from icckd.study.settings import Off
from icckd.study.teacher import Teacher
from icckd.study.training import Training

SMALL_STEP = 200e6
"""Floating-point operations of one stage's step up to which packing pays on a CPU."""
SMALL_COLOUR_STEP = 100e6
"""The same for images of several channels."""

RESIDENT = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "synthetic")
"""Data sets whose images lie in memory."""

FEWEST = 4
"""A pack of one, and of three grey images, takes other kernels than any larger one."""
VECTOR = 16
"""Floats of the widest vector of a CPU: batch norm rounds the last ones of a row otherwise."""

CACHE_LINES = 512
"""Rows of so many floats, or a multiple, lie on the same lines of a cache, and are slow."""
LARGE_PACK, MIDDLE_PACK, SMALL_PACK = 20, 12, 4
LARGE_MAP, MIDDLE_MAP = 256 << 10, 1 << 20
"""Bytes of a replica's largest map up to which packs are large, or middle-sized."""

ON_CUDA = 8
"""Replicas of every pack on CUDA, where bits may depend on their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """With what a stage may be trained.

    Attributes:
        key: Stages with the same one may share a pack; "" is trained by itself.
        largest: How many at most.
        unit: A pack is filled up to a multiple of this.
    """

    key: str = ""
    largest: int = 1
    unit: int = 1


ALONE = Packing()


# Which stages can be packed, and of which it pays.


def is_packed(
    packing: Literal["auto", "on", "off"],
    role: Any,
    data: Data,
    numerics: NumericsClass,
    learns_from: Model | None,
) -> bool:
    """Return whether a stage is trained in a pack.

    Args:
        packing: The study's setting.
        role: Settings of the teacher or of the student.
        data: Its data.
        numerics: The class of numerics that it has outside a pack.
        learns_from: The network that a student learns from, None without one.

    Raises:
        SpecError: It is to be packed and cannot.
    """
    if packing == "off":
        return False
    why_not = obstacle(role, data, numerics, learns_from)
    if why_not and packing == "on":
        kind = "teacher" if isinstance(role, Teacher) else "student"
        raise SpecError(
            f'numerics.packing = "on", but a {kind} cannot be packed: {why_not}',
            hint='set numerics.packing = "auto" to pack what can be, see docs/packing.md',
        )
    if why_not:
        return False
    return packing == "on" or (numerics.device == "cpu" and pays(role, data))


def in_pack(numerics: NumericsClass) -> NumericsClass:
    """Return the class that a stage has in a pack, of the class that it has outside one."""
    replicas = 0 if numerics.device == "cpu" else ON_CUDA
    return replace(numerics, packed=True, layout="channels-last", replicas=replicas)


def obstacle(
    role: Teacher | Any, data: Data, numerics: NumericsClass, learns_from: Model | None
) -> str:
    """Return why a stage cannot be packed, "" if it can.

    Args:
        role: Settings of the teacher or of the student.
        data: Its data.
        numerics: The class of numerics that it has outside a pack.
        learns_from: The network that a student learns from, None without one.
    """
    model, training = role.model, role.training
    if numerics.precision != "fp32" or numerics.compiled:
        return "stages are packed in fp32 without a compiler"
    if numerics.captured:
        return "its step is to be captured (numerics.graphs)"
    if numerics.threads != 1:
        return "stages are packed on one thread"
    if not is_own(data) or data.kind not in RESIDENT:
        return f"images of {data.kind!r} are not held in memory"
    for network in (model, learns_from):
        if network is not None and (not is_own(network) or network.kind != "cnn"):
            return f"the network {network.kind!r} has no packed form, cnn has"
    if training.accumulate != 1:
        return "its batches are accumulated"
    if isinstance(role, Teacher):
        return _obstacle_of_losses(role)
    return _obstacle_of_distiller(role.distiller)


def _obstacle_of_losses(teacher: Teacher) -> str:
    losses = teacher.losses()
    others = [name for name in losses if name != "intra"]
    if others:
        return f"the loss {others[0]!r} has no packed form, intra has"
    intra = losses.get("intra")
    if intra is None:
        return ""
    for name in ("head", "centering"):
        if getattr(intra, name) != "off":
            return f"intra.{name} has no packed form"
    cache = intra.cache  # type: ignore[attr-defined]  # of the intra-class loss
    if cache != "off" and cache.mode != "fifo":
        return f"intra.cache.mode = {cache.mode!r} has no packed form, fifo has"
    return ""


def _obstacle_of_distiller(distiller: Distiller | Off) -> str:
    if distiller == "off" or (distiller.kind == "kd" and is_own(distiller)):
        return ""
    return f"the distiller {distiller.kind!r} has no packed form, kd has"


def is_own(part: BaseModel) -> bool:
    """Whether a part is icckd's, not a plug-in's of the same name."""
    return type(part).__module__.startswith("icckd.train.")


def pays(role: Any, data: Data) -> bool:
    """Whether a step of a stage is so small that packing pays; of one that can be packed."""
    image = data.image_shape()
    views = getattr(role, "views", 1)
    rows: int = views * role.training.batch_size
    operations = 6 * multiply_adds(role.model, image) * rows
    return operations <= (SMALL_STEP if image.channels == 1 else SMALL_COLOUR_STEP)


def multiply_adds(model: Model, image: ImageShape) -> int:
    """Return the multiply-adds of the convolutions of `cnn` for one image."""
    total, channels, height, width = 0, image.channels, image.height, image.width
    for filters in _widths(model):
        total += 9 * channels * filters * height * width
        channels, height, width = filters, height // 2, width // 2
    return total


def _widths(model: Model) -> tuple[int, ...]:
    widths: tuple[int, ...] = model.widths  # type: ignore[attr-defined]  # of `cnn`
    return widths


# Which stages may share a pack: those that differ in nothing but seeds and numbers.

NUMBERS = {
    "training": ("lr", "weight_decay"),
    "intra": ("weight", "temperature", "min_negatives"),
    "distiller": ("temperature", "weight", "ce_weight"),
}
"""Settings of which each replica has its own, by the table that holds them."""


def shared_shape(role: BaseModel) -> dict[str, Any]:
    """Return what stages of one pack have in common, of the settings of a teacher or a student.

    The learning rate's course may differ, the epochs and how many do not.
    """
    shape = role.model_dump(mode="json")
    for table, names in NUMBERS.items():
        for name in names:
            if isinstance(shape.get(table), dict):
                shape[table].pop(name, None)
    training: Training = role.training  # type: ignore[attr-defined]  # both roles have it
    for name in ("schedule", "warmup", "preset", "diagnose_epochs", "stop_epoch"):
        shape["training"].pop(name, None)
    shape["training"]["epochs"] = training.last_epoch
    shape["training"]["diagnosed"] = sorted(training.diagnosed())
    shape["training"]["clip_norm"] = training.clip_norm != "off"
    if isinstance(intra := shape.get("intra"), dict):
        margin = intra.pop("margin")
        intra["by_mean"] = margin != "off" and margin["view"] == "mean"
        if isinstance(intra["cache"], dict) and not intra["cache"]["per_class"]:
            intra["cache"] = "off"
    return shape


# How many replicas a pack has.


def unit_of(model: Model, device: str) -> int:
    """Return the number of which a pack's replicas are a multiple, so that no bit depends on it.

    The channels of all replicas then fill whole vectors of a CPU at every norm, and no pack has
    the one or three replicas for which other kernels are taken. On CUDA it is the one size of all.

    >>> from icckd.train.networks.cnn import CnnModel
    >>> unit_of(CnnModel(widths=(4, 8, 16)), "cpu"), unit_of(CnnModel(widths=(5, 10, 20)), "cpu")
    (4, 16)
    """
    return unit_of_widths(_widths(model), device)


def unit_of_widths(widths: Sequence[int], device: str) -> int:
    """Return `unit_of` a network whose norms have these channels."""
    if device != "cpu":
        return ON_CUDA
    return math.lcm(FEWEST, *(VECTOR // math.gcd(VECTOR, width) for width in widths))


def largest_pack(role: Any, data: Data, device: str) -> int:
    """Return how many replicas a pack has at most: a multiple of the unit, chosen for speed."""
    if device != "cpu":
        return ON_CUDA
    unit, widths, image = unit_of(role.model, device), _widths(role.model), data.image_shape()
    rows = role.training.batch_size * getattr(role, "views", 1)
    largest_map = (
        4
        * rows
        * max(
            filters * (image.height >> level) * (image.width >> level)
            for level, filters in enumerate(widths)
        )
    )
    wanted = SMALL_PACK
    if largest_map < LARGE_MAP:
        wanted = LARGE_PACK
    elif largest_map < MIDDLE_MAP:
        wanted = MIDDLE_PACK
    sizes = list(range(unit, max(unit, wanted) + 1, unit))
    quick = [s for s in sizes if all(s * width % CACHE_LINES for width in widths)]
    return max(quick or sizes)
