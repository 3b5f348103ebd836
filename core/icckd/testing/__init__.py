"""Contract tests of parts: what every model, distiller, loss, data set and metric must keep to.

    from icckd.testing import contract_tests

    test_parts = contract_tests("my_parts.py")

makes one pytest test of each part and law; `python -m icckd.testing my_parts.py` does without
pytest. Both try the parts for real: networks are built and trained, data loaded, runs resumed.
docs/plugins.md says what the laws are. A helper process imports the plug-in, never this one.

`executor_tests("my-executor")` does so for an executor, by the capabilities that it declares
(docs/executors.md).
"""

import atexit
import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icckd.errors import SpecError, UsageError
from icckd.resources.processes import Helper, start_helper

__all__ = ["contract_tests", "executor_tests"]

SECONDS = 600.0
"""Time that one law may take."""


def contract_tests(
    plugin: str | Path,
    *,
    settings: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    image: tuple[int, int, int] | None = None,
) -> Callable[..., None]:
    """Return a test function for pytest, with one case for each part of a plug-in and each law.

    Args:
        plugin: A file, seen from the folder of the test file; or the name of an entry point.
        settings: By part, such as `"model perceptron"`, tables of settings to try; where none are
            given the defaults are.
        image: Channels, height and width of the images that models are tried on; by default those
            of the plug-in's data sets, or of icckd's where it has none.

    Raises:
        SpecError: The plug-in cannot be imported or registers nothing, or settings do not fit.
        UsageError: pytest is not installed.
    """
    try:
        import pytest
    except ImportError as error:
        raise UsageError(
            "contract_tests makes tests for pytest, which is not installed",
            hint="install pytest, or run python -m icckd.testing",
        ) from error
    name = str(plugin)
    if name.endswith(".py"):
        caller = Path(sys._getframe(1).f_globals["__file__"]).parent
        name = str((caller / name).resolve())
    asked = {"plugin": name, "settings": dict(settings or {}), "image": image}
    helper = _Trials(json.loads(json.dumps(asked)))
    ids = [
        f"{each['part'].replace(name, Path(name).name)}: {each['law']}" for each in helper.trials
    ]

    @pytest.mark.parametrize("number", range(len(ids)), ids=ids)
    def test_parts(number: int) -> None:
        tried = helper.hold(number)
        if tried["verdict"] == "not tried":
            pytest.skip(tried["text"])
        if tried["verdict"] == "broken":
            trial = helper.trials[number]
            pytest.fail(f"{trial['part']}: {trial['text']}\n{tried['text']}", pytrace=False)

    return test_parts


def executor_tests(name: str, folder: str | Path | None = None) -> Callable[..., None]:
    """Return a test function for pytest, with one case for each law that an executor declares.

    Args:
        name: The executor, as `icckd run --executor` finds it.
        folder: Where state folders are made, one that all its machines see; default: a temporary
            folder of this machine.

    Raises:
        UsageError: There is no such executor, or pytest is not installed.
        MachineError: Its package cannot be imported.
    """
    try:
        import pytest
    except ImportError as error:
        raise UsageError(
            "executor_tests makes tests for pytest, which is not installed",
            hint="install pytest, or run python -m icckd.testing executor NAME",
        ) from error
    from icckd.testing.executors import case_of, laws_of_executor

    laws = {law.__name__: law for law in laws_of_executor(name)}

    @pytest.mark.parametrize("law", laws)
    def test_executor(law: str) -> None:
        home = None if folder is None else Path(folder) / f"{law}-{os.getpid()}"
        with case_of(name, home) as case:
            laws[law](case)

    return test_executor


class _Trials:
    """The helper process that tries a plug-in, and what it tells; it ends with this process."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._helper: Helper | None = None
        self.trials = self._start()

    def hold(self, number: int) -> dict[str, Any]:
        """Return whether a law holds; where the helper ends or hangs, that it does not."""
        if self._helper is None:
            self._start()
        found = self._ask(number)
        return found if isinstance(found, dict) else {"verdict": "broken", "text": found}

    def _start(self) -> list[dict[str, str]]:
        self._helper = start_helper("icckd.testing.trials", output=2)
        atexit.register(self._end)
        told = self._ask(self._asked)
        if isinstance(told, str):
            raise SpecError(f"plug-in {self._asked['plugin']!r} {told}", hint="mend it")
        if "error" in told:
            self._end()
            raise SpecError(told["error"], hint=told["hint"])
        trials: list[dict[str, str]] = told["trials"]
        return trials

    def _ask(self, question: Any) -> dict[str, Any] | str:
        """Return the answer, or what happened to the helper."""
        assert self._helper is not None
        with contextlib.suppress(BrokenPipeError):
            self._helper.questions.write(json.dumps(question).encode() + b"\n")
            self._helper.questions.flush()
        end, line = time.monotonic() + SECONDS, b""
        while not line.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            if not select.select([self._helper.answers], [], [], left)[0]:
                self._end()
                return f"did not answer within {SECONDS:g} s"
            piece = os.read(self._helper.answers.fileno(), 1 << 16)
            if not piece:
                code = self._helper.process.wait()
                self._end()
                return f"ended the process that tries it, with exit code {code}"
            line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        helper, self._helper = self._helper, None
        if helper is None:
            return
        atexit.unregister(self._end)
        with contextlib.suppress(OSError):
            helper.questions.close()
        helper.answers.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(helper.process.pid, signal.SIGKILL)
        helper.process.wait()
