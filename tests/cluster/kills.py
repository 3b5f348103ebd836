"""Kills at random moments of runs on a cluster, and what is checked of what they left.

A `Site` says how a study is run somewhere and what of that can be killed. `storm` runs the study
there again and again; a seed draws whom it kills and when. After each run its outcomes are held
against those of a quiet run on this machine, and everything that was acknowledged before a kill
against what is there in the end.

ICCKD_KILLS_SEED draws other kills; ICCKD_KILLS_LOG names a file that gets a line of JSON for each
(`python bench/kills.py` makes a table of it).
"""

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil

from icckd.journal.file import read_chunk
from icckd.journal.folder import StateFolder
from icckd.results.store import Store
from tests.cluster.outcomes import artifacts, attempts_by_stage, complete_once
from tests.support.desk import Desk, epochs_recorded
from tests.support.studies import BY_ITSELF, FEW_IMAGES, two_stages

SEED = int(os.environ.get("ICCKD_KILLS_SEED", "1"))
LOG = os.environ.get("ICCKD_KILLS_LOG", "")
STUDY = two_stages("killed", seeds=3, teacher=200, student=80) + FEW_IMAGES + BY_ITSELF
"""Stages of many epochs, each of which takes some milliseconds."""
MOST_SECONDS = 900.0
"""A run takes less, however often it was killed; later kills meet the next one."""
LOOK_SECONDS = 0.1
KILLED = -signal.SIGKILL
ENDINGS = (0, 1, 4, KILLED)
"""Complete; a stage was killed three times; nothing could go on; killed."""
Rows = dict[tuple[str, int, str], float]


@dataclass(frozen=True)
class Outcome:
    """What a study came to.

    Attributes:
        artifacts: SHA-256 by file name, by stage.
        rows: Arm, seed, metric and value of what does not depend on time and machine.
    """

    artifacts: dict[str, dict[str, str]]
    rows: list[tuple[Any, ...]]


def outcome(state: Path) -> Outcome:
    """Return what a state folder holds in the end."""
    with Store.in_memory(StateFolder(state)) as store:
        store.ingest()
        rows = store.select(
            "select arm, seed, metric, value from every_outcome where not"
            " regexp_matches(metric, 'second|memory|energy|data_share') order by all"
        )
    return Outcome(artifacts(state), rows)


def quiet(desk: Desk) -> Outcome:
    """Train the study on this machine, undisturbed."""
    desk.folder.mkdir()
    desk.train("run", desk.write(STUDY), "--device", "cpu")
    return outcome(desk.state)


@dataclass
class Kill:
    """One kill.

    Attributes:
        where: What the study ran on.
        run: Number of the run, from 1.
        victim: What was killed.
        second: When, since the run began.
        epochs: Epochs that were recorded by then.
        did: What the run did until the next kill, or its end.
    """

    where: str
    run: int
    victim: str
    second: float
    epochs: int
    did: str = ""


class Site:
    """Where a study is run, and what of that can be killed.

    Attributes:
        where: What it is called.
        command: Arguments of `icckd run`, the study apart.
        chances: How often each victim is drawn, relative to the others.
        session: The process of `icckd run`, if one was started and its end was not seen.
        endings: Exit codes of those whose end was seen, and the error that ended them.
    """

    where: ClassVar[str]
    chances: ClassVar[dict[str, float]]
    command: tuple[str, ...] = ()

    def __init__(self, desk: Desk, draw: random.Random) -> None:
        self.desk, self.draw = desk, draw
        self.session: Any = None
        self.endings: list[tuple[int, str]] = []
        if not desk.folder.is_dir():
            desk.folder.mkdir()
        desk.write(STUDY)
        desk.environment["ICCKD_CHECKPOINT_SECONDS"] = "0"

    def is_complete(self) -> bool:
        """Have a session; return whether the study is complete."""
        if self.session is not None and self.session.poll() is not None:
            self.ended(*self._ending())
            if self.endings[-1][0] == 0:
                return True
        if self.session is None and self.may_start():
            self.session = self.desk.start("run", "small.toml", *self.command)
        return False

    def _ending(self) -> tuple[int, str]:
        session, self.session = self.session, None
        out, err = session.communicate(timeout=60)
        assert session.returncode in ENDINGS, (session.returncode, out, err)
        assert err.count("  hint:") <= 1, err
        said = [line for line in err.splitlines() if line.startswith("icckd: ")]
        return session.returncode, said[-1] if said and session.returncode == 4 else ""

    def ended(self, code: int, said: str) -> None:
        """Take note of a session that ended."""
        self.endings.append((code, said))

    def may_start(self) -> bool:
        """Whether a session may be started."""
        return True

    def tend(self) -> None:
        """Do what whoever looks after the cluster does."""

    def check(self) -> None:
        """Check, after the run, what only this site has."""

    def kill(self, victim: str) -> bool:
        """Kill something; return whether it was there."""
        act: Callable[[], bool] = getattr(self, f"kill_{victim.replace(' ', '_')}")
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            return act()
        return False

    def kill_driver(self) -> bool:
        """Kill `icckd run`."""
        if self.session is None or self.session.poll() is not None:
            return False
        self.session.kill()
        self.session.wait()
        return True

    def kill_one(self, processes: list[psutil.Process]) -> bool:
        """Kill one of these processes."""
        if processes:
            self.draw.choice(processes).kill()
        return bool(processes)


@dataclass
class Watch:
    """What was acknowledged in a state folder, as it was seen before each kill.

    Attributes:
        state: The state folder.
        lines: Whole lines of the journal of each attempt.
        complete: Attempts at each stage that was complete.
    """

    state: Path
    lines: dict[str, bytes] = field(default_factory=dict)
    complete: dict[str, frozenset[str]] = field(default_factory=dict)

    def look(self) -> None:
        """See what is there, and whether all that was seen before still is."""
        now = {
            path.parent.name: path.read_bytes().rpartition(b"\n")[0]
            for path in (self.state / "attempts").glob("*/journal.jsonl")
        }
        for attempt, lines in self.lines.items():
            assert now[attempt].startswith(lines), f"lines of {attempt} are gone"
        self.lines |= now
        for stage, ends in attempts_by_stage(self.state).items():
            if "complete" in ends:
                self.complete.setdefault(stage, self._attempts_at(stage))

    def _attempts_at(self, stage: str) -> frozenset[str]:
        return frozenset(path.name for path in (self.state / "attempts").glob(f"{stage[:16]}-*"))

    def acknowledged(self) -> Rows:
        """Return the rows of epochs in what was seen."""
        found: Rows = {}
        for attempt in self.lines:
            lines = read_chunk(self.state / "attempts" / attempt / "journal.jsonl").lines
            for line in lines[: self.lines[attempt].count(b"\n") + 1]:
                if line.kind == "m":
                    for metric, value in line.body["values"].items():
                        found[attempt, line.body["epoch"], metric] = value
        return found

    def check(self) -> Counter[str]:
        """Hold what was acknowledged against what is there; return the counts."""
        self.look()
        acknowledged = self.acknowledged()
        with Store.in_memory(StateFolder(self.state)) as store:
            store.ingest()
            rows = store.select("select attempt, epoch, metric, value from metric")
        there = {(attempt, epoch, metric): value for attempt, epoch, metric, value in rows}
        lost = [key for key, value in acknowledged.items() if there.get(key) != value]
        again = [stage for stage, seen in self.complete.items() if self._attempts_at(stage) - seen]
        counts = Counter(
            rows=len(acknowledged),
            lost=len(lost),
            doubled=len(rows) - len(there),
            executed_again=len(again),
        )
        assert not counts["lost"] + counts["doubled"] + counts["executed_again"], counts
        assert counts["rows"] > 0
        return counts


class _Run:
    """One run of the study, and the kills that it met."""

    def __init__(self, number: int, site: Site) -> None:
        self.site, self.number = site, number
        self.kills: list[Kill] = []
        self.watch = Watch(site.desk.state)
        self._start = time.monotonic()
        self._before = self._tally()
        self._plan_next()

    def carry_on(self, kills: int) -> Counter[str]:
        """Run the study to its end, with so many kills at most; return the counts."""
        site = self.site
        while not site.is_complete():
            seconds = time.monotonic() - self._start
            assert seconds < MOST_SECONDS, (self.kills, attempts_by_stage(site.desk.state))
            site.tend()
            if len(self.kills) < kills and self._is_due():
                self._kill()
            time.sleep(LOOK_SECONDS)
        self._tell_what_it_did()
        return self.watch.check()

    def _plan_next(self) -> None:
        """Draw the moment of the next kill: after some epochs, or after some seconds."""
        draw = self.site.draw
        self._after = time.monotonic() + draw.uniform(0.2, 6.0)
        self._epochs = (
            epochs_recorded(self.site.desk) + draw.randrange(1, 80) if draw.random() < 0.7 else 0
        )

    def _is_due(self) -> bool:
        if self._epochs:
            return epochs_recorded(self.site.desk) >= self._epochs
        return time.monotonic() >= self._after

    def _kill(self) -> None:
        site = self.site
        self.watch.look()
        second, epochs = time.monotonic() - self._start, epochs_recorded(site.desk)
        left = dict(site.chances)
        while left:
            [victim] = site.draw.choices(list(left), list(left.values()))
            del left[victim]
            self._tell_what_it_did()
            if site.kill(victim):
                self.kills.append(Kill(site.where, self.number, victim, second, epochs))
                self._plan_next()
                return

    def _tally(self) -> tuple[int, Counter[str], int]:
        journals = sorted((self.site.desk.state / "sessions").glob("*/journal.jsonl"))
        lines = [line.body for path in journals for line in read_chunk(path).lines]
        causes = Counter(line["cause"] for line in lines if line.get("cause"))
        attempts = sum(1 for _ in (self.site.desk.state / "attempts").glob("*"))
        return attempts, causes, len(self.site.endings)

    def _tell_what_it_did(self) -> None:
        before, self._before = self._before, self._tally()
        if not self.kills:
            return
        attempts, causes, endings = self._before
        words = []
        for code, said in self.site.endings[before[2] : endings]:
            if code:
                words.append("run again" if code == KILLED else f"exit {code} {said}".strip())
        words += [f"{count} {cause}" for cause, count in (causes - before[1]).items()]
        if begun := attempts - before[0]:
            words.append(f"{begun} {'attempt' if begun == 1 else 'attempts'} begun")
        told = [*filter(None, [self.kills[-1].did]), *words]
        self.kills[-1].did = "; ".join(told)


def storm(kills: int, expected: Outcome, site_of: Callable[[int, random.Random], Site]) -> None:
    """Run the study until so many kills have met it, and check each run.

    Args:
        kills: How many.
        expected: What a quiet run came to.
        site_of: Makes where the run of a number takes place.
    """
    draw = random.Random(SEED)  # moments, no secrets
    met: list[Kill] = []
    totals: Counter[str] = Counter()
    while len(met) < kills:
        site = site_of(totals["runs"] + 1, draw)
        run = _Run(totals["runs"] + 1, site)
        counts = run.carry_on(kills - len(met))
        met += run.kills
        totals += counts + Counter(runs=1)
        for each in run.kills:
            print(f"{each.where} run {each.run}, {each.second:6.1f} s, {each.epochs:4} epochs:"
                  f" {each.victim:12} {each.did or 'went on'}", flush=True)  # fmt: skip
        state = site.desk.state
        assert outcome(state) == expected
        assert complete_once(state), attempts_by_stage(state)
        said = site.desk.run_apart("fsck")
        assert said.returncode == 0, said.stdout
        site.check()
        print(f"run {run.number}: {dict(counts)}; {len(met)} of {kills} kills", flush=True)
    if LOG:
        with Path(LOG).open("a") as log:
            for each in met:
                log.write(json.dumps(asdict(each)) + "\n")
            log.write(json.dumps({"where": site.where, "totals": dict(totals)}) + "\n")
