"""The journals of a study of observed trials: one of each run, and one of the session.

They are written aside and put in place when all of them are whole, that of the session last: what
reads the state folder sees the whole study or nothing of it.
"""

import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icckd import __version__
from icckd.errors import MachineError
from icckd.journal.events import (
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    ItemScores,
    LogLine,
    Planned,
    SessionClosed,
    SessionHeader,
    StageOutcomes,
    StageState,
    item_lines,
)
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.owner import boot_id, next_session_ordinal
from icckd.journal.placing import place
from icckd.study.observed import KIND, Observed, ObservedStudy, ObservedTrial, Run, read_observed
from icckd.study.plan import digest_of

ATTEMPTS_PER_SESSION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Import:
    """One import; `moment` is the time of all its lines: all runs were there before it."""

    study: ObservedStudy
    observed: Observed
    arguments: Sequence[str]
    session: str
    ordinal: int
    moment: float


def write_study(folder: StateFolder, study: ObservedStudy, arguments: Sequence[str]) -> None:
    """Write the journals of a study into a state folder that the caller owns.

    Args:
        folder: The state folder.
        study: The study.
        arguments: Those of the command, without folders, for the record.

    Raises:
        MachineError: The disk refuses them; then nothing of them is there.
    """
    observed = read_observed(study.resolved)
    assert observed is not None
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
    aside = folder.root / f"{_ASIDE}{name}"
    try:
        _write(
            aside,
            _Import(
                study=study,
                observed=observed,
                arguments=arguments,
                session=name,
                ordinal=next_session_ordinal(folder),
                moment=time.time(),
            ),
        )
        place(folder, aside)
    except OSError as error:
        raise MachineError(
            f"cannot write into the state folder {folder.root}: {error.strerror}",
            hint="free space on that disk, then import again: nothing was imported",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


_ASIDE = ".import-"


def _write(aside: Path, made: _Import) -> None:
    home = aside / "sessions" / made.session
    home.mkdir(parents=True)
    (aside / "attempts").mkdir()
    words = []
    for number, trial in enumerate(made.study.trials, start=1):
        attempt = f"{trial.stage.digest[:16]}-{uuid.uuid4().hex[:8]}"
        header = _header(trial, made, attempt, made.ordinal * ATTEMPTS_PER_SESSION + number)
        closed = _write_attempt(aside / "attempts" / attempt, header, trial, made)
        words.append(StageState(stage=trial.stage.digest, state=closed.state, attempt=attempt))
    with JournalWriter(home / JOURNAL, clock=lambda: made.moment) as journal:
        head = SessionHeader(
            session=made.session,
            study=made.study.name,
            revision=made.study.revision,
            arguments=list(made.arguments),
            host=socket.gethostname(),
            boot=boot_id(),
            pid=os.getpid(),
            version=__version__,
            ordinal=made.ordinal,
        )
        planned = Planned(
            study=made.study.resolved,
            rule="fixed",
            hypotheses=made.study.hypotheses,
            arms=made.study.arms,
            trials=made.study.planned,
            stages=tuple(trial.stage for trial in made.study.trials),
        )
        notes = [
            LogLine(text=f"read {file.name}, {file.bytes} bytes, SHA-256 {file.sha256}")
            for file in made.observed.source.files
        ]
        journal.append(head, planned, *notes, *words)
        journal.append(SessionClosed(exit_code=0, count=journal.count), durable=True)


def _header(trial: ObservedTrial, made: _Import, attempt: str, ordinal: int) -> AttemptHeader:
    files = {file.name: file.sha256 for file in made.observed.source.files}
    return AttemptHeader(
        attempt=attempt,
        session=made.session,
        stage=trial.stage.digest,
        kind=KIND,
        shape=trial.stage.shape,
        seed=trial.run.seed,
        replicate=0,
        epochs=trial.stage.epochs,
        settings={KIND: {"arm": trial.run.arm}},
        inputs={},
        fingerprint=digest_of({"files": sorted(files.values())}),
        numerics={},
        code_epoch=0,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        environment={
            "icckd": __version__,
            "read_from": made.observed.file_names,
            "read_at": "; ".join(dict.fromkeys(trial.run.places.values())),
        },
        ordinal=ordinal,
        files=files if len(files) <= MOST_FILES_OF_AN_ATTEMPT else {},
    )


MOST_FILES_OF_AN_ATTEMPT = 100
"""Beyond these the session's journal alone names them with their digests."""


def _write_attempt(
    home: Path, header: AttemptHeader, trial: ObservedTrial, made: _Import
) -> AttemptClosed:
    home.mkdir()
    run = trial.run
    by_step: dict[int, dict[str, float]] = {}
    for name, points in run.series.items():
        for step, value in points:
            by_step.setdefault(step, {})[f"{KIND}.{name}"] = value
    primary = made.study.outcomes[0].removeprefix(f"{KIND}.")
    failure = _failure(run.values.get(primary), primary)
    values = {f"{KIND}.{name}": value for name, value in run.values.items()}
    diverged = failure is not None and failure.cause == "non-finite"
    places = [
        LogLine(text=f"{name} = {value!r}, {run.places.get(name, 'read from a table')}")
        for name, value in run.values.items()
    ]
    with JournalWriter(home / JOURNAL, clock=lambda: made.moment) as journal:
        journal.append(
            header,
            *(EpochMetrics(epoch=step, values=by_step[step]) for step in sorted(by_step)),
            *_item_events(run),
            StageOutcomes(values=values | ({f"{KIND}.nonfinite_steps": 1.0} if diverged else {})),
            *places,
        )
        closed = AttemptClosed(
            state="complete" if failure is None else "failed",
            count=journal.count,
            seconds=0.0,
            failure=failure,
        )
        journal.append(closed, durable=True)
    return closed


def _item_events(run: Run) -> list[ItemScores]:
    """Return the events of a run's items, metric by metric: each may have items of its own."""
    return [
        event
        for name, columns in run.items.items()
        for event in item_lines(columns.ids, columns.groups, {f"{KIND}.{name}": columns.scores})
    ]


def _failure(value: float | None, primary: str) -> Failure | None:
    """Return what became of a run without a number of the primary metric; None of any other."""
    if value is None:
        return Failure(
            type="observed",
            message=f"no value of {primary} was there to be read",
            cause="no-metric",
            hint="correct the file, and import it again",
        )
    if not math.isfinite(value):
        return Failure(
            type="observed", message=f"{primary} is {value:g} at the end", cause="non-finite"
        )
    return None
