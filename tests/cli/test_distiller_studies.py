"""The shipped studies of distillers: the digits one runs shortened, the CIFAR-100 one plans."""

import json
import pickle
from pathlib import Path

import numpy as np

from icckd.engine.data.files import CIFAR_FILES, CIFAR_FOLDER
from icckd.engine.distillers import DISTILLERS
from icckd.spec.load import load

STUDIES = Path(__file__).parents[2] / "studies"
SHORT = ("teacher.training.epochs=2", "student.training.epochs=2")


def test_every_distiller_trains_in_the_shipped_study_and_is_reported(desk):
    study = str(STUDIES / "distillers.toml")
    kinds = {
        "off" if arm == "off" else arm.get("kind", "kd")
        for arm in (a.set.get("student.distiller", {}) for a in load(Path(study)).arm)
    }
    desk.run("run", study, "--device", "cpu", "--seeds", "0:1", *SHORT)
    report = json.loads(desk.run("report", "distillers", "--format", "json").stdout)
    cells = [row for row in report["comparisons"] if row["metric"] == "student.top1"]

    assert kinds == {*DISTILLERS, "off"}
    assert [row["arm"] for row in cells] == [arm["name"] for arm in report["arms"]]
    assert all(row["n"] == 1 for row in cells)
    assert not report["incomplete"]


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
    assert "18 teacher stages serve 66 uses" in plan
    assert "66 student stages" in plan
