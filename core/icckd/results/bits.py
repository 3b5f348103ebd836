"""What decides the bits of a finished stage besides its identity, and where a table mixes it.

A stage's digest tells its settings, data, seed, device type and precision. Two machines, or two
versions of torch, still give other bits: `icckd.train.precision.bits_depend_on` names what decides
them, and every attempt records it. Finished stages are reused whatever made them; so a table may
mix values, and whoever reads it should know.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icckd.results.store import Store

_FINISHED = """
select stage_now.stage, attempt.ordinal, attempt.inputs, attempt.numerics, attempt.environment
from stage_now
inner join attempt using (attempt)
where stage_now.state = 'complete'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """The version of torch and the model of the device that computed; "" where unknown."""

    torch: str
    device: str

    def __str__(self) -> str:
        """Return both in a few words."""
        return f"torch {self.torch or 'unknown'} on {self.device or 'an unknown device'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedStage:
    """A complete stage; the larger `ordinal` is, the later its attempt was ordered."""

    stage: str
    bits: Bits
    inputs: Mapping[str, str]
    ordinal: int


def bits_of(numerics: Mapping[str, object], environment: Mapping[str, str]) -> Bits:
    """Return what decided the bits of an attempt.

    Args:
        numerics: Its numerics, which tells the type of device.
        environment: Its versions and device names. `device` is the model that computed; attempts
            that do not tell it have the machine's processor in `cpu` and all its GPUs in `gpus`.
    """
    is_cuda = numerics.get("device") == "cuda"
    models = dict.fromkeys(environment.get("gpus", "").split(", "))
    named = ", ".join(models) if is_cuda else environment.get("cpu", "")
    return Bits(torch=environment.get("torch", ""), device=environment.get("device") or named)


def read_finished(store: Store) -> dict[str, FinishedStage]:
    """Return every complete stage of a state folder, by digest."""
    found: dict[str, FinishedStage] = {}
    known: dict[tuple[str, str], Bits] = {}  # most stages were trained alike
    for stage, ordinal, inputs, numerics, environment in store.select(_FINISHED):
        made_by = numerics, environment
        if made_by not in known:
            known[made_by] = bits_of(json.loads(numerics), json.loads(environment))
        found[stage] = FinishedStage(
            stage=stage, bits=known[made_by], inputs=json.loads(inputs), ordinal=ordinal
        )
    return found


def mixed_bits(stages: Iterable[FinishedStage]) -> dict[Bits, int]:
    """Return how many stages each value made, most first; empty unless there are several values.

    Stages of which torch or the device is unknown do not count.
    """
    counts = Counter(each.bits for each in stages if each.bits.torch and each.bits.device)
    return dict(counts.most_common()) if len(counts) > 1 else {}


def mixed_note(counts: Mapping[Bits, int]) -> str:
    """Return what a reader of a table must know about `mixed_bits`, or ""."""
    if not counts:
        return ""
    made = "; ".join(
        f"{count} stage{'s' if count > 1 else ''} by {bits}" for bits, count in counts.items()
    )
    return (
        f"The results mix what was made in different ways: {made}. The same stage may have other"
        " bits elsewhere; `icckd run STUDY --retrain-mixed` trains the older ones again."
    )


def stages_to_retrain(
    wanted: Collection[str], finished: Mapping[str, FinishedStage]
) -> frozenset[str]:
    """Return the finished stages to train again, so that one value makes all of a plan.

    The value of the newest attempt is kept: it is this machine's, unless journals came from
    elsewhere. A stage whose input is trained again is trained again, too.

    Args:
        wanted: Digests of the plan's stages.
        finished: Every complete stage of the state folder.
    """
    known = [finished[digest] for digest in wanted if digest in finished]
    if not mixed_bits(known):
        return frozenset()
    newest = max(known, key=lambda each: each.ordinal).bits
    return with_readers((each.stage for each in known if each.bits != newest), known)


def with_readers(stages: Iterable[str], known: Collection[FinishedStage]) -> frozenset[str]:
    """Return some stages with those of `known` that read them, and what reads these."""
    again = set(stages)
    while more := {
        each.stage
        for each in known
        if each.stage not in again and again & set(each.inputs.values())
    }:
        again |= more
    return frozenset(again)
