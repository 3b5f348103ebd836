"""Results of a state folder: one object that reports, screens and the command line ask."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.results.attempts import output_tail, read_attempts
from icckd.results.compare import compare, read_outcomes
from icckd.results.curves import read_curves, read_series
from icckd.results.effects import effects
from icckd.results.log import read_log
from icckd.results.pairing import Outcomes
from icckd.results.progress import read_estimates, read_progress, read_trials
from icckd.results.provenance import Provenance, read_provenance
from icckd.results.queue import QueueRow, RequestRow, read_queue, read_requests
from icckd.results.studies import find_study, read_studies
from icckd.results.trial_series import TrialSeries, read_trial_series
from icckd.results.types import (
    AttemptRow,
    Comparison,
    Curve,
    Effect,
    Estimate,
    LogRow,
    Progress,
    StudyInfo,
    Table,
    TrialRow,
)
from icckd.store.export import export_views as export_views
from icckd.store.export import write_parquet
from icckd.store.lock import try_owner_lock
from icckd.store.schema import about_views as about_views
from icckd.store.store import Store

T = TypeVar("T")
# While stages run these tables grow, and only these answers change: outcomes wait for their end.
_GROWING = frozenset({"metric", "log_line", "journal"})
_CHANGING = frozenset({"progress", "trials", "series", "curves", "log", "queue"})


def _say_nothing(text: str) -> None:
    pass


def open_results(folder: StateFolder, *, notice: Callable[[str], None] = _say_nothing) -> "Results":
    """Return up-to-date results of a state folder; close them, or use them in a `with`.

    When no session owns the folder, its database is brought up to date first and then let go of;
    else, and where it cannot be written, rows are built from the journals. Either way the results
    live in memory, and hold no lock that a session might wait for.

    Args:
        folder: The state folder; it need not exist.
        notice: Told what a user should know, such as a database moved to quarantine.
    """
    store = _from_file(folder, notice) if folder.exists() else None
    store = store or Store.in_memory(folder)
    results = Results(store)
    try:
        results.refresh()
    except BaseException:
        results.close()
        raise
    return results


def _from_file(folder: StateFolder, notice: Callable[[str], None]) -> Store | None:
    with try_owner_lock(folder) as is_ours:
        if not is_ours:
            return None
        try:
            store = Store.open_file(folder, notice=notice)
        except MachineError as error:
            notice(error.message)
            return None
        try:
            store.ingest()
            if store.is_on_file:
                store.leave_file()
        except BaseException:
            store.close()
            raise
        return store


class Results:
    """Answers about the studies of one store.

    Answers are computed when first asked for after a `refresh` that found something new.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers: dict[tuple[Any, ...], object] = {}

    def refresh(self) -> bool:
        """Take in what the journals hold that is new; return whether anything changed."""
        changed = self._store.ingest()
        if changed <= _GROWING:
            lost = _CHANGING if changed else frozenset()
            self._answers = {k: v for k, v in self._answers.items() if k[0] not in lost}
        else:
            self._answers = {}
        return bool(changed)

    def studies(self) -> tuple[StudyInfo, ...]:
        """Return the latest revision of each study, the one planned last first."""
        return self._once(("studies",), lambda: read_studies(self._store))

    def study(self, name: str | None = None) -> StudyInfo:
        """Return the study of that name, or the one planned last.

        Raises:
            UsageError: There is no such study, or none at all.
        """
        return find_study(self.studies(), name)

    def progress(self, study: StudyInfo) -> Progress:
        """Return where a study stands."""
        return self._once(
            ("progress", study.name),
            lambda: read_progress(self._store, study, self.trials(study), self.estimates()),
        )

    def trials(self, study: StudyInfo) -> tuple[TrialRow, ...]:
        """Return every trial, arm by arm in the study's order, seeds ascending.

        `study` may be seen from another arm: see `StudyInfo.against`, also for `comparisons`.
        """
        return self._once(
            ("trials", study.name, study.baseline),
            lambda: read_trials(self._store, study, self._outcomes(study).get(study.primary, {})),
        )

    def comparisons(self, study: StudyInfo) -> tuple[Comparison, ...]:
        """Return arms by outcome columns, both in the study's order."""
        return self._once(
            ("comparisons", study.name, study.baseline),
            lambda: compare(study, self._outcomes(study)),
        )

    def effects(self, study: StudyInfo) -> tuple[Effect, ...]:
        """Return main effects and two-way interactions of a factorial design, else nothing."""
        return self._once(("effects", study.name), lambda: effects(study, self._outcomes(study)))

    def values(self, study: StudyInfo, metric: str) -> Mapping[str, Mapping[int, float]]:
        """Return the values of any outcome by arm and seed, a column of the study or not."""
        return self._outcomes(study).get(metric, {})

    def series(self, study: StudyInfo) -> tuple[str, ...]:
        """Return the series that have data, the most useful first."""
        return self._once(("series", study.name), lambda: read_series(self._store, study))

    def curves(self, study: StudyInfo, metric: str) -> tuple[Curve, ...]:
        """Return a series of each arm that has data, in the study's order."""
        return self._once(
            ("curves", study.name, metric), lambda: read_curves(self._store, study, metric)
        )

    def log(
        self, study: StudyInfo, limit: int, arm: str | None = None, seed: int | None = None
    ) -> tuple[LogRow, ...]:
        """Return the newest log lines, the oldest of them first.

        Args:
            study: The study.
            limit: How many lines at most.
            arm: Only lines of stages that this arm needs.
            seed: Only lines of stages that trials with this seed need.
        """
        return self._once(
            ("log", study.name, limit, arm, seed),
            lambda: read_log(self._store, study, limit, arm=arm, seed=seed),
        )

    def attempts(self, study: StudyInfo, arm: str, seed: int) -> tuple[AttemptRow, ...]:
        """Return every attempt at the stages of a trial, stage by stage, oldest first."""
        return read_attempts(self._store, study, arm, seed)

    def output_tail(self, attempt: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that an attempt's process printed, or none."""
        return output_tail(self._store, attempt, lines)

    def provenance(self, study: StudyInfo) -> Provenance:
        """Return the sessions and stages behind the results of a study."""
        return read_provenance(self._store, study)

    @property
    def folder(self) -> StateFolder:
        """The state folder that these results are of."""
        return self._store.folder

    def trial_series(self, study: StudyInfo, arm: str, seed: int) -> tuple[TrialSeries, ...]:
        """Return every series of a trial, in the catalogue's order."""
        return read_trial_series(self._store, study, arm, seed)

    def queue(self, study: StudyInfo) -> tuple[QueueRow, ...]:
        """Return every stage of the newest plan, in its order."""
        return self._once(
            ("queue", study.name), lambda: read_queue(self._store, study, self.estimates())
        )

    def requests(self, study: StudyInfo) -> tuple[RequestRow, ...]:
        """Return what sessions of this study were asked and answered, oldest first."""
        return self._once(("requests", study.name), lambda: read_requests(self._store, study))

    def complete_stages(self) -> frozenset[str]:
        """Return the digests of the stages that are complete."""
        rows = self._store.select("select stage from stage_now where state = 'complete'")
        return frozenset(stage for (stage,) in rows)

    def estimates(self) -> dict[str, Estimate]:
        """Return what complete stages took, by shape."""
        return self._once(("estimates",), lambda: read_estimates(self._store))

    def write_comparisons(self, study: StudyInfo, target: Path) -> None:
        """Write every comparison of a study as one Parquet file.

        Raises:
            MachineError: The file cannot be written.
        """
        names = [field.name for field in fields(Comparison)]
        rows = [
            [study.name, study.revision, *(getattr(row, name) for name in names)]
            for row in self.comparisons(study)
        ]
        write_parquet(["study", "revision", *names], rows, target)

    def query(self, sql: str, *, rows: int) -> tuple[Table, bool]:
        """Return the answer to one reading statement in SQL, and whether rows were cut.

        It changes nothing, but may take all memory and time: what a user typed goes through
        `icckd.results.fence` instead.

        Args:
            sql: The statement.
            rows: How many rows at most.

        Raises:
            UsageError: It is not one reading statement, or the database refuses it.
        """
        answer = self._store.ask(sql, rows=rows)
        return Table(columns=answer.columns, rows=answer.rows), answer.is_cut

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def __enter__(self) -> "Results":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _outcomes(self, study: StudyInfo) -> Outcomes:
        return self._once(("outcomes", study.name), lambda: read_outcomes(self._store, study))

    def _once(self, key: tuple[Any, ...], answer: Callable[[], T]) -> T:
        answers = self._answers
        if key not in answers:
            answers[key] = answer()
        return cast(T, answers[key])
