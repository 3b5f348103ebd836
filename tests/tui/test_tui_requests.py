"""The monitor and a session that really trains: what is asked by keys, the journal confirms."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from icckd.journal.folder import StateFolder
from icckd.journal.read import read_chunk
from icckd_tui.app import WatchApp
from icckd_tui.asking import submitter
from icckd_tui.screens.confirm import Confirm
from icckd_tui.source import source_in
from icckd_tui.widgets.grid_table import GridTable

STUDY = """
[study]
name = "tiny"
question = "Does the cache matter?"
baseline = "full"
seeds = { count = 2 }
[teacher.training]
epochs = 40
[student.training]
epochs = 2
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
metrics = ["student.top1"]
"""
SECONDS = 60.0


@pytest.fixture
def session(tmp_path):
    """A process that trains the tiny study."""
    (tmp_path / "tiny.toml").write_text(STUDY)
    command = [sys.executable, "-m", "icckd.cli.main", "run", "tiny.toml", "--no-tui", "-j", "1"]
    with (tmp_path / "session.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={**os.environ, "ICCKD_HOME": str(tmp_path / "state")},
        )  # fmt: skip
    yield process
    process.kill()
    process.wait()


class Seat:
    """Somebody who sits before the monitor."""

    def __init__(self, app, pilot):
        self.app, self.pilot = app, pilot

    @property
    def frame(self):
        return self.app.desk.frame

    def text(self):
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def sees(self, words, other=lambda: True):
        end = time.monotonic() + SECONDS
        while not (self.frame and other() and words in self.text()):
            assert time.monotonic() < end, self.text()
            await asyncio.sleep(0.05)
            await self.pilot.pause()

    def at_trial(self, arm, seed):
        """Put the cursor on the first stage of a trial."""
        rows = [row for row in self.frame.queue if (arm, seed) in row.trials]
        self.app.monitor_screen.query_one("#stages", GridTable).select(rows[0].stage)

    def states(self, arm, seed):
        return {row.state for row in self.frame.queue if (arm, seed) in row.trials}


def answers(folder):
    found = []
    for path in folder.sessions.glob("*/journal.jsonl"):
        lines = read_chunk(path).lines
        found += [(line.body["kind"], line.body["answer"]) for line in lines if line.kind == "r"]
    return found


def test_what_is_asked_by_keys_is_carried_out_and_confirmed(session, tmp_path):
    folder = StateFolder(tmp_path / "state")

    async def scenario():
        app = WatchApp(source_in(folder), "tiny", submit=submitter(folder))
        async with app.run_test(size=(160, 45), notifications=True) as pilot:
            it = Seat(app, pilot)
            await it.sees("LIVE", lambda: it.frame.progress.stages.running)
            await pilot.press("5")
            await it.sees("Queue", lambda: it.frame.queue)
            await pilot.press("p")
            await it.sees("locked: W unlocks")
            await pilot.press("W")
            await it.sees("UNLOCKED")

            await pilot.press("p")
            await it.sees("paused: running stages are saved", lambda: it.frame.progress.paused)
            assert "PAUSED" in it.text()
            await pilot.press("p")
            await it.sees("going on", lambda: not it.frame.progress.paused)

            it.at_trial("no-cache", 1)
            await pilot.press("X")
            assert isinstance(app.screen, Confirm)
            await pilot.press("n")
            assert it.states("no-cache", 1) == {"pending"}
            await pilot.press("X", "y")
            await it.sees("no-cache/1: 2 stages cancelled")
            assert it.states("no-cache", 1) == {"cancelled"}
            it.at_trial("no-cache", 1)
            await pilot.press("R")
            await it.sees("no-cache/1: 2 stages pending again")
            assert it.states("no-cache", 1) == {"pending"}

            await pilot.press("P")
            await it.sees("no-cache/1: 2 stages put first")
            assert "first on request" in it.text()
            waiting = [row for row in it.frame.queue if row.state == "pending"]
            assert waiting[0].trials != (("no-cache", 1),), "the plan had it later"
            await it.sees("Queue", lambda: "running" in it.states("no-cache", 1))

            await pilot.press("A")
            await it.sees("seeds 2 to 3 follow")
            await pilot.press("D", "y")
            await it.sees("finishing the running stages")
            await it.sees("the session ended", lambda: it.frame.progress.session == "ended")
            assert app.desk.asked == {}

    asyncio.run(scenario())
    assert session.wait(SECONDS) == 130, "stopped before its end"
    kinds = [kind for kind, _ in answers(folder)]
    assert kinds == ["pause", "resume", "cancel", "retry", "first", "more-seeds", "stop"]
    assert not list(folder.requests.iterdir())
