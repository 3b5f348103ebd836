"""Parts from outside: one file of an installed distribution adds a thing, and nothing is edited."""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from tests.support.blocks import blocks_of

DISTILLER = """
from typing import Literal
from pydantic import Field
from icckd.study.distillers import LossTerm, Term, distiller
from icckd.train.distillers.base import Method, precise
from icckd.train.lazy import functional, nn
from icckd.train.seeding import initialise

class MseDistiller(Term):
    source = "this test"
    needs = ("features",)
    losses = (LossTerm(unit="1", about="squared error of features", formula="(f - f)^2"),)

    kind: Literal["mse"]
    weight: float = Field(default=2.0, ge=0)

@distiller(MseDistiller)
class Mse(Method):
    def __init__(self, settings, pairing, name=None):
        super().__init__(settings, pairing, name)
        widths = (o.features.shape[1] for o in (pairing.student, pairing.teacher))
        self.regressor = nn.Linear(*widths)
        initialise(self, self.key)

    def losses(self, student, teacher, batch, *, step):
        guess_BD = self.regressor(precise(student.features))
        return (functional.mse_loss(guess_BD, precise(teacher.features)),)
"""
LOSS = """
from pydantic import Field
from icckd.study.teacher import Diagnostic, LossSettings, teacher_loss
from icckd.train.losses.base import TeacherLoss, Term, precise

class NormSettings(LossSettings):
    title = "the norm loss"
    about = "mean squared feature"
    diagnostics = (
        Diagnostic(name="feature_norm", unit="1", about="mean norm", outcome="mean"),
        Diagnostic(name="norm_epoch", unit="epochs", about="its epoch", told="epoch"),
        Diagnostic(name="norm_size", unit="1", about="features", told="stage"),
    )

    weight: float = Field(default=0.01, ge=0)

@teacher_loss("norm", NormSettings)
class Norm(TeacherLoss):
    def __init__(self, settings, inputs):
        super().__init__(settings)
        self.size = inputs.n_features

    def term(self, seen):
        features_VD = precise(seen.features)
        loss = features_VD.square().mean()
        return Term(loss, (features_VD.detach().norm(dim=1).mean(),))

    def observe(self, end):
        return {"norm_epoch": float(end.epoch)}

    def outcomes(self):
        return {"norm_size": self.size}
"""
MODEL = """
from typing import Literal
from icckd.study.network import Model, NetworkShape, model
from icckd.train.lazy import nn
from icckd.train.networks.base import Classifier, Maps

class PixelsModel(Model):
    about = "a hidden layer on the pixels of 8x8 images"
    kind: Literal["pixels"]
    width: int = 12

    def shape(self, image):
        if image.height != 8:
            raise ValueError("pixels needs images of 8x8 pixels")
        return NetworkShape(features=self.width, stages=())

@model(PixelsModel)
class Pixels(Classifier):
    def __init__(self, settings, *, in_channels, n_classes):
        super().__init__()
        self.hidden = nn.Linear(64 * in_channels, settings.width)
        self.classifier = nn.Linear(settings.width, n_classes)

    def maps(self, images_BCHW):
        return Maps(self.hidden(images_BCHW.flatten(1)).relu(), (), ())
"""
DATA_SET = """
from typing import Literal
from icckd.study.data import About, Augmentation, ImageShape, SmallImages, data_set
from icckd.train.data.splits import Split, Splits
from icckd.train.lazy import torch
from icckd.train.seeding import generator

class StripesData(SmallImages):
    about = About(images="8x8, grey", labels="2", test_set="drawn", files="none")
    drawn = "stripes, version 1"
    kind: Literal["stripes"]

    def image_shape(self):
        return ImageShape(channels=1, height=8, width=8)

    def class_count(self):
        return 2

def split(n, name):
    labels_N = torch.arange(n) % 2
    images = torch.randint(0, 90, (n, 8, 8, 1), generator=generator(("stripes", name)))
    images[labels_N == 1, ::2] += 120
    return Split(images=images.to(torch.uint8), labels=labels_N, subclasses=None)

@data_set(StripesData)
def load(data, root):
    return Splits(
        train=split(64, "a"), validation=split(20, "b"), test=split(40, "c"), n_classes=2
    )
"""
METRIC = """
from icckd.study.metrics import metric

@metric(
    "confidence", unit="%", direction="none", about="mean confidence on test",
    on_validation="mean confidence on validation", every_epoch=True,
)
def confidence(evaluation):
    return 100 * evaluation.logits.softmax(dim=1).amax(dim=1).mean().item()
"""
STUDY = """
[study]
name = "outside"
baseline = "full"
metrics = {metrics}
seeds = {{ count = 1 }}
[data]
{data}
[teacher]
{teacher}
training = {{ epochs = 2, batch_size = 8 }}
[student]
{student}
training = {{ epochs = 2, batch_size = 32 }}
[[arm]]
name = "full"
"""
PIXELS = 'model = { kind = "pixels" }'
EVERYTHING = {
    "data": 'kind = "stripes"',
    "teacher": f"{PIXELS}\nnorm = {{ weight = 0.1 }}",
    "student": f'{PIXELS}\ndistiller = {{ kind = "mse" }}',
    "metrics": '["student.confidence", "teacher.norm_size"]',
}


class Desk:
    """A folder with installed distributions, each with one part, and a study."""

    def __init__(self, folder):
        self.folder = folder
        self.installed = []

    def install(self, name, code):
        self.installed.append(name)
        info = self.folder / "site" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info.parent / f"{name}.py").write_text(dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[icckd.parts]\n{name} = {name}\n")

    def icckd(self, *arguments):
        site = str(self.folder / "site")
        home = {
            **os.environ,
            "ICCKD_HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join([site, *sys.path]),
        }
        command = [sys.executable, "-m", "icckd.cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=home, cwd=self.folder)

    def study(self, verb, *options, **changed):
        file = self.folder / "x.toml"
        plugins = f"plugins = {json.dumps(self.installed)}\n"
        file.write_text(plugins + STUDY.format(**{**EVERYTHING, **changed}))
        return self.icckd(verb, str(file), "--device", "cpu", *options)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk with a distiller, a loss, a model, a data set and a metric."""
    made = Desk(tmp_path_factory.mktemp("outside"))
    parts = {"near": DISTILLER, "norm": LOSS, "pixels": MODEL, "stripes": DATA_SET, "sure": METRIC}
    for name, code in parts.items():
        made.install(name, code)
    return made


@pytest.fixture(scope="module")
def recorded(desk):
    """Values by metric after `icckd run`, which all five parts take part in."""
    done = desk.study("run", "-j", "1")
    assert done.returncode == 0, done.stderr
    rows = desk.icckd(
        "sql", "--format", "json",
        "select metric, value from outcome union all select metric, value from curve",
    )  # fmt: skip
    assert rows.returncode == 0, rows.stderr
    found = {}
    for row in json.loads(rows.stdout):
        found.setdefault(row["metric"], []).append(row["value"])
    return found


@pytest.mark.slow
def test_a_distiller_from_outside_trains_and_is_recorded(recorded, desk):
    assert len(recorded["student.mse"]) == 2
    assert recorded["student.distiller_parameters"] == [12 * 12 + 12]
    refused = desk.study("plan", student='distiller = { kind = "mze" }')
    assert refused.returncode == 3
    assert "ckd, sum, mse, or" in refused.stderr


def test_the_example_of_the_documentation_is_a_part(tmp_path):
    [example] = blocks_of("docs/extending.md", "python")
    desk = Desk(tmp_path)
    desk.install("ours", example.text)
    settings = {"data": 'kind = "digits"', "teacher": "views = 2", "metrics": "[]"}

    done = desk.study("plan", **settings, student='distiller = { kind = "mse", weight = 2.0 }')
    assert done.returncode == 0, done.stderr
    assert desk.study("plan", **settings, student='distiller = { kind = "mze" }').returncode == 3


@pytest.mark.slow
def test_a_distiller_from_outside_is_a_term_of_a_sum(desk):
    terms = '{ kd = { kind = "kd" }, near = { kind = "mse", weight = 3.0 } }'
    student = f'{PIXELS}\ndistiller = {{ kind = "sum", terms = TERMS }}'

    assert desk.study("plan", student=student.replace("TERMS", terms)).returncode == 0
    unknown = desk.study("plan", student=student.replace("TERMS", terms.replace("weight", "wait")))
    assert "unknown key 'student.distiller.terms.near.wait'" in unknown.stderr


def test_a_loss_of_the_teacher_from_outside_tells_its_diagnostics(recorded, desk):
    assert len(recorded["teacher.norm"]) == 2
    assert len(recorded["teacher.feature_norm"]) == 1 + 2
    assert len(recorded["teacher.norm_ratio"]) == 1 + 2
    assert recorded["teacher.norm_epoch"] == [1, 2]
    assert recorded["teacher.norm_size"] == [12]
    refused = desk.study("plan", teacher="norm = { wait = 0.1 }")
    assert "unknown key 'teacher.norm.wait'" in refused.stderr
    assert "did you mean 'weight'?" in refused.stderr


def test_a_model_from_outside_is_planned_trained_and_read_back(recorded, desk):
    assert recorded["teacher.parameters"] == [64 * 12 + 12 + 12 * 2 + 2]
    refused = desk.study("plan", student=f'{PIXELS}\ndistiller = {{ kind = "at" }}')
    assert "the student's model gives none" in refused.stderr
    wrong = desk.study("plan", data='kind = "synthetic"')
    assert "model: pixels needs images of 8x8 pixels (synthetic)" in wrong.stderr


def test_a_data_set_from_outside_is_fingerprinted_and_trained_on(recorded, desk):
    assert recorded["teacher.top1"] == [100]
    refused = desk.study("plan", metrics='["student.top5"]')
    assert "needs more than 5 classes, stripes has 2 here" in refused.stderr
    fetched = desk.icckd("fetch", "stripes")
    assert fetched.returncode == 2
    assert "there is no data set 'stripes'" in fetched.stderr


def test_a_metric_from_outside_is_an_outcome_and_a_series(recorded, desk):
    assert all(50 <= value <= 100 for value in recorded["student.confidence"])
    assert len(recorded["student.confidence"]) == 1
    assert len(recorded["student.val_confidence"]) == 2
    assert "confidence" in desk.icckd("report", "outside", "--format", "md").stdout


def test_a_part_that_cannot_be_loaded_is_named_with_its_distribution(tmp_path):
    desk = Desk(tmp_path)
    desk.install("broken", "import nothing_of_that_name")
    done = desk.study("plan")

    assert done.returncode == 3
    assert "plug-in 'broken': ModuleNotFoundError: No module named" in done.stderr
    assert "nothing_of_that_name" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_kind_twice_is_refused_with_both_names(tmp_path):
    desk = Desk(tmp_path)
    desk.install(
        "again",
        """
        from icckd.study.distillers import distiller
        from icckd.train.distillers.logits import KdDistiller

        @distiller(KdDistiller)
        def another(settings, pairing, name=None): ...
        """,
    )
    done = desk.study("plan")

    assert done.returncode == 3
    assert "distiller 'kd' is registered twice" in done.stderr
    assert "icckd.train.distillers.logits and by again" in done.stderr


def test_what_comes_after_the_settings_were_read_is_refused():
    from icckd.study.distillers import DISTILLERS, distiller
    from icckd.train.distillers.logits import KdDistiller

    class LateDistiller(KdDistiller):
        kind: str = "late"

    assert "kd" in DISTILLERS.kinds()
    with pytest.raises(ValueError, match="distiller 'late' comes too late"):
        DISTILLERS.register(LateDistiller, kind="late")(lambda *arguments: None)
    assert "late" not in DISTILLERS.kinds()
    with pytest.raises(ValueError, match="needs a field `kind`"):
        distiller(LateDistiller)


def test_plan_knows_every_kind_without_torch(tmp_path):
    code = """
        import sys
        from pathlib import Path
        from icckd.study.data import DATASETS
        from icckd.study.distillers import DISTILLERS
        from icckd.study.load import load
        from icckd.study.metrics import METRICS
        from icckd.study.network import MODELS
        from icckd.study.teacher import TEACHER_LOSSES
        from icckd.run.prepare import make_plan

        study = load(Path("studies/ablations.toml"))
        plan = make_plan(study, device="cpu", root=Path())
        registries = (DATASETS, DISTILLERS, METRICS, MODELS, TEACHER_LOSSES)
        print(len(plan.stages) > 1, [len(list(registry)) for registry in registries])
        heavy = ("torch", "torchvision", "numpy", "sklearn", "scipy", "safetensors")
        print([name for name in heavy if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, env=os.environ
    )

    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["True [9, 15, 15, 3, 3]", "[]"]
