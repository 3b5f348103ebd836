"""Run the real command in a folder of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SMALL = """
[study]
name = "small"
question = "Does the cache matter?"
baseline = "full"
metrics = ["teacher.top1", "student.convergence", "teacher.cache_bytes"]
seeds = { count = 2 }
[teacher.training]
epochs = 2
[student.training]
epochs = 2
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
metrics = ["student.top1"]
"""


@dataclass
class Desk:
    """A folder in which somebody works with icckd."""

    folder: Path
    small: str = SMALL
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "icckd.cli.main", *arguments]

    def variables(self) -> dict[str, str]:
        return {**os.environ, "COLUMNS": "120", **self.environment}

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.variables(),
            capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.variables(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def write(self, text: str, name: str = "small.toml") -> str:
        (self.folder / name).write_text(text)
        return name

    @property
    def state(self) -> Path:
        return self.folder / ".icckd"


@pytest.fixture
def desk(tmp_path) -> Desk:
    made = Desk(tmp_path)
    made.write(SMALL)
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Desk:
    """A desk on which the small study has run; tests must leave it as it is."""
    made = Desk(tmp_path_factory.mktemp("finished"))
    made.write(SMALL)
    made.first_run = made.run("run", "small.toml")  # type: ignore[attr-defined]
    return made
