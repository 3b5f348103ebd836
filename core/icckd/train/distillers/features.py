"""Methods on pooled features: RKD, PKT, CC.

Their values depend on which images share a batch: another batch size is another method.

Shape suffixes: B batch, D features, E embedding.
"""

import math
from typing import Literal

from pydantic import Field

from icckd.study.distillers import LossTerm, Term, distiller
from icckd.train.data.batch import Batch
from icckd.train.distillers.base import SMALLEST_NORM, Method, Pairing, precise, unit_rows
from icckd.train.lazy import Tensor, functional, nn, torch
from icckd.train.networks.base import Output
from icckd.train.seeding import initialise

PKT_EPS = 1e-7


class RkdDistiller(Term):
    """Relational KD (arXiv 1904.05068): distances of pairs and angles of triples of features."""

    source = "Park et al. 2019, arXiv 1904.05068"
    needs = ("features",)
    losses = (
        LossTerm(
            suffix="_distance",
            unit="1",
            about="RKD's Huber loss of relative distances",
            formula="mean_ij Huber(d^s / mean d^s, d^t / mean d^t), d the distances of f",
        ),
        LossTerm(
            suffix="_angle",
            unit="1",
            about="RKD's Huber loss of the cosines of angles",
            formula="mean_ijk Huber(cos^s, cos^t), the angle at i between j and k",
        ),
    )
    compares = 3

    kind: Literal["rkd"]
    distance_weight: float = Field(default=25.0, ge=0, description="of the distances in the sum")
    angle_weight: float = Field(default=50.0, ge=0, description="of the angles in the sum")


@distiller(RkdDistiller, order=6)
class Rkd(Method):
    """Park et al. 2019, "Relational Knowledge Distillation" (arXiv 1904.05068).

    RKD-D and RKD-A: Huber losses between the pairwise distances of a batch, each side divided by
    its mean, and between the cosines of the angles of all triples. Memory: batch^2 x features
    differences and batch^3 cosines for each network.
    """

    def __init__(self, settings: RkdDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.part_weights = (settings.distance_weight, settings.angle_weight)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the loss of the distances and that of the angles."""
        s_BBD, t_BBD = (_differences(precise(output.features)) for output in (student, teacher))
        distance = functional.smooth_l1_loss(_relative(s_BBD), _relative(t_BBD))
        angle = functional.smooth_l1_loss(_cosines(s_BBD), _cosines(t_BBD))
        return distance, angle


def _differences(features_BD: Tensor) -> Tensor:
    """Return feature j minus feature i at place i, j. Exact where features are near each other."""
    return features_BD[None] - features_BD[:, None]


def _relative(differences_BBD: Tensor) -> Tensor:
    """Return the distances divided by the mean of those above 0; all 0 where there is none.

    Features nearer than SMALLEST_NORM coincide: no distance, no gradient.
    """
    square_BB = differences_BBD.square().sum(dim=2)
    apart_BB = square_BB > SMALLEST_NORM**2
    distance_BB = torch.where(apart_BB, torch.where(apart_BB, square_BB, 1.0).sqrt(), 0.0)
    mean = distance_BB.sum() / apart_BB.sum().clamp_min(1)
    return distance_BB / torch.where(mean > 0, mean, 1.0)


def _cosines(differences_BBD: Tensor) -> Tensor:
    """Return the cosine at i of the angle between j and k, at place i, j, k."""
    direction_BBD = unit_rows(differences_BBD)
    return direction_BBD @ direction_BBD.mT


class PktDistiller(Term):
    """Probabilistic knowledge transfer (arXiv 1803.10837): who is near whom in a batch."""

    source = "Passalis and Tefas 2018, arXiv 1803.10837"
    needs = ("features",)
    losses = (
        LossTerm(
            unit="nats",
            about="PKT's divergence of affinities, mean over pairs",
            formula=(
                "mean_ij a^t log((a^t + 1e-7) / (a^s + 1e-7)), a = (cos(f_i, f_j) + 1) / 2 over "
                "its row's sum"
            ),
        ),
    )
    compares = 2

    kind: Literal["pkt"]
    weight: float = Field(default=30_000.0, ge=0, description="weight of the distillation term")


@distiller(PktDistiller, order=7)
class Pkt(Method):
    """Passalis and Tefas 2018, "Probabilistic Knowledge Transfer" (arXiv 1803.10837).

    The cosine kernel: p_ij is (cos + 1) / 2, divided by its row's sum, the diagonal included;
    the loss is the mean over all pairs of p^t log(p^t / p^s), hence the weight of 30,000.
    """

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the mean over all pairs of the batch."""
        s_BB, t_BB = (_affinities(precise(output.features)) for output in (student, teacher))
        return ((t_BB * ((t_BB + PKT_EPS) / (s_BB + PKT_EPS)).log()).mean(),)


def _affinities(features_BD: Tensor) -> Tensor:
    direction_BD = unit_rows(features_BD)
    kernel_BB = (direction_BD @ direction_BD.T + 1) / 2
    return kernel_BB / kernel_BB.sum(dim=1, keepdim=True)


class CcDistiller(Term):
    """Correlation congruence (arXiv 1904.01802) of embedded features.

    `pairs` is the form behind the published CIFAR-100 numbers, `kernel` the paper's own.
    """

    source = "Peng et al. 2019, arXiv 1904.01802"
    needs = ("features",)
    losses = (
        LossTerm(
            unit="1",
            about="CC's difference of correlations",
            formula=(
                "`pairs`: mean_i sum_d |e^s_i - e^t_i| |e^s_i+1 - e^t_i+1|, e a trained linear "
                "embedding of f; `kernel`: |K(e^s) - K(e^t)| / B^2, K = exp(-2 gamma) sum_{p <= "
                "order} (2 gamma x.y)^p / p!, unit e"
            ),
        ),
    )
    compares = 2

    kind: Literal["cc"]
    form: Literal["pairs", "kernel"] = Field(
        default="pairs", description="kernel wants another weight than pairs, about 0.003"
    )
    dimensions: int = Field(default=128, ge=1, le=65_536, description="width of both embeddings")
    gamma: float = Field(default=0.4, gt=0, description="of the kernel")
    order: int = Field(default=2, ge=1, le=16, description="last term of the kernel's series")
    weight: float = Field(default=0.02, ge=0, description="weight of the distillation term")


@distiller(CcDistiller, order=5)
class Cc(Method):
    """Peng et al. 2019, "Correlation Congruence for Knowledge Distillation" (arXiv 1904.01802).

    Both sides' features pass a trainable linear embedding. `pairs` is what the published
    CIFAR-100 numbers were made with: the products of the absolute differences of consecutive
    images, summed over dimensions. Since both embeddings are trained, it can also shrink by
    making them small. `kernel` is the paper's form on unit embeddings, where that way is closed:
    the distance of the two kernel matrices over batch^2, with the Gaussian kernel's series up to
    `order`.
    """

    def __init__(self, settings: CcDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.student = nn.Linear(pairing.student.features.shape[1], settings.dimensions)
        self.teacher = nn.Linear(pairing.teacher.features.shape[1], settings.dimensions)
        initialise(self, self.key)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the loss in the form that the settings name."""
        s_BE = self.student(precise(student.features))
        t_BE = self.teacher(precise(teacher.features))
        if self.settings.form == "pairs":
            gap_BE = (s_BE - t_BE).abs()
            return ((gap_BE[:-1] * gap_BE[1:]).sum(dim=1).mean(),)
        gap_BB = self._kernel(unit_rows(s_BE)) - self._kernel(unit_rows(t_BE))
        return (torch.linalg.vector_norm(gap_BB) / len(gap_BB) ** 2,)

    def _kernel(self, x_BE: Tensor) -> Tensor:
        """Return exp(-2 gamma) * sum over p up to the order of (2 gamma x.y)^p / p!."""
        gamma, cosine_BB = self.settings.gamma, x_BE @ x_BE.T
        series = [
            (2 * gamma) ** power / math.factorial(power) * cosine_BB**power
            for power in range(self.settings.order + 1)
        ]
        return math.exp(-2 * gamma) * torch.stack(series).sum(dim=0)
