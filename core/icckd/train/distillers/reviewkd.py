"""Knowledge review of Chen et al. 2021 (arXiv 2104.09044).

Shape suffixes: B batch, K channels, M channels of the fusion, H height, W width.
"""

from typing import Literal

from pydantic import Field

from icckd.study.distillers import LossTerm, Term, distiller
from icckd.study.network import NetworkShape, StageShape
from icckd.train.data.batch import Batch
from icckd.train.distillers.base import Method, Pairing, network_shape, pooled, precise
from icckd.train.lazy import Module, Tensor, functional, nn, no_grad, torch
from icckd.train.networks.base import Output
from icckd.train.seeding import initialise

WIDEST_FUSION = 512
PYRAMID = (4, 2, 1)
"""Sizes at which maps are compared besides their own; each weighs half of the one before."""


class ReviewkdDistiller(Term):
    """Knowledge review (arXiv 2104.09044): fused student maps against the teacher's."""

    source = "Chen et al. 2021, arXiv 2104.09044"
    needs = ("features", "stages", "preacts", "equal-stages")
    losses = (
        LossTerm(
            unit="1",
            about="ReviewKD's hierarchical squared error, summed over levels",
            formula="sum over levels of HCL(fused student map, teacher map before activation)",
        ),
    )

    kind: Literal["reviewkd"]
    warmup_epochs: int = Field(default=20, ge=0, le=100_000, description="weight rises linearly")
    student_maps: Literal["stages", "preacts"] = Field(
        default="stages", description="student maps after or before their last activation"
    )
    weight: float = Field(default=1.0, ge=0, description="per pair: 0.6 to 8 were used")


@distiller(ReviewkdDistiller, order=12)
class ReviewKd(Method):
    """Each teacher level is taught by the student's level and all deeper ones, fused.

    The deepest level is the pooled features as a 1x1 map, then come the stages from the last to
    the first. The teacher's maps are those before the activation.
    """

    def __init__(
        self, settings: ReviewkdDistiller, pairing: Pairing, name: str | None = None
    ) -> None:
        super().__init__(settings, pairing, name)
        self.warmup_epochs = settings.warmup_epochs
        own, other = (_levels(network_shape(out)) for out in (pairing.student, pairing.teacher))
        width = min(WIDEST_FUSION, own[0].channels)
        self.fusions = nn.ModuleList(
            Fusion(s.channels, width, (t.channels, t.height, t.width), is_deepest=not number)
            for number, (s, t) in enumerate(zip(own, other, strict=True))
        )
        initialise(self.fusions, self.key)
        for fusion in self.fusions:
            assert isinstance(fusion, Fusion)
            fusion.widen()

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the sum over the levels of the hierarchical context loss."""
        maps = student.stages if self.settings.student_maps == "stages" else student.preacts
        own, other = _maps(student.features, maps), _maps(teacher.features, teacher.preacts)
        each, deeper = [], None
        for fusion, s_BKHW, t_BKHW in zip(self.fusions, own, other, strict=True):
            guess_BKHW, deeper = fusion(s_BKHW, deeper)
            each.append(context_loss(guess_BKHW, t_BKHW))
        return (torch.stack(each).sum(),)


class Fusion(Module):
    """Attention-based fusion of a student map with the fused map of the level below."""

    def __init__(
        self, channels: int, width: int, teacher: tuple[int, int, int], *, is_deepest: bool
    ) -> None:
        super().__init__()
        out_channels, *size = teacher
        self._size = tuple(size)
        self.enter = nn.Conv2d(channels, width, 1, bias=False)
        self.enter_norm = nn.BatchNorm2d(width)
        self.attention = None if is_deepest else nn.Conv2d(2 * width, 2, 1)
        self.leave = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
        self.leave_norm = nn.BatchNorm2d(out_channels)

    @no_grad
    def widen(self) -> None:
        """Bring the two large convolutions to Kaiming's uniform bound, sqrt(3 / inputs)."""
        for convolution in (self.enter, self.leave):
            convolution.weight.mul_(3**0.5)

    def forward(self, x_BKHW: Tensor, deeper_BMHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the guess of the teacher's map, and what the next level fuses with."""
        fused_BMHW: Tensor = self.enter_norm(self.enter(x_BKHW))
        if self.attention is not None and deeper_BMHW is not None:
            deeper_BMHW = _resized(deeper_BMHW, tuple(fused_BMHW.shape[2:]))
            both = torch.cat([fused_BMHW, deeper_BMHW], dim=1)
            share_B2HW = self.attention(both).sigmoid()
            fused_BMHW = fused_BMHW * share_B2HW[:, :1] + deeper_BMHW * share_B2HW[:, 1:]
        fused_BMHW = _resized(fused_BMHW, self._size)
        return self.leave_norm(self.leave(fused_BMHW)), fused_BMHW


def context_loss(guess_BKHW: Tensor, teacher_BKHW: Tensor) -> Tensor:
    """Return the mean squared error, averaged over the map's own size and the pyramid's.

    The weights are 1 for the map as it is and 1/2, 1/4, 1/8 for the pooled ones, divided by their
    sum; only sizes below the map's count.
    """
    total = functional.mse_loss(guess_BKHW, teacher_BKHW)
    weight, weights = 1.0, 1.0
    for size in PYRAMID:
        if size < guess_BKHW.shape[2]:
            weight /= 2
            weights += weight
            error = functional.mse_loss(
                pooled(guess_BKHW, size, size), pooled(teacher_BKHW, size, size)
            )
            total = total + weight * error
    return total / weights


def _resized(x_BMHW: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the map with the nearest value at each place."""
    if tuple(x_BMHW.shape[2:]) == size:
        return x_BMHW
    return functional.interpolate(x_BMHW, size, mode="nearest")


def _levels(network: NetworkShape) -> tuple[StageShape, ...]:
    """Return the shapes of the levels, the deepest first."""
    features = StageShape(channels=network.features, height=1, width=1)
    return (features, *reversed(network.stages))


def _maps(features_BD: Tensor, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the maps of the levels, the deepest first."""
    return tuple(precise(x) for x in (features_BD[:, :, None, None], *reversed(stages)))
