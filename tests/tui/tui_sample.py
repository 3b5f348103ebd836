"""A study as it might stand halfway: seven arms, eight seeds, thirty epochs."""

import math
import random

import numpy as np

from icckd.resources import GpuSample, HostSample
from icckd.results.types import (
    ArmRow,
    Comparison,
    Curve,
    LogRow,
    Progress,
    StateCounts,
    StudyInfo,
    TrialRow,
)
from icckd_tui.feed import Source
from icckd_tui.view_model.host import Host

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
METRICS = (
    ("student.top1", "%", 1.0),
    ("teacher.top1", "%", 1.4),
    ("student.convergence", "epochs", -2.0),
    ("teacher.stability", "nats", -0.02),
    ("teacher.memory_rss", "bytes", 4e6),
)
SERIES = ("student.ce", "student.val_top1", "teacher.ce", "teacher.lr", "teacher.val_top1")


def study(arms=ARMS):
    return StudyInfo(
        name="icc-ablations",
        revision="r1",
        question="What do the parts contribute?",
        baseline=arms[0][0],
        primary="student.top1",
        metrics=tuple(name for name, *_ in METRICS),
        arms=tuple(
            ArmRow(name=n, role=r, title=n, action=a, control_for=c, changes=())
            for n, r, a, c, _ in arms
        ),
        seeds=SEEDS,
        smallest_effect=0.5,
        family=("no-margin", "no-cache"),
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
                TrialRow(
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


def comparisons(arms=ARMS):
    rows = []
    for metric, unit, weight in METRICS:
        for place, (arm, *_, level) in enumerate(arms):
            n = 5 if place < 3 else 4
            never = 3 if metric == "student.convergence" and place == 6 else 0
            n = 8 if metric.startswith("teacher") and place == 0 else n
            shift = (level - arms[0][4]) * weight
            base = {"%": 96.0, "epochs": 12.0, "nats": 0.2, "bytes": 6.1e8}[unit]
            difference = None if place == 0 or never else shift
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
                    p_adjusted=0.024 if place in (1, 3) and metric == "student.top1" else None,
                    verdict="helps" if place == 3 and metric == "student.top1" else "",
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
    return LogRow(time=time, level=level, arm=arm, seed=seed, stage="teacher", text=text)


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
    }
    return HostSample(gpus=tuple(gpus), **{**values, **more})


def host(gpus=(), history=(0.0, 50.0, 100.0), **more):
    return Host(sample=host_sample(gpus, **more), history=history)


class FakeReader:
    """A reader of fixed values; `changed` makes the next refresh bring them again."""

    def __init__(self, arms=ARMS):
        self.arms = arms
        self.changed = True
        self.error = None
        self.asked = []
        self.values = {
            "study": study(arms),
            "progress": progress(),
            "trials": trials(arms),
            "comparisons": comparisons(arms),
            "series": SERIES,
            "log": log(),
        }
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
        return self.values["study"]

    def progress(self, study):
        return self.values["progress"]

    def trials(self, study):
        return self.values["trials"]

    def comparisons(self, study):
        return self.values["comparisons"]

    def series(self, study):
        return self.values["series"]

    def curves(self, study, metric):
        self.asked.append(metric)
        return curves(metric, self.arms, self.epochs)

    def log(self, study, limit):
        return self.values["log"][-limit:]

    def source(self, ready=lambda: True, host=None):
        return Source(ready=ready, open=lambda: self, host=host)
