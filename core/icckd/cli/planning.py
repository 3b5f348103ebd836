"""`icckd plan`: what a study takes, before anything is trained."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from icckd.errors import MachineError
from icckd.journal.folder import StateFolder
from icckd.plan import Plan, Stage
from icckd.report.outlook import outlook_lines
from icckd.report.text import bytes_text, display, duration
from icckd.results.growth import same_study, study_as_planned
from icckd.results.read import Results, open_results
from icckd.results.seeds import outlook
from icckd.results.types import Comparison, Estimate, StudyInfo
from icckd.session.prepare import Device, complete_stages, data_root, default_jobs, make_plan
from icckd.spec.load import load
from icckd.spec.study import Study


def print_plan(path: Path, overrides: tuple[str, ...], device: Device) -> None:
    """Print the plan of a study to standard output."""
    study = load(path, overrides)
    absent: list[MachineError] = []
    plan = make_plan(study, device=device, root=data_root(), absent=absent.append)
    folder = StateFolder.current()
    done: frozenset[str] = frozenset()
    estimates: dict[str, Estimate] = {}
    info = study_as_planned(study, plan.arms)
    pilot: dict[str, Comparison] = {}
    if folder.exists():
        with open_results(folder) as results:
            done = complete_stages(folder, results.complete_stages())
            estimates = dict(results.estimates())
            info, pilot = _pilot(results, study, info)
    lines = [
        f"study {study.study.name}: {len(plan.arms)} arms x {study.study.seeds.count} seeds"
        f" = {len(plan.trials)} trials{_synthetic(plan)}",
        *_absent(absent),
        *_arms(plan),
        *outlook_lines(info, outlook(info, len(info.seeds), pilot)),
        *_stages(plan, done),
        *_cost(plan, done, estimates, default_jobs(plan)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _synthetic(plan: Plan) -> str:
    kinds = {stage.settings["data"]["kind"] for stage in plan.stages.values()}
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
    earlier = next((each for each in results.studies() if each.name == info.name), None)
    if earlier is None or earlier.primary != info.primary:
        return info, {}
    rows = results.comparisons(earlier)
    pilot = {row.arm: row for row in rows if row.metric == info.primary}
    new = tuple(seed for seed in info.seeds if seed not in earlier.seeds)
    has_looked = same_study(earlier, study) and any(row.n for row in pilot.values())
    return replace(info, added=earlier.added + new if has_looked else ()), pilot


def _arms(plan: Plan) -> list[str]:
    lines = ["", "arms, and what differs from the baseline:"]
    for arm in plan.arms:
        label = f"control for {arm.control_for}" if arm.control_for else arm.role
        lines.append(f"  {arm.name}  ({label})  {display(arm.title)}".rstrip())
        lines += [
            f"      {change.path}: {_value(change.before)} -> {_value(change.after)}"
            for change in arm.changes
        ]
    return lines


def _value(value: Any) -> str:
    return display(json.dumps(value))


def _stages(plan: Plan, done: frozenset[str]) -> list[str]:
    lines = ["", "stages:"]
    users = Counter(
        digest for planned in plan.trials for digest in (planned.teacher, *planned.students)
    )
    for kind in ("teacher", "student"):
        stages = [stage for stage in plan.stages.values() if stage.kind == kind]
        uses = sum(users[stage.digest] for stage in stages)
        shared = sum(users[stage.digest] > 1 for stage in stages)
        complete = sum(stage.digest in done for stage in stages)
        lines.append(
            f"  {len(stages)} {kind} stages serve {uses} uses"
            f" ({shared} shared by several trials), {complete} already complete"
        )
    return lines


def _cost(plan: Plan, done: frozenset[str], estimates: dict[str, Estimate], jobs: int) -> list[str]:
    missing = [stage for stage in plan.stages.values() if stage.digest not in done]
    numerics = next(iter(plan.stages.values())).numerics
    place = f"{numerics.device}, {jobs} workers"
    lines = ["", f"to train: {len(missing)} stages on {place}"]
    if missing:
        lines.append(f"  time    {_time(missing, estimates, jobs)}")
        lines.append(f"  memory  {_memory(missing, estimates, jobs)}")
        lines.append(f"  disk    {_disk(missing, estimates)}")
    return lines


def _known(stages: list[Stage], estimates: dict[str, Estimate]) -> list[Estimate] | None:
    found = [estimates.get(stage.shape) for stage in stages]
    known = [estimate for estimate in found if estimate is not None]
    return known if len(known) == len(stages) else None


def _time(stages: list[Stage], estimates: dict[str, Estimate], jobs: int) -> str:
    known = _known(stages, estimates)
    if known is None:
        return "unknown (no earlier stage of some shape)"
    return f"about {duration(sum(e.seconds for e in known) / jobs)}, from earlier stages"


def _memory(stages: list[Stage], estimates: dict[str, Estimate], jobs: int) -> str:
    known = _known(stages, estimates)
    peaks = [e.memory_bytes for e in known or () if e.memory_bytes is not None]
    if not peaks:
        return "unknown"
    return f"up to {bytes_text(max(peaks))} a worker, {bytes_text(max(peaks) * jobs)} in all"


def _disk(stages: list[Stage], estimates: dict[str, Estimate]) -> str:
    known = _known(stages, estimates)
    return "unknown" if known is None else f"about {bytes_text(sum(e.disk_bytes for e in known))}"
