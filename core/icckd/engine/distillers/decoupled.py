"""Methods that take the target class and the others apart: DKD and NKD.

Shape suffixes: B batch, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.base import Method, Pairing
from icckd.engine.distillers.kd import seen_logits
from icckd.engine.distillers.numbers import precise
from icckd.engine.models import Output
from icckd.spec.distillers import DkdDistiller, NkdDistiller


class Apart(NamedTuple):
    """Log-probabilities: of the target class, of all others together, and among the others.

    Attributes:
        target: log p_y, shape (batch,).
        rest: log(1 - p_y), shape (batch,).
        others: log of p_c / (1 - p_y), shape (batch, classes); 0 at the target.
    """

    target: Tensor
    rest: Tensor
    others: Tensor


def apart(logits_BC: Tensor, labels_B: Tensor) -> Apart:
    """Return the parts of log_softmax, finite for any finite logits.

    log(1 - p_y) is a difference of two logsumexps: the logarithm of a rounded 1 - p_y would be
    minus infinity as soon as the target's logit leads by some 17 in float32.
    """
    is_target_BC = labels_B[:, None] == torch.arange(logits_BC.shape[1], device=labels_B.device)
    without_BC = logits_BC.masked_fill(is_target_BC, -torch.inf)
    rest_B1 = without_BC.logsumexp(dim=1, keepdim=True)
    target_B1 = logits_BC.gather(1, labels_B[:, None])
    all_B1 = torch.logaddexp(rest_B1, target_B1)
    others_BC = torch.where(is_target_BC, 0.0, logits_BC - rest_B1)
    return Apart((target_B1 - all_B1).squeeze(1), (rest_B1 - all_B1).squeeze(1), others_BC)


def divergence_among_others(student: Apart, teacher: Apart, labels_B: Tensor) -> Tensor:
    """Return the mean over the batch of KL(teacher || student) among the non-target classes."""
    p_BC = non_target_probabilities(teacher, labels_B)
    return (p_BC * (teacher.others - student.others)).sum(dim=1).mean()


def non_target_probabilities(parts: Apart, labels_B: Tensor) -> Tensor:
    """Return the probabilities among the non-target classes, 0 at the target."""
    return parts.others.exp().scatter(1, labels_B[:, None], 0.0)


class Dkd(Method):
    """Zhao et al. 2022, "Decoupled Knowledge Distillation" (arXiv 2203.08679), equation 7.

    Target: T^2 KL between the two binary distributions (p_y, 1 - p_y). Non-target: T^2 KL among
    the other classes. Their sum, weighted by 1 and 1 - p^t_y, would be plain KD.
    """

    def __init__(self, settings: DkdDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.part_weights = (settings.target_weight, settings.nontarget_weight)
        self.warmup_epochs = settings.warmup_epochs

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the target and the non-target divergence, T^2 included."""
        temperature = self.settings.temperature
        student_BC, teacher_BC = seen_logits(self.settings.standardize, student, teacher)
        s = apart(student_BC / temperature, batch.labels)
        t = apart(teacher_BC / temperature, batch.labels)
        target_B = t.target.exp() * (t.target - s.target) + t.rest.exp() * (t.rest - s.rest)
        among = divergence_among_others(s, t, batch.labels)
        return temperature**2 * target_B.mean(), temperature**2 * among


class Nkd(Method):
    """Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation".

    arXiv 2303.13005: the teacher's target probability times the student's negative
    log-probability, and the cross-entropy of the others renormalised. Both are cross-entropies:
    they do not vanish where student and teacher agree.
    """

    def __init__(self, settings: NkdDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.part_weights = (1.0, settings.nontarget_weight)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the target term, at T = 1, and the non-target term with its T^2."""
        temperature, labels_B = self.settings.temperature, batch.labels
        student_BC, teacher_BC = precise(student.logits), precise(teacher.logits)
        own_B = apart(student_BC, labels_B).target
        target_B = -apart(teacher_BC, labels_B).target.exp() * own_B
        s = apart(student_BC / temperature, labels_B)
        p_BC = non_target_probabilities(apart(teacher_BC / temperature, labels_B), labels_B)
        others_B = -(p_BC * s.others).sum(dim=1)
        return target_B.mean(), temperature**2 * others_B.mean()
