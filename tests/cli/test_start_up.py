"""What each command imports: that is most of what a user waits for."""

import json
import os
import shutil
import subprocess
import sys

import pytest

SLOW_TO_IMPORT = {
    "torch", "torchvision", "sklearn", "scipy.stats", "scipy.optimize", "textual", "matplotlib",
    "prompt_toolkit", "tensorboard", "wandb", "mlflow", "trackio", "mcp", "pyarrow", "pandas",
    "numpy.f2py.f2py2e", "numpy.testing._private", "numpy.ma", "scipy.special",
    "scipy._lib._array_api", "urllib.request",
}  # fmt: skip
NOT_NEEDED = {
    ("--help",): ("pydantic", "numpy", "duckdb", "rich", "jinja2", "icckd.study.settings"),
    ("status",): ("numpy", "rich", "jinja2", "icckd.study.model", "icckd.train.losses"),
    ("ls",): ("rich", "jinja2", "icckd.report.document"),
    ("plan", "small.toml"): ("rich", "jinja2", "icckd.report.document"),
    ("run", "small.toml"): ("rich", "jinja2"),
    ("report", "small"): ("rich", "icckd.run.session"),
    ("sql", "select 1"): ("numpy", "rich", "jinja2", "icckd.study.model"),
}
"""What a command does without, besides."""
SCRIPT = """
import atexit, json, os, sys
_, said, *words = sys.argv
sys.argv = ["icckd", *words]
def say():
    import psutil
    about = {
        "modules": list(sys.modules),
        "threads": psutil.Process().num_threads(),
        "environment": dict(os.environ),
    }
    with open(said, "w") as file:
        json.dump(about, file)
atexit.register(say)
from icckd.cli import main
main()
"""


def run_command(words, finished, tmp_path, **variables):
    """Return what a command's process had at its end: modules, threads, environment."""
    said = tmp_path / "said"
    settings = {**finished.variables(), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    if words[0] == "run":  # nothing is left to train, but its session is written down
        settings["ICCKD_HOME"] = str(shutil.copytree(finished.state, tmp_path / "state"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(said), *words], cwd=finished.folder, env=settings,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert words[0] == "run" or done.stderr == "", "libraries may complain as the process ends"
    return json.loads(said.read_text())


@pytest.mark.parametrize("words", NOT_NEEDED, ids=lambda words: words[0])
def test_a_command_imports_nothing_that_takes_time_and_that_it_does_not_need(
    words, finished, tmp_path
):
    loaded = set(run_command(words, finished, tmp_path)["modules"])

    assert "icckd.cli.main" in loaded
    assert loaded & {*SLOW_TO_IMPORT, *NOT_NEEDED[words]} == set()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no second thread")
@pytest.mark.parametrize("words", [("report", "small"), ("plan", "small.toml")])
def test_a_command_keeps_no_core_busy_beside_its_own(words, finished, tmp_path):
    told = run_command(words, finished, tmp_path)
    asked = run_command(words, finished, tmp_path, OPENBLAS_NUM_THREADS="2")

    assert {"numpy", "scipy.special._ufuncs"} <= set(told["modules"])
    assert told["threads"] == 1
    assert "OPENBLAS_NUM_THREADS" not in told["environment"]  # which what it starts inherits
    assert asked["threads"] > 1  # whoever sets it is heeded
    assert asked["environment"]["OPENBLAS_NUM_THREADS"] == "2"


def test_a_program_that_imports_icckd_keeps_its_threads():
    script = "import sys, icckd, icckd.stats.special; assert len(sys.meta_path) == int(sys.argv[1])"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    bare = [sys.executable, "-c", "import sys, numpy, scipy; print(len(sys.meta_path))"]
    known = subprocess.run(bare, env={**os.environ, **paths}, capture_output=True, text=True)

    words = [sys.executable, "-c", script, known.stdout.strip()]
    assert subprocess.run(words, env={**os.environ, **paths}).returncode == 0
