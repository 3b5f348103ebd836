"""Methods on logits: KD, DKD, NKD, DIST, sample-wise CKD.

Shape suffixes: B batch, C classes.
"""

from typing import Literal, NamedTuple

from pydantic import Field

from icckd.study.distillers import LossTerm, Term, distiller
from icckd.study.settings import Off
from icckd.train.data.batch import Batch
from icckd.train.distillers.base import Method, Pairing, precise, unit_rows
from icckd.train.lazy import Tensor, functional, torch
from icckd.train.networks.base import Output

STANDARDIZE_EPS = 1e-7
"""Added to the deviation, as in the code of arXiv 2403.01427."""
LEAST_DEVIATION = 0.01
"""Rows that deviate less are divided by this: softmax then tells their classes apart by 1 %."""


class KdDistiller(Term):
    """Hinton et al. 2015 (arXiv 1503.02531): T^2 KL to the teacher's softened probabilities."""

    source = "Hinton et al. 2015, arXiv 1503.02531"
    needs = ("logits",)
    losses = (
        LossTerm(
            unit="nats",
            about="KD's divergence from the teacher, with T^2",
            formula="T^2 mean_b sum_c p^t (log p^t - log p^s)",
        ),
    )

    kind: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    standardize: Literal["on"] | Off = Field(
        default="off", description="divide each image's logits by their deviation, mean removed"
    )
    weight: float = Field(default=0.9, ge=0, description="weight of the distillation term")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the cross-entropy term")


@distiller(KdDistiller, order=1)
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

    A row that deviates by less than `LEAST_DEVIATION` is divided by that instead. Otherwise the
    rounding errors of a constant row, such as that of a network whose last layer starts at zero,
    would become logits of deviation 1, and gradients would grow without bound; so they grow at
    most by 1 / `LEAST_DEVIATION`, and a constant row gives zeros.
    """
    centred_BC = logits_BC - logits_BC.mean(dim=1, keepdim=True)
    variance_B1 = logits_BC.var(dim=1, keepdim=True).clamp_min(LEAST_DEVIATION**2)
    return centred_BC / (variance_B1.sqrt() + STANDARDIZE_EPS)


# Methods that take the target class and the others apart: DKD and NKD.


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
    minus infinity as soon as the target's logit leads by some 17 in float32. The target is a sum
    with zeros, which is exact: the gradient of a lookup makes a GPU sort in deterministic mode.
    """
    is_target_BC = labels_B[:, None] == torch.arange(logits_BC.shape[1], device=labels_B.device)
    without_BC = logits_BC.masked_fill(is_target_BC, -torch.inf)
    rest_B1 = without_BC.logsumexp(dim=1, keepdim=True)
    target_B1 = torch.where(is_target_BC, logits_BC, 0.0).sum(dim=1, keepdim=True)
    all_B1 = torch.logaddexp(rest_B1, target_B1)
    others_BC = torch.where(is_target_BC, 0.0, logits_BC - rest_B1)
    return Apart((target_B1 - all_B1).squeeze(1), (rest_B1 - all_B1).squeeze(1), others_BC)


def divergence_among_others(student: Apart, teacher: Apart, labels_B: Tensor) -> Tensor:
    """Return the mean over the batch of KL(teacher || student) among the non-target classes."""
    p_BC = non_target_probabilities(teacher, labels_B)
    return (p_BC * (teacher.others - student.others)).sum(dim=1).mean()


def non_target_probabilities(parts: Apart, labels_B: Tensor) -> Tensor:
    """Return the probabilities among the non-target classes, 0 at the target."""
    classes_C = torch.arange(parts.others.shape[1], device=labels_B.device)
    return parts.others.exp().masked_fill(labels_B[:, None] == classes_C, 0.0)


class DkdDistiller(Term):
    """Decoupled KD (arXiv 2203.08679): target and non-target classes apart."""

    source = "Zhao et al. 2022, arXiv 2203.08679, eq. 7"
    needs = ("logits",)
    losses = (
        LossTerm(
            suffix="_target",
            unit="nats",
            about="DKD's divergence of the target probability, with T^2",
            formula="T^2 mean_b KL((p^t_y, 1 - p^t_y), (p^s_y, 1 - p^s_y))",
        ),
        LossTerm(
            suffix="_nontarget",
            unit="nats",
            about="DKD's divergence among the other classes, with T^2",
            formula="T^2 mean_b KL among the other classes, each side renormalised",
        ),
    )

    kind: Literal["dkd"]
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    target_weight: float = Field(default=1.0, ge=0, description="alpha of the paper")
    nontarget_weight: float = Field(default=8.0, ge=0, description="beta of the paper; per pair")
    warmup_epochs: int = Field(default=20, ge=0, le=100_000, description="weight rises linearly")
    standardize: Literal["on"] | Off = Field(
        default="off", description="divide each image's logits by their deviation, mean removed"
    )


@distiller(DkdDistiller, order=10)
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


class NkdDistiller(Term):
    """Normalized KD (arXiv 2303.13005): target probability, and the others renormalised."""

    source = "Yang et al. 2023, arXiv 2303.13005"
    needs = ("logits",)
    losses = (
        LossTerm(
            suffix="_target",
            unit="nats",
            about="NKD's cross-entropy of the target class",
            formula="- mean_b p^t_y log p^s_y at T = 1",
        ),
        LossTerm(
            suffix="_nontarget",
            unit="nats",
            about="NKD's cross-entropy among the other classes, with T^2",
            formula="- T^2 mean_b sum_{c != y} q^t_c log q^s_c, q renormalised without y",
        ),
    )

    kind: Literal["nkd"]
    temperature: float = Field(default=1.0, gt=0, description="T of the non-target softmax")
    nontarget_weight: float = Field(default=1.5, ge=0, description="gamma of the paper")


@distiller(NkdDistiller, order=11)
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


# Methods that compare probabilities or logits across a batch: DIST and sample-wise CKD.
#
# Their values depend on which images share a batch: another batch size is another method.

CONSTANT = 1e-6
"""A row that deviates less than this share of its size is constant: the rest is rounding."""


class DistDistiller(Term):
    """DIST (arXiv 2205.10536): correlation of probabilities by image and by class."""

    source = "Huang et al. 2022, arXiv 2205.10536"
    needs = ("logits",)
    losses = (
        LossTerm(
            suffix="_inter",
            unit="1",
            about="DIST's 1 - correlation over the classes of an image, with T^2",
            formula="T^2 (1 - mean_b corr_c(p^s, p^t))",
        ),
        LossTerm(
            suffix="_intra",
            unit="1",
            about="DIST's 1 - correlation over the images of a batch, with T^2",
            formula="T^2 (1 - mean_c corr_b(p^s, p^t))",
        ),
    )
    compares = 2

    kind: Literal["dist"]
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    inter_weight: float = Field(default=1.0, ge=0, description="of the relation within an image")
    intra_weight: float = Field(default=1.0, ge=0, description="of the relation within a class")
    weight: float = Field(default=2.0, ge=0, description="weight of the distillation term")


@distiller(DistDistiller, order=13)
class Dist(Method):
    """Huang et al. 2022, "Knowledge Distillation from a Stronger Teacher" (arXiv 2205.10536).

    One minus Pearson's correlation of probabilities, over the classes of an
    image (inter) and over the images of a batch for each class (intra), times T^2. The paper's
    "intra-class" relation is across the batch; it is not a contrastive loss.
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


class CkdDistiller(Term):
    """Sample-wise contrastive KD (arXiv 2404.14109): whose logits are a teacher row's own."""

    source = "Zhu et al. 2024, arXiv 2404.14109"
    needs = ("logits",)
    losses = (
        LossTerm(
            unit="nats",
            about="CKD's cross-entropy over the batch's images",
            formula="mean_i CE over j of cos(z^t_i, z^s_j) / T, target i",
        ),
    )
    compares = 2

    kind: Literal["ckd"]
    temperature: float = Field(default=0.1, gt=0, description="divides the cosine scores")


@distiller(CkdDistiller, order=14)
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
