"""Run a study from Python: the sessions of `icckd run`, with progress in a terminal or notebook."""

import contextlib
import sys
from typing import Literal, TypeVar, get_args

from rich.console import Console

from icckd.api.progress import notebook_listener, terminal_listener
from icckd.api.results import StudyResults, results
from icckd.api.running import TrainOptions, settled, train
from icckd.api.signals import Signals
from icckd.api.study import PathText, Study, checked_device, state_folder, study_settings
from icckd.configuration import Mix, Precedence
from icckd.errors import Interrupted, UsageError
from icckd.report.text import display
from icckd.results.query import Results
from icckd.run.prepare import Device
from icckd.run.schedule import Transition
from icckd.run.session import INTERRUPTED, Listener, RunRequest, Stopping
from icckd.study.records import Stage

MOST_JOBS = 1024


def run(  # noqa: PLR0913  # the options of `icckd run`, by keyword
    study: Study | PathText,
    *,
    device: Device = "auto",
    jobs: int | None = None,
    executor: str = "",
    address: str = "",
    force: bool = False,
    retrain_mixed: bool = False,
    accept_code: bool = False,
    bound_only: bool = False,
    first: Precedence | Literal[""] = "",
    mix: Mix | Literal[""] = "",
    home: PathText | None = None,
    progress: bool = True,
) -> StudyResults:
    """Train what a study is missing, as `icckd run` does, and return what came out.

    Stages are trained by processes of their own; this one waits, and torch is not imported here.
    Another session that owns the state folder is waited for. A stage that fails is data: it ends
    nothing, and the results name it. Ctrl-C, or interrupting the kernel, once lets running stages
    finish, twice saves them first.

    Args:
        study: The study, or a study file.
        device: Where to train; `auto` takes GPUs if torch can use any.
        jobs: Workers at once; None means as many as fit the machine.
        executor: What trains; "" means what is configured, else `local`: processes of this machine.
        address: Of the cluster that it uses; "" means the configured one.
        force: Whether finished stages are trained again.
        retrain_mixed: Whether those are that another torch or device model made.
        accept_code: Whether changed source is taken to give the same numbers as before.
        bound_only: Whether what ablation plans ask for and nobody has bound is left out.
        first: What is finished first, a seed or an arm; "" means what is configured.
        mix: Whether arms of one seed may be computed on several models of device; "" means what is
            configured, else "refuse".
        home: The state folder; default: `ICCKD_HOME`, or `.icckd` in the current folder.
        progress: Whether progress is shown, and notices are.

    Raises:
        SpecError: The study is not valid, or its plan is.
        MachineError: A device, a data set, or room on the disk is missing.
        UsageError: An option is not possible.
        Interrupted: It was interrupted; the same call resumes where it stopped.
    """
    if jobs is not None and not 1 <= jobs <= MOST_JOBS:
        raise UsageError(f"jobs = {jobs!r} is not from 1 to {MOST_JOBS}", hint="jobs=4")
    settings, folder = study_settings(study), state_folder(home)
    host = _PythonHost(shows_progress=progress)
    options = TrainOptions(
        device=checked_device(device),
        jobs=jobs,
        executor=executor,
        address=address,
        force=force,
        retrain_mixed=retrain_mixed,
        accept_code=accept_code,
        bound_only=bound_only,
        first=_one_of("first", first, get_args(Precedence)),
        mix=_one_of("mix", mix, get_args(Mix)),
    )
    try:
        options = settled(options, folder, host.say)
        arguments = ("icckd.run", settings.study.name)
        code = train(options, settings, host, folder=folder, arguments=arguments)
    finally:
        host.end()
    if code == INTERRUPTED:
        raise Interrupted("interrupted", hint="the same call resumes where it stopped")
    return results(settings.study.name, home=folder.root)


Word = TypeVar("Word", bound=str)


def _one_of(name: str, word: Word, known: tuple[str, ...]) -> Word:
    if word and word not in known:
        raise UsageError(
            f"{name} = {word!r} is none of {', '.join(known)}", hint=f"{name}={known[0]!r}"
        )
    return word


class _PythonHost:
    """A program that has a study run: notices go to standard error, signals are ours meanwhile."""

    def __init__(self, *, shows_progress: bool) -> None:
        self._shows_progress = shows_progress
        self._signals: Signals | None = None

    def say(self, text: str) -> None:
        if self._shows_progress:
            print(f"icckd: {display(text, 2000)}", file=sys.stderr, flush=True)

    def begin(self) -> None:
        self._signals = Signals(self.say)

    def end(self) -> None:
        if self._signals is not None:
            self._signals.restore()

    def stopping(self) -> Stopping:
        return "" if self._signals is None else self._signals.stopping()

    def listener(
        self, results: Results, request: RunRequest
    ) -> contextlib.AbstractContextManager[Listener]:
        if not self._shows_progress:
            return contextlib.nullcontext(_Silent())
        if Console().is_jupyter:
            return notebook_listener(results, request)
        return terminal_listener(results, request)


class _Silent:
    """Shows nothing."""

    def transition(self, change: Transition, stage: Stage) -> None: ...

    def notice(self, text: str) -> None: ...

    def tick(self) -> None: ...
