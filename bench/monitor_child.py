"""One scenario of `monitor.py`, inside the pseudo-terminal: SCENARIO and a file for the figures.

Everything shown is synthetic.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from icckd.resources import HostSample
from icckd.results.types import (
    Comparison,
    Curve,
    LogEntry,
    Progress,
    StateCounts,
    StudyInfo,
    TrialStatus,
)
from icckd.study.records import Arm
from icckd_tui.app import FeedUpdate, WatchApp
from icckd_tui.data import Frame
from icckd_tui.feed import Source
from icckd_tui.host import Host
from icckd_tui.terminal import return_large_blocks

LIVE_SECONDS = 20.0
HERTZ = 4
METRICS = ("student.val_top1", "student.ce", "teacher.val_top1", "teacher.ce")
Figures = dict[str, float]


def study(arms: int, seeds: int) -> StudyInfo:
    """Return a study of so many arms and seeds."""
    return StudyInfo(
        name="synthetic", revision="r", question="", baseline="arm-0", primary="student.top1",
        metrics=("student.top1", "teacher.top1"),
        arms=tuple(
            Arm(name=f"arm-{n}", role="variant" if n else "baseline", title="", action="",
                   control_for=None, changes=())
            for n in range(arms)
        ),
        seeds=tuple(range(seeds)), smallest_effect=None, family=(), planned_at=0.0,
    )  # fmt: skip


def trials(info: StudyInfo, epoch: int) -> tuple[TrialStatus, ...]:
    """Return trials of which every fourth runs."""
    rows = []
    for place, arm in enumerate(info.arms):
        for seed in info.seeds:
            running = (place + seed) % 4 == 0
            rows.append(
                TrialStatus(
                    arm=arm.name, seed=seed, state="running" if running else "complete",
                    stage="student", epoch=epoch if running else 9999, epochs=9999, attempts=1,
                    seconds=60.0 + epoch, primary=None if running else 90.0 + place % 7,
                    difference=None if running or not place else 0.1 * place, reason="",
                )
            )  # fmt: skip
    return tuple(rows)


def curves(info: StudyInfo, points: int, planned: int, metric: str) -> tuple[Curve, ...]:
    """Return curves of so many points, one an arm."""
    found = []
    for place, arm in enumerate(info.arms):
        dice = np.random.default_rng(place)
        x = np.arange(1, points + 1, dtype=np.int32)
        shape = 90 - 60 * np.exp(-4 * x / planned) - place
        values = shape + dice.normal(0, 0.5, (len(info.seeds), points))
        values = values.astype(np.float32)  # as `icckd.results.series` holds them
        mean = values.mean(0)
        half = values.std(0) if len(info.seeds) > 1 else np.full(points, np.nan, np.float32)
        found.append(
            Curve(
                arm=arm.name, metric=metric, epochs_E=x, mean_E=mean, low_E=mean - half,
                high_E=mean + half, count_E=np.full(points, len(info.seeds), np.int32),
                seeds=info.seeds, values_SE=values, planned_epochs=planned,
            )
        )  # fmt: skip
    return tuple(found)


def comparisons(info: StudyInfo, tick: int) -> tuple[Comparison, ...]:
    """Return comparisons that move a little with each tick."""
    return tuple(
        Comparison(
            arm=arm.name, metric=metric, unit="%", n=len(info.seeds), never=0, missing=(),
            mean=90.0 + place + 0.01 * tick, spread=0.5, median=90.0, pairs=len(info.seeds),
            difference=0.1 * place + 0.01 * tick, low=0.1 * place - 0.5, high=0.1 * place + 0.5,
            p=0.1, p_adjusted=None, verdict="",
        )
        for place, arm in enumerate(info.arms)
        for metric in info.metrics
    )  # fmt: skip


def frame(info: StudyInfo, tick: int, shown: dict[str, tuple[Curve, ...]]) -> Frame:
    """Return a frame at this tick."""
    now = time.time()
    rows = trials(info, 5000 + tick)
    counts = StateCounts(running=sum(r.state == "running" for r in rows), complete=len(rows))
    progress = Progress(
        trials=counts, stages=counts, session="live", started=now - 600, newest=now,
        eta_seconds=900.0 - tick, workers=4,
    )  # fmt: skip
    log = tuple(
        LogEntry(time=now, level="info", arm="arm-1", seed=0, stage="student", text=f"epoch {n}")
        for n in range(tick, tick + 40)
    )
    return Frame(
        study=info, progress=progress, trials=rows, comparisons=comparisons(info, tick),
        series=METRICS, log=log, curves=shown,
    )  # fmt: skip


async def painted(app: WatchApp) -> None:
    """Wait until what was shown is on the terminal."""
    done = asyncio.Event()
    app.screen.call_after_refresh(done.set)
    await asyncio.wait_for(done.wait(), 20.0)


async def settle(app: WatchApp) -> None:
    """Let panes that fill in later turns be painted."""
    for _ in range(3):
        await painted(app)


def grown(whole: tuple[Curve, ...], points: int) -> tuple[Curve, ...]:
    """Return the first points of curves."""
    return tuple(
        replace(
            c, epochs_E=c.epochs_E[:points], mean_E=c.mean_E[:points], low_E=c.low_E[:points],
            high_E=c.high_E[:points], values_SE=c.values_SE[:, :points],
        )
        for c in whole
    )  # fmt: skip


async def chart(app: WatchApp) -> Figures:
    """Ten series of 100,000 points that grow, one chart alone."""
    info, points = study(10, 1), 100_000
    whole = curves(info, points, points, METRICS[0])
    app.on_feed_update(FeedUpdate(frame(info, 0, {METRICS[0]: whole, METRICS[1]: ()})))
    await settle(app)
    screen = app.monitor_screen
    assert screen is not None
    screen.go_to("curves")
    screen.action_maximize_pane()
    await settle(app)
    pane, base, times = screen, frame(info, 0, {}), []
    for tick in range(60):
        shown = grown(whole, points - 6000 + 100 * tick)
        app.state.frame = replace(base, curves={METRICS[0]: shown, METRICS[1]: ()})
        start = time.process_time()
        pane.refill("curves")
        await painted(app)
        times.append(time.process_time() - start)
    return {"p50": statistics.median(times), "p95": sorted(times)[57]}


async def idle(app: WatchApp) -> Figures:
    """Nothing new, but the age of the newest line."""
    info = study(8, 8)
    app.on_feed_update(FeedUpdate(frame(info, 0, {m: curves(info, 500, 900, m) for m in METRICS})))
    await settle(app)
    start, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(LIVE_SECONDS)
    used, passed = time.process_time() - start, time.perf_counter() - wall
    return {"share": 100 * used / passed, "seconds": passed}


def live_frames() -> list[Frame]:
    """Return readings of a study of 64 trials whose curves grow."""
    info, points = study(8, 8), 900
    whole = {m: curves(info, points, points, m) for m in METRICS}
    return [
        frame(info, tick, {m: grown(c, 500 + tick) for m, c in whole.items()})
        for tick in range(int(LIVE_SECONDS * HERTZ) + 1)
    ]


def take(app: WatchApp, number: int, reading: Frame, past: list[HostSample]) -> None:
    """Give the app a reading, and every second a sample of the machine."""
    app.on_feed_update(FeedUpdate(reading))
    if number % HERTZ == 0:
        past.append(sample(number))
        app.on_feed_update(FeedUpdate(Host(sample=past[-1], past=tuple(past))))


async def live(app: WatchApp) -> Figures:
    """The study screen at four readings a second."""
    frames, ticks, past = live_frames(), [], []
    app.on_feed_update(FeedUpdate(frames[0]))
    await settle(app)
    start, wall = time.process_time(), time.perf_counter()
    for number, reading in enumerate(frames[1:], 1):
        before = time.process_time()
        take(app, number, reading, past)
        await settle(app)
        ticks.append(time.process_time() - before)
        await asyncio.sleep(max(0.0, wall + number / HERTZ - time.perf_counter()))
    used, passed = time.process_time() - start, time.perf_counter() - wall
    ticks.sort()
    return {
        "share": 100 * used / passed, "seconds": passed,
        "tick_p50": statistics.median(ticks), "tick_p95": ticks[int(len(ticks) * 0.95)],
    }  # fmt: skip


async def keys(app: WatchApp) -> Figures:
    """The same with a key that moves the focus after every third reading, and a lag watch."""
    frames, waits, past, lags = live_frames(), [], [], []
    app.on_feed_update(FeedUpdate(frames[0]))
    await settle(app)
    sentinel = asyncio.ensure_future(watch_lag(lags))
    wall = time.perf_counter()
    for number, reading in enumerate(frames[1:], 1):
        take(app, number, reading, past)
        if number % 3 == 0:
            pressed = time.perf_counter()
            await app.run_action("screen.focus_arm(1)" if number % 2 else "screen.focus_arm(-1)")
            await painted(app)
            waits.append(time.perf_counter() - pressed)
        await settle(app)
        await asyncio.sleep(max(0.0, wall + number / HERTZ - time.perf_counter()))
    sentinel.cancel()
    waits.sort()
    lags.sort()
    return {
        "seconds": time.perf_counter() - wall,
        "key_p50": statistics.median(waits), "key_p95": waits[int(len(waits) * 0.95)],
        "lag_p99": lags[int(len(lags) * 0.99)], "lag_max": lags[-1],
    }  # fmt: skip


async def watch_lag(lags: list[float]) -> None:
    """Note how late a sleeper of ten milliseconds wakes up."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(time.perf_counter() - start - 0.01)


def sample(number: int) -> HostSample:
    """Return a sample of a machine."""
    gib = 2**30
    return HostSample(
        cpu=50.0 + number % 40, load=2.0, memory_used=12 * gib, memory_total=32 * gib,
        disk_free=200 * gib, disk_total=500 * gib, gpus=(),
    )  # fmt: skip


async def table(app: WatchApp) -> Figures:
    """Ten thousand trials in the list."""
    info = study(100, 100)
    readings = [frame(info, tick, dict.fromkeys(METRICS[:2], ())) for tick in range(21)]
    app.state.apply(readings[0])
    screen = app.monitor_screen
    assert screen is not None
    screen.go_to("trials")
    screen.action_maximize_pane()
    start = time.process_time()
    screen.refill("trials")
    await painted(app)
    fill, times = time.process_time() - start, []
    for reading in readings[1:]:
        app.state.frame = reading
        start = time.process_time()
        screen.refill("trials")
        await painted(app)
        times.append(time.process_time() - start)
    return {"fill": fill, "update": statistics.median(times)}


async def memory(app: WatchApp) -> Figures:
    """Sixty trials of four series of 100,000 points, as the screens hold them."""
    process = psutil.Process()
    info = study(6, 10)
    app.on_feed_update(FeedUpdate(frame(info, 0, {m: curves(info, 10, 10, m) for m in METRICS})))
    await settle(app)
    base = process.memory_info().rss
    whole = {m: curves(info, 100_000, 100_000, m) for m in METRICS}
    app.on_feed_update(FeedUpdate(frame(info, 1, whole)))
    await settle(app)
    return {"base": base, "rss": process.memory_info().rss}


SCENARIOS: dict[str, Callable[[WatchApp], Awaitable[Figures]]] = {
    "chart": chart, "idle": idle, "live": live, "keys": keys, "table": table, "memory": memory,
}  # fmt: skip


def main(name: str, answer: str) -> None:
    """Run the app with nothing to read; the scenario brings the news."""
    return_large_blocks()  # as `run_watch` does
    nothing = Source(ready=lambda: False, open=lambda: None)  # type: ignore[arg-type,return-value]
    app = WatchApp(nothing, None)
    app._feed.start = lambda: None  # type: ignore[method-assign]
    app.state.has_host = name == "live"
    figures: Figures = {}
    failed: list[BaseException] = []

    async def run() -> None:
        await asyncio.sleep(0.5)
        try:
            figures.update(await SCENARIOS[name](app))
        except BaseException as error:
            failed.append(error)
        app.exit()

    app.call_later(lambda: asyncio.ensure_future(run()))
    app.run()
    if failed:
        raise failed[0]
    Path(answer).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
