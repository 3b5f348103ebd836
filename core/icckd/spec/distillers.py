"""How a student learns from its teacher: one table a method.

Formulas, sources and what differs from other implementations: docs/distillers.md.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from icckd.spec.pairing import Need, hint_obstacle, stages_obstacle
from icckd.spec.settings import Off, Settings
from icckd.spec.shapes import NetworkShape


class DistillerSettings(Settings):
    """What every method has: the weight of its terms, and that of the cross-entropy beside them.

    Attributes:
        needs: What the method reads of both networks, and demands of the pair.
        parts: What its loss terms are called after its name.
        least_batch: Images in a batch without which a term says nothing.
    """

    needs: ClassVar[tuple[Need, ...]]
    parts: ClassVar[tuple[str, ...]] = ("",)
    least_batch: ClassVar[int] = 1

    kind: str
    weight: float = Field(default=1.0, ge=0, description="weight of the method's terms (beta)")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy")

    def loss_names(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return what each loss is called if the method is called `name`, and as a rule."""
        return tuple((name + part, self.kind + part) for part in self.parts)

    @property
    def reads_maps(self) -> bool:
        """Say whether the method reads stage maps, not features and logits alone."""
        return not {"stages", "preacts"}.isdisjoint(self.needs)

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why the method cannot join two networks, or None if it can."""
        return stages_obstacle(self.needs, student, teacher)


class KdDistiller(DistillerSettings):
    """Hinton et al. 2015 (arXiv 1503.02531): T^2 KL to the teacher's softened probabilities."""

    needs = ("logits",)

    kind: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    standardize: Literal["on"] | Off = Field(
        default="off", description="divide each image's logits by their deviation, mean removed"
    )
    weight: float = Field(default=0.9, ge=0, description="weight of the distillation term")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the cross-entropy term")


class FitnetDistiller(DistillerSettings):
    """FitNets (arXiv 1412.6550): squared error of a regressed map to the teacher's."""

    needs = ("stages", "hint")

    kind: Literal["fitnet"]
    stage: int = Field(default=2, ge=1, le=64, description="stage of the hint, counted from 1")
    weight: float = Field(default=100.0, ge=0)

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why the hint stage has no regressor, or None if it has one."""
        return hint_obstacle(self.stage, student, teacher)


class AtDistiller(DistillerSettings):
    """Attention transfer (arXiv 1612.03928): where the maps of each stage are strong."""

    needs = ("stages", "equal-stages")

    kind: Literal["at"]
    power: int = Field(default=2, ge=1, le=8, description="p of the mean over channels of |F|^p")
    weight: float = Field(default=1000.0, ge=0)


class SpDistiller(DistillerSettings):
    """Similarity preserving (arXiv 1907.09682): which images of a batch have similar last maps."""

    needs = ("stages",)
    least_batch = 2

    kind: Literal["sp"]
    weight: float = Field(default=3000.0, ge=0)


class CcDistiller(DistillerSettings):
    """Correlation congruence (arXiv 1904.01802) of embedded features.

    `pairs` is the form behind the published CIFAR-100 numbers, `kernel` the paper's own.
    """

    needs = ("features",)
    least_batch = 2

    kind: Literal["cc"]
    form: Literal["pairs", "kernel"] = Field(
        default="pairs", description="kernel wants another weight than pairs, about 0.003"
    )
    dimensions: int = Field(default=128, ge=1, le=65_536, description="width of both embeddings")
    gamma: float = Field(default=0.4, gt=0, description="of the kernel")
    order: int = Field(default=2, ge=1, le=16, description="last term of the kernel's series")
    weight: float = Field(default=0.02, ge=0)


class RkdDistiller(DistillerSettings):
    """Relational KD (arXiv 1904.05068): distances of pairs and angles of triples of features."""

    needs = ("features",)
    parts = ("_distance", "_angle")
    least_batch = 3

    kind: Literal["rkd"]
    distance_weight: float = Field(default=25.0, ge=0, description="of the distances in the sum")
    angle_weight: float = Field(default=50.0, ge=0, description="of the angles in the sum")


class PktDistiller(DistillerSettings):
    """Probabilistic knowledge transfer (arXiv 1803.10837): who is near whom in a batch."""

    needs = ("features",)
    least_batch = 2

    kind: Literal["pkt"]
    weight: float = Field(default=30_000.0, ge=0)


class VidDistiller(DistillerSettings):
    """Variational information distillation (arXiv 1904.05835): likelihood of the teacher's maps."""

    needs = ("stages", "equal-stages")

    kind: Literal["vid"]
    initial_variance: float = Field(default=5.0, ge=1e-4, le=500, description="of each channel")


class CrdDistiller(DistillerSettings):
    """Contrastive representation distillation (arXiv 1910.10699), both directions."""

    needs = ("features", "index")
    parts = ("_student", "_teacher")

    kind: Literal["crd"]
    dimensions: int = Field(default=128, ge=1, le=65_536, description="width of both embeddings")
    negatives: int = Field(default=16_384, ge=1, le=2**31, description="m of the contrast")
    temperature: float = Field(default=0.07, gt=0, description="divides the cosine scores")
    momentum: float = Field(default=0.5, ge=0, lt=1, description="of the stored embeddings")
    weight: float = Field(default=0.8, ge=0)


class DkdDistiller(DistillerSettings):
    """Decoupled KD (arXiv 2203.08679): target and non-target classes apart."""

    needs = ("logits",)
    parts = ("_target", "_nontarget")

    kind: Literal["dkd"]
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    target_weight: float = Field(default=1.0, ge=0, description="alpha of the paper")
    nontarget_weight: float = Field(default=8.0, ge=0, description="beta of the paper; per pair")
    warmup_epochs: int = Field(default=20, ge=0, le=100_000, description="weight rises linearly")
    standardize: Literal["on"] | Off = Field(
        default="off", description="divide each image's logits by their deviation, mean removed"
    )


class NkdDistiller(DistillerSettings):
    """Normalized KD (arXiv 2303.13005): target probability, and the others renormalised."""

    needs = ("logits",)
    parts = ("_target", "_nontarget")

    kind: Literal["nkd"]
    temperature: float = Field(default=1.0, gt=0, description="T of the non-target softmax")
    nontarget_weight: float = Field(default=1.5, ge=0, description="gamma of the paper")


class ReviewkdDistiller(DistillerSettings):
    """Knowledge review (arXiv 2104.09044): fused student maps against the teacher's."""

    needs = ("features", "stages", "preacts", "equal-stages")

    kind: Literal["reviewkd"]
    warmup_epochs: int = Field(default=20, ge=0, le=100_000, description="weight rises linearly")
    student_maps: Literal["stages", "preacts"] = Field(
        default="stages", description="student maps after or before their last activation"
    )
    weight: float = Field(default=1.0, ge=0, description="per pair: 0.6 to 8 were used")


class DistDistiller(DistillerSettings):
    """DIST (arXiv 2205.10536): correlation of probabilities by image and by class."""

    needs = ("logits",)
    parts = ("_inter", "_intra")
    least_batch = 2

    kind: Literal["dist"]
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    inter_weight: float = Field(default=1.0, ge=0, description="of the relation within an image")
    intra_weight: float = Field(default=1.0, ge=0, description="of the relation within a class")
    weight: float = Field(default=2.0, ge=0)


class CkdDistiller(DistillerSettings):
    """Sample-wise contrastive KD (arXiv 2404.14109): whose logits are a teacher row's own."""

    needs = ("logits",)
    least_batch = 2

    kind: Literal["ckd"]
    temperature: float = Field(default=0.1, gt=0, description="divides the cosine scores")


Term = Annotated[
    KdDistiller
    | FitnetDistiller
    | AtDistiller
    | SpDistiller
    | CcDistiller
    | RkdDistiller
    | PktDistiller
    | VidDistiller
    | CrdDistiller
    | DkdDistiller
    | NkdDistiller
    | ReviewkdDistiller
    | DistDistiller
    | CkdDistiller,
    Field(discriminator="kind"),
]
