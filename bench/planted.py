"""What the diagnostics of a trained model find: `python bench/planted.py [TRIES]`.

Outputs of a model are drawn in which the thing that a metric measures is planted at a known
strength, in a set of the size of the digits' (450 training and 1,000 test images, ten fine labels
in five classes). A strength is found in a try where the metric lies beyond the 95 % quantile of its
values without it, on the side that the plant pushes to. Printed is the smallest strength of a
ladder that is found in 95 % of the tries; outputs are drawn anew for every try. The table stands in
docs/metrics.md and, for reports, in icckd.report.planted.
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from timing import write_result
from torch import Generator, Tensor

from icckd.study.metrics import METRICS
from icckd.train.data.splits import Split
from icckd.train.metrics.base import Evaluation, Reference, Seen
from icckd.train.seeding import generator

TRAIN, TEST, FINE, FEATURES = 450, 1000, 10, 64
LEAD = 3.0
"""Distance of a class's mean output from the others', in deviations of an output within a class."""
STUDENT_NOISE = 0.5
FOUND = 0.95
LADDER = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0)

Draw = Callable[[float, int], Evaluation]


@dataclass(frozen=True, kw_only=True)
class Plant:
    """What is planted for a metric.

    Attributes:
        unit: What a strength of 1 is.
        sign: 1 where the metric rises with it, -1 where it falls.
        draw: Gives a model's outputs with that strength, for a try.
    """

    unit: str
    sign: int
    draw: Draw


def split(fine_N: Tensor, *, coarse: bool) -> Split:
    """Return labels without images; the other level of labels is kept beside them."""
    return Split(
        images=torch.zeros(len(fine_N), 1, 1, 1, dtype=torch.uint8),
        labels=fine_N // 2 if coarse else fine_N,
        subclasses=fine_N if coarse else None,
        superclasses=None if coarse else fine_N // 2,
    )


def labels_of(n: int, stream: Generator) -> Tensor:
    """Return fine labels in equal shares and random order."""
    return (torch.arange(n) % FINE)[torch.randperm(n, generator=stream)]


def evaluation(
    test: Split, seen: Seen, *, reference: Reference | None = None, teacher: Tensor | None = None
) -> Evaluation:
    """Return outputs as metrics take them, without a network."""
    made = Evaluation(
        model=cast(Any, None),
        normalise=cast(Any, None),
        split=test,
        n_classes=int(test.labels.max()) + 1,
        outputs=seen,
    )
    known = {"reference": reference, "teacher_logits": teacher}
    made.__dict__.update({name: value for name, value in known.items() if value is not None})
    return made


def directions(size: int, stream: Generator) -> Tensor:
    """Return a unit direction of its own for each class, without a part along (1, 1, ..., 1)."""
    drawn = torch.randn(FINE, size, generator=stream)
    centred = drawn - drawn.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True)


def probed(strength: float, seed: int, *, coarse: bool) -> Evaluation:
    """Plant the level of labels that is not trained on; outputs have the deviation 1 around it.

    The two sub-classes of a class lie `strength` apart, along a direction that the class has for
    itself. Super-classes lie `strength` off the middle, each in its own direction, and nothing
    else tells of the classes: a network that tells classes apart tells their super-classes, too.
    """
    stream = generator(("planted", seed))
    own = {size: directions(size, stream) for size in (FEATURES, FINE // 2 if coarse else FINE)}
    classes, lead = (FINE // 2, LEAD) if coarse else (FINE, 0.0)
    centres = lead * torch.randn(classes, FEATURES, generator=stream) / FEATURES**0.5

    def part(n: int) -> tuple[Split, Seen]:
        fine_N = labels_of(n, stream)
        labels = split(fine_N, coarse=coarse)
        side_N1 = (fine_N % 2 - 0.5)[:, None] if coarse else torch.ones(n, 1)
        group_N = fine_N // 2
        features = centres[labels.labels] + torch.randn(n, FEATURES, generator=stream)
        logits = lead * torch.eye(classes)[labels.labels]
        logits = logits + torch.randn(n, classes, generator=stream)
        return labels, Seen(
            features + strength * side_N1 * own[FEATURES][group_N],
            logits + strength * side_N1 * own[classes][group_N],
        )

    train, known = part(TRAIN)
    test, seen = part(TEST)
    return evaluation(test, seen, reference=Reference(train, known))


def graded(
    seed: int, *, lead: float = LEAD, scale: float = 1.0, scatter: float = 1.0
) -> Evaluation:
    """Draw outputs of a calibrated classifier of ten classes, then change one thing.

    With outputs of deviation 1 around `LEAD` at the label's place, LEAD * output are the logits of
    the probabilities that a label has.

    Args:
        seed: The try.
        lead: Of the label's output.
        scale: Multiplies the logits: other than 1 is confidence without reason.
        scatter: Deviation of features and outputs within a class.
    """
    stream = generator(("planted", seed))
    labels_N = labels_of(TEST, stream)
    noise = torch.randn(TEST, FINE, generator=stream)
    outputs = lead * torch.eye(FINE)[labels_N] + scatter * noise
    centres = LEAD * torch.randn(FINE, FEATURES, generator=stream) / FEATURES**0.5
    spread = scatter * torch.randn(TEST, FEATURES, generator=stream)
    return evaluation(
        split(labels_N, coarse=False), Seen(centres[labels_N] + spread, scale * LEAD * outputs)
    )


def taught(strength: float, seed: int) -> Evaluation:
    """Draw a teacher's logits, and a student's that differ by noise; `strength` more of it."""
    stream = generator(("planted", seed))
    labels_N = labels_of(TEST, stream)
    teacher = LEAD * torch.eye(FINE)[labels_N] + torch.randn(TEST, FINE, generator=stream)
    noise = torch.randn(TEST, FINE, generator=stream)
    student = teacher + STUDENT_NOISE * (1 + strength) * noise
    return evaluation(
        split(labels_N, coarse=False), Seen(torch.zeros(TEST, 2), student), teacher=teacher
    )


APART = "deviations between the means of two {} of a class"
SUB = Plant(
    unit=APART.format("sub-classes"), sign=1, draw=lambda s, seed: probed(s, seed, coarse=True)
)
SUPER = Plant(
    unit="deviations that the mean of a super-class lies off the middle", sign=1,
    draw=lambda s, seed: probed(s, seed, coarse=False),
)  # fmt: skip
LESS_LEAD = "deviations of an output that the label's lead is lower by"
PLANTS = {
    "top1": Plant(unit=LESS_LEAD, sign=-1, draw=lambda s, seed: graded(seed, lead=LEAD - s)),
    "top5": Plant(unit=LESS_LEAD, sign=-1, draw=lambda s, seed: graded(seed, lead=LEAD - s)),
    "nll": Plant(unit=LESS_LEAD, sign=1, draw=lambda s, seed: graded(seed, lead=LEAD - s)),
    "ece": Plant(
        unit="share by which logits are too large", sign=1,
        draw=lambda s, seed: graded(seed, scale=1 + s),
    ),
    "entropy": Plant(
        unit="share by which logits are larger", sign=-1,
        draw=lambda s, seed: graded(seed, scale=1 + s),
    ),
    "nc1": Plant(
        unit="share by which the deviation within classes is larger", sign=1,
        draw=lambda s, seed: graded(seed, scatter=1 + s),
    ),
    "soft_variance": Plant(
        unit="share by which the deviation within classes is larger", sign=1,
        draw=lambda s, seed: graded(seed, scatter=1 + s),
    ),
    "agreement": Plant(
        unit="share by which a student deviates more from its teacher", sign=-1, draw=taught
    ),
    "teacher_kl": Plant(
        unit="share by which a student deviates more from its teacher", sign=1, draw=taught
    ),
    "subclass_features": SUB,
    "subclass_soft": SUB,
    "subclass_linear_features": SUB,
    "subclass_linear_soft": SUB,
    "superclass_linear_features": SUPER,
    "superclass_linear_soft": SUPER,
}  # fmt: skip
"""By the name of a metric; every metric of a trained model has one."""


def values(metric: str, strength: float, tries: range) -> Tensor:
    """Return a metric with something planted, for each try."""
    plant, measure = PLANTS[metric], METRICS[metric]
    found = [measure(plant.draw(strength, seed)) for seed in tries]
    return plant.sign * torch.tensor(found, dtype=torch.float64)


@functools.cache
def quantile_without(metric: str, tries: int) -> float:
    """Return the 95 % quantile of a metric with nothing planted."""
    return values(metric, 0.0, range(tries)).quantile(0.95).item()


def share_found(metric: str, strength: float, tries: int) -> float:
    """Return the share of tries in which a strength is found."""
    limit = quantile_without(metric, tries)
    return (values(metric, strength, range(tries, 2 * tries)) > limit).double().mean().item()


def smallest_found(metric: str, tries: int) -> float:
    """Return the smallest strength of the ladder found in 95 % of the tries; inf if none is."""
    low, high = -1, len(LADDER)
    while high - low > 1:
        middle = (low + high) // 2
        if share_found(metric, LADDER[middle], tries) >= FOUND:
            high = middle
        else:
            low = middle
    return LADDER[high] if high < len(LADDER) else float("inf")


def main() -> None:
    """Measure and write the table."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    lines = [
        f"| metric | smallest strength found in 95 % of {tries} tries | a strength of 1 is |",
        "| --- | --- | --- |",
    ]
    for metric in METRICS.kinds():
        found = smallest_found(metric, tries)
        lines.append(f"| `{metric}` | {found:g} | {PLANTS[metric].unit} |")
        print(lines[-1], flush=True)
    write_result("planted", lines)


if __name__ == "__main__":
    main()
