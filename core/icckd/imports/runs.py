"""Runs as trackers keep them: a name, settings, values by step; and from there to rows.

Arm and seed of a run are two of its settings (`--arm`, `--seed`), or stand in its name
(`--runs '{arm}/seed-{seed}'`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icckd.errors import SpecError, UsageError
from icckd.results.run_table import Row
from icckd.study.observed import visible
from icckd.study.paths import nearest

MOST_RUNS_READ = 100_000
LONGEST_PATTERN = 200

Value = tuple[str, int | None, float | None]
"""Metric, step (None: one value a run), and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerRun:
    """A run of a tracker.

    Attributes:
        name: What it is called there; a folder's path for event files.
        place: Where its values are, in words.
        settings: Its settings by dotted name.
        values: Its values, read as they are asked for.
        is_finished: Whether it came to its end; None where that is not kept.
    """

    name: str
    place: str
    settings: Mapping[str, Any]
    values: Iterable[Value]
    is_finished: bool | None = None


@dataclass(slots=True)
class RunsToRows:
    """Turns runs into rows, whose places are counted.

    Attributes:
        arm, seed: Names of settings.
        pattern: Of the names of runs, with {arm} and {seed}; "" where settings tell.
        places: In words, by number.
        unfinished: Names of runs that did not come to their end.
    """

    arm: str
    seed: str
    pattern: str = ""
    places: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    def rows(self, runs: Iterable[TrackerRun], metrics: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of some metrics; a run without any of them has a row without a value.

        Raises:
            SpecError: A run does not tell its arm or its seed, or there is no run.
            UsageError: The pattern is none.
        """
        found = pattern_of(self.pattern) if self.pattern else None
        for number, run in enumerate(runs):
            if number >= MOST_RUNS_READ:
                raise SpecError(
                    f"there are more than {MOST_RUNS_READ} runs",
                    hint="name a folder or --experiment with the runs of one study",
                )
            values = [value for value in run.values if value[0] in metrics]
            arm, seed = self._which(run, found)
            self.places.append(run.place)
            if run.is_finished is False:
                self.unfinished.append(run.name)
            for metric, step, value in values:
                yield Row(number, arm, seed, metric, step, value)
            if not values:
                yield Row(number, arm, seed, metrics[0], None, None)
        if not self.places:
            raise SpecError("there is no run", hint="is it the right file, folder or --experiment?")

    def place(self, row: int) -> str:
        """Return the place of a row in words."""
        return self.places[row]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the runs that were read."""
        if not self.unfinished:
            return ()
        names = ", ".join(visible(name, 60) for name in self.unfinished[:10])
        more = len(self.unfinished) - 10
        return (
            f"Runs that did not come to their end by the tracker's own word: {names}"
            f"{f' and {more} more' if more > 0 else ''}; their values so far count.",
        )

    def _which(self, run: TrackerRun, found: "re.Pattern[str] | None") -> tuple[str, Any]:
        if found is None:
            return str(self._setting(run, self.arm)), self._setting(run, self.seed)
        parts = found.fullmatch(run.name)
        if parts is None:
            raise SpecError(
                f"run {visible(run.name)!r} does not look like {self.pattern!r}",
                hint="--runs has {arm} and {seed} where these stand in a name, and * for any part",
            )
        known = parts.groupdict()
        arm = known.get("arm") or self._setting(run, self.arm)
        return str(arm), known.get("seed") or self._setting(run, self.seed)

    def _setting(self, run: TrackerRun, name: str) -> Any:
        value = run.settings.get(name)
        if value is None or value == "":
            known = [visible(each, 60) for each in list(run.settings)[:200]]
            raise SpecError(
                f"run {visible(run.name)!r} has no setting {visible(name)!r}",
                hint=nearest(name, known)
                if known
                else "tell arm and seed by its name: --runs '{arm}-{seed}'",
            )
        return value


def pattern_of(text: str) -> "re.Pattern[str]":
    """Return the expression for names with {arm} and {seed}; * is any part without a slash.

    Raises:
        UsageError: It has neither, or one of them twice.
    """
    parts = re.split(r"(\{arm\}|\{seed\}|\*)", text)
    if len(text) > LONGEST_PATTERN or not {"{arm}", "{seed}"} & set(parts) or any(
        parts.count(each) > 1 for each in ("{arm}", "{seed}")
    ):  # fmt: skip
        raise UsageError(
            f"--runs {text!r} has no {{arm}} and {{seed}}, each once",
            hint="--runs '{arm}/seed-{seed}'",
        )
    known = {"{arm}": r"(?P<arm>[^/]+?)", "{seed}": r"(?P<seed>[0-9]+)", "*": r"[^/]*?"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts))


def chosen_group(names: Iterable[str], wanted: str, what: str) -> str:
    """Return which experiment, project or study is meant: the only one, or the one asked for.

    Raises:
        UsageError: There is none of that name, or several and none was named.
    """
    known = list(dict.fromkeys(names))
    if wanted in known:
        return wanted
    if wanted or len(known) != 1:
        shown = ", ".join(visible(name, 60) for name in known[:20])
        raise UsageError(
            f"there are {len(known)} {what}" + (f", and none is {wanted!r}" if wanted else ""),
            hint=f"--experiment NAME, of: {shown}" if known else "is it the right file?",
        )
    return known[0]
