"""What every screen looks like: text and styles, in four themes and three sizes.

A file holds a screen at one size: its text in the dark theme, and before each line a digest of
text and style in each theme. Where a line differs on purpose, write the files again with
ICCKD_SNAPSHOTS=write and read the difference.
"""

import asyncio
import hashlib
import importlib.util
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from icckd_tui.app import FeedUpdate, WatchApp
from icckd_tui.host import Host
from icckd_tui.screens.registry import SCREENS
from icckd_tui.theme import ASCII, BRAILLE
from tests.support import monitor as sample
from tests.support.lanes import slow_but
from tests.tui.settling import settled

FOLDER = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (120, 35), (160, 45))
THEMES = ("dark", "light", "monochrome", "ascii")
PAGE = Path(__file__).parents[2] / "docs" / "screens" / "page.py"


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines_of(app):
    """Return text and digest of each line of the screen in front; a blank has no foreground."""
    found = []
    for strip in app.screen._compositor.render_strips():
        text = "".join(segment.text for segment in strip)
        cells = [
            (char, segment.style.bgcolor, segment.style.reverse,
             *((segment.style.color, segment.style.bold) if char.strip() else ()))
            for segment in strip for char in segment.text
        ]  # fmt: skip
        found.append((text, hashlib.sha256(repr(cells).encode()).hexdigest()[:6]))
    return found


async def all_screens(size, theme):
    """Return the lines of every screen."""
    reader = sample.FakeReader()
    options = {"glyphs": ASCII if theme == "ascii" else BRAILLE}
    if theme == "light":
        options["theme"] = "icckd-light"
    app = WatchApp(
        reader.source(host=sample.host_sample), None, clock=lambda: sample.NOW, **options
    )
    shown = {}
    async with app.run_test(size=size) as pilot:
        app._feed._host = None
        while app.state.frame is None:
            await asyncio.sleep(0.01)
        past = tuple(sample.host_sample(cpu=float(share)) for share in range(0, 100, 7))
        app.on_feed_update(FeedUpdate(Host(sample=past[-1], past=past)))
        for name in SCREENS:
            app.open(name)
            await pilot.pause()
            for _ in range(1000):
                if app.state.frame.request == app.state.feed.request:
                    break
                await asyncio.sleep(0.01)
            assert app.state.frame.request == app.state.feed.request, app.state.update
            await settled(min_sleep=0.05, max_sleep=30)
            shown[name] = lines_of(app)
    return shown


@pytest.mark.parametrize("size", slow_but(SIZES, (80, 24)), ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_screen_looks_as_it_did(size, monkeypatch, berlin):
    monkeypatch.setattr(sample.socket, "gethostname", lambda: "machine-a")
    shown = {}
    for theme in THEMES:
        if theme == "monochrome":
            monkeypatch.setenv("NO_COLOR", "1")
        else:
            monkeypatch.delenv("NO_COLOR", raising=False)
        shown[theme] = asyncio.run(all_screens(size, theme))
    for name in SCREENS:
        rows = [
            " ".join(shown[theme][name][place][1] for theme in THEMES) + f" |{text}"
            for place, (text, _) in enumerate(shown["dark"][name])
        ]
        path = FOLDER / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("ICCKD_SNAPSHOTS") == "write":
            FOLDER.mkdir(exist_ok=True)
            path.write_text("\n".join(rows) + "\n")
        assert path.read_text().splitlines() == rows, path.name


def test_the_page_about_the_monitor_lists_the_bindings_of_its_screens():
    spec = importlib.util.spec_from_file_location("page", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.PAGE.read_text() == module.page()


def test_every_picture_of_the_page_is_there():
    text = (PAGE.parents[1] / "monitor.md").read_text()
    names = [part.split(")")[0] for part in text.split("](")[1:]]

    assert names
    assert all((PAGE.parents[1] / name).exists() for name in names)


# The first screen in each state of a study: what it must say, and what it looks like.


def rows_with(**changed):
    """The sample's comparisons, those of arms (underscores for hyphens) changed on the primary."""
    return tuple(
        replace(row, **changed.get(row.arm.replace("-", "_"), {}))
        if row.metric == "student.top1" else row
        for row in sample.comparisons()
    )  # fmt: skip


def trials_with(state, reason):
    """The sample's trials, all complete but one that is in this state."""
    rows = [replace(row, state="complete", reason="") for row in sample.trials()]
    place = next(n for n, row in enumerate(rows) if (row.arm, row.seed) == ("no-cache", 3))
    rows[place] = replace(rows[place], state=state, reason=reason, primary=None, difference=None)
    return tuple(rows)


NO_FAILURES = tuple(replace(row, state="pending", reason="") if row.state == "failed" else row
                    for row in sample.trials())  # fmt: skip
OPEN = {"verdict": "undecided", "more_seeds": 57, "more_seeds_least": 30}
EQUAL = {
    "verdict": "equivalent", "p_equivalence_adjusted": 0.004, "smallest_effect": 0.5,
    "difference": 0.05, "low": -0.2, "high": 0.3,
}  # fmt: skip
DIVERGED = {"diverged": (3,), "difference": None, "low": None, "high": None, "verdict": "helps"}
RUNNING = sample.StateCounts(complete=31, running=6, pending=19)
STATES = {
    "running": (
        {"trials": NO_FAILURES, "comparisons": rows_with(no_margin=OPEN, no_cache=OPEN),
         "progress": sample.progress(trials=RUNNING)},
        ("LIVE", "0 of 2 decided", "about 14 min left", "▶ 6"),
    ),
    "undecided": (
        {"trials": trials_with("complete", ""), "progress": sample.progress(
            "ended", trials=sample.StateCounts(complete=56))},
        ("ENDED", "0 of 2 decided; no-margin needs 30 to 57 more seeds",
         "56 of 56 trials complete"),
    ),
    "decided": (
        {"comparisons": rows_with(no_margin=EQUAL)},
        ("ENDED", "2 of 2 decided", "no-margin equivalent, no-cache helps"),
    ),
    "failed": (
        {"trials": trials_with("failed", "loss term 'intra' is not finite at step 412"),
         "progress": sample.progress("ended", trials=sample.StateCounts(complete=55, failed=1))},
        ("✗ 1 failed (no-cache s3: loss term 'intra' is not finite", "▨1"),
    ),
    "blocked": (
        {"trials": trials_with("blocked", "its teacher failed"),
         "progress": sample.progress("ended", trials=sample.StateCounts(complete=55, blocked=1))},
        ("⊘ 1 blocked", "⊘1"),
    ),
    "diverged": (
        {"trials": trials_with("failed", "loss term 'ce' is not finite at step 9"),
         "comparisons": rows_with(no_margin=EQUAL, no_cache=DIVERGED),
         "progress": sample.progress("ended", trials=sample.StateCounts(complete=55, failed=1))},
        ("training diverged under seed 3", "the part helps", "✗ 1 failed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_first_screen_says_in_which_state_a_study_is(watch, size, berlin):
    async def scenario(it):
        for name, (changed, words) in STATES.items():
            await it.bring(**changed)
            assert len(it.app._notifications) <= 1
            it.app.clear_notifications()
            await it.pilot.pause()
            told = " ".join(it.text().replace("│", " ").split())
            for word in words if size[0] > 100 else ():
                assert word in told, (name, word)
            path = FOLDER / f"state-{name}-{size[0]}x{size[1]}.txt"
            rows = [text.rstrip() for text, _ in lines_of(it.app)]
            if os.environ.get("ICCKD_SNAPSHOTS") == "write":
                path.write_text("\n".join(rows) + "\n")
            assert path.read_text().splitlines() == rows, path.name

    watch(scenario, size=size)
