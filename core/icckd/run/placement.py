"""On which class of hardware the stages of a seed are computed. Pure: no device is asked.

Arms of one seed are compared in pairs, and the model of the CPU or GPU decides bits. So all stages
of a seed belong on the model that computed its first one, unless the user allows a mixture
(`mix = "allow"`), which reports name. Seeds are free of each other: a study may have some from here
and some from there. What tasks compute with is theirs to know: only icckd's own stages are bound.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from icckd.configuration import Mix
from icckd.errors import MachineError
from icckd.results.bits import FinishedStage, with_readers
from icckd.study.plan import Plan

MISPLACED_TRIES = 5
"""So often a stage may come to hardware of another class until it is given up."""
MISPLACED_SECONDS = 5.0
"""Pause after the first time; it doubles with every further one."""
ALLOW = '--mix allow (mix = "allow" in config.toml, mix="allow" in Python)'
"""How a user allows a mixture."""


def hardware_of_seeds(plan: Plan, finished: Iterable[FinishedStage]) -> dict[int, str]:
    """Return, by seed, the model of the device that computed the first of its stages.

    Args:
        plan: The plan.
        finished: Complete stages that are not to be trained again. Those whose device is unknown
            bind nothing.
    """
    first: dict[int, FinishedStage] = {}
    for each in finished:
        stage = plan.stages.get(each.stage)
        if stage is None or stage.is_task or not each.bits.device:
            continue
        if stage.seed not in first or each.ordinal < first[stage.seed].ordinal:
            first[stage.seed] = each
    return {seed: each.bits.device for seed, each in first.items()}


def refuse_elsewhere(
    plan: Plan, complete: Collection[str], seeds: Mapping[int, str], here: Collection[str]
) -> None:
    """Refuse to complete seeds on a machine that has not the hardware on which they began.

    Args:
        plan: The plan.
        complete: Its stages that need no training.
        seeds: On which hardware seeds began.
        here: The models of device that this machine has.

    Raises:
        MachineError: There are such seeds.
    """
    stuck = sorted(_stuck_seeds(plan, complete, seeds, here))
    if not stuck:
        return
    missing = [s for d, s in plan.stages.items() if d not in complete and not s.is_task]
    began = ", ".join(repr(name) for name in dict.fromkeys(seeds[seed] for seed in stuck))
    count = sum(stage.seed in stuck for stage in missing)
    whose = f"seed {stuck[0]}" if len(stuck) == 1 else f"{len(stuck)} seeds, {stuck[0]} first,"
    raise MachineError(
        f"{whose} began on hardware of class {began}, and this machine has"
        f" {', '.join(map(repr, sorted(here)))}: arms of one seed are compared in pairs, and"
        f" {count} stages of them are missing",
        hint=f"{ALLOW} trains them here, and reports name those pairs; --retrain-mixed trains"
        " all of these seeds here; or go on where they began",
    )


def stages_elsewhere(
    plan: Plan, finished: Collection[FinishedStage], here: Collection[str]
) -> frozenset[str]:
    """Return what is to be trained again, so that all seeds can be completed on this machine.

    That is what other hardware computed of seeds that would be refused, and what reads it.

    Args:
        plan: The plan.
        finished: Its complete stages.
        here: The models of device that this machine has.
    """
    complete = {each.stage for each in finished}
    stuck = _stuck_seeds(plan, complete, hardware_of_seeds(plan, finished), here)
    foreign = (
        each.stage
        for each in finished
        if plan.stages[each.stage].seed in stuck and each.bits.device not in ("", *here)
    )
    return with_readers(foreign, finished)


def _stuck_seeds(
    plan: Plan, complete: Collection[str], seeds: Mapping[int, str], here: Collection[str]
) -> set[int]:
    missing = (s.seed for d, s in plan.stages.items() if d not in complete and not s.is_task)
    return {seed for seed in missing if seeds.get(seed, "") not in ("", *here)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Misplaced:
    """What becomes of a stage that came to hardware of another class than its seed's.

    Attributes:
        reason: Why, in words.
        pause: Seconds until it is tried again; None where it is given up.
    """

    reason: str
    pause: float | None


class Placement:
    """On which hardware the seeds of a running session are computed.

    Args:
        mix: Whether arms of one seed may be computed on several models of device.
        seeds: On which hardware seeds began before.
    """

    def __init__(self, mix: Mix = "refuse", seeds: Mapping[int, str] | None = None) -> None:
        self._is_bound = mix == "refuse"
        self._seeds = dict(seeds or {}) if self._is_bound else {}
        self._misplaced: Counter[str] = Counter()

    def bound(self) -> Mapping[int, str]:
        """Return the hardware of each seed that has begun."""
        return self._seeds

    def of(self, seed: int) -> str:
        """Return the hardware that stages of a seed must be computed on; "" is any."""
        return self._seeds.get(seed, "")

    def begins(self, seed: int, hardware: str) -> bool:
        """Heed that a stage of a seed begins; return whether that is where its seed belongs."""
        if not self._is_bound or not hardware:
            return True
        return self._seeds.setdefault(seed, hardware) == hardware

    def misplaced(self, stage: str, seed: int, found: str) -> Misplaced:
        """Return what becomes of a stage that came to hardware which is not its seed's."""
        self._misplaced[stage] += 1
        times, wanted = self._misplaced[stage], self.of(seed)
        reason = f"waiting for hardware of class {wanted!r}, on which seed {seed} began"
        if times < MISPLACED_TRIES:
            pause = MISPLACED_SECONDS * 2.0 ** (times - 1)
            return Misplaced(reason=f"{reason}; there is {found!r}", pause=pause)
        return Misplaced(
            reason=f"{reason}; {times} times there was another, last {found!r}: name what leads"
            f" to it under classes in config.toml (docs/cluster.md), or {ALLOW}",
            pause=None,
        )
