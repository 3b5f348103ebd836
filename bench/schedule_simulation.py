"""`python bench/schedule_simulation.py [TRIALS GPUS]`: the schedule on a simulated clock.

By default 100,000 trials on 1,000 GPUs. The plan is a real one and the schedule is the one that
sessions use, unchanged; simulated are the clock, how long stages take and what happens to them:
durations are log-normal, the middle 95 % of them within a factor of 10, those of teachers 10 times
those of students; 1 % of attempts die at a random point; half-way a wave of preemption ends the
attempts of a fifth of the GPUs, which are free again at once. What is tried again resumes where the
product's checkpoints would have it: at the last one before the end, one every so many seconds.

A makespan is set beside the least possible one: the work done, what was lost included, divided by
the GPUs, or the longest chain of a teacher and a student with what was lost of both. Beside it
stands a plain queue, first in, first out: a stage joins it when it becomes ready, and again when it
is tried again.
"""

import contextlib
import gc
import heapq
import math
import random
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from timing import write_result

from icckd.journal.events import Cause
from icckd.run.prepare import make_plan
from icckd.run.schedule import Schedule
from icckd.study.load import parse
from icckd.study.plan import Plan, StageJob
from icckd.variables import CHECKPOINT_EVERY

STUDY = """
[study]
name = "simulated"
question = "How long does a study take? (durations are simulated)"
baseline = "base"
design = "one-at-a-time"
smallest_effect = 0.5
seeds = {{ count = {seeds} }}
[numerics]
packing = "off"
[data]
kind = "synthetic"
[teacher.intra]
[teacher.training]
epochs = 10
[student.distiller]
[student.training]
epochs = 10
[[factor]]
name = "varied"
path = "{path}"
levels = [{levels}]
"""
SHAPES = {
    "100 students a teacher": ("student.distiller.temperature", 100),
    "10 students a teacher": ("student.distiller.temperature", 10),
    "a teacher of its own": ("teacher.intra.weight", 100),
}
"""What is varied, and arms; seeds make up the trials."""
DRAWS = (11, 12, 13, 14, 15)
SIGMA = math.log(10.0) / (2 * 1.96)
TEACHER_SECONDS, STUDENT_SECONDS = 600.0, 60.0
DEATHS = 0.01
WAVE = 0.2


class Queue(Protocol):
    """What hands out the stages that are to be trained."""

    def next_list(self, workers: int, now: float) -> list[StageJob]:
        """Take the stages for one idle GPU."""

    def completed(self, digest: str, *, seconds: float) -> object:
        """Record that a stage is complete, and how long it took."""

    def failed(self, digest: str, cause: Cause, reason: str = "", now: float = 0.0) -> object:
        """Record that an attempt ended without a result."""

    def returned(self, digest: str) -> object:
        """Record that a stage was not begun."""

    def is_over(self) -> bool:
        """Whether nothing runs and nothing can start."""


class FirstInFirstOut:
    """The plain counterpart: one stage at a time, in the order in which they became ready."""

    def __init__(self, plan: Plan) -> None:
        self._stages = plan.stages
        self._users: dict[str, list[str]] = {digest: [] for digest in plan.stages}
        for digest, stage in plan.stages.items():
            for needed in stage.inputs.values():
                self._users[needed].append(digest)
        self._ready = deque(d for d, stage in plan.stages.items() if not stage.inputs)
        self._open = len(plan.stages)

    def next_list(self, workers: int, now: float) -> list[StageJob]:
        return [self._stages[self._ready.popleft()]] if self._ready else []

    def completed(self, digest: str, *, seconds: float) -> None:
        self._open -= 1
        self._ready.extend(self._users[digest])

    def failed(self, digest: str, cause: Cause, reason: str = "", now: float = 0.0) -> None:
        self._ready.append(digest)

    def returned(self, digest: str) -> None:
        self._ready.append(digest)

    def is_over(self) -> bool:
        return not self._open


@dataclass
class Simulation:
    """One study from its beginning to its end.

    Attributes:
        queue: Hands out the stages.
        seconds: How long each takes.
        gpus: How many there are.
        dice: Decides what dies, and when.
        left: Of stages that were lost, how long they still take.
        spent: How long each was trained, what was lost included.
        makespan: Seconds on the simulated clock.
        work: GPU seconds used, those that were lost included.
        lost: GPU seconds that were lost.
        deaths: Attempts that died.
        preempted: Attempts that the wave ended.
        decisions: Calls that handed out or took back a stage.
        cpu_seconds: Real CPU seconds of these calls.
    """

    queue: Queue
    seconds: dict[str, float]
    gpus: int
    dice: random.Random
    left: dict[str, float] = field(default_factory=dict)
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    makespan: float = 0.0
    work: float = 0.0
    lost: float = 0.0
    deaths: int = 0
    preempted: int = 0
    decisions: int = 0
    cpu_seconds: float = 0.0
    _now: float = 0.0
    _lists: dict[int, tuple[float, list[StageJob]]] = field(default_factory=dict)
    _idle: list[int] = field(default_factory=list)
    _ends: list[tuple[float, int, bool]] = field(default_factory=list)  # when, GPU, whether it dies
    _due: dict[int, float] = field(default_factory=dict)

    def run(self) -> Self:
        """Hand every stage to a GPU, until all are complete."""
        wave_at = sum(self.seconds.values()) / self.gpus / 2
        self._idle = list(range(self.gpus))[::-1]
        while not self.queue.is_over():
            while self._idle and (stages := self._take()):
                self._begin(self._idle.pop(), stages)
            due = self._ends[0][0] if self._ends else self._now + 1.0
            if self._now < wave_at <= due:
                self._now = wave_at
                for gpu in self.dice.sample(range(self.gpus), int(WAVE * self.gpus)):
                    self._preempt(gpu)
            elif self._ends:
                self._now, gpu, dies = heapq.heappop(self._ends)
                if self._due.get(gpu) == self._now:  # it was not preempted meanwhile
                    self._end(gpu, dies=dies)
            else:
                self._now = due  # all that is left waits to be tried again
        self.makespan = self._now
        return self

    def _begin(self, gpu: int, stages: list[StageJob]) -> None:
        dies = self.dice.random() < DEATHS
        takes = self._takes(stages[0]) * (self.dice.random() if dies else 1.0)
        self._lists[gpu] = self._now, stages
        self._due[gpu] = self._now + takes
        heapq.heappush(self._ends, (self._due[gpu], gpu, dies))

    def _takes(self, stage: StageJob) -> float:
        return self.left.get(stage.digest, self.seconds[stage.digest])

    def _take(self) -> list[StageJob]:
        with self._counted():
            return self.queue.next_list(self.gpus, self._now)

    def _end(self, gpu: int, *, dies: bool) -> None:
        """Let the attempt on a GPU end; the rest of its list goes on."""
        if dies:
            self.deaths += 1
            self._lose(gpu)
            return
        since, [stage, *rest] = self._lists.pop(gpu)
        self._spend(stage, self._now - since)
        with self._counted():
            self.queue.completed(stage.digest, seconds=self._now - since)
        if rest:
            self._begin(gpu, rest)
        else:
            self._idle.append(gpu)

    def _preempt(self, gpu: int) -> None:
        if gpu in self._lists:
            self.preempted += 1
            self._lose(gpu)

    def _lose(self, gpu: int) -> None:
        """Lose what the attempt on a GPU did; the rest of its list was not begun."""
        since, [stage, *rest] = self._lists.pop(gpu)
        trained = self._now - since
        self._spend(stage, trained)
        lost = trained % CHECKPOINT_EVERY
        self.lost += lost
        self.left[stage.digest] = self._takes(stage) - (trained - lost)
        with self._counted():
            self.queue.failed(stage.digest, "preempted", "lost", self._now)
            for each in rest:
                self.queue.returned(each.digest)
        del self._due[gpu]
        self._idle.append(gpu)

    def _spend(self, stage: StageJob, seconds: float) -> None:
        self.work += seconds
        self.spent[stage.digest] += seconds

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        before = time.process_time()
        yield
        self.cpu_seconds += time.process_time() - before
        self.decisions += 1


def plan_of(path: str, arms: int, trials: int) -> Plan:
    """Return the real plan of a study with so many arms and trials."""
    levels = ", ".join(f"{1.0 + number / 8:g}" for number in range(arms))
    text = STUDY.format(path=path, levels=levels, seeds=trials // arms)
    study = parse(text, where="simulated.toml")
    return make_plan(study, device="cpu", root=Path("data"))


def durations(plan: Plan, draw: int) -> dict[str, float]:
    """Return how long each stage takes, in seconds."""
    dice = random.Random(f"durations {draw}")
    middle = {"teacher": TEACHER_SECONDS, "student": STUDENT_SECONDS}
    return {
        digest: middle[stage.kind] * math.exp(dice.gauss(0.0, SIGMA))
        for digest, stage in plan.stages.items()
    }


def longest_chain(plan: Plan, seconds: Mapping[str, float]) -> float:
    """Return the seconds of the longest chain of stages that wait for each other."""
    return max(
        seconds[digest] + sum(seconds[needed] for needed in stage.inputs.values())
        for digest, stage in plan.stages.items()
    )


def table(rows: Iterable[Iterable[object]]) -> list[str]:
    """Return a table in Markdown; the first row is its head."""
    head, *body = [list(map(str, row)) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


def main(trials: int = 100_000, gpus: int = 1_000) -> None:
    """Simulate each shape with each draw, the plain queue beside it."""
    rows: list[list[object]] = [
        ["study", "draw", "least hours", "schedule / least", "first in first out / least",
         "deaths", "preempted", "work lost", "microseconds a decision"]
    ]  # fmt: skip
    worst = 0.0
    for shape, (path, arms) in SHAPES.items():
        plan = plan_of(path, arms, trials)
        for draw in DRAWS:
            seconds = durations(plan, draw)
            found = []
            for queue in (Schedule(plan, ()), FirstInFirstOut(plan)):
                gc.collect()
                simulation = Simulation(queue, seconds, gpus, random.Random(draw)).run()
                least = max(simulation.work / gpus, longest_chain(plan, simulation.spent))
                found.append((simulation, least, simulation.makespan / least))
            (own, least, ratio), (_, _, plain) = found
            worst = max(worst, ratio)
            rows.append([
                shape, draw, f"{least / 3600:.2f}", f"{ratio:.3f}", f"{plain:.3f}", own.deaths,
                own.preempted, f"{100 * own.lost / own.work:.1f} %",
                f"{1e6 * own.cpu_seconds / own.decisions:.1f}",
            ])  # fmt: skip
            print(rows[-1], flush=True)
    flat: list[list[object]] = [["trials", "stages", "microseconds of CPU a decision, median"]]
    for size in (1_000, 10_000, trials):
        plan = plan_of("teacher.intra.weight", 100, size)
        costs = []
        for draw in DRAWS[:3]:
            schedule, seconds = Schedule(plan, ()), durations(plan, draw)
            simulation = Simulation(schedule, seconds, gpus, random.Random(draw)).run()
            costs.append(1e6 * simulation.cpu_seconds / simulation.decisions)
        flat.append([size, len(plan.stages), f"{statistics.median(costs):.1f}"])
    write_result(
        "schedule-simulation",
        [f"{trials:,} trials on {gpus:,} GPUs, simulated; worst {worst:.3f}", "",
         *table(rows), "", "## What a decision costs", "", *table(flat)],
    )  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
