"""Requests carried out: what each kind does to a schedule, and what the journal answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from icckd.journal.requests import RequestKind, Wanted
from icckd.session.schedule import Schedule, Transition
from icckd.spec.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request leads to: an answer in words, and the stages whose state it changed."""

    answer: str
    changes: tuple[Transition, ...] = ()


class Control:
    """The wishes of viewers that outlast a moment.

    Attributes:
        paused: No stage may start until a request says otherwise.
        finishing: No stage may start any more.
        more_seeds: Seeds that the study is to be extended by.
    """

    def __init__(self, study: Study, schedule: Schedule) -> None:
        self._study = study
        self._schedule = schedule
        self.paused = False
        self.finishing = False
        self.more_seeds = 0

    def carry_out(self, wanted: Wanted) -> Outcome:
        """Do what a request wants, as far as it can be done."""
        if wanted.study != self._study.study.name:
            return Outcome(answer="that study is not running")
        return self._KINDS[wanted.kind](self, wanted)

    def _stop(self, wanted: Wanted) -> Outcome:
        self.finishing = True
        return Outcome(answer="finishing the running stages")

    def _pause(self, wanted: Wanted) -> Outcome:
        self.paused = True
        return Outcome(answer="paused: running stages are saved at the end of their epoch")

    def _resume(self, wanted: Wanted) -> Outcome:
        self.paused = False
        return Outcome(answer="going on")

    def _cancel(self, wanted: Wanted) -> Outcome:
        changes = self._schedule.cancel_trials(wanted.arm, wanted.seed)
        return self._told(wanted, changes, "cancelled", "nothing left to cancel")

    def _retry(self, wanted: Wanted) -> Outcome:
        changes = self._schedule.retry_trials(wanted.arm, wanted.seed)
        return self._told(wanted, changes, "pending again", "nothing there failed")

    def _first(self, wanted: Wanted) -> Outcome:
        changes = self._schedule.put_first(wanted.arm, wanted.seed)
        return self._told(wanted, changes, "put first", "nothing there waits")

    def _more_seeds(self, wanted: Wanted) -> Outcome:
        self.more_seeds += wanted.count
        seeds = self._study.study.seeds
        first = seeds.first + seeds.count
        end = first + self.more_seeds - 1
        return Outcome(answer=f"seeds {first} to {end} follow when the present ones are done")

    def _told(self, wanted: Wanted, changes: list[Transition], done: str, nothing: str) -> Outcome:
        place = wanted.arm if wanted.seed is None else f"{wanted.arm}/{wanted.seed}"
        if not self._schedule.knows(wanted.arm, wanted.seed):
            return Outcome(answer=f"{place}: no such trial in this run")
        words = f"{len(changes)} stages {done}" if changes else nothing
        return Outcome(answer=f"{place}: {words}", changes=tuple(changes))

    _KINDS: ClassVar[dict[RequestKind, Callable[["Control", Wanted], Outcome]]] = {
        "stop": _stop,
        "pause": _pause,
        "resume": _resume,
        "cancel": _cancel,
        "retry": _retry,
        "first": _first,
        "more-seeds": _more_seeds,
    }
