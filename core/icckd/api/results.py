"""What came out of a study, in Python: typed records, tables as data frames, reports, figures."""

import io
import shutil
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from icckd.api.study import PathText, Study, puller_of, state_folder, study_name
from icckd.errors import UsageError
from icckd.report.document import CellTable, ComparisonTable, ReportDocument, build_document
from icckd.report.figures import FigureKind, Plot, draw_figures, draw_plot
from icckd.report.formats import write_report
from icckd.report.text import display
from icckd.results.frames import Frame, records_frame
from icckd.results.query import Results, open_results
from icckd.results.types import Comparison, Effect, Progress, StudyInfo, TrialStatus
from icckd.study.observed import KIND as OBSERVED
from icckd.study.paths import nearest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from icckd.storage.mirror import Puller

_OUTCOMES = """
select metric, arm, seed, value
from every_outcome
where study = ? and revision = ?
order by metric, list_position(?::varchar[], arm), seed
"""
_SERIES = """
select metric, arm, seed, epoch, value
from every_curve
where study = ? and revision = ? and (? is null or metric = ?)
order by metric, list_position(?::varchar[], arm), seed, epoch
"""
_COMPARISON_COLUMNS = (
    "arm", "metric", "unit", "n", "mean", "spread", "pairs", "difference", "low", "high",
    "level", "p", "p_adjusted", "p_equivalence_adjusted", "effect_size", "verdict", "test", "why",
)  # fmt: skip
_TRIAL_COLUMNS = (
    "arm", "seed", "state", "stage", "epoch", "epochs", "attempts", "seconds", "primary",
    "difference", "reason",
)  # fmt: skip


def results(
    study: Study | PathText | None = None,
    *,
    revision: str | None = None,
    home: PathText | None = None,
) -> "StudyResults":
    """Return what came out of a study, as its journals say now; nothing is trained.

    Sessions that run, here or in another process, are read as `icckd report` reads them. What
    machines share is read first, if storage is configured; where it cannot be read, a warning says
    that what this machine has is shown.

    Args:
        study: A study, a study file, or a study's name; None means the one planned last.
        revision: One of `icckd ls STUDY`; None means the newest complete one, or the newest.
        home: The state folder; default: `ICCKD_HOME`, or `.icckd` in the current folder.

    Raises:
        UsageError: There is no such study or revision in that folder.
        SpecError: The study file is not valid.
    """
    folder, name = state_folder(home), study_name(study)
    puller = puller_of(folder)
    _pull(puller)
    if not folder.exists():
        raise UsageError(f"there is no study in {folder.root}", hint="icckd.run(study) starts one")
    opened = open_results(folder)
    try:
        return StudyResults(opened, name, revision, puller=puller)
    except BaseException:
        opened.close()
        raise


def _pull(puller: "Puller | None") -> None:
    """Read what machines share; warn where that is not possible."""
    if puller is not None and (why := puller.pull()):
        warnings.warn(f"shown is what this machine has: {why}", stacklevel=3)


class StudyResults:
    """What came out of one revision of a study.

    In a notebook it shows answers, verdicts and comparison; `print(found.report())` prints what
    `icckd report` prints. Close it, or use it in a `with`, to free its copy of the results.
    """

    def __init__(
        self,
        opened: Results,
        name: str | None,
        revision: str | None = None,
        *,
        home: Path | None = None,
        puller: "Puller | None" = None,
    ) -> None:
        self._results, self._puller = opened, puller
        if home is not None:  # a folder that goes with these results
            self._removed = weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)
        self._wanted = revision
        self._name = self._find(name).name
        self._documents: dict[tuple[str, str], ReportDocument] = {}

    def _find(self, name: str | None) -> StudyInfo:
        if self._wanted is None:
            return self._results.reported(name)
        return self._results.revision(name, self._wanted)

    @property
    def study(self) -> StudyInfo:
        """The revision: question, arms, seeds, primary questions, rule."""
        return self._find(self._name)

    def refresh(self) -> bool:
        """Take in what the journals hold that is new; return whether anything changed.

        What machines share is read first, if storage is configured.
        """
        _pull(self._puller)
        changed = self._results.refresh()
        if changed:
            self._documents = {}
        return changed

    @property
    def progress(self) -> Progress:
        """Where the study stands: trials and stages by state, time left."""
        return self._results.progress(self.study)

    @property
    def trials(self) -> tuple[TrialStatus, ...]:
        """Every trial, arm by arm, seeds ascending."""
        return self._results.trials(self.study)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every arm on every outcome column against the baseline, verdicts included."""
        return self._results.comparisons(self.study)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Main effects and interactions of a factorial design; none for others."""
        return self._results.effects(self.study)

    @property
    def answers(self) -> tuple[str, ...]:
        """One sentence for each primary question."""
        return self._document.answers

    @property
    def warnings(self) -> tuple[str, ...]:
        """What misleads in these results."""
        return self._document.warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return self._document.notes

    @property
    def methods(self) -> str:
        """What was done, one paragraph for a paper."""
        return self._document.methods

    @property
    def threats(self) -> tuple[str, ...]:
        """What may be held against the answers."""
        return self._document.threats

    def comparison(self, arm: str, metric: str | None = None) -> Comparison:
        """Return one comparison.

        Args:
            arm: The arm.
            metric: The outcome; None means the primary one. Of runs made elsewhere `acc` means
                `observed.acc`.

        Raises:
            UsageError: The study has no such arm or outcome column.
        """
        metrics = self.study.metrics
        wanted = self.study.primary if metric is None else metric
        if wanted not in metrics and f"{OBSERVED}.{wanted}" in metrics:
            wanted = f"{OBSERVED}.{wanted}"
        for row in self.comparisons:
            if (row.arm, row.metric) == (arm, wanted):
                return row
        unknown = (wanted, metrics) if arm in self._arms else (arm, self._arms)
        raise UsageError(
            f"study {self._name!r} has no comparison of {arm!r} on {wanted!r}",
            hint=nearest(unknown[0], list(unknown[1])),
        )

    # Tables.

    def comparison_table(self) -> Frame:
        """Return the comparisons as a table; units as `Comparison` says."""
        return records_frame(Comparison, _COMPARISON_COLUMNS, self.comparisons)

    def trial_table(self) -> Frame:
        """Return the trials as a table."""
        return records_frame(TrialStatus, _TRIAL_COLUMNS, self.trials)

    def outcomes(self) -> Frame:
        """Return every outcome by metric, arm and seed: the values behind the comparisons.

        A target that was never reached is infinite.
        """
        return self._results.frame(_OUTCOMES, [*self.study.key, self._arms])

    def series(self, metric: str | None = None) -> Frame:
        """Return series over epochs by metric, arm and seed.

        Args:
            metric: Only this one, such as `teacher.val_top1`; None means all.
        """
        return self._results.frame(_SERIES, [*self.study.key, metric, metric, self._arms])

    def sql(self, statement: str) -> Frame:
        """Return the answer to one statement of DuckDB over the views of `icckd sql`.

        It can only read. Unlike `icckd sql` it runs in this process, with its memory.

        Raises:
            UsageError: It is not one reading statement, or DuckDB refuses it; when rows are read.
        """
        return self._results.asked_frame(statement)

    @property
    def _arms(self) -> list[str]:
        return [arm.name for arm in self.study.arms]

    # Reports and figures.

    def report(self, format: str = "table") -> str:  # noqa: A002  # as `--format`
        """Return the report as text, in a format of `icckd report --format`.

        Raises:
            UsageError: There is no such format, or it is not text.
        """
        out = io.StringIO()
        write_report(self._results, self.study, format, out)
        return out.getvalue()

    def to_latex(self) -> str:
        """Return the tables as LaTeX (booktabs, siunitx), captions and methods included."""
        return self.report("latex")

    def to_html(self) -> str:
        """Return the report as one HTML page that loads nothing."""
        return self.report("html")

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        return self.report("md")

    def plot(self, figure: FigureKind = "forest", metric: str | None = None) -> Plot:
        """Return a figure: shown in a notebook, saved by `.save(path)`, `.figure` for changes.

        Args:
            figure: Paired differences, learning curves, a heat map, or cost against outcome.
            metric: The series of learning curves; None means the most useful one.

        Raises:
            MachineError: matplotlib is not installed (extra `figures`).
            UsageError: There is nothing to show yet.
        """
        return draw_plot(self._results, self.study, figure, metric)

    def save_figures(self, folder: PathText) -> list[Path]:
        """Write every figure that the results allow as PDF, SVG and PNG; return the files.

        Raises:
            MachineError: matplotlib is not installed (extra `figures`).
        """
        return draw_figures(self._results, self.study, Path(folder))

    @property
    def _document(self) -> ReportDocument:
        study = self.study
        if study.key not in self._documents:
            self._documents[study.key] = build_document(self._results, study)
        return self._documents[study.key]

    def __repr__(self) -> str:
        study = self.study
        return (
            f"<StudyResults of {study.name!r}, revision {study.revision}:"
            f" {study.complete} of {study.trials} trials complete>"
        )

    def __rich__(self) -> "RenderableType":
        """Return answers, verdicts and comparison for a terminal."""
        return _renderable(self._document)

    def _repr_html_(self) -> str:
        """Return answers, verdicts and comparison for a notebook."""
        from icckd.report.templates import template_writer

        out = io.StringIO()
        template_writer("notebook.html.j2")(self._document, out)
        return out.getvalue()

    def close(self) -> None:
        """Free the copy of the results."""
        self._results.close()

    def __enter__(self) -> "StudyResults":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _renderable(document: ReportDocument) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    study = document.study
    parts: list[RenderableType] = [
        Text(display(study.question or study.name), style="bold"),
        *(Text(display(answer, 2000)) for answer in document.answers),
    ]
    for section in document.sections:
        if isinstance(section, CellTable):
            parts.append(_table(section.title, section.head, section.rows))
        elif isinstance(section, ComparisonTable):
            head = ("arm", *(f"{c.metric}{_unit(c.scale.unit)}" for c in section.columns))
            rows = [
                (arm.name, *(f"{cell.value}\n{cell.difference}".rstrip() for cell in cells))
                for arm, cells in section.rows
            ]
            parts.append(_table(section.title, head, rows))
    parts += [Text(f"incomplete: {display(text, 500)}") for text in document.incomplete]
    return Group(*parts)


def _unit(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    def cell(text: str) -> Text:
        return Text("\n".join(map(display, text.split("\n"))))

    made = Table(title=cell(title), title_justify="left")
    for name in head:
        made.add_column(cell(name))
    for row in rows:
        made.add_row(*map(cell, row))
    return made
