"""Knowledge distillation of Hinton et al. 2015 (arXiv 1503.02531).

Shape suffixes: B batch, C classes.
"""

from torch import Tensor

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.base import Method
from icckd.engine.distillers.numbers import precise
from icckd.engine.models import Output

STANDARDIZE_EPS = 1e-7
"""Added to the deviation, as in the code of arXiv 2403.01427."""


class Kd(Method):
    """T^2 times the Kullback-Leibler divergence to the teacher."""

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the divergence."""
        logits = seen_logits(self.settings.standardize, student, teacher)
        return (kd_divergence(*logits, self.settings.temperature),)


def kd_divergence(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return T^2 * mean_b sum_c p_t (log p_t - log p_s), with p = softmax(logits / T), in nats.

    The mean is over the batch alone: dividing by the number of classes too, as
    `kl_div(reduction="mean")` does, would make the weight depend on the data set.
    """
    log_ps_BC = (student_BC / temperature).log_softmax(dim=1)
    log_pt_BC = (teacher_BC / temperature).log_softmax(dim=1)
    divergence_B = (log_pt_BC.exp() * (log_pt_BC - log_ps_BC)).sum(dim=1)
    return temperature**2 * divergence_B.mean()


def seen_logits(standardize: str, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
    """Return the logits of both in float32 at least, standardized if that is "on"."""
    logits = precise(student.logits), precise(teacher.logits)
    if standardize == "off":
        return logits
    return standardized(logits[0]), standardized(logits[1])


def standardized(logits_BC: Tensor) -> Tensor:
    """Return (z - mean) / (deviation + 1e-7) of each row, with the unbiased deviation.

    Sun et al. 2024, "Logit Standardization in Knowledge Distillation" (arXiv 2403.01427). It
    changes the logits and nothing else: temperature and weight stay what the study says.
    """
    centred_BC = logits_BC - logits_BC.mean(dim=1, keepdim=True)
    return centred_BC / (logits_BC.std(dim=1, keepdim=True) + STANDARDIZE_EPS)
