"""The catalogue of metrics: name, unit, direction, meaning. One name everywhere.

A *series* has a value per epoch, an *outcome* one value per stage. What every stage records stands
here; what a part records stands in the part's file, and the catalogue takes it from the registries.
Stages record their outcomes. The convergence outcomes alone are derived from series when results
are read (views/outcome.sql), because the accuracy that counts as converged belongs to the study,
not to the stage.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from icckd.study import registry
from icckd.study.records import ENGINE_KINDS

Direction = Literal["higher", "lower", "none"]
Needs = Literal["nothing", "sub-classes", "super-classes", "six classes"]
Counted = Literal["", "test images", "epochs"]
B = TypeVar("B", bound=Callable[..., Any])
Recorded = Literal["outcome", "series", "both"]

MANY_CLASSES = 6
"""Classes from which on accuracy among the five likeliest says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with a meaning.

    Attributes:
        name: Begins with the kind of stage, such as `student.top1`.
        unit: Its unit, "1" for a number without.
        direction: Which way is better.
        about: What it is, in one sentence.
        needs: What the labels must have for it.
        device: Where it is recorded.
        recorded: Whether it is an outcome, a series or both.
        counts: What it is a count or a share of, so that its values are steps apart.
        images: How many test images, where a declared metric tells that it is a share of so many.
        aliases: What papers call it, whosever it is.
    """

    name: str
    unit: str
    direction: Direction
    about: str
    needs: Needs = "nothing"
    device: Literal["any", "cpu", "cuda"] = "any"
    recorded: Recorded = "outcome"
    counts: Counted = ""
    images: int | None = None
    aliases: tuple[str, ...] = ()


def for_both(
    name: str, unit: str, direction: Direction, about: str, **more: object
) -> tuple[Metric, Metric]:
    """Return the metric of the student and of the teacher."""
    student, teacher = (
        Metric(name=f"{kind}.{name}", unit=unit, direction=direction, about=about, **more)  # type: ignore[arg-type]
        for kind in ("student", "teacher")
    )
    return student, teacher


# Metrics that evaluation gives: of the test set after the last epoch, of validation on the way.


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """When a metric of a trained model is measured.

    Attributes:
        of: Whose it is: of both models, or of a student that has a teacher.
        needs: What the labels must have for it.
        on_validation: What its series `val_<name>` is; "" where there is none.
        every_epoch: Whether the series has a value at every epoch, not at the diagnosed ones alone.
    """

    of: Literal["both", "student"] = "both"
    needs: Needs = "nothing"
    on_validation: str = ""
    every_epoch: bool = False


def _rows(part: registry.Part[Any]) -> tuple[Metric, ...]:
    rows: tuple[Metric, ...] = part.options["rows"]
    return rows


METRICS: registry.Registry[Any] = registry.Registry("metric", metrics=_rows)


def metric(  # noqa: PLR0913  # the fields of a row, by keyword
    name: str,
    *,
    unit: str,
    direction: Direction,
    about: str,
    order: int = registry.LAST,
    of: Literal["both", "student"] = "both",
    needs: Needs = "nothing",
    on_validation: str = "",
    every_epoch: bool = False,
    counts: Counted = "",
    aliases: tuple[str, ...] = (),
) -> Callable[[B], B]:
    """Return a decorator for a function that measures a trained model; see docs/extending.md.

    It takes an `icckd.train.metrics.base.Evaluation` and returns a number; one that is not finite
    is left out.

    Args:
        name: Its outcomes are `student.<name>` and `teacher.<name>`, measured on the test set.
        unit: Unit of the number.
        direction: Which way is better.
        about: What it is, of the test set.
        order: Where it stands in lists.
        of: See `Measured`, as the further ones.
        needs: What the labels must have.
        on_validation: What the series `val_<name>` is.
        every_epoch: Whether the series has a value at every epoch.
        counts: Whether the outcome is the share of test images of which something holds.
        aliases: What papers call it.
    """
    roles = ("student", "teacher") if of == "both" else ("student",)
    told = [(name, about, "outcome")]
    if on_validation:
        told.append((f"val_{name}", on_validation, "series"))
    rows = tuple(
        Metric(
            name=f"{role}.{own}",
            unit=unit,
            direction=direction,
            about=text,
            needs=needs,
            recorded=cast(Recorded, recorded),
            counts=counts if recorded == "outcome" else "",
            aliases=aliases if recorded == "outcome" else (),
        )
        for own, text, recorded in told
        for role in roles
    )
    measured = Measured(of=of, needs=needs, on_validation=on_validation, every_epoch=every_epoch)
    return METRICS.register(object, kind=name, order=order, rows=rows, measured=measured)


# What every stage records.

_EVERY_STAGE = (
    *for_both(
        "convergence",
        "epochs",
        "lower",
        "first epoch whose validation accuracy reaches [study.convergence]; inf: never",
        counts="epochs",
        aliases=(
            "convergence speed",
            "convergence",
            "convergence rate",
            "epochs to converge",
            "convergence time in epochs",
            "training convergence",
            "number of epochs to converge",
        ),
    ),
    *for_both(
        "convergence_seconds",
        "s",
        "lower",
        "training seconds until that epoch's end; inf: never",
        aliases=("time to converge", "convergence time", "seconds to converge"),
    ),
    *for_both(
        "stability",
        "nats",
        "lower",
        "root mean square of the step cross-entropy around its centred moving average",
        aliases=(
            "training stability",
            "stability",
            "loss variance",
            "training loss variance",
            "loss stability",
            "variance of the loss",
        ),
    ),
    *for_both("grad_norm_max", "1", "lower", "largest gradient norm of any step"),
    *for_both("nonfinite_steps", "steps", "lower", "steps with a NaN or infinite loss term"),
    *for_both(
        "parameters",
        "1",
        "lower",
        "trainable numbers of the network",
        aliases=("number of parameters", "parameter count", "model size"),
    ),
    *for_both(
        "macs",
        "1",
        "lower",
        "multiply-adds of convolutions and linear layers for one image",
        aliases=("multiply-adds", "multiply-accumulates"),
    ),
    *for_both(
        "seconds",
        "s",
        "lower",
        "training time, evaluation excluded",
        aliases=("training time", "wall-clock time", "training duration", "runtime"),
    ),
    *for_both(
        "images_per_second",
        "images/s",
        "higher",
        "training images per second of training time",
        aliases=("throughput", "training throughput", "training speed"),
    ),
    *for_both("data_share", "%", "lower", "share of the training time spent waiting for batches"),
    *for_both(
        "energy",
        "J",
        "lower",
        "energy the GPU used from training's start to its end",
        device="cuda",
        aliases=("energy consumption", "energy usage"),
    ),
    *for_both(
        "clip_share",
        "%",
        "none",
        "steps whose gradient was clipped, where clipping is on",
        recorded="both",
    ),
    *for_both(
        "overflow_share",
        "%",
        "lower",
        "steps skipped because a gradient overflowed in fp16",
        device="cuda",
        recorded="both",
    ),
    *for_both(
        "memory_rss",
        "bytes",
        "lower",
        "peak resident memory of the process, reset per stage",
        aliases=(
            "memory usage",
            "memory consumption",
            "memory footprint",
            "peak memory",
            "memory",
            "memory overhead",
            "memory efficiency",
        ),
    ),
    *for_both(
        "memory_allocated",
        "bytes",
        "lower",
        "torch's peak allocated GPU memory in training",
        device="cuda",
        aliases=(
            "GPU memory usage",
            "GPU memory utilization",
            "GPU memory",
            "GPU memory consumption",
            "peak GPU memory",
            "GPU memory footprint",
        ),
    ),
    *for_both(
        "memory_reserved", "bytes", "lower", "torch's peak reserved GPU memory", device="cuda"
    ),
    *for_both(
        "memory_nvml",
        "bytes",
        "lower",
        "GPU memory of the process after training, from NVML",
        device="cuda",
    ),
    Metric(
        name="student.distiller_parameters",
        unit="1",
        direction="none",
        about="trained parameters of the distiller, no part of the student",
    ),
)

_SERIES = (
    *for_both("ce", "nats", "lower", "cross-entropy on the training batches", recorded="series"),
    *for_both("grad_norm", "1", "none", "mean gradient norm", recorded="series"),
    *for_both("lr", "1", "none", "learning rate of the epoch", recorded="series"),
    *for_both(
        "train_seconds", "s", "none", "training seconds since the stage's start", recorded="series"
    ),
)


def _all() -> Iterator[Metric]:
    """Yield every metric: what evaluation measures, what every stage records, what parts add."""
    yield from METRICS.metrics()
    yield from (*_SERIES, *_EVERY_STAGE)
    for each in reversed(registry.registered()):  # losses of the teacher, then of the student
        if each is not METRICS:
            yield from each.metrics()


class Catalogue(Mapping[str, Metric]):
    """Metrics by name, complete when they are first looked at: all parts are registered by then."""

    def __init__(self, *recorded: Recorded) -> None:
        self._recorded = recorded
        self._known: dict[str, Metric] | None = None

    def _metrics(self) -> dict[str, Metric]:
        if self._known is None:
            registry.load()
            mine = [metric for metric in _all() if metric.recorded in self._recorded]
            if "series" in self._recorded:
                mine.sort(key=lambda metric: metric.recorded == "both")  # the curves come first
            self._known = {metric.name: metric for metric in mine}
        return self._known

    def __getitem__(self, name: str) -> Metric:
        """Return the metric of that name."""
        return self._metrics()[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names in the order of the catalogue."""
        return iter(self._metrics())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._metrics())

    def __repr__(self) -> str:
        """Return all metrics: what names this version of the catalogue."""
        return repr(self._metrics())


OUTCOMES = Catalogue("outcome", "both")
SERIES = Catalogue("series", "both")


_OF_A_PROCESS = frozenset(
    (
        "convergence_seconds",
        "data_share",
        "energy",
        "images_per_second",
        "memory_allocated",
        "memory_nvml",
        "memory_reserved",
        "memory_rss",
        "seconds",
        "train_seconds",
    )
)


def of_a_process(name: str) -> bool:
    """Whether a metric is of the process that trains a stage, and so of none in a pack."""
    kind, _, metric = name.partition(".")
    return kind in ENGINE_KINDS and metric in _OF_A_PROCESS


def metric_named(name: str) -> Metric:
    """Return what is known of a metric; of a name that is not known, no unit and no direction."""
    found = OUTCOMES.get(name) or SERIES.get(name)
    return found or Metric(name=name, unit="", direction="none", about="")
