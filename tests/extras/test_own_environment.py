"""The extras in an environment of their own, where the present one lacks some of what they need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_tests_of_the_extras_pass_where_all_that_they_need_is_installed(tmp_path):
    home, python = tmp_path / "env", tmp_path / "env" / "bin" / "python"
    subprocess.run(["uv", "venv", "-q", "-p", sys.executable, home], check=True)
    needed = [f"{ROOT}[timm,huggingface]", "datasets", "pytest-xdist", "hypothesis"]
    subprocess.run(["uv", "pip", "install", "-q", "-p", python, *needed], check=True)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-m", "slow", "tests/extras"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
