"""A study as it might stand halfway: seven arms, eight seeds, thirty epochs."""

import math
import random
import socket
import threading

import numpy as np

from icckd.errors import UsageError
from icckd.journal.owner import boot_id
from icckd.resources import GpuSample, HostSample, ProcessSample
from icckd.results.series import TrialSeries
from icckd.results.trials import StageStatus
from icckd.results.types import (
    Attempt,
    Comparison,
    Curve,
    LogEntry,
    Progress,
    StateCounts,
    StudyInfo,
    Table,
    TrialStatus,
)
from icckd.study.paths import Change
from icckd.study.records import Arm, Hypothesis
from icckd_tui.feed import Source
from icckd_tui.host import Host

NOW = 1_000_000.0
EPOCHS = 30
SEEDS = tuple(range(8))
ARMS = (
    ("full", "baseline", "", None, 96.1),
    ("no-margin", "ablation", "REMOVE", None, 95.2),
    ("no-margin-matched", "control", "", "no-margin", 95.3),
    ("no-cache", "ablation", "REMOVE", None, 94.4),
    ("no-cache-matched", "control", "", "no-cache", 95.0),
    ("plain-kd", "ablation", "REPLACE", None, 93.9),
    ("single-view", "combination", "", None, 93.2),
)
TITLES = {"no-margin": "Remove the margin filter", "no-cache": "Remove the negative cache"}
QUESTIONS = ("no-margin", "no-cache")
METRICS = (
    ("student.top1", "%", 1.0),
    ("teacher.top1", "%", 1.4),
    ("student.convergence", "epochs", -2.0),
    ("teacher.stability", "nats", -0.02),
    ("teacher.memory_rss", "bytes", 4e6),
)
SERIES = ("student.ce", "student.val_top1", "teacher.ce", "teacher.lr", "teacher.val_top1")


_MARGIN = Change(path="teacher.intra.margin", before={"threshold": 0.5}, after="off")
_CACHE = Change(path="teacher.intra.cache", before={"per_class": 64, "warmup": 1}, after="off")
_VIEWS = Change(path="teacher.views", before=2, after=1)


def _weight(after):
    return Change(path="teacher.intra.weight", before=0.02, after=after)


_CHANGES = ((), (_MARGIN,), (_MARGIN, _weight(0.017)), (_CACHE,), (_CACHE, _weight(0.022)),
            (_weight(0.0),), (_weight(0.0), _VIEWS))  # fmt: skip


def _changes(place):
    return _CHANGES[place] if place < len(_CHANGES) else (_weight(place / 10),)


def study(arms=ARMS):
    return StudyInfo(
        name="icc-ablations",
        revision="r1",
        question="What do the parts contribute?",
        baseline=arms[0][0],
        primary="student.top1",
        metrics=tuple(name for name, *_ in METRICS),
        arms=tuple(
            Arm(
                name=n,
                role=r,
                title=TITLES.get(n, n),
                action=a,
                control_for=c,
                changes=_changes(place),
            )
            for place, (n, r, a, c, _) in enumerate(arms)
        ),
        resolved={
            "data": {"train": 450},
            "student": {"training": {"batch_size": 64}},
            "teacher": {"training": {"batch_size": 64}},
        },
        seeds=SEEDS,
        smallest_effect=0.5,
        family=QUESTIONS,
        rule="one extension",
        hypotheses=tuple(
            Hypothesis(arm=arm, metric="student.top1", smallest_effect=0.5)
            for arm in QUESTIONS
            if arm in [name for name, *_ in arms]
        ),
        planned_at=NOW - 600,
    )


def trials(arms=ARMS):
    rows = []
    for seed in SEEDS:
        for place, (arm, *_, level) in enumerate(arms):
            order = seed * len(arms) + place
            state = "complete" if order < 31 else ("running" if order < 37 else "pending")
            if (seed, place) in ((3, 3), (4, 1)):
                state = "failed"
            reason = "loss term 'intra' is not finite at step 412" if state == "failed" else ""
            done = state == "complete"
            rows.append(
                TrialStatus(
                    arm=arm,
                    seed=seed,
                    state=state,
                    stage="" if state == "pending" else ("student" if done else "teacher"),
                    epoch=EPOCHS if done else (0 if state == "pending" else 4 + order % 20),
                    epochs=EPOCHS,
                    attempts=1,
                    seconds=0.0 if state == "pending" else 61.0 + order,
                    primary=level + 0.1 * seed if done else None,
                    difference=level - arms[0][4] + 0.03 * seed if done and place else None,
                    reason=reason,
                )
            )
    return tuple(rows)


def comparisons(arms=ARMS, against=0):
    """Against another arm than the first, nothing is judged."""
    rows = []
    for metric, unit, weight in METRICS:
        for place, (arm, *_, level) in enumerate(arms):
            n = 5 if place < 3 else 4
            never = 3 if metric == "student.convergence" and place == 6 else 0
            n = 8 if metric.startswith("teacher") and place == 0 else n
            shift = (level - arms[0][4]) * weight
            change = (level - arms[against][4]) * weight
            base = {"%": 96.0, "epochs": 12.0, "nats": 0.2, "bytes": 6.1e8}[unit]
            difference = None if place == against or never else change
            judged = metric == "student.top1" and against == 0
            half = abs(weight) * (0.4 if place % 2 else 1.3)
            rows.append(
                Comparison(
                    arm=arm,
                    metric=metric,
                    unit=unit,
                    n=n,
                    never=never,
                    missing=tuple(SEEDS[n:]),
                    mean=None if never else base + shift,
                    spread=None if never else 0.5,
                    median=base + shift,
                    pairs=n,
                    difference=difference,
                    low=None if difference is None else difference - half,
                    high=None if difference is None else difference + half,
                    p=None if difference is None else 0.012,
                    p_adjusted=0.024 if judged and place in (1, 3) else None,
                    verdict={1: "undecided", 3: "helps"}.get(place, "") if judged else "",
                    more_seeds=57 if judged and place == 1 else None,
                    more_seeds_least=30 if judged and place == 1 else None,
                )
            )
    return tuple(rows)


def curves(metric="student.val_top1", arms=ARMS, epochs=EPOCHS):
    found = []
    for place, (arm, *_, level) in enumerate(arms):
        rng = np.random.default_rng(place)
        x = np.arange(1, epochs + 1)
        noise = rng.normal(0, 1.2, (len(SEEDS), len(x))) * np.exp(-x / 14)
        shape = 1 - np.exp(-x / (4.0 + place * 0.7))
        values = (level - 45) * shape + 45 + noise + rng.normal(0, 0.35, (len(SEEDS), 1))
        if metric.endswith(".ce"):
            values = (100 - values) / 30
        if metric.endswith("train_seconds"):
            values = np.tile(1.5 * x, (len(SEEDS), 1))
        mean, spread = values.mean(0), values.std(0, ddof=1)
        half = 2.36 * spread / math.sqrt(len(SEEDS))
        found.append(
            Curve(
                arm=arm,
                metric=metric,
                epochs_E=x.astype(np.int64),
                mean_E=mean,
                low_E=mean - half,
                high_E=mean + half,
                count_E=np.full(len(x), len(SEEDS), np.int64),
                seeds=SEEDS,
                values_SE=values,
                planned_epochs=EPOCHS,
            )
        )
    return tuple(found)


def log_row(time, level, arm, seed, text):
    return LogEntry(time=time, level=level, arm=arm, seed=seed, stage="teacher", text=text)


def log(count=40):
    dice = random.Random(1)
    rows = []
    for place in range(count):
        arm = dice.choice(ARMS)[0]
        level = "warning" if place % 17 == 11 else "info"
        text = f"epoch {place % 30 + 1}/30, val_top1 {90 + dice.random() * 6:.2f} %"
        if level == "warning":
            text = "validation accuracy fell by 2.1 points in one epoch"
        rows.append(log_row(NOW - count + place, level, arm, place % 8, text))
    rows.append(log_row(NOW, "error", "no-cache", 3, "loss term 'intra' is not finite at step 412"))
    return tuple(rows)


def progress(session="live", **more):
    values = {
        "trials": StateCounts(complete=29, running=6, failed=2, pending=19),
        "stages": StateCounts(complete=64, running=6, failed=2, pending=40),
        "session": session,
        "started": NOW - 600,
        "newest": NOW - 0.3,
        "eta_seconds": 840.0,
        "workers": 6,
    }
    return Progress(**{**values, **more})


GIB = 2**30


def gpu(utilisation=78.0, used=90 * GIB, total=141 * GIB):
    return GpuSample(
        name="NVIDIA H200", utilisation=utilisation, memory_used=used, memory_total=total
    )


def host_sample(gpus=(), **more):
    values = {
        "cpu": 41.2,
        "load": 6.25,
        "memory_used": 12.3 * GIB,
        "memory_total": 31.9 * GIB,
        "disk_free": 214 * GIB,
        "disk_total": 500 * GIB,
    }
    return HostSample(gpus=tuple(gpus), **{**values, **more})


def host(gpus=(), history=(0.0, 50.0, 100.0), **more):
    past = tuple(host_sample(gpus, cpu=share) for share in history)
    return Host(sample=host_sample(gpus, **more), past=past)


def attempt(kind="student", state="complete", **more):
    values = {
        "attempt": f"{kind}-1",
        "stage": f"{kind}-digest",
        "kind": kind,
        "replicate": 0,
        "state": state,
        "epoch": EPOCHS,
        "epochs": EPOCHS,
        "started": NOW - 300,
        "seconds": 41.5,
        "reason": "",
        "host": "machine-a",
        "environment": {"python": "3.11.7", "torch": "2.11.0", "gpus": ""},
        "numerics": {"device": "cpu", "threads": 1},
        "settings": {"data": {"kind": "digits", "train": 450}, kind: {"training": {"lr": 0.05}}},
        "cause": "",
        "hint": "",
        "traceback": "",
    }
    return Attempt(**{**values, **more})


TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 12, in step
    loss.backward()
FloatingPointError: loss term 'intra' is not finite at step 412"""


def queue(arms=ARMS):
    """Two stages a trial in the plan's order; the teachers of seed 0 are shared by all arms."""
    rows = []
    for trial in sorted(trials(arms), key=lambda row: row.seed):
        for kind in ("teacher", "student"):
            place = len(rows)
            waits = trial.state == "running" and kind == "student"
            state = "pending" if waits else trial.state
            open_ = state in ("running", "pending")
            rows.append(
                StageStatus(
                    stage=f"stage-{place}",
                    kind=kind,
                    replicate=0,
                    state=state,
                    epoch=trial.epoch if state != "pending" else 0,
                    epochs=EPOCHS,
                    seconds=20.0 if state != "pending" else 0.0,
                    started=NOW - 100,
                    attempts=2 if state == "failed" else 1,
                    attempt=f"attempt-{place}",
                    reason=trial.reason if state == "failed" else "",
                    trials=((trial.arm, trial.seed),),
                    left=30.0 if open_ else None,
                    spread=4.0 if open_ else None,
                    memory=0.9 * GIB,
                    host=socket.gethostname(),
                    boot=boot_id(),
                    pid=4000 + place,
                )
            )
    return tuple(rows)


def process(pid, cpu=97.0, memory=int(0.7 * GIB), gpu=None):
    return ProcessSample(pid=pid, cpu=cpu, memory=memory, gpu_memory=gpu)


class FakeReader:
    """A reader of fixed values; `changed` makes the next refresh bring them again."""

    def __init__(self, arms=ARMS):
        self.arms = arms
        self.changed = True
        self.error = None
        self.asked = []
        self.data = {
            "study": study(arms),
            "progress": progress(),
            "trials": trials(arms),
            "comparisons": comparisons(arms),
            "series": SERIES,
            "log": log(),
            "queue": queue(arms),
            "requests": (),
        }
        self.interrupted = threading.Event()
        self.epochs = EPOCHS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def refresh(self):
        if self.error is not None:
            raise self.error
        changed, self.changed = self.changed, False
        return changed

    def study(self, name):
        return self.data["study"]

    def is_packed(self, study):
        return False

    def progress(self, study):
        return self.data["progress"]

    def trials(self, study):
        return self.data["trials"]

    def comparisons(self, study):
        place = [arm for arm, *_ in self.arms].index(study.baseline)
        return self.data["comparisons"] if place == 0 else comparisons(self.arms, place)

    def item_changes(self, study, metric, *, most):
        return self.data.get("items", ())

    def series(self, study):
        return self.data["series"]

    def curves(self, study, metric):
        self.asked.append(metric)
        return curves(metric, self.arms, self.epochs)

    def log(self, study, limit, arm=None, seed=None):
        rows = self.data["log"]
        if arm is not None:
            rows = tuple(row for row in rows if (row.arm, row.seed) == (arm, seed))
        return rows[-limit:]

    def attempts(self, study, arm, seed):
        state = next(t.state for t in self.data["trials"] if (t.arm, t.seed) == (arm, seed))
        if state == "failed":
            more = {"reason": "not finite", "hint": "lower the rate", "traceback": TRACEBACK}
            return (attempt("teacher"), attempt(state="failed", epoch=7, **more))
        return () if state == "pending" else (attempt("teacher"), attempt())

    def trial_series(self, study, arm, seed):
        found = []
        for metric in SERIES:
            curve = next(c for c in curves(metric, self.arms, self.epochs) if c.arm == arm)
            series = TrialSeries(
                metric=metric, epochs_E=curve.epochs_E, values_E=curve.values_SE[seed]
            )
            found.append(series)
        return tuple(found)

    def values(self, study, metric):
        known = metric in [name for name, *_ in METRICS]
        return {arm: dict.fromkeys(SEEDS, 91.5) for arm, *_ in self.arms} if known else {}

    def trial_outcomes(self, study, arm, seed):
        return dict.fromkeys(study.in_order([name for name, *_ in METRICS]), 91.5)

    def queue(self, study):
        return self.data["queue"]

    def requests(self, study):
        return self.data["requests"]

    def views(self):
        return [("comparison", "Arms by metric."), ("trial", "Trials of latest revisions.")]

    def ask(self, sql, *, rows):
        self.asked.append(sql)
        self.interrupted.clear()
        if "slow" in sql:
            assert self.interrupted.wait(10)
            raise UsageError("SQL: INTERRUPT Error: Interrupted!")
        if "wrong" in sql:
            raise UsageError(
                "SQL: Parser Error: syntax error", hint="views and tables: show tables"
            )
        found = tuple((f"arm {place}", place * 0.5, None) for place in range(300))
        return Table(columns=("arm", "value", "note"), rows=found[:rows]), len(found) > rows

    def close(self):
        self.interrupted.set()

    def source(self, ready=lambda: True, host=None, processes=None):
        return Source(
            ready=ready,
            open=lambda: self,
            host=host,
            processes=processes,
            sandbox=lambda: self,
            views=self.views,
        )
