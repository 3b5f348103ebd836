"""Contrastive representation distillation of Tian, Krishnan and Isola 2020 (arXiv 1910.10699).

Shape suffixes: B batch, D features, E embedding, N training images, M negatives.
"""

import math
from typing import Literal

from pydantic import Field

from icckd.study.distillers import LossTerm, Term, distiller
from icckd.train.data.batch import Batch
from icckd.train.distillers.base import Method, Pairing, precise, unit_rows
from icckd.train.lazy import Tensor, functional, nn, no_grad, torch
from icckd.train.losses.base import any_order
from icckd.train.networks.base import Output
from icckd.train.seeding import generator, initialise


class CrdDistiller(Term):
    """Contrastive representation distillation (arXiv 1910.10699), both directions."""

    source = "Tian, Krishnan, Isola 2020, arXiv 1910.10699"
    needs = ("features", "index")
    losses = (
        LossTerm(
            suffix="_student",
            unit="nats",
            about="CRD's contrast of student embeddings against stored teacher ones",
            formula="see [below](#crd)",
        ),
        LossTerm(
            suffix="_teacher",
            unit="nats",
            about="CRD's contrast of teacher embeddings against stored student ones",
            formula="see [below](#crd)",
        ),
    )

    kind: Literal["crd"]
    dimensions: int = Field(default=128, ge=1, le=65_536, description="width of both embeddings")
    negatives: int = Field(default=16_384, ge=1, le=2**31, description="m of the contrast")
    temperature: float = Field(default=0.07, gt=0, description="divides the cosine scores")
    momentum: float = Field(default=0.5, ge=0, lt=1, description="of the stored embeddings")
    weight: float = Field(default=0.8, ge=0, description="weight of the distillation term")


@distiller(CrdDistiller, order=9)
class Crd(Method):
    """Noise-contrastive estimation between student and teacher embeddings, in both directions.

    With h the probability that a pair is of one image, P = exp(u.v / T) / Z and c = m / N:

        L = - mean over anchors of [ log h(positive) + m * mean over negatives of log(1 - h) ],
        h = P / (P + c)

    The student's embeddings are anchors against stored teacher embeddings, and the teacher's
    against stored student embeddings. Negatives are stored embeddings of other classes. Z is N
    times the mean of exp(u.v / T) in the first batch, then a constant, as in the original.

    Negatives are drawn once for the batch, with replacement, from all training images; those of
    an anchor's own class do not count for it, and the mean over the others is taken m times.
    Each anchor's expected loss is that of m negatives of its own; what the draws add to the
    variance is shared by the batch's anchors. Where m reaches N all images are taken: then the
    expectation itself is computed, and nothing is drawn.
    """

    part_weights = (1.0, 1.0)
    student_bank: Tensor
    teacher_bank: Tensor
    log_z: Tensor
    labels: Tensor

    def __init__(self, settings: CrdDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        n, width = len(pairing.labels), settings.dimensions
        self.student = nn.Linear(pairing.student.features.shape[1], width)
        self.teacher = nn.Linear(pairing.teacher.features.shape[1], width)
        initialise(self, self.key)
        for role in ("student", "teacher"):
            bound = math.sqrt(3 / width)  # rows of length about 1
            values_NE = torch.empty(n, width)
            values_NE.uniform_(-bound, bound, generator=generator((*self.key, f"{role}_bank")))
            self.register_buffer(f"{role}_bank", values_NE)
        self.register_buffer("log_z", torch.full((2,), torch.nan))
        self.register_buffer("labels", pairing.labels.clone(), persistent=False)

    def losses(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> tuple[Tensor, ...]:
        """Return the loss of the student's anchors and of the teacher's; then store both."""
        student_BE = unit_rows(self.student(precise(student.features)))
        teacher_BE = unit_rows(self.teacher(precise(teacher.features)))
        ids_M = self._draw(step)
        other_BM = (batch.labels[:, None] != self.labels[ids_M]).to(student_BE.dtype)
        share_BM = other_BM / other_BM.sum(dim=1, keepdim=True).clamp_min(1)
        losses = []
        for direction, (anchors_BE, bank_NE) in enumerate(
            ((student_BE, self.teacher_bank), (teacher_BE, self.student_bank))
        ):
            temperature = self.settings.temperature
            positive_B = (anchors_BE * bank_NE[batch.ids]).sum(dim=1) / temperature
            scores_BM = anchors_BE @ bank_NE[ids_M].T / temperature
            if step == 0:
                self.log_z[direction] = self._first_log_z(positive_B, scores_BM, share_BM)
            losses.append(self._contrast(positive_B, scores_BM, share_BM, self.log_z[direction]))
        self._store(self.student_bank, student_BE, batch.ids)
        self._store(self.teacher_bank, teacher_BE, batch.ids)
        return tuple(losses)

    def _draw(self, step: int) -> Tensor:
        """Return the images whose stored embeddings are the step's negatives."""
        n, device = len(self.labels), self.labels.device
        if self.settings.negatives >= n:
            return torch.arange(n, device=device)
        stream = generator((*self.key, "negatives", step))
        drawn_M = torch.randint(n, (self.settings.negatives,), generator=stream)
        if device.type == "cuda":
            drawn_M = drawn_M.pin_memory()  # so that the copy does not make the host wait
        return drawn_M.to(device, non_blocking=True)

    def _contrast(
        self, positive_B: Tensor, scores_BM: Tensor, share_BM: Tensor, log_z: Tensor
    ) -> Tensor:
        """Return the loss; `share_BM` holds the weight of each negative in an anchor's mean."""
        negatives = self.settings.negatives
        log_c = math.log(negatives / len(self.labels)) + log_z
        found_B = functional.logsigmoid(positive_B - log_c)
        left_B = (share_BM * functional.logsigmoid(log_c - scores_BM)).sum(dim=1)
        loss: Tensor = -(found_B + negatives * left_B).mean()
        return loss

    @no_grad
    def _first_log_z(self, positive_B: Tensor, scores_BM: Tensor, share_BM: Tensor) -> Tensor:
        """Return log(N * the mean of exp(score)) over the batch's positives and m negatives."""
        negatives = self.settings.negatives
        weighted_BM = scores_BM + (negatives * share_BM).log()
        total = torch.cat([positive_B[:, None], weighted_BM], dim=1).logsumexp(dim=(0, 1))
        return total + math.log(len(self.labels) / ((1 + negatives) * len(positive_B)))

    @no_grad
    def _store(self, bank_NE: Tensor, fresh_BE: Tensor, ids_B: Tensor) -> None:
        """Move the stored embeddings of a batch towards the fresh ones; no image is in it twice."""
        momentum = self.settings.momentum
        moved_BE = momentum * bank_NE[ids_B] + (1 - momentum) * fresh_BE
        with any_order():
            bank_NE.index_copy_(0, ids_B, unit_rows(moved_BE).to(bank_NE.dtype))
