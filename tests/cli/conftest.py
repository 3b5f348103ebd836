"""Run the real command in a folder of its own."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from icckd.cli.main import main

LOOKING = frozenset(
    (
        "plan",
        "report",
        "status",
        "ls",
        "show",
        "logs",
        "diff",
        "compare",
        "sql",
        "export",
        "published",
    )
)
"""Verbs that train nothing: they run in this process, which saves a second of imports each."""

REFUSED = (2, 3, 4)
"""Exit codes of what is refused before it begins."""

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
        """Run a command to its end: here if it trains nothing, else in a process of its own."""
        here = arguments[0] in LOOKING or code in REFUSED
        done = self._run_here(arguments) if here else self.run_apart(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def run_apart(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.variables(),
            capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _run_here(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        code = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["icckd", *arguments])
            patch.setattr(sys, "stdin", io.StringIO())
            for name, value in self.variables().items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())
        return subprocess.CompletedProcess(["icckd", *arguments], code, *texts)

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


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Desk:
    """A desk on which the small study has run; tests must leave it as it is."""
    made = Desk(tmp_path_factory.mktemp("finished"))
    made.write(SMALL)
    made.first_run = made.run("run", "small.toml")  # type: ignore[attr-defined]
    return made
