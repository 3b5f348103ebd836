"""`icckd clean`: what a state folder can spare, and its removal.

Only what no run of a newest plan goes on from: checkpoints of stages that are complete or that no
study's newest plan has, what dead attempts left half-done, and what was put aside as damaged.
Journals, artifacts and the checkpoints of planned stages stay.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icckd.errors import MachineError
from icckd.journal.artifact import sweep
from icckd.journal.folder import StateFolder
from icckd.journal.kept import epochs_done, stages_at_rest, sweep_checkpoints
from icckd.journal.known import is_complete
from icckd.journal.stage_lock import is_worked_on, try_stage_lock
from icckd.store.lock import try_owner_lock
from icckd.store.store import Store

_WANTED = """
select distinct stage
from stage
where session in (select session from study where is_latest)
"""
_USES = """
select trial_stage.stage, first(session.study || ', ' || arm || '/' || seed
    order by session.ordinal desc, trial_stage.arm, trial_stage.seed)
from trial_stage
inner join session using (session)
group by trial_stage.stage
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """Something that can go: a path, what it is, and how much it takes."""

    path: Path
    text: str
    bytes: int


def clean(folder: StateFolder, *, remove: bool) -> tuple[Spare, ...]:
    """Return what can go, and remove it if asked.

    Raises:
        MachineError: A session runs, or the folder cannot be written.
    """
    with try_owner_lock(folder) as is_ours:
        if not is_ours:
            raise MachineError(
                f"the state folder {folder.root} is in use, or cannot be written",
                hint="wait for its session to end",
            )
        with Store.open_file(folder) as store:
            store.ingest()
            found = (*_checkpoints(folder, store), *_unfinished(folder), *_put_aside(folder))
        if remove:
            sweep_checkpoints(folder)
            sweep(folder)
            for spare in found:
                _remove(folder, spare.path)
    return found


def _checkpoints(folder: StateFolder, store: Store) -> Iterator[Spare]:
    wanted = {stage for (stage,) in store.select(_WANTED)}
    uses = dict(store.select(_USES))
    for stage in stages_at_rest(folder):
        what = f"checkpoint of {uses.get(stage.name, 'no study here')} after {epochs_done(stage)}"
        if is_complete(folder, stage.name):
            yield _spare(stage, f"{what} epochs, complete since")
        elif stage.name not in wanted:
            yield _spare(stage, f"{what} epochs, planned no more")
        else:
            for aside in stage.glob(".*"):
                yield _spare(aside, "an attempt that died was writing it")


def _unfinished(folder: StateFolder) -> Iterator[Spare]:
    for path in sorted(folder.artifacts.glob(".tmp-*")):
        if not is_worked_on(folder, path.name.removeprefix(".tmp-")):
            yield _spare(path, "an attempt that died was preparing it")


def _put_aside(folder: StateFolder) -> Iterator[Spare]:
    for path in sorted(folder.quarantine.glob("*")):
        yield _spare(path, "was put aside as damaged")


def _spare(path: Path, text: str) -> Spare:
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.lstat().st_size for file in files if file.is_file())
    return Spare(path=path, text=text, bytes=size)


def _remove(folder: StateFolder, path: Path) -> None:
    if path.parent == folder.checkpoints:
        with try_stage_lock(folder, path.name) as is_free:
            if is_free:
                shutil.rmtree(path, ignore_errors=True)
    elif path.parent == folder.quarantine:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
