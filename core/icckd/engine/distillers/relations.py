"""Methods that compare probabilities or logits across a batch: DIST and sample-wise CKD.

Their values depend on which images share a batch: another batch size is another method.

Shape suffixes: B batch, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.base import Method, Pairing
from icckd.engine.distillers.numbers import precise, unit_rows
from icckd.engine.models import Output
from icckd.spec.distillers import DistDistiller

CONSTANT = 1e-6
"""A row that deviates less than this share of its size is constant: the rest is rounding."""


class Dist(Method):
    """Huang et al. 2022, "Knowledge Distillation from a Stronger Teacher" (arXiv 2205.10536).

    One minus Pearson's correlation of probabilities, over the classes of an
    image (inter) and over the images of a batch for each class (intra), times T^2. The paper's
    "intra-class" relation is across the batch; it is no contrastive loss.
    """

    def __init__(self, settings: DistDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.part_weights = (settings.inter_weight, settings.intra_weight)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the relation within images and the relation within classes, with T^2."""
        temperature = self.settings.temperature
        s_BC = (precise(student.logits) / temperature).softmax(dim=1)
        t_BC = (precise(teacher.logits) / temperature).softmax(dim=1)
        inter = 1 - correlation(s_BC, t_BC).mean()
        intra = 1 - correlation(s_BC.T, t_BC.T).mean()
        return temperature**2 * inter, temperature**2 * intra


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of each row of `a` with the same row of `b`.

    It is exact also where a row's values are tiny, such as the probabilities of a class that no
    image of the batch belongs to: nothing is added to the product of the deviations. A constant
    row correlates with nothing: 0, without gradient.
    """
    return (_standing_out(a) * _standing_out(b)).sum(dim=1)


def _standing_out(x: Tensor) -> Tensor:
    """Return rows with mean 0 and length 1, or zeros where a row is constant."""
    size = x.detach().abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    scaled = x / size  # a row's scale does not matter, so it may as well be 1
    centred = scaled - scaled.mean(dim=1, keepdim=True)
    varies = centred.detach().square().sum(dim=1, keepdim=True) > CONSTANT**2 * x.shape[1]
    return unit_rows(torch.where(varies, centred, 0.0))


class Ckd(Method):
    """Zhu et al. 2024, "CKD: Contrastive Knowledge Distillation from A Sample-wise Perspective".

    arXiv 2404.14109: each teacher row of logits is to find, among the batch's student rows, the
    one of its own image; cosines divided by a temperature, cross-entropy to the diagonal.
    """

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the cross-entropy in nats."""
        s_BC, t_BC = unit_rows(precise(student.logits)), unit_rows(precise(teacher.logits))
        scores_BB = t_BC @ s_BC.T / self.settings.temperature
        return (functional.cross_entropy(scores_BB, torch.arange(len(s_BC), device=s_BC.device)),)
