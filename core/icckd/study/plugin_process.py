"""The helper process that imports plug-ins: started, asked under a time limit, remembered, ended.

It lives as long as a study is read and planned. Its answers are kept under what they depend on,
the files of the plug-ins, icckd, the interpreter, the installed distributions, so that unchanged
plug-ins start no process at all.
"""

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from icckd.errors import SpecError
from icckd.study.registry import FILE
from icckd.study.source import package_digest
from icckd.variables import PLUGIN_SECONDS, cache_folder, plugin_seconds

MODULE = "icckd.plugin_host"
MAX_ANSWER = 64 << 20
STDERR_LINES = 6
_DUMP_SECONDS = 1.0


class PluginProcess:
    """Asks a helper about plug-ins; it is started when a question has no kept answer.

    Args:
        names: The plug-ins as the study names them.
        references: Where each is imported from, see `icckd.study.registry`.
        what: What they are called in messages.
        command: The interpreter and the script that answer; by default icckd's own.
        hello: What the helper is told first; by default names and references.
    """

    def __init__(
        self,
        names: Sequence[str],
        references: Sequence[str],
        *,
        what: str = "plug-in",
        command: Sequence[str] = (),
        hello: Mapping[str, Any] | None = None,
    ) -> None:
        self._names = tuple(names)
        self._references = tuple(references)
        self._what = what
        self._command = tuple(command)
        self._hello = hello or {"names": self._names, "references": self._references}
        self._running: _Running | None = None
        self._rest = b""
        self._kept = _Kept(references)

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Return the answer to a question.

        Raises:
            SpecError: The plug-in raised, hangs, ended the process or changed what is built in.
        """
        key = json.dumps(question, sort_keys=True)
        if key in self._kept.answers:
            return self._kept.answers[key]
        if self._running is None:
            self._start()
        answer = self._ask(question)
        if isinstance(answer, dict) and "error" in answer:
            raise self._error(answer["error"])
        if question["ask"] == "describe":
            answer["printed"] = self._stdout()
            self._kept.files = answer.pop("files")
        if question["ask"] != "report":
            self._kept.answers[key] = answer
        return answer

    def close(self) -> None:
        """End the helper, and keep what it answered."""
        running, self._running = self._running, None
        if running is not None:
            self._kept.write()
            running.end()

    def _start(self) -> None:
        self._rest = b""
        try:
            self._running = _Running(self._command)
        except OSError as error:
            raise SpecError(
                f"cannot run {self._command[0]}: {error.strerror}",
                hint="task.python is the path of a Python interpreter, such as ../env/bin/python",
            ) from error
        weakref.finalize(self, self._running.end)
        hello = self._ask(self._hello)
        if "error" in hello:
            raise self._error(hello["error"])

    def _ask(self, question: Mapping[str, Any]) -> Any:
        assert self._running is not None
        try:
            self._running.helper.questions.write(json.dumps(question).encode() + b"\n")
            self._running.helper.questions.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._line()
        try:
            return json.loads(line)
        except ValueError:
            raise self._failed(
                f"answers {line[:80]!r} instead of a helper's words",
                "it may write to descriptors that it did not open",
            ) from None

    def _line(self) -> bytes:
        """Return the next line of the helper, within the time that it has."""
        assert self._running is not None
        end = time.monotonic() + plugin_seconds()
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            ready, _, _ = select.select([self._running.helper.answers], [], [], max(left, 0.0))
            if not ready:
                raise self._late()
            piece = os.read(self._running.helper.answers.fileno(), 1 << 16)
            if not piece:
                raise self._ended()
            self._rest += piece
            if len(self._rest) > MAX_ANSWER:
                raise self._failed(f"answers more than {MAX_ANSWER >> 20} MiB", "")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    # What goes wrong.

    def _error(self, told: Mapping[str, Any]) -> SpecError:
        where = f" ({told['file']}, line {told['line']})" if told.get("line") else ""
        name = told.get("plugin") or self._all()
        text = f"{self._what} {name!r}: {told['text']}{where}{self._last_words()}"
        self._drop()
        return SpecError(text, hint=told.get("hint") or "mend it, and plan again")

    def _failed(self, what: str, hint: str) -> SpecError:
        text = f"{self._what} {self._all()!r} {what}{self._last_words()}"
        self._drop()
        return SpecError(text, hint=hint or "mend it, and plan again")

    def _ended(self) -> SpecError:
        assert self._running is not None
        code = self._running.helper.process.wait()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return self._failed(f"ended the process that reads it, {how}", "")

    def _late(self) -> SpecError:
        """Return the error for a plug-in that hangs: where, if its process still tells."""
        assert self._running is not None
        place = ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._running.helper.process.pid, signal.SIGUSR1)  # makes it print where it is
            end = time.monotonic() + _DUMP_SECONDS
            while not place and time.monotonic() < end:
                time.sleep(0.02)
                place = self._place(self._stderr())
        return self._failed(
            f"did not answer within {plugin_seconds():g} s{place}",
            f"do nothing long when the file is imported; {PLUGIN_SECONDS} gives it more seconds",
        )

    def _place(self, text: str) -> str:
        """Return where in a plug-in's folder a printed stack is, the innermost call first."""
        folders = [str(Path(r.removeprefix(FILE)).parent) for r in self._references]
        for file, line in re.findall(r'File "([^"]+)", line (\d+)', text):
            if str(Path(file).parent) in folders:
                return f": it is at {Path(file).name}, line {line}"
        return ""

    def _stderr(self) -> str:
        if self._running is None:
            return ""
        errors = self._running.errors.fileno()
        content = os.pread(errors, 1 << 16, max(0, os.fstat(errors).st_size - (1 << 16)))
        return content.decode("utf-8", "replace")

    def _last_words(self) -> str:
        """Return the last lines that it printed to standard error, where there are any."""
        text = self._stderr().partition("Stack (most recent call first)")[0]
        lines = [line for line in text.splitlines() if line.strip()][-STDERR_LINES:]
        return "".join(f"\n  {line[:300]}" for line in lines)

    def _stdout(self) -> str:
        """Return the beginning of what was printed to standard output."""
        assert self._running is not None
        content = os.pread(self._running.output.fileno(), 2000, 0)
        return content.decode("utf-8", "replace").strip()

    def _all(self) -> str:
        return ", ".join(self._names)

    def _drop(self) -> None:
        """End the helper and keep nothing of it."""
        self._kept.answers.clear()
        self.close()


class _Running:
    """A helper that was started, and the files with what is printed there.

    It is ended with whoever asks it, in an order of its own: the interpreter would close files
    first.
    """

    def __init__(self, command: Sequence[str]) -> None:
        from icckd.resources.processes import start_helper  # looks at the machine: rarely needed

        with contextlib.ExitStack() as opened:
            self.output: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
            self.errors: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
            self.helper = start_helper(
                MODULE, command=command, output=self.output, errors=self.errors
            )
            self._files = opened.pop_all()

    def end(self) -> None:
        """End the process, if it still runs, and close what it had."""
        with contextlib.suppress(OSError):
            self.helper.questions.close()
        self.helper.answers.close()
        if self.helper.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.helper.process.pid, signal.SIGKILL)
        self.helper.process.wait()
        self._files.close()


class _Kept:
    """Answers of earlier helpers, in one file for each set of plug-ins."""

    def __init__(self, references: Sequence[str]) -> None:
        name = hashlib.sha256("\n".join(references).encode()).hexdigest()[:32]
        self._file = cache_folder() / "plugins" / f"{name}.json"
        self.files, self.answers = self._read()
        self._before = len(self.answers)

    def _read(self) -> tuple[dict[str, str], dict[str, Any]]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self._file.read_text())
            if told["software"] == _software() and _unchanged(told["files"]):
                return dict(told["files"]), dict(told["answers"])
        return {}, {}

    def write(self) -> None:
        """Write what is known, aside first, beside what others wrote meanwhile.

        Where that is not possible, nothing is kept.
        """
        if not self.files or len(self.answers) == self._before:
            return
        _, others = self._read()
        aside = self._file.with_suffix(f".{os.getpid()}")
        known = {"software": _software(), "files": self.files, "answers": others | self.answers}
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(known))
            aside.replace(self._file)


def _software() -> list[str]:
    """Return what answers depend on besides the plug-ins: icckd, Python, what is installed."""
    installed = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            installed += sorted(n for n in os.listdir(folder or ".") if n.endswith("-info"))
    digest = hashlib.sha256("\n".join(installed).encode()).hexdigest()
    return [package_digest(), sys.version, sys.prefix, digest]


def _unchanged(files: Mapping[str, str]) -> bool:
    return bool(files) and all(
        hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        for path, digest in files.items()
    )
