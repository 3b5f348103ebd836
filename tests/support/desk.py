"""Run the real command in a folder of its own."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from icckd.cli.main import main
from icckd.journal.file import first_line
from tests.support.executors import FRESH_PROCESS
from tests.support.forked import ForkedCommand
from tests.support.studies import SMALL

LOOKING = frozenset(
    (
        "init",
        "import",
        "bind",
        "coverage",
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
        "doctor",
        "data",
        "convert",
        "du",
        "archive",
        "restore",
    )
)
"""Verbs that train nothing: they run in this process, which saves a second of imports each."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What `icckd run` handles."""

REFUSED = (2, 3, 4)
"""Exit codes of what is refused before it begins."""

STARTED: list["subprocess.Popen[str] | ForkedCommand"] = []
"""Commands that tests started; each is ended with its test, also with one that fails."""


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

    def train(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that trains, in this process; what trains is forked, with torch loaded.

        Stages end with the same bytes as with the local executor, and begin seconds sooner.
        """
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            done = self._run_here((*arguments, "--executor", FRESH_PROCESS))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
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
        started = subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.variables(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        STARTED.append(started)
        return started

    def start_forked(self, *arguments: str) -> ForkedCommand:
        """Start a command that trains; it and what trains are forked, with torch loaded."""
        arguments = (*arguments, "--executor", FRESH_PROCESS)
        started = ForkedCommand(arguments, self.folder, self.variables())
        STARTED.append(started)
        return started

    def write(self, text: str, name: str = "small.toml") -> str:
        (self.folder / name).write_text(text)
        return name

    @property
    def state(self) -> Path:
        return self.folder / ".icckd"


def journals(desk: Desk) -> list[Path]:
    """Return the journals of the attempts so far."""
    return list((desk.state / "attempts").glob("*/journal.jsonl"))


def attempts_begun(desk: Desk) -> list[dict[str, Any]]:
    """Return the headers of the journals of the attempts that have one so far."""
    return [line.body for path in journals(desk) if (line := first_line(path)) is not None]


def epochs_recorded(desk: Desk) -> int:
    """Return how many epochs the journals of all attempts hold."""
    return sum(path.read_bytes().count(b'"k":"m"') for path in journals(desk))


def wait_for_epochs(desk: Desk, session: subprocess.Popen[str], more: int) -> bool:
    """Wait until some epochs were recorded; return whether the session still runs."""
    wanted = epochs_recorded(desk) + more
    while session.poll() is None and epochs_recorded(desk) < wanted:
        time.sleep(0.01)
    return session.poll() is None


def workers_of(session: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the worker processes of a session; none where it has ended."""
    try:
        children = psutil.Process(session.pid).children()
        servers = [child for child in children if "icckd.run.worker_server" in child.cmdline()]
        forked = [child for server in servers for child in server.children()]
        return forked + [child for child in children if "icckd.run.worker" in child.cmdline()]
    except psutil.NoSuchProcess:
        return []
