"""What `icckd check` found of the user's own code, kept in the state folder.

A check is kept under what it is about: the tasks as the study has them, and the files behind them.
Of other settings or edited files nothing is known.
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icckd.journal.folder import StateFolder
from icckd.study.plan import Plan, digest_of
from icckd.study.tasks import Task, by_name, identity

FOLDER = "checks"
CLAIMS = (
    "That equal seeds of two arms are pairs (the same data order and initial weights) and that the"
    " seed decides all randomness are claims of the study's code"
)
"""What design laws 2 and 7 (docs/laws.md) come to where icckd does not train."""
Files = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check found; sentences for people, without a full stop.

    Attributes:
        at: When, in Unix seconds.
        is_kept: Whether nothing that was found contradicts a claim.
        told: What was found.
    """

    at: float
    is_kept: bool
    told: tuple[str, ...]


def files_of(plan: Plan, arm: str) -> Files:
    """Return, by task, the files behind an arm of a plan."""
    used = {digest for trial in plan.trials if trial.arm == arm for digest in trial.stages}
    return {plan.stages[digest].kind: plan.stages[digest].files for digest in used}


def save(
    folder: StateFolder, tasks: Task | Mapping[str, Task] | None, files: Files, found: Check
) -> None:
    """Keep a check; the newest of a subject counts."""
    folder.create()
    path = _path(folder, tasks, files)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(found)) + "\n")


def claims(folder: StateFolder, tasks: Task | Mapping[str, Task] | None, files: Files) -> str:
    """Return what is known of the claims of a study's code: "not verified", or its last check.

    Args:
        folder: The state folder.
        tasks: The tasks, as the study has them.
        files: By task, the files behind it with their digests.
    """
    try:
        known = json.loads(_path(folder, tasks, files).read_bytes())
        day = datetime.datetime.fromtimestamp(known["at"], datetime.UTC).date().isoformat()
        told = "; ".join(str(text) for text in known["told"])
        how = "nothing contradicted them" if known["is_kept"] else "not all of them held"
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return f"{CLAIMS}, not verified"
    return f"{CLAIMS}; `icckd check` of {day}: {how} ({told})"


def _path(folder: StateFolder, tasks: Task | Mapping[str, Task] | None, files: Files) -> Path:
    content: dict[str, Any] = {
        "tasks": {name: identity(task) for name, task in by_name(tasks).items()},
        "files": {kind: dict(named) for kind, named in files.items()},
    }
    return folder.root / FOLDER / f"{digest_of(content)[:32]}.json"
