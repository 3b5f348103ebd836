"""What the command line prints: the report as a table, status, studies, one arm or trial, logs.

Plain text of fixed width, no colour, the same bytes for the same results.
"""

import json
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TextIO

from icckd.report import methods
from icckd.report.document import (
    Bullets,
    CellTable,
    Changes,
    ComparisonTable,
    MetricColumn,
    ReportDocument,
)
from icckd.report.notes import by_source, epoch_text, origin_suffix, revision_text
from icckd.report.numbers import duration
from icckd.report.rule_text import bound_text, unit_of
from icckd.report.text import (
    aligned,
    difference_cell,
    display,
    effect_size_text,
    mean_cell,
    p_text,
    scale_of,
    seeds_text,
    write_lines,
)
from icckd.results.published import SEPARATOR, published, published_for
from icckd.results.query import Results
from icckd.results.seeds import PILOT_PAIRS, SeedPower
from icckd.results.selection import (
    Selection,
    compare_selections,
    conditions_of,
    rule_of,
    setting_changes,
    stages_of,
)
from icckd.results.types import (
    Attempt,
    Comparison,
    LogEntry,
    Progress,
    StateCounts,
    StudyInfo,
    TrialStatus,
)
from icckd.stats.fixed import LEAST_PAIRS
from icckd.study.paths import changes
from icckd.study.records import Arm

WIDTH = 100
_GAP = 3
_ARM_WIDTH = 30


def write_report_table(document: ReportDocument, out: TextIO) -> None:
    """Write question, verdicts, comparison, differences in settings, what is missing, notes."""
    lines = _head(document)
    for section in document.sections:
        if isinstance(section, CellTable):
            lines += _cell_table(section)
        elif isinstance(section, ComparisonTable):
            lines += _comparison(section)
        elif isinstance(section, Changes):
            lines += _changes(section)
        elif isinstance(section, Bullets):
            lines += ["", _title(section.title)]
            lines += [line for text in section.items for line in _wrapped(text, "  - ", "    ")]
    write_lines(out, lines)


def write_section(
    results: Results, study: StudyInfo, section: Literal["methods", "threats"], out: TextIO
) -> None:
    """Write the methods paragraph, or threats to validity as a list."""
    if section == "methods":
        write_lines(out, _wrapped(methods.methods(results, study), ""))
        return
    texts = methods.threats(results, study)
    lines = [line for text in texts for line in _wrapped(text, "- ", "  ")]
    write_lines(out, lines)


def _title(text: str) -> str:
    return display(text[:1].lower() + text[1:])


def _wrapped(text: str, first: str, following: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=following or first
    ) or [first]


def _head(document: ReportDocument) -> list[str]:
    study = document.study
    return [
        *(_wrapped(document.revision, "") if document.revision else []),
        *(_wrapped(display(study.question, 2000), "") if study.question else []),
        *(line for text in document.answers for line in _wrapped(text, "", "  ")),
        f"study {display(study.name)}, revision {display(study.revision)}:"
        f" {len(study.arms)} arms x {len(study.seeds)} seeds,"
        f" {document.complete} of {document.total} trials complete{origin_suffix(study)}",
    ]


def _cell_table(section: CellTable) -> list[str]:
    """Lay a table of cells out; the first column gives way where it is too wide."""
    rows = [section.head, *section.rows]
    others = sum(max(map(len, column)) + _GAP for column in list(zip(*rows, strict=True))[1:])
    rows = [(display(row[0], max(8, WIDTH - 2 - others)), *row[1:]) for row in rows]
    return ["", _title(section.title), *(f"  {line}" for line in aligned(rows, _GAP))]


def _comparison(section: ComparisonTable) -> list[str]:
    """Lay the columns out in blocks that fit the width; every block names the arms."""
    arms = ["arm", ""]
    for arm in section.arms:
        arms += [display(arm.name, _ARM_WIDTH), f"  {arm.label[:_ARM_WIDTH]}"]
    blocks: list[list[list[str]]] = []
    for metric in section.columns:
        column = _metric(metric)
        if not blocks or _width([*blocks[-1], column]) > WIDTH:
            blocks.append([arms])
        blocks[-1].append(column)
    lines = []
    for block in blocks:
        texts = aligned(list(zip(*block, strict=True)), _GAP)
        rule = "-" * max(map(len, texts))
        lines += ["", *texts[:2], rule, *texts[2:]]
    return lines


def _metric(column: MetricColumn) -> list[str]:
    unit = column.scale.unit
    lines = [display(column.metric), f"{unit}; difference in points" if unit == "%" else unit]
    for cell in column.cells:
        lines += [cell.value, f"  {cell.difference}"]
    return lines


def _width(columns: list[list[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + _GAP * (len(columns) - 1)


def _changes(section: Changes) -> list[str]:
    lines = ["", _title(section.title)]
    for arm in section.arms:
        title = f": {display(arm.title)}" if arm.title else ""
        lines += _wrapped(f"{display(arm.name)} - {arm.label}{title}", "  ", "    ")
        for change in arm.changes:
            text = f"{change.path}: {change.before} -> {change.after}"
            lines += _wrapped(display(text), "      ", "        ")
    return lines


# Plain lines: where a study stands, which studies there are, what the logs say.

TAIL_LINES = 5
_SESSION = {
    "live": "running now",
    "ended": "not running",
    "interrupted": "interrupted: the session died; `icckd run` resumes where it stopped",
    "none": "never run",
}


def write_status(results: Results, study: StudyInfo, out: TextIO) -> None:
    """Write counts, time left, and every trial that is not simply complete or pending."""
    progress = results.progress(study)
    out.write(
        f"study {display(study.name)} (revision {display(study.revision[:8])}): "
        f"{_session(progress)}{origin_suffix(study)}\n"
    )
    out.write(f"trials  {_counts(progress.trials)}\n")
    out.write(f"stages  {_counts(progress.stages)}\n")
    for trial in results.trials(study):
        if trial.state not in ("complete", "pending"):
            out.write(f"  {_trial(trial)}\n")
        if trial.state == "failed":
            out.writelines(f"      {display(line)}\n" for line in _why(results, study, trial))


def write_studies(results: Results, out: TextIO) -> None:
    """Write a line for the newest revision of each study, the one planned last first."""
    for study in results.studies():
        shown = results.reported(study.name)
        other = "" if shown.key == study.key else f"; newest complete revision {shown.revision}"
        out.write(
            f"{display(study.name)}  {display(study.revision[:8])}"
            f"  {_plan_and_state(results, study)}{display(other)}\n"
        )


def write_revisions(results: Results, name: str | None, out: TextIO) -> None:
    """Write each revision of a study, the newest first, and what changed since the one before."""
    revisions = results.revisions(name)
    shown = results.reported(name)
    for study, before in zip(revisions, [*revisions[1:], None], strict=True):
        mark = "  (what reports show)" if study.key == shown.key else ""
        out.write(
            f"{display(study.name)}@{display(study.revision)}  {_plan_and_state(results, study)}"
            f"{mark}\n"
        )
        if before is not None:
            out.write(f"    since {display(before.revision)}:\n")
            out.writelines(f"      {line}\n" for line in _revision_changes(results, before, study))


def _plan_and_state(results: Results, study: StudyInfo) -> str:
    progress = results.progress(study)
    planned = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.planned_at))
    return (
        f"planned {planned}  {len(study.arms)} arms x {len(study.seeds)} seeds"
        f"  {_counts(progress.trials)}  {progress.session}{origin_suffix(study)}"
    )


def _revision_changes(results: Results, before: StudyInfo, after: StudyInfo) -> list[str]:
    """Return in what two revisions differ: what the study says, else what its stages read."""
    found = [
        display(f"{each.path}: {json.dumps(each.before)} -> {json.dumps(each.after)}", 300)
        for each in changes(before.resolved, after.resolved)
    ]
    conditions = [
        f"{name}: {' and '.join(old)} -> {' and '.join(new)}"
        for name, old, new in zip(
            _CONDITIONS, _read_by(results, before), _read_by(results, after), strict=True
        )
        if old and new and old != new
    ]
    found += [display(line, 300) for line in conditions]
    return found or ["the same text with other stages: other data, device or source of icckd"]


_CONDITIONS = ("data", "numerics", "code epoch", "changed source")


def _read_by(results: Results, study: StudyInfo) -> tuple[list[str], ...]:
    """Return what the complete stages of a revision read, besides its settings."""
    stages = results.provenance(study).stages
    source = {stage.environment.get("changed_source", "") or "none" for stage in stages}
    return (
        sorted({stage.fingerprint[:16] for stage in stages}),
        sorted({_facts(stage.numerics) for stage in stages}),
        sorted({str(stage.code_epoch) for stage in stages}),
        sorted(source),
    )


def write_log_row(row: LogEntry, out: TextIO) -> None:
    """Write one log line."""
    place = f"{row.arm}/{row.seed} {row.stage}" if row.arm else "session"
    level = "" if row.level == "info" else f"{row.level}: "
    clock = time.strftime("%H:%M:%S", time.localtime(row.time))
    out.write(f"{clock} {display(place)}: {level}{display(row.text)}\n")


def _why(results: Results, study: StudyInfo, trial: TrialStatus) -> list[str]:
    """Return the cause of each attempt that failed, and how the last one's output ended."""
    attempts = results.attempts(study, trial.arm, trial.seed)
    failed = [attempt for attempt in attempts if attempt.state == "failed"]
    lines = [f"{a.cause or 'failed'}: {a.attempt}, epoch {a.epoch} of {a.epochs}" for a in failed]
    if failed:
        if failed[-1].hint:
            lines.append(f"hint: {failed[-1].hint}")
        lines += [f"| {line}" for line in results.output_tail(failed[-1].attempt, TAIL_LINES)]
    return lines


def _session(progress: Progress) -> str:
    text = _SESSION[progress.session]
    if progress.session != "live":
        return text
    left = "unknown" if progress.eta_seconds is None else duration(progress.eta_seconds)
    age = "" if progress.newest is None else f", newest record {_age(progress.newest)} old"
    if progress.stalled:
        text = f"{text}, {display(progress.stalled)}"
    elif progress.paused:
        text = f"{text}, paused"
    return f"{text}, {progress.workers} workers, time left {left}{age}"


def _age(moment: float) -> str:
    return duration(max(0.0, time.time() - moment))


def _counts(counts: StateCounts) -> str:
    states = ("running", "complete", "pending", "failed", "blocked", "cancelled")
    shown = [f"{n} {state}" for state in states if (n := getattr(counts, state))]
    return f"{', '.join(shown)} of {counts.total}"


def _trial(trial: TrialStatus) -> str:
    where = f"{trial.stage} {trial.epoch}/{trial.epochs}" if trial.stage else ""
    reason = f": {display(trial.reason)}" if trial.reason else ""
    return f"{display(trial.arm)}/{trial.seed}  {trial.state}  {where}".rstrip() + reason


# All about one arm or one trial.


def write_arm(results: Results, study: StudyInfo, arm: str, out: TextIO) -> None:
    """Write what an arm is and how each of its trials stands."""
    row = next(row for row in study.arms if row.name == arm)
    _write_head(study, row, out)
    out.write("\ntrials:\n")
    unit = study.metric(study.primary).unit
    for trial in results.trials(study):
        if trial.arm == arm:
            value = "" if trial.primary is None else f"  {study.primary} {trial.primary:.2f} {unit}"
            reason = f"  {display(trial.reason)}" if trial.reason else ""
            out.write(f"  {display(arm)}/{trial.seed}  {trial.state}{value}{reason}\n")


def write_trial(results: Results, study: StudyInfo, arm: str, seed: int, out: TextIO) -> None:
    """Write a trial's attempts with their machine, its settings, its outcomes, its failures."""
    row = next(row for row in study.arms if row.name == arm)
    _write_head(study, row, out)
    out.write(f"\nseed {seed}, attempts:\n")
    attempts = results.attempts(study, arm, seed)
    for attempt in attempts:
        _write_attempt(attempt, out)
    out.write("\noutcomes:\n")
    for metric, value in results.trial_outcomes(study, arm, seed).items():
        out.write(f"  {metric} = {value:g} {study.metric(metric).unit}\n")
    newest = {attempt.kind: attempt for attempt in attempts}
    for kind, attempt in newest.items():
        out.write(f"\nsettings of the {kind}:\n")
        _write_settings(attempt.settings, out)
    for attempt in attempts:
        if attempt.traceback:
            out.write(f"\ntraceback of {attempt.attempt}:\n")
            out.writelines(f"  {display(line)}\n" for line in attempt.traceback.splitlines())


def _write_head(study: StudyInfo, arm: Arm, out: TextIO) -> None:
    label = f"control for {arm.control_for}" if arm.control_for else arm.role
    out.write(display(f"study {study.name}, arm {arm.name} ({label})", 1000) + "\n")
    if arm.title:
        out.write(f"{display(arm.title)}\n")
    for change in arm.changes:
        before, after = json.dumps(change.before), json.dumps(change.after)
        out.write(f"  {display(f'{change.path}: {before} -> {after}')}\n")


def _write_attempt(attempt: Attempt, out: TextIO) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started))
    replicate = f" #{attempt.replicate}" if attempt.replicate else ""
    out.write(
        f"  {attempt.kind}{replicate}  {attempt.state}  epoch {attempt.epoch}/{attempt.epochs}"
        f"  {duration(attempt.seconds)}  started {started}\n"
        f"    attempt {attempt.attempt}, stage {display(attempt.stage[:16])}\n"
        f"    on {display(attempt.host)}, {_facts(attempt.numerics)}\n"
        f"    {_facts(attempt.environment)}\n"
    )
    if attempt.reason:
        out.write(f"    {display(attempt.reason)}\n")
    if attempt.hint:
        out.write(f"    hint: {display(attempt.hint)}\n")


def _facts(facts: dict[str, Any]) -> str:
    return display(", ".join(f"{name} {value}" for name, value in facts.items() if value != ""))


def _write_settings(settings: dict[str, Any], out: TextIO, path: str = "") -> None:
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            _write_settings(value, out, inner)
        else:
            out.write(f"  {display(inner)} = {display(json.dumps(value))}\n")


# Any arms or trials beside each other: `icckd diff`, `icckd compare`.


def write_diff(results: Results, first: Selection, second: Selection, out: TextIO) -> None:
    """Write in what two arms or trials differ: settings, conditions, stages, outcomes."""
    lines = [f"{display(first.name)} -> {display(second.name)}", "", "settings"]
    changed = setting_changes(results, first, second)
    lines += [
        f"  {display(f'{c.path}: {json.dumps(c.before)} -> {json.dumps(c.after)}')}"
        for c in changed
    ] or ["  none differ"]
    lines += ["", "conditions", *(f"  {line}" for line in _conditions(results, [first, second]))]
    lines += ["", "stages", *(f"  {line}" for line in _shared_stages(results, first, second))]
    lines += ["", "outcomes", *_outcome_lines(results, first, second)]
    write_lines(out, lines)


def write_comparison(
    results: Results, selections: Sequence[Selection], metrics: Sequence[str], out: TextIO
) -> None:
    """Write selections by metrics, each against the first over equal seeds."""
    rows = compare_selections(results, selections, metrics)
    lines = []
    for metric in metrics:
        mine = [rows[selection.name, metric] for selection in selections]
        if not any(row.n for row in mine):
            continue
        scale = scale_of(mine)
        cells = [["", f"{display(metric)} {scale.unit}".rstrip(), "difference", "d_z", "p"]]
        for row in mine:
            size = "" if row.effect_size is None else effect_size_text(row.effect_size)
            change = difference_cell(row, scale)
            p = "" if row.p is None else p_text(row.p)
            cells.append([display(row.arm, 40), mean_cell(row, scale), change, size, p])
        lines += ["", *aligned(cells)]
    lines = lines[1:] or ["none of them has a value of these outcomes"]
    revisions = dict.fromkeys(revision_text(results, each.study) for each in selections)
    lines = [*filter(None, revisions), *lines]
    lines += ["", "notes", *(f"  - {note}" for note in _compare_notes(results, selections, rows))]
    write_lines(out, lines)


def _compare_notes(
    results: Results, selections: Sequence[Selection], rows: dict[tuple[str, str], Comparison]
) -> Iterator[str]:
    others = selections[1:]
    repeated = [each for each in others if rule_of(each, selections[0]).is_sequential]
    by_test = "intervals of the test that gives p" if selections[0].study.rule else "t intervals"
    intervals = by_test if len(repeated) < len(others) else ""
    if repeated:
        intervals += f"{' or ' if intervals else ''}confidence sequences"
    yield (
        f"differences are from {display(selections[0].name)} over equal seeds, with 95 %"
        f" {intervals}; p is uncorrected: these comparisons were not declared beforehand"
    )
    if repeated:
        yield (
            "seeds were added after results had been seen, or the study declares the rule for"
            " repeated looks: confidence sequences and their p stay valid however often one looks"
        )
    if any(row.never or row.test in ("worst-rank", "sequential sign") for row in rows.values()):
        yield (
            "where a seed never reached its target or diverged, p comes from signed ranks in which"
            " such seeds are the worst"
        )
    for name in dict.fromkeys(row.arm for row in rows.values()):
        seeds = sorted({seed for row in rows.values() if row.arm == name for seed in row.unpaired})
        if seeds:
            yield f"{display(name)}: unpaired {seeds_text(tuple(seeds))} are left out"
    yield from _conditions(results, selections)


def _conditions(results: Results, selections: Sequence[Selection]) -> Iterator[str]:
    """Yield whether equal seeds are pairs: trained on the same data, numerics and code."""
    known = [conditions_of(results, selection) for selection in selections]
    names: dict[str, set[frozenset[str]]] = {
        "data": {each.fingerprints for each in known},
        "numerics class": {each.numerics for each in known},
        "code epoch": {frozenset(map(str, each.code_epochs)) for each in known},
    }
    for name, found in names.items():
        if len(found) > 1:
            yield f"the {name} differs: equal seeds are not pairs in the strict sense"
    if all(len(found) == 1 for found in names.values()):
        yield "the same data, numerics class and code epoch"


def _shared_stages(results: Results, first: Selection, second: Selection) -> Iterator[str]:
    before, after = stages_of(results, first), stages_of(results, second)
    for kind in dict.fromkeys([*first.study.kinds, *second.study.kinds]):
        mine = {v for (k, *_), v in before.items() if k == kind}
        theirs = {v for (k, *_), v in after.items() if k == kind}
        yield (
            f"{kind}: {len(mine & theirs)} shared, {len(mine - theirs)} only of the first,"
            f" {len(theirs - mine)} only of the second"
        )


def _outcome_lines(results: Results, first: Selection, second: Selection) -> list[str]:
    metrics = list(dict.fromkeys([*first.study.metrics, *second.study.metrics]))
    rows = compare_selections(results, [first, second], metrics)
    cells = [["", display(first.name, 30), display(second.name, 30), "difference"]]
    for metric in metrics:
        mine, theirs = rows[first.name, metric], rows[second.name, metric]
        if not (mine.n and theirs.n):
            continue
        scale = scale_of([mine, theirs])
        change = difference_cell(theirs, scale)
        if not change and mine.mean is not None and theirs.mean is not None:
            change = scale.difference(theirs.mean - mine.mean)
        unit = f" ({scale.unit})" if scale.unit else ""
        cells.append(
            [f"{display(metric)}{unit}", mean_cell(mine, scale), mean_cell(theirs, scale), change]
        )
    return [f"  {line}" for line in aligned(cells)]


# Published numbers: `icckd published`.


def write_published(out: TextIO) -> None:
    """Write every published number, pair by pair, then sources and footnotes."""
    pairs = dict.fromkeys((number.teacher, number.student) for number in published())
    lines = [
        "Published CIFAR-100 top-1 accuracies in percent: context, not a baseline.",
        "* has a footnote below.",
    ]
    for pair in pairs:
        lines += ["", SEPARATOR.join(pair)]
        for source, texts in by_source(published_for(*pair)):
            lines += _wrapped(f"{source}: {texts}", "  ", "    ")
    lines += ["", "sources"]
    for number in {number.source: number for number in published()}.values():
        lines += _wrapped(
            f"{number.source}: {number.work}; {epoch_text(number)}; {number.remark}", "  ", "    "
        )
    lines += ["", "footnotes"]
    for number in published():
        if number.footnote:
            pair_text = f"{number.teacher}{SEPARATOR}{number.student}"
            lines += _wrapped(f"{pair_text}, {number.method}: {number.footnote}", "  ", "    ")
    write_lines(out, lines)


# What planned seeds can detect, in words.


def seed_power_lines(study: StudyInfo, found: SeedPower, about: str = "") -> list[str]:
    """Return the lines of `icckd plan` about seeds; `about` tells of verdicts about items."""
    return [
        "",
        f"what {found.seeds} paired seeds can tell on {study.primary}:",
        *(
            f"  {text}"
            for text in [
                *_power(study, found),
                *_pilot(study, found),
                *([about] if about else _warnings(study, found)),
            ]
        ),
    ]


def _power(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    rule = "the sequential rule" if study.is_sequential else "a paired t test"
    if study.looks == "two looks":
        rule = "a first look and its one extension together"
    family = (
        f"the hardest of {found.family_size} comparisons (level {found.level:.3g})"
        if found.family_size > 1
        else f"one comparison (level {found.level:.3g})"
    )
    if found.first_level is not None:
        yield from _first_look(found, family)
        return
    if found.detectable is None:
        yield f"no difference is found with power 0.8 by {rule}, {family}"
        return
    yield f"by {rule}, {family},"
    yield (
        f"  differences of {found.detectable:.2f} standard deviations of the paired differences are"
        " found with power 0.8"
    )


def _first_look(found: SeedPower, family: str) -> Iterator[str]:
    """Say what the first look may spend, and what that costs."""
    if found.first_detectable is None or found.detectable is None:
        yield (
            f"fewer than {LEAST_PAIRS} pairs give no verdict: they say how many more it takes, in"
            " the study's one extension"
        )
        return
    yield (
        f"a first look, {family}: one extension may follow, so p has to be at most"
        f" {found.first_level:.3g} here"
    )
    yield (
        f"  differences of {found.first_detectable:.2f} standard deviations of the paired"
        " differences are found with power 0.8"
    )
    yield (
        f'  without an extension (study.extension = "none") those of {found.detectable:.2f}, which'
        f" the first look finds with power {found.first_power:.2f}"
    )


def _pilot(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    unit = unit_of(study, study.primary)
    if found.spread is None:
        yield f"the spread is not known yet: no earlier results over {PILOT_PAIRS} pairs"
        return
    detects = "" if found.detectable is None else (
        f": {found.detectable * found.spread:.3g}{unit} are found"
    )  # fmt: skip
    yield f"at the spread of {found.spread:.3g}{unit} seen over {found.pairs} pairs{detects}"
    if study.smallest_effect is not None:
        needed = "more than 100,000" if found.needed is None else f"about {found.needed}"
        yield f"to decide about the smallest effect, {bound_text(study)}, takes {needed} seeds"


def _warnings(study: StudyInfo, found: SeedPower) -> Iterator[str]:
    if found.seeds < 2:
        yield "warning: one seed has no interval and no test"
    elif study.rule and not study.is_sequential:
        if found.seeds < LEAST_PAIRS and found.first_level is None:
            yield f"warning: fewer than {LEAST_PAIRS} pairs give no verdict"
    elif found.smallest_p > found.level and not found.is_sequential:
        yield (
            f"warning: an exact sign-flip or rank test of {found.seeds} pairs cannot reach level"
            f" {found.level:.3g} at all: its smallest p is {found.smallest_p:.3g}"
        )
