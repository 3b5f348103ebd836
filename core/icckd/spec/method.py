"""What a study may set about data, teacher and student: everything that changes numbers."""

from pydantic import model_validator

from icckd.spec.data import Data, DigitsData
from icckd.spec.settings import Settings
from icckd.spec.shapes import image_shape, network_shape
from icckd.spec.student import Student
from icckd.spec.teacher import Teacher


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

    @model_validator(mode="after")
    def _images_fit(self) -> "Method":
        image = image_shape(self.data)
        for role, model in (("teacher", self.teacher.model), ("student", self.student.model)):
            try:
                network_shape(model, image)
            except ValueError as error:
                raise ValueError(f"{role}.model: {error} ({self.data.kind})") from error
        return self
