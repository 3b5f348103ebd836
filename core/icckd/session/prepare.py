"""Everything before the first stage: device, data, plan."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from icckd.design import Trial, expand
from icckd.engine.data.fingerprint import fingerprint
from icckd.engine.epoch import CODE_EPOCH
from icckd.engine.weights import read_weights
from icckd.errors import MachineError
from icckd.journal.artifact import is_published
from icckd.journal.folder import StateFolder
from icckd.plan import UNKNOWN_DATA, Ground, Plan, build, datasets, numerics_class, weights_files
from icckd.resources import available_cpus, cuda_device_names, resolve_device
from icckd.spec.data import Data
from icckd.spec.study import Study

Device = Literal["auto", "cpu", "cuda"]


def data_root() -> Path:
    """Return `ICCKD_DATA_DIR`, or `data` in the current folder: where data sets are kept."""
    return Path(os.environ.get("ICCKD_DATA_DIR") or "data").absolute()


def make_plan(
    study: Study,
    *,
    device: Device,
    root: Path,
    absent: Callable[[MachineError], None] | None = None,
    stopped: Mapping[str, int] | None = None,
) -> Plan:
    """Return the plan of a study on this machine, without importing torch.

    Args:
        study: The study.
        device: `auto`, `cpu` or `cuda`.
        root: Where data sets are kept.
        absent: Told of each data set that is missing; without it that is an error. Stages on
            unknown data have digests that no finished stage has.
        stopped: Arms that are given only so many of the first seeds.

    Raises:
        SpecError: The study's arms are not sound.
        MachineError: The device, a data set or a weights file is missing.
    """
    counts = stopped or {}
    given = {arm: study.study.seeds.all()[:count] for arm, count in counts.items()}
    trials = [t for t in expand(study) if t.seed in given.get(t.arm.name, (t.seed,))]
    return plan_trials(study, trials, device=device, root=root, absent=absent)


def plan_trials(
    study: Study,
    trials: Sequence[Trial],
    *,
    device: Device,
    root: Path,
    absent: Callable[[MachineError], None] | None = None,
) -> Plan:
    """Return the plan of some trials of a study; arguments and errors as `make_plan`."""
    for weights in weights_files(trials):
        read_weights(weights)
    ground = Ground(
        numerics=numerics_class(study.numerics, resolve_device(device)),
        fingerprints=tuple((data, _known(data, root, absent)) for data in datasets(trials)),
        code_epoch=CODE_EPOCH,
        compile_long=study.numerics.compile == "auto",
    )
    return build(trials, ground, students_per_teacher=study.study.students_per_teacher)


def with_more_seeds(study: Study, count: int) -> Study:
    """Return a study with `count` seeds after its last one."""
    seeds = study.study.seeds.model_copy(update={"count": study.study.seeds.count + count})
    header = study.study.model_copy(update={"seeds": seeds})
    return study.model_copy(update={"study": header})


def _known(data: Data, root: Path, absent: Callable[[MachineError], None] | None) -> str:
    try:
        return fingerprint(data, root)
    except MachineError as error:
        if absent is None:
            raise
        absent(error)
        return UNKNOWN_DATA


def default_jobs(plan: Plan) -> int:
    """Return how many workers to start: one a GPU, or as many as their threads fill the CPUs."""
    numerics = next(iter(plan.stages.values())).numerics
    if numerics.device == "cuda":
        return max(1, len(cuda_device_names()))
    return max(1, available_cpus() // numerics.threads)


def complete_stages(folder: StateFolder, closed: frozenset[str]) -> frozenset[str]:
    """Return the stages that need no training: their attempt is complete, their artifact there."""
    return frozenset(digest for digest in closed if is_published(folder, digest))
