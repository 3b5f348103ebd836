"""The command in a process forked from one that has loaded icckd and torch already.

A real process, with signals, output and an end of its own; only the seconds in which
an interpreter starts are saved. Its stages are trained by forks of the same process, too
(`fresh_process.py`).
"""

import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

from tests.support.fresh_process import CONTEXT


def run_command(
    arguments: tuple[str, ...], folder: str, variables: dict[str, str], outputs: tuple[str, str]
) -> None:
    """Be the command: called in the new process."""
    # What it starts comes from the process that it came from; CPython would start another one.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["icckd", *arguments]
    # Also where tests run in a background that ignores it: icckd would go on ignoring it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    from icckd.cli.main import main

    main()


class ForkedCommand:
    """A running command, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, variables: dict[str, str]) -> None:
        home = Path(tempfile.mkdtemp(prefix="output-", dir=folder))
        self._outputs = (home / "out", home / "err")
        for path in self._outputs:
            path.touch()
        names = tuple(map(str, self._outputs))
        self._process = CONTEXT.Process(
            target=run_command, args=(arguments, str(folder), variables, names)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self.pid is not None
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("icckd", timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it wrote to standard output and to standard error."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._outputs)
        return out, err

    def said(self) -> str:
        """Return what it wrote to standard error so far."""
        return self._outputs[1].read_text()
