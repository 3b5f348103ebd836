"""The catalogue of metrics: name, unit, direction, meaning. One name everywhere.

A *series* has a value per epoch, an *outcome* one value per stage. Stages record their outcomes;
the convergence outcomes alone are derived from series when results are read (views/outcome.sql),
because the accuracy that counts as converged belongs to the study, not to the stage.
"""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with a meaning."""

    name: str
    unit: str
    direction: Direction
    about: str
    needs_subclasses: bool = False
    device: Literal["any", "cpu", "cuda"] = "any"


def _for_both(
    name: str, unit: str, direction: Direction, about: str, **more: object
) -> list[Metric]:
    return [
        Metric(name=f"{kind}.{name}", unit=unit, direction=direction, about=about, **more)  # type: ignore[arg-type]
        for kind in ("student", "teacher")
    ]


_OUTCOMES = (
    *_for_both("top1", "%", "higher", "test accuracy after the last epoch"),
    *_for_both(
        "convergence",
        "epochs",
        "lower",
        "first epoch whose validation accuracy reaches [study.convergence]; inf: never",
    ),
    *_for_both(
        "convergence_seconds",
        "s",
        "lower",
        "training seconds until that epoch's end; inf: never",
    ),
    *_for_both(
        "stability",
        "nats",
        "lower",
        "root mean square of the step cross-entropy around its centred moving average",
    ),
    *_for_both("grad_norm_max", "1", "lower", "largest gradient norm of any step"),
    *_for_both("nonfinite_steps", "steps", "lower", "steps with a NaN or infinite loss term"),
    *_for_both(
        "subclass_features",
        "%",
        "higher",
        "sub-class accuracy of 5-NN within the class on pooled features",
        needs_subclasses=True,
    ),
    *_for_both(
        "subclass_soft",
        "%",
        "higher",
        "sub-class accuracy of 5-NN within the class on probabilities at T = 4",
        needs_subclasses=True,
    ),
    *_for_both("parameters", "1", "lower", "trainable numbers of the network"),
    *_for_both(
        "macs", "1", "lower", "multiply-adds of convolutions and linear layers for one image"
    ),
    *_for_both("seconds", "s", "lower", "training time, evaluation excluded"),
    *_for_both(
        "memory_rss", "bytes", "lower", "peak resident memory of the process, reset per stage"
    ),
    *_for_both(
        "memory_allocated", "bytes", "lower", "torch's peak allocated GPU memory", device="cuda"
    ),
    *_for_both(
        "memory_reserved", "bytes", "lower", "torch's peak reserved GPU memory", device="cuda"
    ),
    *_for_both(
        "memory_nvml",
        "bytes",
        "lower",
        "GPU memory of the process at the end, from NVML",
        device="cuda",
    ),
    Metric(
        name="teacher.cache_bytes",
        unit="bytes",
        direction="lower",
        about="exact size of the negative cache's buffers",
    ),
    Metric(
        name="teacher.intra_ratio",
        unit="1",
        direction="none",
        about="step mean of weight * |grad L_intra| / |grad CE| at the pooled feature",
    ),
    Metric(
        name="teacher.anchor_share",
        unit="%",
        direction="none",
        about="share of samples that were anchors, mean over steps",
    ),
    Metric(
        name="teacher.negatives",
        unit="1",
        direction="none",
        about="negatives per sample, mean over steps",
    ),
)

_SERIES = (
    *_for_both("val_top1", "%", "higher", "validation accuracy at the end of the epoch"),
    *_for_both("ce", "nats", "lower", "cross-entropy on the training batches"),
    *_for_both("grad_norm", "1", "none", "mean gradient norm"),
    *_for_both("lr", "1", "none", "learning rate of the epoch"),
    *_for_both("train_seconds", "s", "none", "training seconds since the stage's start"),
    Metric(
        name="teacher.intra",
        unit="nats",
        direction="lower",
        about="intra-class contrastive loss, mean over the batch, before its weight",
    ),
    Metric(name="student.kd", unit="nats", direction="lower", about="distillation term, with T^2"),
)

OUTCOMES: dict[str, Metric] = {metric.name: metric for metric in _OUTCOMES}
SERIES: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        *_SERIES,
        *(
            OUTCOMES[n]
            for n in ("teacher.anchor_share", "teacher.negatives", "teacher.intra_ratio")
        ),
    ]
}
