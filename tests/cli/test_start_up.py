"""What each command imports: that is most of what a user waits for."""

import os
import shutil
import subprocess
import sys

import pytest

SLOW_TO_IMPORT = {
    "torch", "torchvision", "sklearn", "scipy.stats", "scipy.optimize", "textual", "matplotlib",
    "prompt_toolkit", "tensorboard", "wandb", "mlflow", "trackio", "mcp", "pyarrow", "pandas",
    "numpy.f2py.f2py2e", "numpy.testing._private", "urllib.request",
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
import atexit, sys
_, said, *words = sys.argv
sys.argv = ["icckd", *words]
atexit.register(lambda: open(said, "w").write("\\n".join(sys.modules)))
from icckd.cli import main
main()
"""


@pytest.mark.parametrize("words", NOT_NEEDED, ids=lambda words: words[0])
def test_a_command_imports_nothing_that_takes_time_and_that_it_does_not_need(
    words, finished, tmp_path
):
    said = tmp_path / "modules"
    variables = {**finished.variables(), "PYTHONPATH": os.pathsep.join(sys.path)}
    if words[0] == "run":  # nothing is left to train, but its session is written down
        variables["ICCKD_HOME"] = str(shutil.copytree(finished.state, tmp_path / "state"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(said), *words], cwd=finished.folder, env=variables,
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    loaded = set(said.read_text().split())
    assert "icckd.cli.main" in loaded
    assert loaded & {*SLOW_TO_IMPORT, *NOT_NEEDED[words]} == set()
