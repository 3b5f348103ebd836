"""What a study takes, before anything is trained: `icckd plan`, `icckd.Study.plan`."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from icckd.api.forecast import Forecast, forecast
from icckd.api.running import Say, device_for
from icckd.api.source import accepted_files, source_notices, task_file_notices
from icckd.configuration import configuration
from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.report.item_text import planned_about
from icckd.report.seed_power import seed_power_lines
from icckd.report.text import display, html_text
from icckd.resources import hardware_here, models_text, usable_gpus
from icckd.results.bits import FinishedStage, mixed_bits, mixed_note
from icckd.results.checks import claims, files_of
from icckd.results.query import Results, open_results
from icckd.results.seeds import SeedPower, same_study, seed_power, study_as_planned
from icckd.results.studies import refuse_imported
from icckd.results.types import Comparison, Estimate, StudyInfo
from icckd.run.executors import DEFAULT
from icckd.run.placement import hardware_of_seeds, refuse_elsewhere
from icckd.run.prepare import Device, complete_stages, data_root, default_jobs, plan_design
from icckd.run.task_files import source_of_task
from icckd.study.arms import Design, expand, outcome_columns
from icckd.study.model import Method, Study
from icckd.study.origin import study_folder
from icckd.study.plan import Plan, StageJob
from icckd.study.plugins import kinds_of_parts, plugins_of
from icckd.study.records import Arm
from icckd.study.requested import open_of, requested_lines
from icckd.study.tasks import by_name, command_text, uses_engine
from icckd.study.warnings import chance_level, changed_meaning, study_warnings
from icckd.train.data.files import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What a study takes; `print(plan)` shows what `icckd plan` prints.

    Attributes:
        name: The study.
        arms: Its arms, the baseline first, each with what it changes.
        seeds: Its seeds.
        trials: How many trials: arms by seeds.
        stages: How many stages serve them.
        complete: How many of those need no training.
        seconds: What the others should take, with all workers; None where no earlier stage of some
            shape tells.
        warnings: What is valid and misleads.
        power: What so many seeds can tell on the primary metric.
        text: All of it in lines.
        open: Ablations that plans ask for and that nobody has bound to a setting yet.
        notices: What the user should know about the device.
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    trials: int
    stages: int
    complete: int
    seconds: float | None
    warnings: tuple[str, ...]
    power: SeedPower
    text: str = field(repr=False)
    notices: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def _repr_html_(self) -> str:
        """Return the text for a notebook."""
        notices = "".join(f"<p>{html_text(text)}</p>" for text in self.notices)
        lines = "\n".join(map(html_text, self.text.splitlines()))
        return f"{notices}<pre>{lines}</pre>"


def plan_study(
    study: Study,
    folder: StateFolder,
    device: Device,
    *,
    say: Say,
    accept_code: bool = False,
    every_arm: bool = False,
) -> StudyPlan:
    """Return the plan of a study; nothing is trained and nothing is written.

    Args:
        study: The study.
        folder: The state folder, whose complete stages are reused; it need not exist.
        device: Where it is to be trained.
        say: Told what the user should know about the device.
        accept_code: Whether changed source is taken to give the same numbers as before.
        every_arm: Whether the text names every arm of a large study.

    Raises:
        SpecError, MachineError, DataError: See `icckd.run.prepare.make_plan`; data sets that are
            not here are no error.
    """
    absent: list[MachineError] = []
    device = device_for(device, say)
    design = expand(study)
    found: list[Survey] = []
    plan = plan_design(
        study,
        design,
        device=device,
        root=data_root(),
        absent=absent.append,
        accept_code=accept_code,
        accepted_files=accepted_files(study, folder, accept_code=accept_code),
        surveyed=found.append,
    )
    done: frozenset[str] = frozenset()
    estimates: dict[str, Estimate] = {}
    info = study_as_planned(study, plan.arms)
    pilot: dict[str, Comparison] = {}
    mixed = elsewhere = ""
    raised: tuple[str, ...] = ()
    edited: list[str] = []
    if folder.exists():
        with open_results(folder) as results:
            refuse_imported(results.studies(), study.study.name)
            done = complete_stages(folder, results.complete_stages())
            estimates = dict(results.estimates())
            finished = results.finished_stages()
            mixed = mixed_note(mixed_bits(finished[d] for d in plan.stages if d in done))
            elsewhere = _elsewhere(plan, done, finished, folder)
            raised = results.code_epoch_notes(plan, done)
            edited = task_file_notices(plan, results.task_files(study.study.name), done)
            info, pilot = _pilot(results, study, info)
    warnings = _warnings(study, design, found)
    power, jobs = seed_power(info, len(info.seeds), pilot), default_jobs(plan)
    missing = [stage for stage in plan.stages.values() if stage.digest not in done]
    expected = forecast(missing, estimates, jobs)
    lines = [
        f"study {study.study.name}: {len(plan.arms)} arms x {study.study.seeds.count} seeds"
        f" = {len(plan.trials)} trials{_synthetic(plan)}",
        *_absent(absent),
        *_trained(study, design.methods[design.arms[0].name]),
        *plugin_lines(study),
        *_task_lines(study, plan, folder),
        *(line for each in found for line in ("", *_survey_lines(each))),
        *_arms(plan, every_arm=every_arm),
        *_requested(study),
        *_warning_lines(warnings),
        *seed_power_lines(info, power, planned_about(study)),
        *_stages(plan, done),
        *(f"  {note}" for note in (mixed, elsewhere) if note),
        *(f"  {notice}" for notice in source_notices(plan, done)),
        *(f"  {note}" for note in (*raised, *edited)),
        *_cost(plan, missing, expected),
    ]
    return StudyPlan(
        name=study.study.name,
        arms=tuple(plan.arms),
        seeds=info.seeds,
        trials=len(plan.trials),
        stages=len(plan.stages),
        complete=len(plan.stages) - len(missing),
        seconds=expected.seconds,
        warnings=tuple(display(text, 1000) for text in warnings),
        power=power,
        text="\n".join(lines),
        open=tuple(display(each.name, 200) for each in open_of(study)),
    )


def _elsewhere(
    plan: Plan, done: frozenset[str], finished: Mapping[str, FinishedStage], folder: StateFolder
) -> str:
    """Return why `icckd run` would refuse to complete the study on this machine, or ""."""
    settings = configuration(folder.root)
    if settings.mix == "allow" or settings.executor not in (DEFAULT, "inline"):
        return ""
    began = hardware_of_seeds(plan, (finished[digest] for digest in done if digest in finished))
    try:
        refuse_elsewhere(plan, done, began, hardware_here(plan.device))
    except MachineError as refused:
        return f"icckd run refuses: {refused.message}; {refused.hint}"
    return ""


def _trained(study: Study, baseline: Method) -> list[str]:
    """Return what the baseline is trained on, and with which losses and views."""
    if not uses_engine(study.task):
        return []
    teacher, student, data = baseline.teacher, baseline.student, baseline.data
    counts, classes = data.image_counts(), data.class_count()
    images = "" if counts is None else (
        f", {counts.train:,} training, {counts.validation:,} validation and {counts.test:,} test"
        " images"
    )  # fmt: skip
    known = "" if classes is None else f", {classes} classes (chance {chance_level(classes):.3g} %)"
    losses = [
        "cross-entropy" + (" on both" if teacher.views_in_ce == 2 else ""),
        *(f"{loss.title} (weight {loss.weight:g})" for loss in teacher.losses().values()),
    ]
    distiller = student.distiller
    how = "alone" if distiller == "off" else f"by {' + '.join(distiller.methods())}"
    return [
        "",
        f"what {study.study.baseline} trains:",
        f"  data     {data.kind}{known}{images}",
        f"  teacher  {teacher.model.kind}, {teacher.views} view{'s' if teacher.views > 1 else ''}"
        f" of each image, {' + '.join(losses)}",
        f"  student  {student.model.kind}, {how}",
        *(f"  note: {text}" for text in filter(None, [changed_meaning(study)])),
    ]


def plugin_lines(study: Study) -> list[str]:
    """Return what each plug-in of a study brings, and what decides that stages are made with it."""
    lines: list[str] = []
    known = plugins_of(study)
    for each in known.plugins:
        mine = [part for part in known.parts if part.plugin == each.name]
        brings = ", ".join(kinds_of_parts(mine)) + "".join(
            f", report format {n}" for n in each.formats
        )
        files = ", ".join(f"{name} ({digest})" for name, digest in each.modules.items())
        lines += [
            "",
            f"plug-in {display(each.name)}: {display(brings.removeprefix(', '), 500)}",
            f"  the identity of stages that use it covers {display(files, 600)},",
            "  and not installed packages that it imports",
        ]
        if each.printed:
            lines.append(f"  note: it printed when it was read: {display(each.printed, 200)}")
    return lines


def _task_lines(study: Study, plan: Plan, folder: StateFolder) -> list[str]:
    """Return what each task runs, what its identity covers, and what it does not."""
    lines: list[str] = []
    tasks = by_name(study.task)
    for name, task in tasks.items():
        stage = next(each for each in plan.stages.values() if each.kind == name)
        source = source_of_task(task, study_folder(study))
        python = f"Python {source.python}, " if source.python else ""
        covered = f"settings, seed, {python}{', '.join(stage.files) or 'no file'}"
        inputs = f", inputs {_some(list(source.inputs))}" if source.inputs else ""
        needs = f", the results of {', '.join(task.needs)}" if task.needs else ""
        folders = f"the content of {', '.join(source.folders)}, " if source.folders else ""
        lines += [
            "",
            f"what {name} runs: {display(command_text(task), 300)}",
            f"  its identity covers {display(covered, 600)}{inputs}{needs}",
            f"  and not {display(folders)}installed packages, what it reads without a line in"
            " inputs, environment variables",
        ]
    if tasks:
        files = files_of(plan, study.study.baseline)
        lines.append(f"  {display(claims(folder, study.task, files), 1500)}")
    return lines


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_INPUTS} more" if len(names) > _SHOWN_INPUTS else ""
    return f"{display(', '.join(names[:_SHOWN_INPUTS]), 300)}{more}"


_SHOWN_INPUTS = 5


def _warnings(study: Study, design: Design, surveys: list[Survey]) -> list[str]:
    told = ((each.data, each.data.counts_of(each.inventory)) for each in surveys)
    counts = {data: images for data, images in told if images is not None}
    return list(study_warnings(study, design.methods, outcome_columns(study), counts))


def _warning_lines(found: list[str]) -> list[str]:
    return ["", *(f"warning: {display(text, 1000)}" for text in found)] if found else []


def _survey_lines(found: Survey) -> list[str]:
    """Return what a plan says of a folder of images: how much is read, and what is not."""
    inventory = found.inventory
    unusual = {words: n for words, n in found.words.items() if ", " in words}
    return [
        f"images: {inventory.images} images, {len(inventory.classes)} classes"
        f" in {display(str(inventory.folder))}",
        *(f"  {n} {display(words)}: read as a viewer shows them" for words, n in unusual.items()),
        *(f"  not read: {display(line)}" for line in inventory.left_out),
    ]


def _synthetic(plan: Plan) -> str:
    settings = [stage.settings for stage in plan.stages.values() if not stage.is_task]
    kinds = {each["data"]["kind"] for each in settings}
    return ", synthetic data" if "synthetic" in kinds else ""


def _absent(errors: list[MachineError]) -> list[str]:
    return [
        f"data not here, so that no stage on them counts as complete and none can run:"
        f" {display(error.message)} ({error.hint})"
        for error in {error.message: error for error in errors}.values()
    ]


def _pilot(
    results: Results, study: Study, info: StudyInfo
) -> tuple[StudyInfo, dict[str, Comparison]]:
    """Return the study with the seeds that would be added, and earlier comparisons by arm."""
    if info.name not in {each.name for each in results.studies()}:
        return info, {}
    earlier = results.reported(info.name)
    if earlier.primary != info.primary:
        return info, {}
    rows = results.comparisons(earlier)
    pilot = {row.arm: row for row in rows if row.metric == info.primary}
    new = tuple(seed for seed in info.seeds if seed not in earlier.seeds)
    if not (same_study(earlier, study) and any(row.n for row in pilot.values())):
        return info, pilot
    later = new if earlier.added else ()
    return (
        replace(
            info,
            added=earlier.added + new,
            added_later=earlier.added_later + later,
            rule=earlier.rule,
        ),
        pilot,
    )


MOST_ARMS = 40
"""More arms than these are not all named."""


def _arms(plan: Plan, *, every_arm: bool) -> list[str]:
    lines = ["", "arms, and what differs from the baseline:"]
    is_whole = every_arm or len(plan.arms) <= MOST_ARMS
    shown = plan.arms if is_whole else plan.arms[: MOST_ARMS // 2]
    for arm in shown:
        label = f"control for {arm.control_for}" if arm.control_for else arm.role
        lines.append(f"  {arm.name}  ({label})  {display(arm.title)}".rstrip())
        lines += [
            f"      {change.path}: {_value(change.before)} -> {_value(change.after)}"
            for change in arm.changes
        ]
    if not is_whole:
        more = len(plan.arms) - len(shown)
        last = plan.arms[-1].name
        lines.append(f"  and {more} more arms, the last {last} (--all names them all)")
    return lines


def _requested(study: Study) -> list[str]:
    """Return what ablation plans ask for, and what of it is open."""
    if not study.requested:
        return []
    lines = (f"  {display(line, 800)}" for line in requested_lines(study.requested))
    return ["", "what ablation plans ask for:", *lines]


def _value(value: Any) -> str:
    if isinstance(value, dict) and len(value) > _SHOWN_ENTRIES:
        first = {key: value[key] for key in list(value)[:_SHOWN_ENTRIES]}
        return display(f"{json.dumps(first)[:-1]}, ...}}")
    return display(json.dumps(value))


_SHOWN_ENTRIES = 3
"""Entries of a table of settings that a plan shows; the report has all."""


def _stages(plan: Plan, done: frozenset[str]) -> list[str]:
    lines = ["", "stages:"]
    users = Counter(digest for trial in plan.trials for digest in trial.stages)
    for kind in dict.fromkeys(stage.kind for stage in plan.stages.values()):
        stages = [stage for stage in plan.stages.values() if stage.kind == kind]
        shared = sum(users[stage.digest] > 1 for stage in stages)
        complete = sum(stage.digest in done for stage in stages)
        plural = "s" if len(stages) != 1 else ""
        by_several = f", {shared} of them shared by several trials" if shared else ""
        lines.append(
            f"  {len(stages)} {kind} stage{plural}{by_several}; {complete} already complete"
        )
    return lines


def _cost(plan: Plan, missing: list[StageJob], expected: Forecast) -> list[str]:
    numerics = next(iter(plan.stages.values())).numerics
    gpus = usable_gpus() if numerics.device == "cuda" else ()
    place = (
        f"{numerics.device}{f' ({models_text(gpus)})' if gpus else ''}, {expected.workers} workers"
    )
    lines = ["", f"to train: {len(missing)} stages on {display(place)}"]
    if len({gpu.name for gpu in gpus}) > 1:
        lines.append("  GPUs of several models: seconds, energy and memory of arms will mix")
    if missing:
        lines += expected.lines()
    return lines
