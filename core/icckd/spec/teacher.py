"""The teacher and its losses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icckd.spec.models import CnnModel, Model
from icckd.spec.settings import Off, Settings
from icckd.spec.training import Training


class MarginFilter(Settings):
    """Only samples whose true-class probability leads by more than `threshold` are anchors."""

    threshold: float = Field(default=0.5, ge=-2, le=1, description="softmax margin, -2 keeps all")
    view: Literal["first", "mean"] = Field(
        default="first", description="probabilities of view 1, or the mean over both views"
    )


class NegativeCache(Settings):
    """Ring buffer of the past per class, used as extra negatives.

    `fifo` keeps embeddings as they were; `reencode` keeps the inputs and encodes them anew at
    every step.
    """

    per_class: int = Field(default=64, ge=0, le=65_536, description="entries per class")
    warmup_epochs: int = Field(default=1, ge=0, description="epochs before entries are used")
    mode: Literal["fifo", "reencode"] = Field(
        default="fifo", description="keep embeddings, or inputs that are encoded at every step"
    )


class ProjectionHead(Settings):
    """Two linear layers with a ReLU between them, trained with the teacher and dropped after."""

    features: int = Field(default=128, ge=2, le=65_536, description="size of its output")


class BatchMean(Settings):
    """The mean over both views of the batch is subtracted from every feature."""

    kind: Literal["batch-mean"]


class ClassMean(Settings):
    """A running mean of each class is subtracted from the features of that class."""

    kind: Literal["class-mean"]
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the mean kept a step")


Centering = Annotated[BatchMean | ClassMean, Field(discriminator="kind")]


class IntraLoss(Settings):
    """Intra-class contrastive loss of the teacher; see docs/method.md for the definition."""

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_intra")
    temperature: float = Field(default=0.1, gt=0, description="tau of the contrastive scores")
    margin: MarginFilter | Off = MarginFilter()
    cache: NegativeCache | Off = NegativeCache()
    reduction: Literal["batch", "anchors"] = Field(
        default="batch", description="divide the sum by the batch size, or by the anchors"
    )
    normalize: Literal["log-negatives"] | Off = Field(
        default="off", description="divide a sample's loss by log(1 + its negatives)"
    )
    min_negatives: int = Field(default=1, ge=1, description="negatives that an anchor needs")
    negatives_view: Literal["other", "same"] = Field(
        default="other", description="view of the batch's own negatives"
    )
    head: ProjectionHead | Off = "off"
    centering: Centering | Off = "off"


class SupConLoss(Settings):
    """Supervised contrastive loss (Khosla et al. 2020): the opposite force, classes contract."""

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_supcon")
    temperature: float = Field(default=0.1, gt=0, description="tau of the contrastive scores")
    head: ProjectionHead | Off = "off"


class BalancedSampler(Settings):
    """Every batch holds `per_class` images of each of `classes` classes."""

    classes: int = Field(ge=1, le=65_536, description="classes in a batch")
    per_class: int = Field(ge=2, le=65_536, description="images of each of them")


class Teacher(Settings):
    """The teacher: cross-entropy on view 1, plus the intra-class loss over two views."""

    model: Model = CnnModel()
    views: Literal[1, 2] = Field(default=2, description="augmented views forwarded per image")
    views_in_ce: Literal[1, 2] = Field(default=1, description="views the cross-entropy looks at")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all classes"
    )
    intra: IntraLoss | Off = IntraLoss()
    supcon: SupConLoss | Off = "off"
    sampler: BalancedSampler | Off = "off"
    training: Training = Training()

    @model_validator(mode="after")
    def _losses_have_their_views(self) -> "Teacher":
        if self.intra != "off" and self.views != 2:
            raise ValueError('the intra-class loss needs views = 2, or intra = "off"')
        if self.views_in_ce > self.views:
            raise ValueError("views_in_ce = 2 needs views = 2")
        return self

    @model_validator(mode="after")
    def _sampler_fills_the_batch(self) -> "Teacher":
        if self.sampler == "off":
            return self
        images = self.sampler.classes * self.sampler.per_class
        if images != self.training.batch_size:
            raise ValueError(
                f"sampler.classes * sampler.per_class = {images} is not training.batch_size"
                f" = {self.training.batch_size}"
            )
        return self
