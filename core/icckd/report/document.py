"""A report as data: its sections in order, made once from results, written by every format.

Texts are plain: names in them may hold anything, and each format escapes whatever it prints.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from icckd.report import methods, notes
from icckd.report.answers import answers, verdict_of
from icckd.report.charts import (
    CurveChart,
    ForestChart,
    PointChart,
    curve_charts,
    forest_chart,
    point_chart,
)
from icckd.report.gates import Gate
from icckd.report.item_text import change_cells, changes_title, primary_changes
from icckd.report.numbers import Scale
from icckd.report.requested import answers_to
from icckd.report.text import (
    difference_cell,
    difference_unit,
    display,
    effect_size_text,
    interval_text,
    mean_cell,
    origin_suffix,
    p_text,
    scale_of,
)
from icckd.report.warnings import report_warnings
from icckd.report.words import changes_in_words, part_names
from icckd.results.items import ItemChanges
from icckd.results.types import Comparison, Effect, StudyInfo, on_synthetic_data
from icckd.study.records import Arm, Role

if TYPE_CHECKING:
    from icckd.results.query import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTable:
    """A table of short texts: a head and rows of the same length."""

    kind: ClassVar = "table"
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """What a forest plot shows: paired differences on one metric with their intervals.

    `bound` is the smallest difference that matters, or 0.
    """

    kind: ClassVar = "forest"
    title: str
    metric: str
    rows: tuple[Comparison, ...]
    scale: Scale
    bound: float

    @property
    def unit(self) -> str:
        """The unit of the differences, with a leading blank, or ""."""
        return difference_unit(self.scale.unit)

    @property
    def chart(self) -> ForestChart:
        """Its rows as places in a frame."""
        return forest_chart(self.rows, self.scale, self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm on one metric: its mean, and below it the difference from the baseline or ""."""

    value: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricColumn:
    """One metric of the comparison: a row and a cell for each arm, in the study's order."""

    metric: str
    scale: Scale
    rows: tuple[Comparison, ...]

    @property
    def cells(self) -> list[Cell]:
        """The text of each row."""
        return [
            Cell(value=mean_cell(r, self.scale), difference=difference_cell(r, self.scale))
            for r in self.rows
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeText:
    """A setting in which an arm differs from the baseline; its values as JSON."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEntry:
    """An arm of the report: what it is there for, and what it changes, as settings and in words."""

    name: str
    label: str
    title: str
    changes: tuple[ChangeText, ...]
    words: tuple[str, ...] = ()
    role: Role = "variant"

    @property
    def what(self) -> str:
        """What a table says of it: what it is a control for, or what is different."""
        if self.role in ("baseline", "control"):
            return self.label
        return ", ".join(self.words) or self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonTable:
    """Arms by outcomes."""

    kind: ClassVar = "comparison"
    title: str
    arms: tuple[ArmEntry, ...]
    columns: tuple[MetricColumn, ...]

    @property
    def rows(self) -> list[tuple[ArmEntry, list[Cell]]]:
        """Each arm with its cells, one a column."""
        columns = [column.cells for column in self.columns]
        return [(arm, list(cells)) for arm, *cells in zip(self.arms, *columns, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The arms that change settings."""

    kind: ClassVar = "changes"
    title: str
    arms: tuple[ArmEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar = "list"
    title: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Running text."""

    kind: ClassVar = "text"
    title: str
    text: str


Section = CellTable | Forest | ComparisonTable | Changes | Bullets | Paragraph


@dataclass(frozen=True, kw_only=True)
class ReportDocument:
    """Everything a report says; `sections` is its order, the fields are its parts.

    Learning curves are read when they are first looked at: most formats show none.

    Attributes:
        study: The revision of the study that it shows.
        comparisons: Every arm on every outcome.
        revision: Which revision it is, where that is not the newest or not the complete one, or "".
        newer: Newer revisions of the study, the newest first.
        warnings: What misleads in these results.
        effects: Effects of a factorial design, none for others.
        complete: Complete trials.
        total: Planned trials.
        is_synthetic: Whether an arm trains on synthetic data.
        origin: What is added to the study's line: synthetic data, or where its runs were imported
            from; "" of runs of icckd on real data.
        answers: One sentence for each primary question.
        verdicts: The judged arms; None without a family.
        effect_table: The effects as text; None without any.
        forest: Differences with intervals on the primary metric; None before the first.
        comparison: Arms by outcomes.
        changes: What differs from the baseline.
        incomplete: What is missing, arm by arm; empty when every trial is complete.
        methods: What was done, one paragraph.
        threats: What may be held against the answers.
        notes: What a reader must know.
        captions: Of a table of the primary outcome, and of one of the others.
        gates: The conditions asked for, judged on the newest revision.
        item_changes: How the items of judged arms changed, where runs tell them.
        points: The primary outcome of every seed; None before the first.
        read_curves: Reads the learning curves, while the results are open.
        requested: For each ablation that a plan asks for its answer, or why it was not run; None
            where no plan asks for one.
    """

    study: StudyInfo
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...]
    complete: int
    total: int
    is_synthetic: bool
    origin: str
    revision: str
    newer: tuple[StudyInfo, ...]
    warnings: tuple[str, ...]
    answers: tuple[str, ...]
    verdicts: CellTable | None
    effect_table: CellTable | None
    forest: Forest | None
    comparison: ComparisonTable
    changes: Changes
    incomplete: tuple[str, ...]
    methods: str
    threats: tuple[str, ...]
    notes: tuple[str, ...]
    captions: tuple[str, str]
    gates: tuple[Gate, ...] = ()
    item_changes: tuple[ItemChanges, ...] = ()
    points: PointChart | None = None
    read_curves: Callable[[], tuple[CurveChart, ...]] = field(
        default=tuple, repr=False, compare=False
    )
    requested: CellTable | None = None

    @cached_property
    def curves(self) -> tuple[CurveChart, ...]:
        """Learning curves."""
        return self.read_curves()

    @property
    def item_tables(self) -> list[CellTable]:
        """The items that changed most, a table for each judged arm with items."""
        tables = []
        for found in self.item_changes:
            has_groups = any(change.group for change in found.most)
            group = ("group",) if has_groups else ()
            tables.append(
                CellTable(
                    title=changes_title(found),
                    head=("item", *group, display(self.study.baseline), "arm", "difference"),
                    rows=tuple(change_cells(each, has_groups=has_groups) for each in found.most),
                )
            )
        return tables

    @property
    def sections(self) -> list[Section]:
        """The sections that have something to show, in order."""
        parts = (
            Bullets(title="Warnings", items=self.warnings) if self.warnings else None,
            self.verdicts,
            self.forest,
            self.effect_table,
            *self.item_tables,
            self.comparison,
            self.changes if self.changes.arms else None,
            Bullets(title="Incomplete", items=self.incomplete) if self.incomplete else None,
            Paragraph(title="Methods", text=self.methods),
            Bullets(title="Notes", items=self.notes),
            self.requested,
        )
        return [part for part in parts if part is not None]

    @property
    def primary(self) -> MetricColumn:
        """The column of the primary outcome."""
        columns = self.comparison.columns
        return next(c for c in columns if c.metric == self.study.primary)

    @property
    def others(self) -> list[MetricColumn]:
        """The columns of the other outcomes that have a value."""
        columns = self.comparison.columns
        others = [column for column in columns if column.metric != self.study.primary]
        return [column for column in others if any(row.n for row in column.rows)]


def build_document(
    results: "Results", study: StudyInfo, gates: tuple[Gate, ...] = ()
) -> ReportDocument:
    """Return the report of a study, with the gates that were judged beside it."""
    comparisons, effects = results.comparisons(study), results.effects(study)
    trials, seconds = results.trial_counts(study), notes.seconds_of_seed(results, study)
    revisions = results.revisions(study.name)
    names = part_names(study.arms)
    arms = tuple(_arm(arm, names) for arm in study.arms)
    columns = tuple(_column(comparisons, metric) for metric in study.metrics)
    primary = next(column for column in columns if column.metric == study.primary)
    return ReportDocument(
        study=study,
        comparisons=comparisons,
        effects=effects,
        complete=trials.complete,
        total=trials.total,
        is_synthetic=on_synthetic_data(study),
        origin=origin_suffix(study),
        revision=notes.revision_text(results, study),
        newer=revisions[: [each.key for each in revisions].index(study.key)],
        warnings=tuple(report_warnings(results, study)),
        answers=answers(study, comparisons, seconds),
        verdicts=_verdicts(study, comparisons),
        effect_table=_effects(study, effects, primary.scale),
        forest=_forest(study, primary),
        comparison=ComparisonTable(title="Comparison", arms=arms, columns=columns),
        changes=Changes(
            title=f"What differs from {study.baseline}",
            arms=tuple(arm for arm in arms if arm.changes),
        ),
        incomplete=tuple(notes.incomplete(results, study)),
        methods=methods.methods(results, study),
        threats=methods.threats(results, study),
        notes=tuple(notes.notes(results, study)),
        item_changes=tuple(primary_changes(results, study)),
        captions=(notes.primary_caption(results, study), notes.other_caption(study)),
        gates=gates,
        points=point_chart(results, study, primary.rows, primary.scale),
        read_curves=lambda: curve_charts(results, study),
        requested=requested_table(study, comparisons),
    )


def requested_table(study: StudyInfo, comparisons: tuple[Comparison, ...]) -> CellTable | None:
    """Return what reviewers asked for and what came of it: a row for each arm that answers."""
    rows = tuple(answers_to(study, comparisons))
    if not rows:
        return None
    return CellTable(
        title="Requested ablations",
        head=("requested", "arm", "answer"),
        rows=tuple(
            (display(row.name, 200), display(row.arm or "-"), display(row.answer, 600))
            for row in rows
        ),
    )


def _arm(arm: Arm, names: Mapping[str, str]) -> ArmEntry:
    changes = (
        ChangeText(path=c.path, before=json.dumps(c.before), after=json.dumps(c.after))
        for c in arm.changes
    )
    return ArmEntry(
        name=arm.name,
        label=notes.arm_label(arm),
        title=arm.title,
        changes=tuple(changes),
        words=changes_in_words(arm, names),
        role=arm.role,
    )


def _column(comparisons: tuple[Comparison, ...], metric: str) -> MetricColumn:
    rows = tuple(row for row in comparisons if row.metric == metric)
    return MetricColumn(metric=metric, scale=scale_of(rows), rows=rows)


def _verdicts(study: StudyInfo, rows: tuple[Comparison, ...]) -> CellTable | None:
    asked = {(each.arm, each.metric) for each in study.questions if each.arm in study.family}
    judged = [row for row in rows if (row.arm, row.metric) in asked]
    if not judged:
        return None
    has_checks = not study.is_sequential
    checks = ("exact p", "TOST p") if has_checks else ()
    metrics = dict.fromkeys(row.metric for row in judged)
    is_one, arms = len(metrics) == 1, {arm.name: arm for arm in study.arms}
    corrected = "corrected p" if study.rule else "Holm p"
    return CellTable(
        title=f"Verdicts on {next(iter(metrics))}" if is_one else "Verdicts",
        head=(
            "arm" if is_one else "arm and outcome",
            *("verdict", "d_z", "p", corrected, *checks),
        ),
        rows=tuple(
            (
                display(row.arm if is_one else f"{row.arm}, {row.metric}"),
                *_verdict_cells(arms[row.arm], row, has_checks),
            )
            for row in judged
        ),
    )


def _verdict_cells(arm: Arm, row: Comparison, has_checks: bool) -> Iterator[str]:
    is_told = row.verdict in ("helps", "hurts")
    yield verdict_of(arm, row.verdict) if is_told else notes.verdict_text(row)
    yield effect_size_text(row.effect_size)
    yield p_text(row.p)
    yield p_text(row.p_adjusted)
    if has_checks:
        yield p_text(row.p_exact)
        yield p_text(row.p_equivalence)


def _effects(study: StudyInfo, effects: tuple[Effect, ...], scale: Scale) -> CellTable | None:
    if not effects:
        return None
    unit = f" ({scale.unit})" if scale.unit else ""
    return CellTable(
        title=f"Effects on {study.primary}",
        head=("effect", f"difference{unit}", "n", "p", "Holm p"),
        rows=tuple(
            (
                display(effect.name),
                interval_text((effect.mean, effect.low, effect.high), scale) or "-",
                str(effect.n),
                p_text(effect.p),
                p_text(effect.p_adjusted),
            )
            for effect in effects
        ),
    )


def _forest(study: StudyInfo, primary: MetricColumn) -> Forest | None:
    rows = tuple(r for r in primary.rows if r.difference is not None and r.low is not None)
    if not rows:
        return None
    return Forest(
        title=f"Paired differences from {study.baseline} in {study.primary}",
        metric=study.primary,
        rows=rows,
        scale=primary.scale,
        bound=study.smallest_effect or 0.0,
    )
