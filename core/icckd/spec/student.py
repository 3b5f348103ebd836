"""The student and how it learns from the teacher."""

from icckd.spec.distiller_sum import Distiller
from icckd.spec.distillers import KdDistiller
from icckd.spec.models import CnnModel, Model
from icckd.spec.settings import Off, Settings
from icckd.spec.training import Training


class Student(Settings):
    """The student and how it learns from the teacher; "off" trains it by cross-entropy alone."""

    model: Model = CnnModel(widths=(4, 8, 16))
    distiller: Distiller | Off = KdDistiller()
    training: Training = Training()
