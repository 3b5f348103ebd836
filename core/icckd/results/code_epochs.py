"""What a raised training version makes of a plan: stages that are trained again, and why.

Results of an earlier epoch stay in the journals and in reports of the revisions that they belong
to; the stages of today's plan have other digests (docs/adr/0018).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from icckd.study.data import Data
from icckd.study.model import Student
from icckd.study.numerics import NumericsClass, layout_of
from icckd.study.plan import StageJob, canonical, digest_of
from icckd.study.teacher import Teacher

if TYPE_CHECKING:
    from icckd.results.store import Store

_EARLIER = """
select distinct attempt.stage, attempt.kind, attempt.settings, attempt.seed, attempt.replicate,
    attempt.fingerprint, attempt.numerics, attempt.inputs, attempt.code_epoch,
    coalesce(stage_now.state = 'complete', false)
from attempt
left join stage_now on stage_now.stage = attempt.stage
where attempt.code_epoch < ? and attempt.kind in ('teacher', 'student')
order by attempt.kind desc, attempt.code_epoch, attempt.stage
"""
_SETTINGS: Mapping[str, TypeAdapter[Any]] = {
    "data": TypeAdapter(Data),
    "teacher": TypeAdapter(Teacher),
    "student": TypeAdapter(Student),
}
Epochs = tuple[int, int]
"""A stage's training version when it was attempted, and today's."""


def code_epoch_notes(
    store: Store, stages: Collection[StageJob], done: Collection[str]
) -> tuple[str, ...]:
    """Return, for each training version that was raised, what becomes of a plan's stages.

    Args:
        store: The state folder's store.
        stages: The plan's stages, inputs first.
        done: Digests of those that need no training.
    """
    stages = [stage for stage in stages if not stage.is_task]
    missing = {stage.digest for stage in stages if stage.digest not in done}
    if not missing:
        return ()
    newest = max(stage.code_epoch for stage in stages)
    earlier: dict[str, tuple[str, int, bool]] = {}
    names: dict[str, str] = {}
    rows = store.select(_EARLIER, [newest])
    if not rows:
        return ()
    for row in rows:  # teachers come before students
        digest, *content, code_epoch, is_complete = row
        names[digest] = _content_of(tuple(content), names)
        earlier[names[digest]] = (digest, code_epoch, is_complete)
    complete: Counter[Epochs] = Counter()
    begun: Counter[Epochs] = Counter()
    own: dict[str, str] = {}
    today: dict[int, dict[str, Any]] = {}  # the stages of an arm share their settings
    for stage in stages:
        if id(stage.settings) not in today and not stage.files:
            today[id(stage.settings)] = _today(stage.settings)
        own[stage.digest] = _content_of_job(stage, today.get(id(stage.settings), {}), own)
        if not own[stage.digest]:
            continue
        digest, code_epoch, is_complete = earlier.get(own[stage.digest], ("", 0, False))
        if stage.digest in missing and digest and code_epoch < stage.code_epoch:
            epochs = (code_epoch, stage.code_epoch)
            if is_complete:
                complete[epochs] += 1
            elif (store.folder.checkpoints / digest).is_dir():
                begun[epochs] += 1
    return tuple(_note(each, complete[each], begun[each]) for each in sorted(complete | begun))


def _note(epochs: Epochs, complete: int, begun: int) -> str:
    before, now = epochs
    facts = []
    if complete:
        stages = "1 stage" if complete == 1 else f"{complete} stages"
        facts.append(f"{stages} will be trained again, earlier results stay reportable")
    if begun:
        stages = "1 stage begins" if begun == 1 else f"{begun} stages begin"
        facts.append(f"{stages} anew, as checkpoints of training version {before} are not used")
    return f"training version {before} -> {now}: {'; '.join(facts)}"


def _content_of(row: tuple[Any, ...], names: Mapping[str, str]) -> str:
    """Return what an attempt trained, in words of today's settings; "" where they say it not."""
    kind, settings, seed, replicate, fingerprint, numerics, inputs = row
    try:
        return _content(
            kind=kind,
            settings=_today(json.loads(settings)),
            seed=seed,
            replicate=replicate,
            fingerprint=fingerprint,
            numerics=_unpacked(NumericsClass(**json.loads(numerics))),
            inputs=[names.get(digest, "") for digest in json.loads(inputs).values()],
        )
    except (ValidationError, KeyError, TypeError, ValueError):
        return ""


def _content_of_job(stage: StageJob, settings: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return what a stage trains; "" with parts of plug-ins, of which no earlier epoch is known."""
    if stage.files or not all(names[digest] for digest in stage.inputs.values()):
        return ""
    return _content(
        kind=stage.kind,
        settings=dict(settings),
        seed=stage.seed,
        replicate=stage.replicate,
        fingerprint=stage.fingerprint,
        numerics=_unpacked(stage.numerics),
        inputs=[names[digest] for digest in stage.inputs.values()],
    )


def _unpacked(numerics: NumericsClass) -> dict[str, Any]:
    """Return a class's identity without packing, which a stage may have been moved to."""
    layout = layout_of(numerics.device, numerics.precision)
    return replace(numerics, packed=False, layout=layout, replicas=0).identity()


def _today(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: canonical(_SETTINGS[name].validate_json(json.dumps(value)))
        for name, value in settings.items()
    }


def _content(**content: Any) -> str:
    return digest_of(content)
