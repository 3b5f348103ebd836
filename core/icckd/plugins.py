"""What plug-ins are written with: a stable door to what parts derive from.

    from icckd.plugins import LossTerm, Method, Term, distiller

docs/plugins.md has a whole plug-in. A file that a study names in `plugins` imports this module, and
nothing else of icckd needs it. torch is not imported before something of it is used.
"""

from icckd.report.formats import ReportFormat
from icckd.report.formats import register as report_format
from icckd.study.data import (
    About,
    Augmentation,
    Data,
    ImageCounts,
    ImageShape,
    Inventory,
    Labelled,
    SmallImages,
    data_set,
)
from icckd.study.distillers import LossTerm, Term, distiller
from icckd.study.metrics import metric
from icckd.study.network import Model, NetworkShape, Outline, StageShape, WeightsFile, model
from icckd.study.settings import Many, Off, Settings, known_as
from icckd.study.teacher import Diagnostic, LossSettings, teacher_loss
from icckd.train.data.batch import Batch
from icckd.train.data.decode import FileImages
from icckd.train.data.inventory import take_inventory
from icckd.train.data.splits import Split, Splits, Statistics, divide
from icckd.train.distillers.base import Method, Pairing, precise, unit_rows
from icckd.train.lazy import Module, Tensor, functional, lazy_module, nn, no_grad, np, torch
from icckd.train.losses.base import EpochEnd, Forward, LossInputs, TeacherLoss
from icckd.train.losses.base import Term as LossValue
from icckd.train.metrics.base import Evaluation
from icckd.train.networks.base import Classifier, ConvNorm, Maps, Output, pooled
from icckd.train.seeding import Key, Start, generator, initialise

__all__ = [
    "About",
    "Augmentation",
    "Batch",
    "Classifier",
    "ConvNorm",
    "Data",
    "Diagnostic",
    "EpochEnd",
    "Evaluation",
    "FileImages",
    "Forward",
    "ImageCounts",
    "ImageShape",
    "Inventory",
    "Key",
    "Labelled",
    "LossInputs",
    "LossSettings",
    "LossTerm",
    "LossValue",
    "Many",
    "Maps",
    "Method",
    "Model",
    "Module",
    "NetworkShape",
    "Off",
    "Outline",
    "Output",
    "Pairing",
    "ReportFormat",
    "Settings",
    "SmallImages",
    "Split",
    "Splits",
    "StageShape",
    "Start",
    "Statistics",
    "TeacherLoss",
    "Tensor",
    "Term",
    "WeightsFile",
    "data_set",
    "distiller",
    "divide",
    "functional",
    "generator",
    "initialise",
    "known_as",
    "lazy_module",
    "metric",
    "model",
    "nn",
    "no_grad",
    "np",
    "pooled",
    "precise",
    "report_format",
    "take_inventory",
    "teacher_loss",
    "torch",
    "unit_rows",
]
