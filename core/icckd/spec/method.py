"""What a study may set about data, teacher and student: everything that changes numbers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Off = Literal["off"]


class Settings(BaseModel):
    """Base of all settings: immutable, closed, strict, finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Augmentation(Settings):
    """Random views of an image: a zero-padded crop of the original size, and a mirror image."""

    padding: int = Field(default=0, ge=0, le=16, description="pixels added on each side")
    flip: bool = Field(default=False, description="mirror left-right with probability 1/2")


class DigitsData(Settings):
    """scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, bundled, no download.

    `coarse` labels put digits 2k and 2k+1 into class k (five classes); the digit itself is kept
    as the hidden sub-class. Images that are in neither `train` nor `validation` are the test set.
    """

    kind: Literal["digits"] = "digits"
    labels: Literal["fine", "coarse"] = "coarse"
    train: int = Field(default=450, ge=20, le=1700, description="training images")
    validation: int = Field(default=347, ge=10, le=1700, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=1)

    @model_validator(mode="after")
    def _leave_a_test_set(self) -> "DigitsData":
        if self.train + self.validation > 1787:
            raise ValueError("train + validation must leave at least 10 of 1,797 images to test on")
        return self


class Cifar10Data(Settings):
    """CIFAR-10 as torchvision reads it; validation images are taken from the 50,000."""

    kind: Literal["cifar10"]
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=4, flip=True)


class Cifar100Data(Settings):
    """CIFAR-100 as torchvision reads it; `coarse` keeps the 100 fine labels as sub-classes."""

    kind: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = "fine"
    validation: int = Field(default=5000, ge=10, le=40000, description="validation images")
    split_seed: int = Field(default=0, ge=0, description="fixes the split for all seeds")
    augment: Augmentation = Augmentation(padding=4, flip=True)


Data = Annotated[DigitsData | Cifar10Data | Cifar100Data, Field(discriminator="kind")]


class CnnModel(Settings):
    """Three blocks of 3x3 convolution, batch norm, ReLU; pooled between; one linear classifier."""

    kind: Literal["cnn"] = "cnn"
    widths: tuple[
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ] = (16, 32, 64)


class CosineSchedule(Settings):
    """Learning rate follows half a cosine from `lr` to 0 over the epochs."""

    kind: Literal["cosine"] = "cosine"


class MultistepSchedule(Settings):
    """Learning rate is multiplied by `factor` when each milestone epoch is done."""

    kind: Literal["multistep"]
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    factor: float = Field(default=0.1, gt=0, lt=1)


Schedule = Annotated[CosineSchedule | MultistepSchedule, Field(discriminator="kind")]


class Training(Settings):
    """Stochastic gradient descent with momentum (torch.optim.SGD)."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=2, le=65_536, description="images per step")
    lr: float = Field(default=0.05, gt=0, description="initial learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Schedule = CosineSchedule()


class MarginFilter(Settings):
    """Only samples whose true-class probability leads by more than `threshold` are anchors."""

    threshold: float = Field(default=0.5, ge=-2, le=1, description="softmax margin, -2 keeps all")


class NegativeCache(Settings):
    """Ring buffer of past embeddings per class, used as extra negatives."""

    per_class: int = Field(default=64, ge=0, le=65_536, description="entries per class")
    warmup_epochs: int = Field(default=1, ge=0, description="epochs before entries are used")


class IntraLoss(Settings):
    """Intra-class contrastive loss of the teacher; see docs/method.md for the definition."""

    weight: float = Field(default=0.02, ge=0, description="lambda in CE + lambda * L_intra")
    temperature: float = Field(default=0.1, gt=0, description="tau of the contrastive scores")
    margin: MarginFilter | Off = MarginFilter()
    cache: NegativeCache | Off = NegativeCache()


class Teacher(Settings):
    """The teacher: cross-entropy on view 1, plus the intra-class loss over two views."""

    model: CnnModel = CnnModel()
    views: Literal[1, 2] = Field(default=2, description="augmented views forwarded per image")
    intra: IntraLoss | Off = IntraLoss()
    training: Training = Training()

    @model_validator(mode="after")
    def _intra_needs_two_views(self) -> "Teacher":
        if self.intra != "off" and self.views != 2:
            raise ValueError('the intra-class loss needs views = 2, or intra = "off"')
        return self


class KdDistiller(Settings):
    """Hinton et al. 2015 (arXiv 1503.02531): T^2 KL to the teacher's softened probabilities."""

    kind: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="T of the softmax")
    weight: float = Field(default=0.9, ge=0, description="weight of the distillation term")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the cross-entropy term")


class Student(Settings):
    """The student and how it learns from the teacher."""

    model: CnnModel = CnnModel(widths=(4, 8, 16))
    distiller: KdDistiller = KdDistiller()
    training: Training = Training()


class Numerics(Settings):
    """What else decides the bits of a result."""

    threads: int = Field(default=1, ge=1, le=256, description="torch threads of a worker on a CPU")


class Method(Settings):
    """The settings that an arm may change."""

    data: Data = DigitsData()
    teacher: Teacher = Teacher()
    student: Student = Student()

    @model_validator(mode="after")
    def _batches_fit(self) -> "Method":
        train = getattr(self.data, "train", None)
        for role, training in (
            ("teacher", self.teacher.training),
            ("student", self.student.training),
        ):
            if train is not None and training.batch_size > train:
                raise ValueError(
                    f"{role}.training.batch_size {training.batch_size} is more than the"
                    f" {train} training images"
                )
        return self


def has_subclasses(data: Any) -> bool:
    """Say whether each label of these data hides known sub-classes."""
    return getattr(data, "labels", "fine") == "coarse"
