"""Knowledge distillation of Hinton et al. 2015 (arXiv 1503.02531).

Shape suffixes: B batch, C classes.
"""

from torch import Tensor
from torch.nn import functional

from icckd.engine.models import Output
from icckd.spec.method import KdDistiller


class Kd:
    """T^2 times the Kullback-Leibler divergence to the teacher, plus cross-entropy."""

    def __init__(self, settings: KdDistiller) -> None:
        self.temperature = settings.temperature
        self.weights = {"ce": settings.ce_weight, "kd": settings.weight}

    def __call__(self, student: Output, teacher: Output, labels_B: Tensor) -> dict[str, Tensor]:
        """Return `ce` and `kd`."""
        return {
            "ce": functional.cross_entropy(student.logits, labels_B),
            "kd": kd_divergence(student.logits, teacher.logits, self.temperature),
        }


def kd_divergence(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return T^2 * mean_b sum_c p_t (log p_t - log p_s), with p = softmax(logits / T)."""
    log_ps_BC = (student_BC / temperature).log_softmax(dim=1)
    log_pt_BC = (teacher_BC / temperature).log_softmax(dim=1)
    divergence_B = (log_pt_BC.exp() * (log_pt_BC - log_ps_BC)).sum(dim=1)
    return temperature**2 * divergence_B.mean()
