"""Methods on stage maps without parts of their own, or with a regressor: AT, SP, FitNet, VID.

Shape suffixes: B batch, K channels, H height, W width, N positions of a map.
"""

import math
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from icckd.study.distillers import LossTerm, Term, distiller, hint_obstacle, hint_rule
from icckd.study.network import NetworkShape, StageShape
from icckd.train.data.batch import Batch
from icckd.train.distillers.base import (
    SMALLEST_NORM,
    Method,
    Pairing,
    network_shape,
    precise,
    to_common_size,
    unit_rows,
)
from icckd.train.lazy import Module, Tensor, functional, nn, torch
from icckd.train.networks.base import Output
from icckd.train.seeding import initialise

LEAST_VARIANCE = 1e-5


StageLoss = Callable[[Tensor, Tensor, int], Tensor]


def sum_over_stages(student: Output, teacher: Output, loss: StageLoss) -> Tensor:
    """Return the sum of a loss of the two maps of each stage and its number from 0."""
    pairs = zip(student.stages, teacher.stages, strict=True)
    each = [loss(precise(s), precise(t), number) for number, (s, t) in enumerate(pairs)]
    return torch.stack(each).sum()


class AtDistiller(Term):
    """Attention transfer (arXiv 1612.03928): where the maps of each stage are strong."""

    source = "Zagoruyko and Komodakis 2017, arXiv 1612.03928"
    needs = ("stages", "equal-stages")
    losses = (
        LossTerm(
            unit="1",
            about="AT's squared difference of attention maps, summed over stages",
            formula="sum_l mean (q(F^s_l) - q(F^t_l))^2, q the unit vector of mean_channels |F|^p",
        ),
    )

    kind: Literal["at"]
    power: int = Field(default=2, ge=1, le=8, description="p of the mean over channels of |F|^p")
    weight: float = Field(default=1000.0, ge=0, description="weight of the distillation term")


@distiller(AtDistiller, order=3)
class At(Method):
    """Zagoruyko and Komodakis 2017, "Paying More Attention to Attention" (arXiv 1612.03928).

    Sum over the stages of the mean squared difference of the attention maps: the mean over
    channels of |F|^p, flattened, scaled to length 1.
    """

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the sum over the stages; of two maps the larger is pooled first."""
        return (sum_over_stages(student, teacher, self._stage),)

    def _stage(self, s_BKHW: Tensor, t_BKHW: Tensor, number: int) -> Tensor:
        s_BN, t_BN = (self._attention(x) for x in to_common_size(s_BKHW, t_BKHW))
        return functional.mse_loss(s_BN, t_BN)

    def _attention(self, x_BKHW: Tensor) -> Tensor:
        """Return the flattened attention maps; an image's scale cancels, so it is taken out."""
        size_B111 = x_BKHW.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
        x_BKHW = x_BKHW / torch.where(size_B111 > SMALLEST_NORM, size_B111, 1.0)
        return unit_rows(x_BKHW.abs().pow(self.settings.power).mean(dim=1).flatten(1))


class SpDistiller(Term):
    """Similarity preserving (arXiv 1907.09682): which images of a batch have similar last maps."""

    source = "Tung and Mori 2019, arXiv 1907.09682"
    needs = ("stages",)
    losses = (
        LossTerm(
            unit="1",
            about="SP's squared difference of similarity matrices",
            formula=(
                "mean_ij (G^s - G^t)^2, G = A A^T with unit rows, A the last map, one row per image"
            ),
        ),
    )
    compares = 2

    kind: Literal["sp"]
    weight: float = Field(default=3000.0, ge=0, description="weight of the distillation term")


@distiller(SpDistiller, order=4)
class Sp(Method):
    """Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation" (arXiv 1907.09682).

    The squared distance over batch^2 between the two Gram matrices of the flattened last maps,
    each row of them scaled to length 1.
    """

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the distance of the two similarity matrices."""
        s_BB, t_BB = (_similarities(precise(out.stages[-1])) for out in (student, teacher))
        return (functional.mse_loss(s_BB, t_BB),)


def _similarities(x_BKHW: Tensor) -> Tensor:
    """Return the Gram matrix with unit rows.

    A row's own length cancels, so it is taken out before: an image whose map is almost zero then
    has a row of the same size as the others.
    """
    flat = x_BKHW.flatten(1)
    return unit_rows(unit_rows(flat) @ flat.T)


class FitnetDistiller(Term):
    """FitNets (arXiv 1412.6550): squared error of a regressed map to the teacher's."""

    source = "Romero et al. 2015, arXiv 1412.6550"
    needs = ("stages", "hint")
    losses = (
        LossTerm(
            unit="1",
            about="FitNet's squared error of the regressed map",
            formula="mean (r(F^s_l) - F^t_l)^2, r a convolution, batch norm and ReLU",
        ),
    )

    kind: Literal["fitnet"]
    stage: int = Field(default=2, ge=1, le=64, description="stage of the hint, counted from 1")
    weight: float = Field(default=100.0, ge=0, description="weight of the distillation term")

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why the hint stage has no regressor, or None if it has one."""
        return hint_obstacle(self.stage, student, teacher)


@distiller(FitnetDistiller, order=2)
class Fitnet(Method):
    """Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (arXiv 1412.6550).

    The mean squared error of the student's regressed map to the teacher's, of one stage, trained
    together with the cross-entropy as in the CIFAR-100 literature (the paper trains in two
    stages). The regressor is a convolution that brings the map to the teacher's size, batch norm
    and ReLU.
    """

    def __init__(
        self, settings: FitnetDistiller, pairing: Pairing, name: str | None = None
    ) -> None:
        super().__init__(settings, pairing, name)
        self._stage = settings.stage - 1
        own, other = (
            network_shape(output).stages[self._stage]
            for output in (pairing.student, pairing.teacher)
        )
        self.regressor = nn.Sequential(
            _hint_convolution(own, other), nn.BatchNorm2d(other.channels), nn.ReLU()
        )
        initialise(self.regressor, self.key)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the error of the hint."""
        guess_BKHW = self.regressor(precise(student.stages[self._stage]))
        return (functional.mse_loss(guess_BKHW, precise(teacher.stages[self._stage])),)


def _hint_convolution(own: StageShape, other: StageShape) -> Module:
    """Return the convolution of `hint_rule`, without bias: batch norm follows."""
    rule = hint_rule(own, other)
    if rule == "halve":
        return nn.Conv2d(own.channels, other.channels, 3, stride=2, padding=1, bias=False)
    if rule == "double":
        return nn.ConvTranspose2d(own.channels, other.channels, 4, stride=2, padding=1, bias=False)
    kernel = (1 + own.height - other.height, 1 + own.width - other.width)
    return nn.Conv2d(own.channels, other.channels, kernel, bias=False)


class VidDistiller(Term):
    """Variational information distillation (arXiv 1904.05835): likelihood of the teacher's maps."""

    source = "Ahn et al. 2019, arXiv 1904.05835"
    needs = ("stages", "equal-stages")
    losses = (
        LossTerm(
            unit="nats",
            about="VID's negative log-likelihood of the teacher's maps, summed over stages",
            formula=(
                "sum_l mean ((mu_l(F^s_l) - F^t_l)^2 / v_l + log v_l) / 2, mu three 1x1 "
                "convolutions, v = softplus + 1e-5 per channel"
            ),
        ),
    )

    kind: Literal["vid"]
    initial_variance: float = Field(default=5.0, ge=1e-4, le=500, description="of each channel")


@distiller(VidDistiller, order=8)
class Vid(Method):
    """Ahn et al. 2019, "Variational Information Distillation" (arXiv 1904.05835).

    Sum over the stages of the mean of ((mu(F^s) - F^t)^2 / v + log v) / 2, a Gaussian's negative
    log-likelihood without its constant: mu is three 1x1 convolutions, v a trained variance of
    each teacher channel.
    """

    def __init__(self, settings: VidDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        shapes = (network_shape(output).stages for output in (pairing.student, pairing.teacher))
        channels = [(own.channels, other.channels) for own, other in zip(*shapes, strict=True)]
        self.regressors = nn.ModuleList(_mean_of(own, other) for own, other in channels)
        initialise(self.regressors, self.key)
        start = math.log(math.expm1(settings.initial_variance - LEAST_VARIANCE))
        self.scales = nn.ParameterList(torch.full((other,), start) for _, other in channels)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the sum over the stages; of two maps the larger is pooled first."""
        return (sum_over_stages(student, teacher, self._stage),)

    def _stage(self, s_BKHW: Tensor, t_BKHW: Tensor, number: int) -> Tensor:
        s_BKHW, t_BKHW = to_common_size(s_BKHW, t_BKHW)
        error_BKHW = (self.regressors[number](s_BKHW) - t_BKHW).square()
        variance_K11 = functional.softplus(self.scales[number])[:, None, None] + LEAST_VARIANCE
        likelihood: Tensor = (error_BKHW / variance_K11 + variance_K11.log()).mean() / 2
        return likelihood


def _mean_of(own: int, other: int) -> Module:
    return nn.Sequential(
        nn.Conv2d(own, other, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(other, other, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(other, other, 1, bias=False),
    )
