"""Plug-ins: files of the user that a helper imports, and settings that stand for their parts."""

import json
import sys
from textwrap import dedent

import jsonschema
import pytest

from icckd.errors import SpecError
from icckd.run.prepare import make_plan
from icckd.study.arms import expand, known_outcomes
from icckd.study.graphs import refuse_uncapturable
from icckd.study.load import load, study_in_journal, study_schema
from icckd.study.model import Study
from icckd.study.plugins import plugins_in_journal, plugins_of

PARTS = """
from typing import Literal

from pydantic import Field, model_validator

from icckd.plugins import (
    Classifier, Diagnostic, LossSettings, LossTerm, LossValue, Many, Maps, Method, Model,
    NetworkShape, Off, Settings, TeacherLoss, Term, distiller, functional, metric, model, nn,
    precise, teacher_loss,
)
import beside


class Body(Settings):
    units: int = Field(default=12, ge=1)


class BoxModel(Model):
    about = "a body that can be off"
    kind: Literal["box"]
    body: Body | Off = Body()
    names: Many[str] = ("a",)

    @model_validator(mode="after")
    def _named(self):
        if not self.names:
            raise ValueError("a box needs a name")
        return self

    def shape(self, image):
        if image.height != 8:
            raise ValueError("a box needs images of 8x8 pixels")
        return NetworkShape(features=3 if self.body == "off" else self.body.units, stages=())


@model(BoxModel)
class Box(Classifier):
    def __init__(self, settings, *, in_channels, n_classes):
        super().__init__()
        width = 3 if settings.body == "off" else settings.body.units
        self.inner = nn.Linear(64 * in_channels, width)
        self.classifier = nn.Linear(width, n_classes)

    def maps(self, images_BCHW):
        return Maps(self.inner(images_BCHW.flatten(1)).relu(), (), ())


class NearDistiller(Term):
    source = "made up"
    needs = ("logits",)
    losses = (LossTerm(unit="1", about="squared error", formula="x"),)
    kind: Literal["near"]
    weight: float = Field(default=0.25, ge=0)


@distiller(NearDistiller)
class Near(Method):
    def losses(self, student, teacher, batch, *, step):
        return (functional.mse_loss(precise(student.logits), precise(teacher.logits)),)


class SizeLoss(LossSettings):
    title = "size of features"
    about = "mean squared feature"
    views = 2
    diagnostics = (Diagnostic(name="feature_size", unit="1", about="norm", outcome="mean"),)
    weight: float = Field(default=0.1, ge=0)


@teacher_loss("size", SizeLoss)
class Size(TeacherLoss):
    def __init__(self, settings, inputs):
        super().__init__(settings)

    def term(self, seen):
        norm = seen.features.detach().norm(dim=1).mean()
        return LossValue(precise(seen.features).square().mean(), (norm,))


@metric("confidence", unit="%", direction="higher", about="mean confidence on test")
def confidence(evaluation):
    return 100 * evaluation.logits.softmax(dim=1).amax(dim=1).mean().item()
"""
STUDY = """
plugins = ["parts.py"]
[study]
name = "plugged"
baseline = "full"
metrics = ["student.confidence", "teacher.feature_size"]
seeds = 2
[teacher]
size = { weight = 0.5 }
training = { epochs = 1 }
[student]
model = { kind = "box" }
distiller = { kind = "near" }
training = { epochs = 1 }
[[arm]]
name = "full"
[[ablation]]
name = "No body"
arm = "no-body"
part = "student.model.body"
action = "REMOVE"
[[ablation]]
name = "No size"
arm = "no-size"
part = "teacher.size"
action = "REMOVE"
[[arm]]
name = "wide"
set = { "student.model.body.units" = 20 }
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a plug-in, a module beside it, and a study."""
    home = tmp_path_factory.mktemp("plugged")
    (home / "parts.py").write_text(PARTS)
    (home / "beside.py").write_text("VALUE = 1\n")
    (home / "s.toml").write_text(STUDY)
    return home


@pytest.fixture(scope="module")
def study(folder):
    """The study, read."""
    return load(folder / "s.toml")


def refused(folder, old, new):
    """The error of the study with a text replaced."""
    changed = folder / "changed.toml"
    changed.write_text(STUDY.replace(old, new))
    with pytest.raises(SpecError) as caught:
        expand(load(changed))
    return caught.value


def broken(tmp_path, code, name="mine.py"):
    """The error of a study whose plug-in has that code."""
    (tmp_path / name).write_text(dedent(code))
    text = STUDY.replace("parts.py", name)
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "s.toml")
    return caught.value


def test_this_process_imports_no_code_of_the_user(study):
    assert type(study.student.model).__name__ == "BoxModel"
    assert "parts" not in sys.modules
    assert "beside" not in sys.modules


def test_settings_of_parts_have_their_defaults_and_are_dumped_as_written(study):
    assert study.student.model.model_dump(mode="json") == {
        "kind": "box",
        "body": {"units": 12},
        "names": ["a"],
    }
    assert study.student.distiller.weight == 0.25
    assert study.written()["student"]["model"] == {"kind": "box"}
    assert study.teacher.size.weight == 0.5
    assert study.teacher.views == 2, "the loss compares two views"
    assert hash(study.student.model) == hash(load(study_file(study)).student.model)


def study_file(study):
    return study.origin.folder / "s.toml"


def test_arms_change_settings_of_parts_by_their_paths(study):
    design = expand(study)

    told = {arm.name: [(c.path, c.before, c.after) for c in arm.changes] for arm in design.arms}
    assert told["no-body"] == [("student.model.body", {"units": 12}, "off")]
    assert told["wide"] == [("student.model.body.units", 12, 20)]
    assert [path for path, *_ in told["no-size"]] == ["teacher.size"]
    assert design.methods["no-size"].teacher.losses() == {}


def test_metrics_of_parts_are_outcomes_of_the_study_and_of_no_other(study):
    known = known_outcomes(study)

    assert known["student.confidence"].unit == "%"
    assert known["teacher.feature_size"].recorded == "both"
    assert plugins_of(study).metrics()["student.near"].recorded == "series"
    other = Study.model_validate(
        {"study": {"name": "x", "baseline": "a", "seeds": {"count": 1}}, "arm": [{"name": "a"}]}
    )
    assert "student.confidence" not in known_outcomes(other)


def test_steps_with_parts_of_a_plug_in_are_not_captured(study):
    for arm, what in (("no-size", "network 'box'"), ("full", "loss 'size'")):
        design = expand(study)
        method = design.methods[arm]
        role = method.teacher if "loss" in what else method.student
        with pytest.raises(SpecError, match=f"the {what} is a plug-in's"):
            refuse_uncapturable(role, None)


def test_what_does_not_fit_is_told_as_for_built_in_parts(folder):
    unknown = refused(folder, 'model = { kind = "box" }', 'model = { kind = "box", bodi = "off" }')
    assert "line 12: unknown key 'student.model.bodi'" in unknown.message
    assert unknown.hint == "did you mean 'body'?"
    low = refused(folder, 'kind = "near"', 'kind = "near", weight = -1.0')
    assert "student.distiller.weight = -1.0: wanted at least 0" in low.message
    inner = refused(folder, 'kind = "box"', 'kind = "box", body = { units = "many" }')
    assert 'student.model.body.units = "many": wanted a whole number' in inner.message
    own = refused(folder, 'kind = "box"', 'kind = "box", names = []')
    assert "a box needs a name" in own.message
    kind = refused(folder, 'kind = "box"', 'kind = "bax"')
    assert "no known kind; valid: cnn, cifar, torchvision, box" in kind.message
    assert kind.hint == "did you mean 'box'?"
    path = refused(folder, '"student.model.body.units"', '"student.model.body.unit"')
    assert "unknown key 'student.model.body.unit'" in path.message
    maps = refused(folder, 'kind = "near"', 'kind = "at"')
    assert "the student's model gives none" in maps.message
    small = refused(folder, "[teacher]", '[data]\nkind = "synthetic"\n[teacher]')
    assert "student.model: a box needs images of 8x8 pixels (synthetic)" in small.message


def test_the_schema_of_the_study_knows_its_parts(study):
    schema = json.loads(study_schema(plugins_of(study)))
    good = {
        "study": {"name": "x", "baseline": "a", "seeds": 2},
        "plugins": ["parts.py"],
        "teacher": {"size": {"weight": 1.0}},
        "student": {"model": {"kind": "box", "body": "off"}, "distiller": {"kind": "near"}},
    }

    jsonschema.validate(good, schema)
    for table in ({"kind": "box", "bodi": 1}, {"kind": "bax"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, "student": {"model": table}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(good, json.loads(study_schema()))


def test_a_journal_tells_enough_to_read_the_study_without_a_helper(study):
    design = expand(study)
    told = plugins_in_journal(json.loads(json.dumps(plugins_of(study).told())))
    tables = json.loads(json.dumps(study.model_dump(mode="json")))

    methods = expand(study_in_journal(tables, told)).methods
    assert told.process is None
    assert {name: m.model_dump(mode="json") for name, m in methods.items()} == {
        name: m.model_dump(mode="json") for name, m in design.methods.items()
    }


def test_unchanged_plug_ins_start_no_process(study, monkeypatch):
    plugins_of(study).rest()
    again = load(study_file(study))

    def no_process(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr("icckd.resources.processes.start_helper", no_process)
    third = load(study_file(study))
    assert third.student == again.student


def test_the_source_of_a_plug_in_is_in_the_identity_of_what_uses_it(folder, tmp_path):
    def plan():
        return make_plan(load(tmp_path / "s.toml"), device="cpu", root=tmp_path)

    for name in ("parts.py", "beside.py"):
        (tmp_path / name).write_text((folder / name).read_text())
    text = STUDY.replace('"student.confidence", ', "")
    (tmp_path / "s.toml").write_text(text)
    code = PARTS[: PARTS.index("@metric")]
    (tmp_path / "parts.py").write_text(code)
    before = plan()
    (tmp_path / "beside.py").write_text("VALUE = 2\n")
    after = plan()
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    again = plan()

    kinds = {digest: stage.kind for digest, stage in {**before.stages, **after.stages}.items()}
    kept = [kinds[digest] for digest in before.stages.keys() & after.stages.keys()]
    assert again.stages.keys() == before.stages.keys()
    assert kept == ["teacher"] * 2, "of the arm whose teacher uses no part of the plug-in"
    assert {m for stage in before.stages.values() for m in stage.files} == {"parts", "beside"}
    accepted = {kind: {"beside": "0" * 16} for kind in ("teacher", "student")}
    taken = make_plan(
        load(tmp_path / "s.toml"), device="cpu", root=tmp_path,
        accept_code=True, accepted_files=accepted,
    )  # fmt: skip
    assert taken.stages.keys() != before.stages.keys()
    assert all(s.changed_files for s in taken.stages.values() if "beside" in s.files)


RAISES = [
    ("raise ValueError('boom')", "plug-in 'mine.py': ValueError: boom (mine.py, line 1)"),
    ("import sys; sys.exit(3)", "calls sys.exit (mine.py, line 1)"),
    ("import os; os._exit(7)", "ended the process that reads it, with exit code 7"),
    ("import os; os.abort()", "ended the process that reads it, by signal SIGABRT"),
    ("def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
    ("x = 1", "it registers no part"),
    (
        "from icckd.plugins import *\n"
        "class Twice(Term):\n"
        "    source, needs, losses = 'x', (), ()\n"
        "    kind: __import__('typing').Literal['kd']\n"
        "@distiller(Twice)\n"
        "class Code: ...\n",
        "distiller 'kd' is registered twice",
    ),
    (
        "from icckd.plugins import *\n"
        "class Bare(Model):\n"
        "    kind: __import__('typing').Literal['bare']\n"
        "@model(Bare)\n"
        "class Code: ...\n",
        "Bare says no 'about'",
    ),
    ("import builtins; builtins.sum = max", "it changes builtins.sum, which is built in"),
    (
        "import icckd.train.losses.contrastive as c\nc.intra_class_contrastive = None",
        "it changes icckd.train.losses.contrastive.intra_class_contrastive",
    ),
    (
        "from icckd.train.distillers.logits import Kd\nKd.losses = lambda *a, **k: 0",
        "it changes icckd.train.distillers.logits.Kd.losses",
    ),
    (
        "from icckd.study.presets import PRESETS\nPRESETS['cifar100']['lr'] = 3",
        "it changes icckd.study.presets.PRESETS",
    ),
    (
        "from icckd.study.distillers import DISTILLERS\nDISTILLERS._parts.pop('kd')",
        "it changes distiller kd",
    ),
    (
        "import os\n"
        "for n in range(3, 500):\n"
        "    try: os.write(n, b'rubbish\\n')\n"
        "    except OSError: pass\n",
        "answers b'rubbish' instead of a helper's words",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "message"), RAISES)
def test_a_plug_in_that_cannot_be_used_is_one_clear_error(code, message, tmp_path):
    error = broken(tmp_path, code)

    assert message in error.message
    assert error.message.startswith(f"{tmp_path / 's.toml'}, line 2: plug-in 'mine.py'")
    assert error.exit_code == 3
    assert error.hint


def test_a_plug_in_that_hangs_is_told_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ICCKD_PLUGIN_SECONDS", "3")
    error = broken(tmp_path, "import time\ndef wait():\n    time.sleep(600)\nwait()\n")

    assert "plug-in 'mine.py' did not answer within 3 s: it is at mine.py, line 3" in error.message
    assert "ICCKD_PLUGIN_SECONDS gives it more" in error.hint


def test_what_it_said_before_it_failed_is_shown(tmp_path):
    error = broken(
        tmp_path, "import sys\nprint('cannot find my weights', file=sys.stderr)\n1 / 0\n"
    )

    assert "ZeroDivisionError: division by zero (mine.py, line 3)" in error.message
    assert error.message.endswith("\n  cannot find my weights")


def test_what_a_plug_in_prints_is_kept_apart_and_told(folder, tmp_path):
    for name in ("beside.py", "s.toml"):
        (tmp_path / name).write_text((folder / name).read_text())
    (tmp_path / "parts.py").write_text(PARTS + "print('hello')\n")

    assert [each.printed for each in plugins_of(load(tmp_path / "s.toml")).plugins] == ["hello"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", "plugins names 'nowhere.py', and there is no file"),
        ("my-parts.py", "the file's name is no name of a Python module"),
        ("json.py", "there is another module of the name 'json' here"),
        ("no-such-distribution", "no installed distribution has an entry point"),
    ],
)
def test_a_plug_in_must_be_where_and_what_it_is_said_to_be(name, message, tmp_path):
    if name.endswith(".py") and name != "nowhere.py":
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "s.toml").write_text(STUDY.replace("parts.py", name))

    with pytest.raises(SpecError, match=message):
        load(tmp_path / "s.toml")


def test_a_plug_in_is_named_once(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY.replace('"parts.py"', '"parts.py", "parts.py"'))

    with pytest.raises(SpecError, match=r"line 2: plugins names 'parts\.py' twice"):
        load(tmp_path / "s.toml")


def test_plug_ins_may_import_each_other(folder, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "more.py").write_text(
        "import parts\nfrom icckd.plugins import metric\n"
        "@metric('other', unit='%', direction='none', about='x')\ndef other(seen): return 1.0\n"
    )
    (tmp_path / "s.toml").write_text(STUDY.replace('"parts.py"', '"more.py", "parts.py"'))

    known = plugins_of(load(tmp_path / "s.toml"))
    assert {part.kind for part in known.parts} >= {"other", "box", "near", "size", "confidence"}
    assert [each.name for each in known.plugins] == ["more.py", "parts.py"]


def test_a_part_that_fails_when_it_is_asked_is_told_with_its_line(folder, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    code = PARTS.replace("if image.height != 8:", "if 1 / 0:")
    (tmp_path / "parts.py").write_text(code)
    (tmp_path / "s.toml").write_text(STUDY)
    line = code.splitlines().index("        if 1 / 0:") + 1

    with pytest.raises(SpecError, match=rf"ZeroDivisionError.*\(parts.py, line {line}\)"):
        expand(load(tmp_path / "s.toml"))
