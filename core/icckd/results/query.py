"""Results of a state folder: one object that reports, screens and the command line ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.journal.owner import try_owner_lock
from icckd.results.bits import Bits, FinishedStage, mixed_bits, read_finished
from icckd.results.database import about_views as about_views
from icckd.results.store import GROWING, Store
from icckd.results.studies import (
    Provenance,
    find_revision,
    find_study,
    read_provenance,
    read_studies,
    read_task_files,
    read_test_images,
)
from icckd.results.trials import (
    AnsweredRequest,
    StageStatus,
    output_tail,
    read_attempts,
    read_cost,
    read_estimates,
    read_every_outcome,
    read_is_packed,
    read_log,
    read_means,
    read_outcomes,
    read_progress,
    read_queue,
    read_requests,
    read_trials,
    read_unsettled,
    read_values_of,
)
from icckd.results.types import (
    ITEMS_SHOWN,
    Attempt,
    Comparison,
    Cost,
    Curve,
    Effect,
    Estimate,
    LogEntry,
    Outcomes,
    Progress,
    StateCounts,
    StudyInfo,
    Table,
    TrialStatus,
)

if TYPE_CHECKING:  # NumPy and the statistics are imported by the answers that need them
    from icckd.results.compare import Kept
    from icckd.results.frames import Frame
    from icckd.results.items import ItemChanges, ItemRuns
    from icckd.results.overview import Overview
    from icckd.results.pairing import Right
    from icckd.results.series import TrialSeries
    from icckd.study.plan import Plan

T = TypeVar("T")
# While stages run, only these answers change: outcomes wait for their end.
_CHANGING = frozenset(
    {
        "overviews",
        "progress",
        "trials",
        "trial counts",
        "unsettled",
        "series",
        "curves",
        "log",
        "queue",
        "provenance",
    }
)


def open_results(
    folder: StateFolder, *, notice: Callable[[str], None] = lambda text: None
) -> Results:
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
        self._kept: dict[tuple[Any, ...], Kept] = {}

    def refresh(self) -> bool:
        """Take in what the journals hold that is new; return whether anything changed."""
        changed = self._store.ingest()
        if changed <= GROWING:
            lost = _CHANGING if changed else frozenset()
            self._answers = {k: v for k, v in self._answers.items() if k[0] not in lost}
        else:
            self._answers = {}
        return bool(changed)

    def studies(self) -> tuple[StudyInfo, ...]:
        """Return the newest revision of each study, the one planned last first."""
        return tuple(study for study in self._revisions() if study.is_newest)

    def study(self, name: str | None = None) -> StudyInfo:
        """Return the newest revision of the study of that name, or of the one planned last.

        Raises:
            UsageError: There is no such study, or none at all.
        """
        return find_study(self.studies(), name)

    def revisions(self, name: str | None = None) -> tuple[StudyInfo, ...]:
        """Return all revisions of a study, the newest first; errors as `study`."""
        found = self.study(name)
        return tuple(study for study in self._revisions() if study.name == found.name)

    def revision(self, name: str | None, revision: str) -> StudyInfo:
        """Return the revision of a study that begins with these characters.

        Raises:
            UsageError: There is no such study, or not one such revision.
        """
        return find_revision(self.revisions(name), revision)

    def reported(self, name: str | None = None) -> StudyInfo:
        """Return the revision that reports show: the newest complete one, or else the newest.

        Raises:
            UsageError: There is no such study, or none at all.
        """
        revisions = self.revisions(name)
        return next((study for study in revisions if study.is_complete), revisions[0])

    def _revisions(self) -> tuple[StudyInfo, ...]:
        return self._once(("studies",), lambda: read_studies(self._store))

    def overviews(self) -> tuple[Overview, ...]:
        """Return every study at a glance, the one planned last first."""
        from icckd.results.overview import read_overviews

        def overviews() -> tuple[Overview, ...]:
            for key, outcomes in read_every_outcome(self._store).items():
                self._answers.setdefault(("outcomes", *key), outcomes)
            return read_overviews(self, self._store)

        return self._once(("overviews",), overviews)

    def progress(self, study: StudyInfo) -> Progress:
        """Return where a study stands."""
        return self._once(
            ("progress", study.key),
            lambda: read_progress(self._store, study, self.estimates),
        )

    def is_packed(self, study: StudyInfo) -> bool:
        """Return whether a stage of a study was trained in a pack.

        The seconds of such a stage are a share of the pack's, and no measurement of an arm.
        """
        return self._once(("packed", study.key), lambda: read_is_packed(self._store, study))

    def trials(self, study: StudyInfo) -> tuple[TrialStatus, ...]:
        """Return every trial, arm by arm in the study's order, seeds ascending.

        `study` may be seen from another arm: see `StudyInfo.against`, also for `comparisons`.
        """
        return self._once(
            ("trials", study.key, study.baseline),
            lambda: read_trials(self._store, study, self.outcomes(study).get(study.primary, {})),
        )

    def trial_counts(self, study: StudyInfo) -> StateCounts:
        """Return how many trials are in each state."""
        return self._once(
            ("trial counts", study.key),
            lambda: StateCounts(**Counter[str](trial.state for trial in self.trials(study))),
        )

    def comparisons(self, study: StudyInfo) -> tuple[Comparison, ...]:
        """Return arms by outcome columns, both in the study's order."""
        from icckd.results.compare import Kept, compare

        return self._once(
            ("comparisons", study.key, study.baseline),
            lambda: compare(
                study,
                self.outcomes(study),
                self.right(study),
                self._to_come(study),
                self.items(study),
                self._kept.setdefault((study.key, study.baseline), Kept()),
            ),
        )

    def effects(self, study: StudyInfo) -> tuple[Effect, ...]:
        """Return main effects and two-way interactions of a factorial design, else nothing."""
        from icckd.results.compare import effects

        return self._once(("effects", study.key), lambda: effects(study, self.outcomes(study)))

    def values(self, study: StudyInfo, metric: str) -> Mapping[str, Mapping[int, float]]:
        """Return the values of an outcome by arm and seed."""
        return self.outcomes(study).get(metric, {})

    def values_of(
        self, study: StudyInfo, metric: str, trials: Collection[tuple[str, int]]
    ) -> Mapping[tuple[str, int], float]:
        """Return the values of an outcome of some trials, by arm and seed.

        They alone are read, where `values` reads every outcome of every trial.
        """
        return read_values_of(self._store, study, metric, trials)

    def means(self, study: StudyInfo, metric: str) -> Mapping[str, tuple[float, int]]:
        """Return mean and number of the finite values of an outcome, by arm.

        The database counts: no value is read.
        """
        return self._once(
            ("means", study.key, metric), lambda: read_means(self._store, study, metric)
        )

    def trial_outcomes(self, study: StudyInfo, arm: str, seed: int) -> Mapping[str, float]:
        """Return the outcomes of a trial by name, in the order of the study's metrics."""
        found = {
            metric: by_arm[arm][seed]
            for metric, by_arm in self.outcomes(study).items()
            if seed in by_arm.get(arm, {})
        }
        return {metric: found[metric] for metric in study.in_order(found)}

    def series(self, study: StudyInfo) -> tuple[str, ...]:
        """Return the series that have data, the most useful first."""
        from icckd.results.series import read_series

        return self._once(("series", study.key), lambda: read_series(self._store, study))

    def unsettled(self, study: StudyInfo) -> tuple[TrialStatus, ...]:
        """Return the trials that are neither complete nor pending: those that a look is about."""
        return self._once(("unsettled", study.key), lambda: read_unsettled(self._store, study))

    def curves(self, study: StudyInfo, metric: str) -> tuple[Curve, ...]:
        """Return a series of each arm that has data, in the study's order."""
        from icckd.results.series import read_curves

        return self._once(
            ("curves", study.key, metric), lambda: read_curves(self._store, study, metric)
        )

    def log(
        self, study: StudyInfo, limit: int, arm: str | None = None, seed: int | None = None
    ) -> tuple[LogEntry, ...]:
        """Return the newest log lines, the oldest of them first.

        Args:
            study: The study.
            limit: How many lines at most.
            arm: Only lines of stages that this arm needs.
            seed: Only lines of stages that trials with this seed need.
        """
        return self._once(
            ("log", study.key, limit, arm, seed),
            lambda: read_log(self._store, study, limit, arm=arm, seed=seed),
        )

    def attempts(self, study: StudyInfo, arm: str, seed: int) -> tuple[Attempt, ...]:
        """Return every attempt at the stages of a trial, stage by stage, oldest first."""
        return read_attempts(self._store, study, arm, seed)

    def output_tail(self, attempt: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that an attempt's process printed, or none."""
        return output_tail(self._store, attempt, lines)

    def provenance(self, study: StudyInfo) -> Provenance:
        """Return the sessions and stages behind the results of a study."""
        return self._once(("provenance", study.key), lambda: read_provenance(self._store, study))

    @property
    def folder(self) -> StateFolder:
        """The state folder that these results are of."""
        return self._store.folder

    def trial_series(self, study: StudyInfo, arm: str, seed: int) -> tuple[TrialSeries, ...]:
        """Return every series of a trial, in the catalogue's order."""
        from icckd.results.series import read_trial_series

        return read_trial_series(self._store, study, arm, seed)

    def queue(self, study: StudyInfo) -> tuple[StageStatus, ...]:
        """Return every stage of the newest plan, in its order."""
        return self._once(
            ("queue", study.key), lambda: read_queue(self._store, study, self.estimates())
        )

    def requests(self, study: StudyInfo) -> tuple[AnsweredRequest, ...]:
        """Return what sessions of this study were asked and answered, oldest first."""
        return self._once(("requests", study.key), lambda: read_requests(self._store, study))

    def test_images(self, study: StudyInfo) -> int | None:
        """Return how many test images a study's models were tested on; None: no journal tells.

        Where arms differ, the fewest.
        """
        return self._once(("test images", study.key), lambda: read_test_images(self._store, study))

    def task_files(self, study: str) -> Mapping[str, Mapping[str, str]]:
        """Return, by task of a study, the files under which its newest complete runs stand."""
        return self._once(("files", study), lambda: read_task_files(self._store, study))

    def complete_stages(self) -> frozenset[str]:
        """Return the digests of the stages that are complete."""
        rows = self._store.select("select stage from stage_now where state = 'complete'")
        return frozenset(stage for (stage,) in rows)

    def finished_stages(self) -> Mapping[str, FinishedStage]:
        """Return the complete stages by digest, with what decided their bits."""
        return self._once(("finished",), lambda: read_finished(self._store))

    def code_epoch_notes(self, plan: Plan, done: Collection[str]) -> tuple[str, ...]:
        """Return what raised training versions make of a plan's stages; `done` need no training."""
        from icckd.results.code_epochs import code_epoch_notes

        return code_epoch_notes(self._store, tuple(plan.stages.values()), done)

    def mixed_bits(self, study: StudyInfo) -> Mapping[Bits, int]:
        """Return how many stages each value made, where the results of a study mix several."""
        finished = self.finished_stages()
        return mixed_bits(finished[row.stage] for row in self.provenance(study).stages)

    def estimates(self) -> dict[str, Estimate]:
        """Return what complete stages took, by shape."""
        return self._once(("estimates",), lambda: read_estimates(self._store))

    def cost(self, session: str, seconds: float) -> Cost:
        """Return what the stages that a session completed took, which lasted so many seconds."""
        return read_cost(self._store, session, seconds)

    def query(self, sql: str, *, rows: int) -> tuple[Table, bool]:
        """Return the answer to one reading statement in SQL, and whether rows were cut.

        It changes nothing, but may take all memory and time: what a user typed goes through
        `icckd.results.sandbox` instead.

        Args:
            sql: The statement.
            rows: How many rows at most.

        Raises:
            UsageError: It is not one reading statement, or the database refuses it.
        """
        answer = self._store.ask(sql, rows=rows)
        return Table(columns=answer.columns, rows=answer.rows), answer.is_cut

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> Frame:
        """Return the answer to a query of our own, which is asked when its rows are."""
        from icckd.results.frames import Frame

        return Frame(lambda fetch: self._store.fetch(sql, parameters, fetch))

    def asked_frame(self, sql: str) -> Frame:
        """Return the answer to one reading statement that a user wrote in a program of his own.

        Raises:
            UsageError: When its rows are asked for: see `query`.
        """
        from icckd.results.frames import Frame

        return Frame(lambda fetch: self._store.fetch_asked(sql, fetch))

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def outcomes(self, study: StudyInfo) -> Outcomes:
        """Return every outcome by metric, arm and seed, a column of the study or not."""
        return self._once(("outcomes", *study.key), lambda: read_outcomes(self._store, study))

    def right(self, study: StudyInfo) -> Right:
        """Return which test images every model was right about, where that is recorded."""
        from icckd.results.pairing import read_right

        return self._once(("right", study.key), lambda: read_right(self._store, study))

    def items(self, study: StudyInfo) -> ItemRuns:
        """Return the items of every complete run, by metric, arm and seed."""
        from icckd.results.items import read_items

        return self._once(("items", study.key), lambda: read_items(self._store, study))

    def item_changes(
        self, study: StudyInfo, metric: str, *, most: int = ITEMS_SHOWN
    ) -> tuple[ItemChanges, ...]:
        """Return how items changed on a metric, of every arm that shares some with the baseline."""
        from icckd.results.items import changes_of, pair_items

        def changes() -> tuple[ItemChanges, ...]:
            runs = self.items(study).get(metric, {})
            unit = study.metric(metric).unit
            pairs = {
                arm.name: pair_items(runs, arm.name, study.baseline, unit=unit)
                for arm in study.arms
                if arm.name != study.baseline
            }
            return tuple(
                changes_of(arm, metric, found, most=most)
                for arm, found in pairs.items()
                if found is not None
            )

        return self._once(("item changes", study.key, study.baseline, metric, most), changes)

    def _to_come(self, study: StudyInfo) -> frozenset[tuple[str, int]]:
        """Return the trials, as arm and seed, that have neither ended nor failed.

        One that was cancelled is among them: stopping when results look well decides nothing.
        """
        ended = ("complete", "failed", "blocked")
        return frozenset((t.arm, t.seed) for t in self.trials(study) if t.state not in ended)

    def _once(self, key: tuple[Any, ...], answer: Callable[[], T]) -> T:
        answers = self._answers
        if key not in answers:
            answers[key] = answer()
        return cast(T, answers[key])
