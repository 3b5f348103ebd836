"""SQL that somebody typed, run where it can do no harm: in a child process of its own.

The child holds a copy of the results in memory, cut off from files, and has limits on memory, CPU
time, open files and the size of files (none). It may be killed at any time, and is after
`WALL_SECONDS`. What it prints is JSON, so that nothing it sends is executed here.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from icckd.errors import MachineError, UsageError
from icckd.results.types import Table

MEMORY_BYTES = 1 << 30  # beyond what the child uses when it is ready
CPU_SECONDS = 5
WALL_SECONDS = 30.0
START_SECONDS = 300.0  # a large state folder takes a while to read
REPLY_BYTES = 64 << 20
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")


class _RefusedError(UsageError):
    """The child answered that it will not; it goes on."""


class Fence:
    """Answers SQL about one state folder from a child process, started when first needed."""

    def __init__(self, folder: Path, *, wall_seconds: float = WALL_SECONDS) -> None:
        self._folder = folder
        self._wall_seconds = wall_seconds
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, sql: str, *, rows: int) -> tuple[Table, bool]:
        """Return the answer to one reading statement, and whether rows beyond the limit were cut.

        Args:
            sql: The statement.
            rows: How many rows at most.

        Raises:
            UsageError: It is not one reading statement, DuckDB refuses it, or it takes too much.
            MachineError: The child does not start.
        """
        child = self._running()
        try:
            return self._exchange(child, sql, rows)
        except BaseException as error:
            if not isinstance(error, _RefusedError):
                self.close()
            raise

    def close(self) -> None:
        """Stop the child; the next question starts a new one, with what is new in the journals."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def __enter__(self) -> "Fence":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "icckd.results.fence_child", str(self._folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
            )  # fmt: skip
            if _reply(self._child, START_SECONDS) != {"ready": True}:
                self.close()
                raise MachineError(
                    "the process that answers SQL did not start", hint="its error is above"
                )
        return self._child

    def _exchange(
        self, child: "subprocess.Popen[bytes]", sql: str, rows: int
    ) -> tuple[Table, bool]:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps({"sql": sql, "rows": rows}).encode() + b"\n")
            child.stdin.flush()
        reply = _reply(child, self._wall_seconds)
        if reply is None:
            raise _stopped(child, self._wall_seconds)
        if "error" in reply:
            raise _RefusedError(reply["error"], hint=reply["hint"])
        return (
            Table(columns=tuple(reply["columns"]), rows=tuple(tuple(r) for r in reply["rows"])),
            bool(reply["is_cut"]),
        )


def _reply(child: "subprocess.Popen[bytes]", seconds: float) -> dict[str, Any] | None:
    """Return one line of the child as JSON; None when it ended, took too long or sent too much."""
    assert child.stdout is not None
    until, parts = time.monotonic() + seconds, bytearray()
    while not parts.endswith(b"\n"):
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(child.stdout.fileno(), 1 << 16) if ready else b""
        if not piece or len(parts) > REPLY_BYTES:
            return None
        parts += piece
    found = json.loads(parts)
    return found if isinstance(found, dict) else None


def _stopped(child: "subprocess.Popen[bytes]", seconds: float) -> UsageError:
    """Return the error that says why the child gave no answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return UsageError(
            f"SQL: stopped after {CPU_SECONDS} s of CPU time", hint="ask for less, or add a limit"
        )
    if child.returncode is None:
        return UsageError(f"SQL: stopped after {seconds:g} s", hint="ask for less, or add a limit")
    return UsageError("SQL: it needed more memory than it may have", hint="ask for less")
