"""The class of a task's config: its defaults, its checks, and the object that the function gets."""

import json
import os
import subprocess
import sys

import pytest

from icckd.errors import SpecError
from icckd.run.prepare import make_plan
from icckd.study.arms import expand
from icckd.study.load import load

DATACLASS = """
import enum
import pathlib
from dataclasses import dataclass, field
from typing import List, Literal, Optional, Tuple


class Act(enum.Enum):
    RELU = "relu"
    TANH = "tanh"


@dataclass
class Head:
    units: int = 8
    act: Act = Act.RELU


@dataclass
class Config:
    lr: float = 0.1
    widths: List[int] = field(default_factory=lambda: [4, 8])
    crop: Tuple[int, int] = (2, 3)
    mode: Literal["fast", "slow"] = "fast"
    out: pathlib.Path = pathlib.Path("x")
    seed_offset: Optional[int] = None
    head: Head = field(default_factory=Head)

    def __post_init__(self):
        if self.lr <= 0:
            raise ValueError("lr must be above 0")


def train(config, run):
    assert isinstance(config, Config) and isinstance(config.head.act, Act), config
    run.summary(score=config.lr + config.head.units + run.seed * 0.01)
"""
PYDANTIC = """
from pydantic import BaseModel, Field


class Config(BaseModel):
    lr: float = Field(default=0.1, gt=0)
    head: dict[str, int] = {"units": 8}


def train(config, run):
    run.summary(score=config.lr)
"""
STUDY = """
[study]
name = "typed"
baseline = "full"
primary = "task.score"
seeds = 2
[task]
entry = "code.py:train"
config_class = "code.py:Config"
[task.config]
lr = 1
[task.metrics.score]
direction = "higher"
[[arm]]
name = "full"
[[arm]]
name = "large"
set = { "task.config.head.units" = 16 }
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def place(tmp_path, code=DATACLASS, study=STUDY):
    """A study beside its code, which is no module of anything that is installed."""
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "s.toml").write_text(study.replace("code.py", "mine.py"))
    return tmp_path / "s.toml"


def refused(file, *overrides):
    """The error of a study."""
    with pytest.raises(SpecError) as caught:
        expand(load(file, overrides))
    return caught.value


def test_config_has_the_defaults_of_its_class_as_the_class_has_them(tmp_path):
    study = load(place(tmp_path))

    assert study.task.config == {
        "lr": 1.0,
        "widths": [4, 8],
        "crop": [2, 3],
        "mode": "fast",
        "out": "x",
        "head": {"units": 8, "act": "relu"},
    }
    assert "mine" not in sys.modules


def test_arms_and_overrides_set_what_the_file_leaves_to_the_class(tmp_path):
    design = expand(load(place(tmp_path), ["task.config.mode=slow"]))

    assert design.methods["large"].task.config["head"] == {"units": 16, "act": "relu"}
    assert [c.path for arm in design.arms for c in arm.changes] == ["task.config.head.units"]
    assert design.methods["full"].task.config["mode"] == "slow"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr = 1", 'lr = "x"', 'line 10: task.config.lr: "x" is no float'),
        ("lr = 1", "lt = 1", "task.config.lt: Config has no 'lt'; did you mean 'lr'?"),
        ("lr = 1", "lr = -1", "task.config: lr must be above 0"),
        ("lr = 1", 'mode = "slaw"', "task.config.mode: \"slaw\": wanted 'fast', 'slow'"),
        ("lr = 1", "crop = [1]", "task.config.crop: [1]: wanted 2 values"),
        ("lr = 1", "widths = [1, 2.5]", "task.config.widths[1]: 2.5 is no int"),
        ("lr = 1", 'head = { act = "sig" }', 'task.config.head.act: "sig": wanted one of relu'),
        (
            '"task.config.head.units" = 16',
            '"task.config.lr" = -2.0',
            "arm 'large': task.config: lr",
        ),
    ],
)
def test_what_the_class_does_not_take_is_refused(old, new, message, tmp_path):
    error = refused(place(tmp_path, study=STUDY.replace(old, new)))

    assert message in error.message
    assert error.exit_code == 3


def test_an_override_is_checked_by_the_class(tmp_path):
    error = refused(place(tmp_path), "task.config.lr=-3.0")

    assert "task.config: lr must be above 0" in error.message


def test_a_model_of_pydantic_checks_by_its_own_rules(tmp_path):
    file = place(tmp_path, PYDANTIC)
    assert load(file).task.config == {"lr": 1.0, "head": {"units": 8}}
    file = place(tmp_path, PYDANTIC, STUDY.replace("lr = 1", "lr = 0"))
    assert "task.config.lr: Input should be greater than 0" in refused(file).message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('no disk')", "'mine.py:Config': OSError: no disk (mine.py, line 1)"),
        ("def train(config, run): ...", "AttributeError"),
        ("import sys\nsys.exit(1)", "calls sys.exit: guard what runs the script"),
        ("Config = 3\ndef train(c, r): ...", "3 is neither a dataclass nor a model of pydantic"),
    ],
)
def test_a_class_that_cannot_be_had_is_one_clear_error(code, message, tmp_path):
    error = refused(place(tmp_path, code))

    assert message in error.message
    assert f"{tmp_path / 's.toml'}, line " in error.message


def test_a_file_or_an_interpreter_that_is_missing_is_told(tmp_path):
    study = STUDY.replace('config_class = "code.py', 'config_class = "nowhere.py')
    assert "there is no file" in refused(place(tmp_path, study=study)).message
    study = STUDY.replace("entry", 'python = "/no/such/python"\nentry')
    assert "cannot run /no/such/python" in refused(place(tmp_path, study=study)).message


def test_the_file_of_the_class_is_part_of_the_identity(tmp_path):
    file = place(
        tmp_path, study=STUDY.replace('config_class = "code.py', 'config_class = "kinds.py')
    )
    (tmp_path / "kinds.py").write_text(DATACLASS)

    [stage, *_] = make_plan(load(file), device="cpu", root=tmp_path).stages.values()
    assert sorted(stage.files) == ["kinds.py", "mine.py"]


@pytest.mark.slow
def test_the_function_gets_an_object_of_the_class(tmp_path):
    file = place(tmp_path)
    environment = {**os.environ, "ICCKD_HOME": str(tmp_path / "home")}
    icckd = [sys.executable, "-m", "icckd.cli.main"]
    done = subprocess.run(
        [*icckd, "run", str(file)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    query = "select arm, seed, value from outcome where metric = 'task.score' order by all"
    rows = subprocess.run(
        [*icckd, "sql", "--format", "json", query], env=environment, capture_output=True, text=True
    )
    found = {(row["arm"], row["seed"]): row["value"] for row in json.loads(rows.stdout)}
    assert found == {("full", 0): 9.0, ("full", 1): 9.01, ("large", 0): 17.0, ("large", 1): 17.01}
