"""What a session's journal says at its beginning: the resolved study and its plan."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from icckd import __version__
from icckd.design import family, outcome_columns
from icckd.journal.events import (
    Planned,
    PlannedArm,
    PlannedChange,
    PlannedStage,
    PlannedTrial,
    SessionHeader,
)
from icckd.journal.origin import boot_id
from icckd.plan import Plan, digest_of
from icckd.spec.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """What a session is to do.

    `asked` is when the user asked for it, in Unix seconds: older requests are for older sessions.
    `stopped` are arms that are given only so many of the first seeds.
    """

    study: Study
    plan: Plan
    complete: frozenset[str]
    arguments: Sequence[str]
    data_root: Path
    asked: float
    force: bool = False
    stopped: Mapping[str, int] = field(default_factory=dict)


def revision_of(mission: Mission) -> str:
    """Return the digest that names this content of the study."""
    return digest_of(planned(mission).study)[:16]


def planned(mission: Mission) -> Planned:
    """Return the plan as a journal tells it."""
    plan, study = mission.plan, mission.study
    return Planned(
        study={
            **study.model_dump(mode="json"),
            "outcomes": list(outcome_columns(study)),
            "family": list(family(study, plan.arms)),
            **({"stopped": dict(mission.stopped)} if mission.stopped else {}),
        },
        arms=[
            PlannedArm(
                name=arm.name,
                role=arm.role,
                title=arm.title,
                action=arm.action,
                control_for=arm.control_for,
                metrics=list(arm.metrics),
                changes=[PlannedChange(**asdict(change)) for change in arm.changes],
            )
            for arm in plan.arms
        ],
        trials=[
            PlannedTrial(arm=p.trial.arm.name, seed=p.trial.seed, stages=[p.teacher, *p.students])
            for p in plan.trials
        ],
        stages=[
            PlannedStage(
                digest=stage.digest,
                kind=stage.kind,
                shape=stage.shape,
                seed=stage.seed,
                replicate=stage.replicate,
                epochs=stage.epochs,
                inputs=stage.inputs_by_kind(),
            )
            for stage in plan.stages.values()
        ],
    )


def header_of(name: str, ordinal: int, mission: Mission) -> SessionHeader:
    """Return the first line of a session's journal."""
    return SessionHeader(
        session=name,
        study=mission.study.study.name,
        revision=revision_of(mission),
        arguments=list(mission.arguments),
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        version=__version__,
        ordinal=ordinal,
    )
