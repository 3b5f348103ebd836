"""The shipped studies of distillers: the digits one runs shortened, the CIFAR-100 one plans."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from icckd.study.distillers import DISTILLERS
from icckd.study.load import load
from icckd.train.datasets.cifar import CIFAR_FILES, CIFAR_FOLDER

STUDIES = Path(__file__).parents[2] / "studies"
SHORT = ("teacher.training.epochs=1", "student.training.epochs=1")


@pytest.mark.slow
def test_every_distiller_trains_in_the_shipped_study_and_is_reported(desk):
    study = str(STUDIES / "distillers.toml")
    kinds = {
        "off" if arm == "off" else arm.get("kind", "kd")
        for arm in (a.set.get("student.distiller", {}) for a in load(Path(study)).arm)
    }
    desk.train("run", study, "--device", "cpu", "--seeds", "0:1", *SHORT)
    report = json.loads(desk.run("report", "distillers", "--format", "json").stdout)
    cells = [row for row in report["comparisons"] if row["metric"] == "student.top1"]

    assert kinds == {*DISTILLERS, "off"}
    assert [row["arm"] for row in cells] == [arm["name"] for arm in report["arms"]]
    assert all(row["n"] == 1 for row in cells)
    assert not report["incomplete"]


FAR = """
[study]
name = "far"
baseline = "sum"
seeds = { count = 1 }
[teacher.intra]
[teacher.training]
epochs = 1
[student.training]
epochs = 2
[student.distiller]
kind = "sum"
terms = { kd = { kind = "kd" }, far = { kind = "rkd" } }
[[arm]]
name = "sum"
[[arm]]
name = "alone"
set = { "student.distiller" = "off" }
[[arm]]
name = "alone-other-teacher"
set = { "student.distiller" = "off", "teacher.intra" = "off" }
"""


@pytest.mark.slow
def test_terms_with_names_of_their_own_are_series_and_students_alone_share_a_stage(desk):
    desk.write(FAR, "far.toml")
    planned = desk.run("plan", "far.toml").stdout
    desk.train("run", "far.toml", "--device", "cpu")
    with open_results(StateFolder(desk.state)) as results:
        study = results.study("far")
        series = results.series(study)
        curves = results.curves(study, "student.far_angle")
        tops = results.values(study, "student.top1")

    assert "2 student stages, 1 of them shared by several trials" in planned
    terms = {"student.far_angle", "student.far_distance"}
    assert set(series[-4:]) == terms | {f"{term}_ratio" for term in terms}
    assert [(curve.arm, curve.values_SE.shape) for curve in curves] == [("sum", (1, 2))]
    assert tops["alone"] == tops["alone-other-teacher"]
    desk.run("report", "far", "--format", "md")


def write_cifar100(root):
    """Files in CIFAR-100's format with a few random images."""
    rng, folder = np.random.default_rng(0), root / CIFAR_FOLDER["cifar100"]
    folder.mkdir(parents=True)
    for name in CIFAR_FILES["cifar100"]:
        pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels}, protocol=2))


def test_the_thirteen_pairs_plan_with_a_teacher_for_each_network_and_seed(desk, tmp_path):
    write_cifar100(tmp_path / "cifar")
    desk.environment = {"ICCKD_DATA_DIR": str(tmp_path / "cifar")}
    study = load(STUDIES / "cifar100-pairs.toml")
    plan = desk.run("plan", str(STUDIES / "cifar100-pairs.toml"), "--device", "cpu").stdout
    pairs = [arm for arm in study.arm if not arm.name.endswith("-alone")]

    assert len(pairs) == 13
    assert "22 arms x 3 seeds = 66 trials" in plan
    assert "18 teacher stages, 18 of them shared by several trials" in plan
    assert "66 student stages" in plan
