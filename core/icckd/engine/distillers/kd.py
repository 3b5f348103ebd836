"""Knowledge distillation of Hinton et al. 2015 (arXiv 1503.02531).

Shape suffixes: B batch, C classes.
"""

from torch import Tensor
from torch.nn import functional

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.base import Distiller, Pairing
from icckd.engine.models import Output
from icckd.spec.student import KdDistiller


class Kd(Distiller):
    """T^2 times the Kullback-Leibler divergence to the teacher, plus cross-entropy."""

    def __init__(self, settings: KdDistiller, pairing: Pairing) -> None:
        super().__init__(settings, pairing)
        self._temperature = settings.temperature
        self._weights = {"ce": settings.ce_weight, "kd": settings.weight}

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the same weights in every epoch."""
        return self._weights

    def terms(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return `ce` and `kd`."""
        return {
            "ce": functional.cross_entropy(student.logits, batch.labels),
            "kd": kd_divergence(student.logits, teacher.logits, self._temperature),
        }


def kd_divergence(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return T^2 * mean_b sum_c p_t (log p_t - log p_s), with p = softmax(logits / T)."""
    log_ps_BC = (student_BC / temperature).log_softmax(dim=1)
    log_pt_BC = (teacher_BC / temperature).log_softmax(dim=1)
    divergence_B = (log_pt_BC.exp() * (log_pt_BC - log_ps_BC)).sum(dim=1)
    return temperature**2 * divergence_B.mean()
