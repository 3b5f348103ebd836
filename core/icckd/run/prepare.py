"""Everything before the first stage: device, data, plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from icckd import variables
from icckd.errors import DataError, MachineError
from icckd.journal.artifacts import is_published
from icckd.journal.folder import StateFolder
from icckd.resources import available_cpus, resolve_device, usable_gpus
from icckd.run.task_files import source_of_task
from icckd.study.arms import (
    Design,
    expand,
    hypotheses,
    known_outcomes,
    refuse_effect_below_an_image,
)
from icckd.study.config_class import classes_of
from icckd.study.data import Data
from icckd.study.metrics import of_a_process
from icckd.study.model import Study
from icckd.study.numerics import numerics_class
from icckd.study.origin import study_folder
from icckd.study.plan import UNKNOWN_DATA, Plan, PlanContext, build, datasets, weights_files
from icckd.study.plugins import plugins_of
from icckd.study.records import Arm
from icckd.study.source import source_of
from icckd.study.tasks import Task, TaskSource
from icckd.train.contract import code_epoch
from icckd.train.data.files import Survey, fingerprint, read_weights, survey

Device = Literal["auto", "cpu", "cuda"]


def data_root() -> Path:
    """Return `ICCKD_DATA_DIR`, or `data` in the current folder: where data sets are kept."""
    return variables.data_folder()


def make_plan(  # noqa: PLR0913  # what a plan depends on, by keyword
    study: Study,
    *,
    device: Device,
    root: Path,
    absent: Callable[[MachineError], None] | None = None,
    stopped: Mapping[str, int] | None = None,
    accept_code: bool = False,
    accepted_files: Mapping[str, Mapping[str, str]] | None = None,
    surveyed: Callable[[Survey], None] = lambda found: None,
    is_remote: bool = False,
) -> Plan:
    """Return the plan of a study on this machine, without importing torch.

    Args:
        study: The study.
        device: `auto`, `cpu` or `cuda`.
        root: Where data sets are kept.
        absent: Called for each data set that is missing; without it that is an error. Stages on
            unknown data have digests that no finished stage has.
        stopped: Arms that are given only so many of the first seeds.
        accept_code: Whether source that is not known to give equal numbers is taken to do so.
        accepted_files: By task, the digests of files under which earlier runs of it stand.
        surveyed: Called with what each folder of images holds.
        is_remote: Whether stages run on other machines: then no device is looked for here.

    Raises:
        SpecError: The study's arms are not sound, a smallest effect is less than a test image, or
            a file, function or interpreter that a task names is not there.
        MachineError: The device cannot be used; a data set or a weights file is missing.
        DataError: Images of a data set are damaged, or its classes are not as a study needs.
    """
    counts = stopped or {}
    given = {arm: study.study.seeds.all()[:count] for arm, count in counts.items()}
    design = expand(study)
    trials = tuple(t for t in design.trials if t.seed in given.get(t.arm, (t.seed,)))
    return plan_design(
        study,
        replace(design, trials=trials),
        device=device,
        root=root,
        absent=absent,
        accept_code=accept_code,
        accepted_files=accepted_files,
        surveyed=surveyed,
        is_remote=is_remote,
    )


def plan_design(  # noqa: PLR0913  # as make_plan
    study: Study,
    design: Design,
    *,
    device: Device,
    root: Path,
    absent: Callable[[MachineError], None] | None = None,
    accept_code: bool = False,
    accepted_files: Mapping[str, Mapping[str, str]] | None = None,
    surveyed: Callable[[Survey], None] = lambda found: None,
    is_remote: bool = False,
) -> Plan:
    """Return the plan of a design of a study; arguments and errors as `make_plan`."""
    for weights in weights_files(design):
        read_weights(weights)

    outcomes, plugins = known_outcomes(study), plugins_of(study)

    def judged(data: Data, found: Survey | None) -> None:
        if found is not None:
            surveyed(found)
            found.require_sound()
        counts = data.counts_in(root) if found is None else data.counts_of(found.inventory)
        if counts is not None and data == design.methods[study.study.baseline].data:
            for asked in hypotheses(study, design.arms):
                refuse_effect_below_an_image(asked, outcomes[asked.metric], counts.test)

    context = PlanContext(
        numerics=numerics_class(study.numerics, _kind_of(device, is_remote=is_remote)),
        fingerprints=tuple(
            (data, _fingerprint(data, root, absent, judged)) for data in datasets(design)
        ),
        code_epoch=code_epoch,
        compile_long=study.numerics.compile == "auto",
        packing=packing_of(study, design),
        source=plugins.source_of if plugins.plugins else source_of,
        accept_code=accept_code,
        task_source=_task_source(study_folder(study)),
        accepted_files=accepted_files or {},
    )
    plan = build(design, context, students_per_teacher=study.study.students_per_teacher)
    plugins.rest()
    for known in classes_of(study).values():
        known.process.close()
    return plan


def _kind_of(device: Device, *, is_remote: bool) -> Literal["cpu", "cuda"]:
    return "cuda" if device == "cuda" and is_remote else resolve_device(device)


def packing_of(study: Study, design: Design) -> Literal["auto", "on", "off"]:
    """Return which stages are trained in packs; none by itself where times or memory decide.

    A stage in a pack has no seconds and no memory of its own: a study whose verdicts are about
    these trains each stage by itself, unless it says otherwise.
    """
    if study.numerics.packing == "auto" and asks_of_a_process(study, design.arms):
        return "off"
    return study.numerics.packing


def asks_of_a_process(study: Study, arms: Sequence[Arm]) -> bool:
    """Whether verdicts are about time or memory, which belong to a process that trains alone."""
    asked = {each.metric for each in hypotheses(study, arms)}
    return any(map(of_a_process, {*asked, study.study.primary}))


def _task_source(folder: Path) -> Callable[[Task], TaskSource]:
    """Return what looks at the files of a task: once for each that is made of the same files."""
    known: dict[tuple[object, ...], TaskSource] = {}

    def source(task: Task) -> TaskSource:
        key = (task.entry, task.command, task.python, task.inputs)
        if key not in known:
            known[key] = source_of_task(task, folder)
        return known[key]

    return source


def with_more_seeds(study: Study, count: int) -> Study:
    """Return a study with `count` seeds after its last one."""
    seeds = study.study.seeds.model_copy(update={"count": study.study.seeds.count + count})
    header = study.study.model_copy(update={"seeds": seeds})
    return study.model_copy(update={"study": header})


def _fingerprint(
    data: Data,
    root: Path,
    absent: Callable[[MachineError], None] | None,
    judged: Callable[[Data, Survey | None], None],
) -> str:
    """Return the fingerprint of data that were looked at, and found fit."""
    try:
        judged(data, survey(data, root))
        return fingerprint(data, root)
    except DataError:
        raise
    except MachineError as error:
        if absent is None:
            raise
        absent(error)
        return UNKNOWN_DATA


def default_jobs(plan: Plan) -> int:
    """Return how many workers to start: one a GPU, or as many as their threads fill the CPUs."""
    numerics = next(iter(plan.stages.values())).numerics
    if numerics.device == "cuda":
        return max(1, len(usable_gpus()))
    return max(1, available_cpus() // numerics.threads)


def complete_stages(folder: StateFolder, closed: frozenset[str]) -> frozenset[str]:
    """Return the stages that need no training: their attempt is complete, their artifact there."""
    return frozenset(digest for digest in closed if is_published(folder, digest))
